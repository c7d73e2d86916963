"""The command ``streamer publish``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamer.commands.options import (
    BrokerOption,
    ConfigOption,
    DelimiterOption,
    EncodingOption,
    FormatOption,
    MapOption,
    StrictOption,
    TypeOption,
    configured,
    number_of,
)
from streamer.commands.screen import counted_progress, output, show_malformed, show_remarks

if TYPE_CHECKING:
    from streamer_producers.publishing import Published


def publish(
    log: Annotated[
        str | None,
        typer.Argument(
            help="JSON, CSV, TSV, Parquet, `-` for standard input, a MovieLens folder, or a name."
        ),
    ] = None,
    speed: Annotated[
        str, typer.Option("--speed", help="`max`, or seconds of the log a second: 1 is real time.")
    ] = "max",
    mapping: MapOption = None,
    event_type: TypeOption = None,
    rebase: Annotated[
        bool, typer.Option("--rebase", help="Give each event the time at which it is published.")
    ] = False,
    items: Annotated[
        Path | None,
        typer.Option("--items", help="The catalogue, a file of items; with a log or alone."),
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option("--users", help="What users say of themselves, a file; with a log or alone."),
    ] = None,
    file_format: FormatOption = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    strict: StrictOption = False,
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
) -> None:
    """Publish a log of events, the catalogue and what users say, together or alone."""
    from streamer.client import Publisher
    from streamer.errors import ConfigError
    from streamer_producers.clipped_values import ClippedValues
    from streamer_producers.common_ids import CommonIds
    from streamer_producers.datasets import open_described, open_log
    from streamer_producers.publishing import publish_logs

    pace = None if speed == "max" else number_of("--speed", speed)
    settings = configured(config, bootstrap_servers)
    if log is not None:
        opened = open_log(
            log,
            mapping=mapping,
            event_type=event_type,
            types=settings.event_types,
            files=settings.files,
            strict=strict,
            items=items,
            users=users,
            file_format=file_format,
            delimiter=delimiter,
            encoding=encoding,
            # At a pace of their own, events need their times.
            timeless=rebase and pace is None,
        )
    elif items is not None or users is not None:
        opened = open_described(items=items, users=users, strict=strict, files=settings.files)
    else:
        raise ConfigError(
            "there is nothing to publish; name a log, items with --items FILE or users with --users"
            " FILE"
        )
    show_remarks([*opened.gone, *opened.remarks])
    with (
        Publisher(config=settings) as publisher,
        counted_progress("publishing", opened.n_estimated) as (bar, task),
    ):
        values, ids = ClippedValues(settings.events), CommonIds()
        (done,) = publish_logs(
            [opened],
            publisher,
            speed=pace,
            rebase=rebase,
            on_progress=lambda sent: bar.update(task, completed=sent[0].n_events),
            values=values,
            ids=ids,
        )
    rate = done.n_events / max(done.elapsed_s, 1e-9)
    others = f" and {done.n_items:,} items"
    if done.n_users or users is not None:
        others = f", {done.n_items:,} items and {done.n_users:,} users"
    output.print(
        f"{done.n_events:,} events{others} published in {done.elapsed_s:.1f} s"
        f" ({rate:,.0f} events/s), {done.n_malformed:,} malformed lines"
    )
    show_malformed(done.n_malformed, [str(each) for each in opened.malformed])
    show_remarks([*opened.repeats(), *done.remarks()])
    show_remarks([*map(str, values.found()), *map(str, ids.faults())])
    what, n_used = "item or user", done.n_items + done.n_users
    if log is not None:
        what, n_used = "event", done.n_events
    if not n_used:
        raise ConfigError(f"{opened.name}: no {what} was published; {_why_nothing(done)}")


def _why_nothing(done: Published) -> str:
    if not done.n_malformed + done.n_refused:
        return "there is no row in it: it is empty, or has names of columns alone; write it again"
    reasons = {
        "lines were malformed, as said above; see --map and --type": done.n_malformed,
        "lie more than a day ahead; name the unit with --map ts=COLUMN:UNIT": done.n_refused,
    }
    return ", and ".join(f"{n:,} {why}" for why, n in reasons.items() if n)
