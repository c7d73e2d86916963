"""Options that several commands have, and the configuration that they make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

if TYPE_CHECKING:
    from streamer.config import Config

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration file; by default streamer.toml, if there is one."),
]
BrokerOption = Annotated[
    str | None,
    typer.Option("--bootstrap-servers", help="The Kafka broker, HOST:PORT[,HOST:PORT …]."),
]
StoreOption = Annotated[
    str | None, typer.Option("--store", help="The parameter store: redis://… or sqlite:PATH.")
]
MetricsOption = Annotated[
    int | None, typer.Option("--metrics-port", help="Serve Prometheus metrics on this port.")
]
HttpOption = Annotated[int | None, typer.Option("--http-port", help="Serve HTTP on this port.")]
PageOption = Annotated[
    bool,
    typer.Option(
        "--page", help='Require the page at /ui, as http.page = "on"; needs the extra ui.'
    ),
]
ReportsOption = Annotated[
    Path | None,
    typer.Option("--reports", help="Show the reports of this folder on the page at /ui."),
]
AloneOption = Annotated[
    bool,
    typer.Option(
        "--alone",
        help="Take all partitions without joining a consumer group; run only one such process.",
    ),
]
MapOption = Annotated[
    str | None,
    typer.Option("--map", help="Names of the log's fields: user_id=userId,ts=timestamp:s …"),
]
TypeOption = Annotated[
    str | None, typer.Option("--type", help="Type of all events, where the log has none.")
]
FormatOption = Annotated[
    str | None,
    typer.Option("--format", help="Of the file, where its suffix doesn't say: jsonl, csv, tsv …"),
]
DelimiterOption = Annotated[
    str | None, typer.Option("--delimiter", help="Between the values of a line; `tab` is one too.")
]
EncodingOption = Annotated[
    str | None, typer.Option("--encoding", help="Of the file's text, as latin-1, cp1251, utf-16.")
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Stop at the first malformed line.")]

ContextOption = Annotated[
    list[str] | None,
    typer.Option(
        "--context", help="NAME=VALUE of the request's context, or surface=VALUE; repeatable."
    ),
]


def configured(
    path: Path | None,
    bootstrap_servers: str | None = None,
    store: str | None = None,
    metrics_port: int | None = None,
    http_port: int | None = None,
    page: bool = False,
    broker_port: int | None = None,
    reports: Path | None = None,
) -> Config:
    """Return the configuration of a file, the environment and the flags given."""
    from streamer.config import load_config

    flags = {
        "kafka.bootstrap_servers": bootstrap_servers,
        "store.url": store,
        "metrics.port": metrics_port,
        "http.port": http_port,
        "http.page": "on" if page else None,
        "http.reports": None if reports is None else str(reports),
        "kafka.embedded_port": broker_port,
    }
    return load_config(path, flags=flags)


def config_file(path: Path | None) -> Path:
    """Return the configuration file that :func:`configured` reads, if it is there."""
    return path or Path("streamer.toml")


def number_of(option: str, text: str) -> float:
    """Return the number that an option was given.

    Raises
    ------
    typer.BadParameter
        When it is none.
    """
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a number nor `max`", param_hint=option
        ) from None


def request_context(given: Sequence[str]) -> dict[str, Any]:
    """Return surface and context of a request; what is a number or a truth in JSON is one."""
    found: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{each!r} is not NAME=VALUE", param_hint="--context")
        try:
            value = msgspec.json.decode(text, type=bool | float)
        except msgspec.DecodeError:
            value = text
        found[name] = value
    surface = found.pop("surface", None)
    return {"surface": surface if surface is None else str(surface), "context": found or None}
