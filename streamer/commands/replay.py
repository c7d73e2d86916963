"""The commands ``streamer replay``, ``streamer compare`` and ``streamer record``."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import msgspec
import typer
from rich import progress as rich_progress
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from streamer.config import Config, load_config
from streamer.errors import ConfigError

if TYPE_CHECKING:
    from streamer.config.specs import Spec
    from streamer.replay.log import EventLog
    from streamer.replay.result import Numbers, Result
    from streamer.replay.settings import Settings
    from streamer.replay.sweep import Sweep

_output = Console()
_errors = Console(stderr=True)


def replay(
    log: Annotated[
        str,
        typer.Argument(
            help="JSON lines, CSV, TSV, Parquet, a MovieLens folder, or kafka:TOPIC@START."
        ),
    ],
    task: Annotated[
        str, typer.Option("--task", help="`topk`: rank the next item; `rating`: predict values.")
    ] = "topk",
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help="SPEC[,SPEC …], all in one pass: funnel, popularity, isgd …"),
    ] = None,
    positives: Annotated[
        str | None,
        typer.Option("--positives", help="What is scored: value>=5, type=click|purchase …"),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option("--warmup", help="Share learned only: by default 0.3 (topk), 0 (rating)."),
    ] = None,
    k: Annotated[int, typer.Option("--k", help="Depth of the lists.")] = 10,
    seed: Annotated[int, typer.Option("--seed", help="Of models, ties and samples.")] = 0,
    ties: Annotated[
        str,
        typer.Option("--ties", help="Events of one time: `shuffle`, or in order of the `file`."),
    ] = "shuffle",
    rank_ties: Annotated[
        str, typer.Option("--rank-ties", help="Equal scores: `random`, or `against` the target.")
    ] = "random",
    candidates: Annotated[
        str,
        typer.Option("--candidates", help="`all`, `sampled:N` at random, or `served` slates."),
    ] = "all",
    repeats: Annotated[
        str, typer.Option("--repeats", help="Consumed once more: `skip`, or `keep` to score it.")
    ] = "skip",
    feedback: Annotated[
        str, typer.Option("--feedback", help="What models learn: `positives`, or `all` feedback.")
    ] = "positives",
    scale: Annotated[
        str | None, typer.Option("--scale", help="LOW:HIGH of ratings; default: the log's own.")
    ] = None,
    windows: Annotated[
        str, typer.Option("--windows", help="Of time: so many, or each so long, as 30d.")
    ] = "20",
    cold_below: Annotated[
        int, typer.Option("--cold-below", help="Consumptions from which nothing is cold.")
    ] = 5,
    sync_interval: Annotated[
        str | None,
        typer.Option("--sync-interval", help="Models learn every so often, as 30s; 0: at once."),
    ] = None,
    label_delay: Annotated[
        str | None, typer.Option("--label-delay", help="Events arrive so much later, as 5m.")
    ] = None,
    disorder: Annotated[
        str | None,
        typer.Option("--disorder", help="Events arrive up to so much later, at random."),
    ] = None,
    drop: Annotated[
        str | None, typer.Option("--drop", help="Share of the events that never arrive.")
    ] = None,
    crash_every: Annotated[
        str | None,
        typer.Option("--crash-every", help="Events after which the funnel's learner is lost."),
    ] = None,
    partitions: Annotated[
        str | None, typer.Option("--partitions", help="Of the funnel's topics; by default 1.")
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option("--sweep", help="KNOB=VALUE,VALUE …: replay once at each, as drop=0,0.1."),
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option("--map", help="Names of the log's fields: user_id=userId,ts=timestamp:s …"),
    ] = None,
    event_type: Annotated[
        str | None, typer.Option("--type", help="Type of all events, where the log has none.")
    ] = None,
    items: Annotated[
        Path | None, typer.Option("--items", help="The catalogue, JSON lines as on the topic.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first malformed line.")
    ] = False,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the result here as JSON.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write a page with charts here.")
    ] = None,
    open_report: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Configuration file; by default streamer.toml."),
    ] = None,
    bootstrap_servers: Annotated[
        str | None,
        typer.Option("--bootstrap-servers", help="The Kafka broker, HOST:PORT[,HOST:PORT …]."),
    ] = None,
) -> None:
    """Replay a log: every event is predicted first, then learned, by each model."""
    from streamer.config.specs import parse_specs
    from streamer.replay.experiment import with_defaults
    from streamer.replay.knobs import knobs_of
    from streamer.replay.log import Ties
    from streamer.replay.models import DEFAULT_MODELS, Task
    from streamer.replay.settings import FeedbackSeen, RankTies, Repeats, Settings

    for path in (json, report):
        if path is not None and not path.parent.is_dir():
            raise ConfigError(f"{path} can't be written: {path.parent} is no folder; make it first")
    if open_report and report is None:
        raise ConfigError("--open opens the page that --report writes; add --report OUT.html")
    knobs = knobs_of(
        {
            "sync-interval": sync_interval,
            "label-delay": label_delay,
            "disorder": disorder,
            "drop": drop,
            "crash-every": crash_every,
            "partitions": partitions,
        }
    )
    chosen = Settings(
        task=_choice("--task", task, Task),
        positives=positives,
        k=k,
        seed=seed,
        ties=_choice("--ties", ties, Ties),
        rank_ties=_choice("--rank-ties", rank_ties, RankTies),
        n_sampled=_n_sampled(candidates),
        served=candidates == "served",
        repeats=_choice("--repeats", repeats, Repeats),
        feedback=_choice("--feedback", feedback, FeedbackSeen),
        scale=_scale(scale),
        cold_below=cold_below,
        knobs=knobs,
        **_windows(windows),
    )
    settings = with_defaults(chosen, warmup=warmup)
    loaded = load_config(config, flags={"kafka.bootstrap_servers": bootstrap_servers})
    specs = parse_specs(models or [DEFAULT_MODELS[settings.task]])
    opened = _opened(log, loaded, mapping, event_type, items, strict)
    written = _Written(json, report, open_report)
    if sweep is None:
        _replay_once(opened, specs, settings, loaded, written)
    else:
        _replay_swept(opened, specs, settings, loaded, written, sweep)


def compare(
    a: Annotated[Path, typer.Argument(help="A result of `streamer replay --json`.")],
    b: Annotated[Path, typer.Argument(help="Another one over the same log.")],
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", help="recall@10, ndcg@10, mrr, rmse, mae; default: all."),
    ] = None,
    model_a: Annotated[
        str | None, typer.Option("--model-a", help="Which of A's models, where it has several.")
    ] = None,
    model_b: Annotated[
        str | None, typer.Option("--model-b", help="Which of B's models, where it has several.")
    ] = None,
    resamples: Annotated[
        int, typer.Option("--resamples", min=100, max=1_000_000, help="Of the bootstrap.")
    ] = 2_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the comparisons as JSON.")] = False,
) -> None:
    """Say whether B's model is better than A's on the same events, or whether it is chance."""
    from streamer.replay import compare as comparing
    from streamer.replay.result import read_result

    first, second = read_result(a), read_result(b)
    comparing.check_comparable(first, second)
    found = [
        comparing.compare(
            first, second, metric=metric, models=pair, n_resamples=resamples, seed=seed
        )
        for pair in comparing.pairs_to_compare(first, second, model_a, model_b)
        for metric in metrics or comparing.metrics_to_compare(first)
    ]
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    for each in found:
        _output.print(each.verdict, highlight=False, markup=False)


def record(
    topic: Annotated[str, typer.Argument(help="The topic's full name.")],
    file: Annotated[Path, typer.Argument(help="FILE.jsonl, FILE.jsonl.gz or FILE.jsonl.zst.")],
    start: Annotated[
        str,
        typer.Option("--from", help="`earliest`, an offset, or a time as 2026-01-31T08:00:00."),
    ] = "earliest",
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first message that is not JSON.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Configuration file; by default streamer.toml."),
    ] = None,
    bootstrap_servers: Annotated[
        str | None,
        typer.Option("--bootstrap-servers", help="The Kafka broker, HOST:PORT[,HOST:PORT …]."),
    ] = None,
) -> None:
    """Write what is on a topic now to a log file, one JSON object a line."""
    from streamer.application.record import record as record_topic
    from streamer.application.topic_log import TopicLog

    loaded = load_config(config, flags={"kafka.bootstrap_servers": bootstrap_servers})
    log = TopicLog(loaded, topic, start=start, strict=strict)
    with _progress() as bar:
        recording = bar.add_task("recording", total=log.n_estimated)
        n_written = record_topic(log, file, progress=lambda n: bar.update(recording, completed=n))
    _output.print(f"{n_written:,} messages of {topic} written to {file}", highlight=False)
    _show_malformed(log.n_malformed, [str(each) for each in log.malformed])


# --- replaying ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Written:
    """Where results go."""

    json: Path | None
    report: Path | None
    opened: bool

    def write(self, result: msgspec.Struct, page: Callable[[], str]) -> None:
        from streamer.replay.result import encoded

        if self.json is not None:
            _write(self.json, encoded(result))
        if self.report is not None:
            _write(self.report, page().encode())
            if self.opened:
                webbrowser.open(self.report.resolve().as_uri())


def _replay_once(
    log: EventLog, specs: Sequence[Spec], settings: Settings, config: Config, written: _Written
) -> None:
    from streamer.replay.report import report as report_page

    result = _result(log, specs, settings, config, "replaying")
    written.write(result, lambda: report_page(result))
    _show(result)


def _replay_swept(
    log: EventLog,
    specs: Sequence[Spec],
    settings: Settings,
    config: Config,
    written: _Written,
    text: str,
) -> None:
    from streamer.replay.sweep import Sweep, SweptRun, parse_sweep, sweep_page

    knob, values = parse_sweep(text, settings.knobs)
    runs = []
    for value, knobs in values:
        turned = msgspec.structs.replace(settings, knobs=knobs)
        result = _result(log, specs, turned, config, f"{knob}={value}")
        runs.append(SweptRun(value=value, result=result))
    sweep = Sweep(knob=knob, runs=runs)
    written.write(sweep, lambda: sweep_page(sweep))
    _show_sweep(sweep)


def _result(
    log: EventLog, specs: Sequence[Spec], settings: Settings, config: Config, doing: str
) -> Result:
    from streamer.replay.experiment import Experiment
    from streamer.replay.result import result_of

    experiment = Experiment(log, specs, settings, config=config)
    with _progress() as bar:
        reading = bar.add_task("reading", total=log.n_estimated)
        replaying = bar.add_task(doing, total=None, visible=False)
        outcome = experiment.run(
            surveying=lambda n: bar.update(reading, completed=n),
            replaying=lambda n, total: bar.update(
                replaying, completed=n, total=total, visible=True
            ),
        )
    return result_of(outcome)


# --- what was asked for ---------------------------------------------------------------------------


def _choice(option: str, text: str, kind: Any) -> Any:
    """``text``, if it is one of the literals of ``kind``."""
    if text not in get_args(kind):
        raise ConfigError(f"{option} {text!r} is none of {', '.join(get_args(kind))}")
    return text


def _n_sampled(candidates: str) -> int | None:
    if candidates in ("all", "served"):
        return None
    kind, _, number = candidates.partition(":")
    if kind != "sampled" or not number.isdecimal():
        raise ConfigError(f"--candidates {candidates!r} is none of all, sampled:N and served")
    return int(number)


def _scale(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    low, _, high = text.partition(":")
    try:
        return float(low), float(high)
    except ValueError:
        raise ConfigError(f"--scale {text!r} is not LOW:HIGH, as 0.5:5") from None


def _windows(text: str) -> dict[str, int]:
    from streamer.config.specs import duration_ms

    if text.isdecimal():
        return {"n_windows": int(text)}
    try:
        return {"window_ms": duration_ms(text)}
    except ValueError as error:
        raise ConfigError(f"--windows {text!r} is neither a number of windows: {error}") from None


def _opened(
    log: str,
    config: Config,
    mapping: str | None,
    event_type: str | None,
    items: Path | None,
    strict: bool,
) -> EventLog:
    from streamer.application.topic_log import PREFIX, open_topic
    from streamer_producers.datasets import open_log

    if not log.startswith(PREFIX):
        return open_log(
            log, mapping=mapping, event_type=event_type, strict=strict, sort=True, items=items
        )
    if mapping is not None or event_type is not None or items is not None:
        raise ConfigError(f"--map, --type and --items are of files; {log} holds events already")
    return open_topic(config, log, strict=strict)


# --- what came of it ------------------------------------------------------------------------------


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"{path} can't be written ({error.strerror})") from error


def _show(result: Result) -> None:
    configuration = result.configuration
    metrics = _shown_metrics(result)
    table = Table("model", *metrics, "events/s", title=escape(result.log.name))
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for model, values in result.metrics.items():
        rate = f"{values['events_per_s'] or 0:,.0f}"
        errors = result.standard_errors[model]
        # The first metric's error says enough of the size of chance, and the table fits.
        cells = [_cell(values, errors if name == metrics[0] else {}, name) for name in metrics]
        table.add_row(escape(model), *cells, rate)
    _output.print(table)
    _output.print(
        f"{result.events_scored:,} events scored after {configuration.warmup:g} of the log as"
        f" warm-up, {result.events_learned:,} learned, in {result.elapsed_s:.1f} s"
        f" ({result.events_per_s:,.0f} events/s)",
        highlight=False,
    )
    _show_malformed(result.log.n_malformed, result.log.malformed)


def _show_sweep(sweep: Sweep) -> None:
    from streamer.replay.sweep import change_text

    metrics = _shown_metrics(sweep.runs[0].result)
    change = f"{metrics[0]} against {sweep.runs[0].value}"
    title = escape(f"{sweep.knob} on {sweep.runs[0].result.log.name}")
    table = Table(sweep.knob, "model", *metrics, change, "events/s", title=title)
    for column in table.columns[2:]:
        column.justify = "right"
    for run in sweep.runs:
        for model, values in run.result.metrics.items():
            cells = [_cell(values, {}, name) for name in metrics]
            changed = change_text(sweep.change(run, model)) if run is not sweep.runs[0] else "–"
            rate = f"{values['events_per_s'] or 0:,.0f}"
            table.add_row(run.value, escape(model), *cells, changed, rate)
    _output.print(table)
    _show_malformed(sweep.runs[0].result.log.n_malformed, sweep.runs[0].result.log.malformed)


def _shown_metrics(result: Result) -> Sequence[str]:
    """The lists' own metrics are in the JSON and in the report."""
    found = next(iter(result.metrics.values()))
    hidden = ("map@", "hit_rate@", "serendipity@", "novelty@", "diversity@", "events_")
    return [name for name in found if not name.startswith(hidden)]


def _cell(values: Numbers, errors: Numbers, metric: str) -> str:
    value, error = values[metric], errors.get(metric)
    if value is None:
        return "–"
    return f"{value:.4f}" if error is None else f"{value:.4f} [dim]± {error:.4f}[/]"


def _show_malformed(n_malformed: int, first: Sequence[str]) -> None:
    if n_malformed:
        _errors.print(f"{n_malformed:,} malformed lines left out:", style="yellow", highlight=False)
    for each in first:
        _errors.print(f"  {each}", style="yellow", highlight=False, markup=False)


class _Rate(ProgressColumn):
    """Events a second."""

    def render(self, task: rich_progress.Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} events/s")


@contextmanager
def _progress() -> Iterator[Progress]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_errors, transient=True) as bar:
        yield bar
