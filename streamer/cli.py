"""The command line. Each command builds a configuration and calls one function."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from streamer.commands.ope import ope
from streamer.commands.replay import compare, record, replay
from streamer.config import Config, describe, load_config
from streamer.errors import StreamerError
from streamer.events import FeatureEntity
from streamer.logs import log_to_stderr

app = typer.Typer(
    help="A real-time streaming recommender that learns from every event as it happens.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
topics_app = typer.Typer(help="The Kafka topics.", no_args_is_help=True)
store_app = typer.Typer(help="The parameter store.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")
app.add_typer(store_app, name="store")
features_app = typer.Typer(help="Features that move with time.", no_args_is_help=True)
app.add_typer(features_app, name="features")

console = Console()
errors = Console(stderr=True)

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
AloneOption = Annotated[
    bool,
    typer.Option(
        "--alone",
        help="Take all partitions without joining a consumer group; run only one such process.",
    ),
]


def _config(
    path: Path | None,
    bootstrap_servers: str | None = None,
    store: str | None = None,
    metrics_port: int | None = None,
) -> Config:
    flags = {
        "kafka.bootstrap_servers": bootstrap_servers,
        "store.url": store,
        "metrics.port": metrics_port,
    }
    return load_config(path, flags=flags)


def main() -> int:
    """Run the command line; an error of ours is one sentence and exit status 1."""
    try:
        app()
    except StreamerError as error:
        errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


# --- looking ------------------------------------------------------------------------------------


@app.command("config")
def show_config(
    config: ConfigOption = None, bootstrap_servers: BrokerOption = None, store: StoreOption = None
) -> None:
    """Print every setting that is in effect and where its value came from."""
    table = Table("key", "value", "from")
    for key, value, origin in describe(_config(config, bootstrap_servers, store)):
        style = "dim" if origin == "default" else ""
        table.add_row(key, escape(value), escape(origin), style=style)
    console.print(table)


# --- running ------------------------------------------------------------------------------------


@app.command()
def learn(
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
    store: StoreOption = None,
    metrics_port: MetricsOption = None,
    alone: AloneOption = False,
) -> None:
    """Run a learner: events in, parameters out, until SIGTERM."""
    from streamer.application.processes import run_learner

    log_to_stderr()
    run_learner(_config(config, bootstrap_servers, store, metrics_port), alone=alone)


@app.command()
def score(
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
    store: StoreOption = None,
    metrics_port: MetricsOption = None,
    alone: AloneOption = False,
) -> None:
    """Run a scorer: requests in, recommendations and decisions out, until SIGTERM."""
    from streamer.application.processes import run_scorer

    log_to_stderr()
    run_scorer(_config(config, bootstrap_servers, store, metrics_port), alone=alone)


@features_app.command("run")
def features_run(
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
    metrics_port: MetricsOption = None,
) -> None:
    """Compute windowed features from events until SIGTERM; start more to share the work."""
    from streamer.application.features import run_features

    log_to_stderr()
    run_features(_config(config, bootstrap_servers, None, metrics_port))


@features_app.command("show")
def features_show(
    entity: Annotated[
        str, typer.Argument(help="user, item, category, user_category, surface or global.")
    ],
    entity_id: Annotated[
        str, typer.Argument(help='Its id; of user_category ["USER","CATEGORY"], of global *.')
    ] = "*",
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
    store: StoreOption = None,
) -> None:
    """Print the features of an entity that are known now, and how old those of windows are."""
    from streamer.application.features import known_features

    if entity not in get_args(FeatureEntity):
        known_kinds = ", ".join(get_args(FeatureEntity))
        raise typer.BadParameter(f"{entity!r} is none of {known_kinds}", param_hint="ENTITY")
    if entity_id == "*" and entity != "global":
        raise typer.BadParameter(f"say which {entity}", param_hint="ENTITY_ID")
    settings = _config(config, bootstrap_servers, store)
    found, held, missing = known_features(settings, entity, entity_id)  # type: ignore[arg-type]
    table = Table(
        "feature", "value", "age of its window", "", title=escape(f"{entity} {entity_id}")
    )
    for each in found:
        state = "stale: counts as missing" if each.stale else ""
        table.add_row(each.name, f"{each.value:g}", f"{each.age_s:,.0f} s", state)
    for feature, value in held:
        shown, how = f"{value:g}", "fades"
        if feature.measure == "recency":
            shown, how = f"{value:,.1f} s", "since the last one"
        table.add_row(feature.name, shown, "-", f"{how}; as the learner has committed it")
    for name in missing:
        table.add_row(name, "-", "-", "missing", style="dim")
    console.print(table)
    if not found and not held:
        console.print(
            f"nothing is known of {escape(f'{entity} {entity_id}')}: check how it is spelled, that"
            " learners (`streamer learn`) and workers (`streamer features run`) run, and that a"
            " window has ended since",
            highlight=False,
            soft_wrap=True,
        )


@app.command()
def up(
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
    store: StoreOption = None,
) -> None:
    """Run learner and scorer on this machine, and a broker where none is configured."""
    from streamer.application.local import run_up

    run_up(_config(config, bootstrap_servers, store), config, console)


@app.command()
def demo(
    seconds: Annotated[
        float, typer.Option("--seconds", min=5.0, help="How long users act, after the start.")
    ] = 60.0,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the summary here as JSON.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", help="Stream a real log (a path or a name) in place of users."),
    ] = None,
    bootstrap_servers: BrokerOption = None,
    store: StoreOption = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the simulated users.")] = 0,
) -> None:
    """Watch the whole system at work: simulated users, broker, learner, scorer."""
    from streamer.demo.demo import DemoOptions, run_demo

    options = DemoOptions(
        seconds=seconds,
        json_path=json,
        dataset=dataset,
        bootstrap_servers=bootstrap_servers,
        store=store,
        seed=seed,
    )
    run_demo(options, console)


# --- publishing and asking ----------------------------------------------------------------------


@app.command()
def publish(
    log: Annotated[
        str, typer.Argument(help="JSON lines, CSV, TSV, Parquet, a MovieLens folder, or a name.")
    ],
    speed: Annotated[
        str, typer.Option("--speed", help="`max`, or seconds of the log a second: 1 is real time.")
    ] = "max",
    mapping: Annotated[
        str | None,
        typer.Option("--map", help="Names of the log's fields: user_id=userId,ts=timestamp:s …"),
    ] = None,
    event_type: Annotated[
        str | None, typer.Option("--type", help="Type of all events, where the log has none.")
    ] = None,
    rebase: Annotated[
        bool, typer.Option("--rebase", help="Give each event the time at which it is published.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first malformed line.")
    ] = False,
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
) -> None:
    """Publish a log of events (and its items)."""
    from streamer.client import Publisher
    from streamer_producers.datasets import open_log
    from streamer_producers.publishing import publish_log

    pace = None if speed == "max" else _number("--speed", speed)
    opened = open_log(log, mapping=mapping, event_type=event_type, strict=strict)
    with (
        Publisher(config=_config(config, bootstrap_servers)) as publisher,
        _progress("publishing", opened.n_estimated) as (bar, task),
    ):
        done = publish_log(
            opened,
            publisher,
            speed=pace,
            rebase=rebase,
            on_progress=lambda sent: bar.update(task, completed=sent.n_events),
        )
    rate = done.n_events / max(done.elapsed_s, 1e-9)
    console.print(
        f"{done.n_events:,} events and {done.n_items:,} items published in {done.elapsed_s:.1f} s"
        f" ({rate:,.0f} events/s), {done.n_malformed:,} malformed lines"
    )
    for malformed in opened.malformed:
        errors.print(f"  {malformed}", style="yellow", highlight=False, markup=False)


@app.command()
def subscribe(
    user: Annotated[
        str | None, typer.Option("--user", help="Only this user's recommendations.")
    ] = None,
    start: Annotated[
        str, typer.Option("--from", help="`latest`: from now on; `earliest`: all that are kept.")
    ] = "latest",
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
) -> None:
    """Print recommendations as they are made, one JSON object a line, until Ctrl-C."""
    from streamer.application.signals import stopped_by_signals
    from streamer.client import Subscriber
    from streamer.events import encode

    if start not in ("latest", "earliest"):
        raise typer.BadParameter(f"{start!r} is neither latest nor earliest", param_hint="--from")
    settings = _config(config, bootstrap_servers)
    with (
        Subscriber(config=settings, user_id=user, start=start) as subscriber,  # type: ignore[arg-type]
        stopped_by_signals(subscriber.stop),
    ):
        for recommendation in subscriber:
            sys.stdout.write(encode(recommendation).decode() + "\n")
            sys.stdout.flush()


@app.command()
def request(
    user: Annotated[str, typer.Argument(help="Who asks.")],
    k: Annotated[
        int | None, typer.Option("--k", min=1, max=500, help="How many items; default: configured.")
    ] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.01, help="How long to wait, in seconds.")
    ] = 5.0,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
) -> None:
    """Ask for recommendations and print the answer."""
    from streamer.client import Recommender
    from streamer.events import encode

    with Recommender(config=_config(config, bootstrap_servers)) as recommender:
        answer = recommender.recommend(user, k=k, timeout_s=timeout_s)
    if json:
        sys.stdout.write(encode(answer).decode() + "\n")
        return
    table = Table("rank", "item", "score", "reason", title=f"for {escape(user)}")
    for item in answer.items:
        table.add_row(
            str(item.rank), escape(item.item_id), f"{item.score:.3f}", escape(item.reason)
        )
    console.print(table if answer.items else f"nothing to recommend to {escape(user)} yet")


# --- evaluating ---------------------------------------------------------------------------------


app.command()(replay)
app.command()(compare)
app.command()(record)
app.command()(ope)


# --- administration -----------------------------------------------------------------------------


@topics_app.command("create")
def topics_create(config: ConfigOption = None, bootstrap_servers: BrokerOption = None) -> None:
    """Make the topics; refuse a cluster whose partition counts differ."""
    from streamer.application.processes import require_broker
    from streamer.kafka.topics import create_topics

    settings = _config(config, bootstrap_servers)
    require_broker(settings)
    reports = create_topics(
        settings.kafka.bootstrap_servers,
        settings.topics,
        client_options=settings.kafka.client,
        timeout_s=settings.kafka.request_timeout_s,
    )
    table = Table("topic", "partitions", "")
    for report in reports:
        state = "created" if report.created else "was there"
        table.add_row(report.name, str(report.n_partitions), state)
    console.print(table)


@store_app.command("verify")
def store_verify(
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
    store: StoreOption = None,
    decisions: Annotated[
        bool,
        typer.Option("--decisions", help="Make every logged slate again too, from the parameters."),
    ] = False,
) -> None:
    """Execute the recorded schedule again over the topics and compare the store bit for bit."""
    from streamer.application.processes import verify_configured
    from streamer.application.recorded import verify_run

    settings = _config(config, bootstrap_servers, store)
    with _progress("executing again", None) as (bar, task):

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        if decisions:
            result, slates = verify_run(settings, progress=progress)
        else:
            result, slates = verify_configured(settings, progress=progress), None
    console.print(f"{result.n_entries:,} commits, {result.n_messages:,} messages executed again")
    if slates is not None:
        console.print(
            f"{slates.n_same:,} slates made again alike, {slates.n_different:,} otherwise;"
            f" {slates.n_without_request:,} without their request,"
            f" {slates.n_without_version:,} without their commits"
        )
    for problem in (*result.problems, *(slates.problems if slates is not None else ())):
        errors.print(f"  {problem}", style="red", highlight=False, markup=False)
    if result.problems or (slates is not None and slates.n_different):
        raise StreamerError(
            "the store, or a slate, is not what the record says: was it written by another version,"
            " or with other settings? `streamer config` shows those in effect"
        )
    console.print("the store is what its schedule says, bit for bit", style="green")


# --- shared -------------------------------------------------------------------------------------


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a number nor `max`", param_hint=option
        ) from None


@contextlib.contextmanager
def _progress(doing: str, total: int | None) -> Iterator[tuple[Progress, Any]]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as bar:
        yield bar, bar.add_task(doing, total=total)
