"""The command ``streamer replay``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

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
    config_file,
    configured,
)
from streamer.commands.replay_tables import show_result, show_sweep
from streamer.commands.screen import errors, rated_progress, show_remarks
from streamer.commands.written import OpenOption, ReportOption, Written
from streamer.errors import ConfigError

if TYPE_CHECKING:
    from streamer.config import Config
    from streamer.replay.log import EventLog
    from streamer.replay.processes import PlannedReplay
    from streamer.replay.result import Result


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
        typer.Option(
            "--model",
            help="SPEC[,SPEC …], in one pass: funnel, channel:next, isgd …; `all`: the league.",
        ),
    ] = None,
    positives: Annotated[
        str | None,
        typer.Option("--positives", help="What is scored: value>=5, type=click|purchase …"),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option("--warmup", help="Share learned only: by default 0.3 (topk), 0 (rating)."),
    ] = None,
    scored: Annotated[
        float,
        typer.Option("--scored", help="Share of the others that is scored; all are learned."),
    ] = 1.0,
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
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            min=1,
            help="That share the work, each with its own models; by default one a core, up to 8.",
        ),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            "--sweep",
            help="KNOB or KEY=VALUE,VALUE …: once at each, as drop=0,0.1 or slate.diversity=0,0.2.",
        ),
    ] = None,
    mapping: MapOption = None,
    event_type: TypeOption = None,
    items: Annotated[
        Path | None, typer.Option("--items", help="The catalogue, a file of items.")
    ] = None,
    users: Annotated[
        Path | None, typer.Option("--users", help="What users say of themselves, a file.")
    ] = None,
    file_format: FormatOption = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    strict: StrictOption = False,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the result here as JSON.")
    ] = None,
    report: ReportOption = None,
    open_report: OpenOption = False,
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
) -> None:
    """Replay a log: every event is predicted first, then learned, by each model."""
    from streamer.config.specs import parse_specs
    from streamer.replay.experiment import with_defaults
    from streamer.replay.knobs import knobs_of
    from streamer.replay.league import ALL, models_of, not_installed
    from streamer.replay.log import Ties
    from streamer.replay.models import DEFAULT_MODELS, Task, never_repeating
    from streamer.replay.processes import PlannedReplay
    from streamer.replay.settings import FeedbackSeen, RankTies, Repeats, Settings
    from streamer_producers.datasets import read_with

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
        scored=scored,
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
    loaded = configured(config, bootstrap_servers)
    inputs = (*read_with(log, loaded.files), items, users, config_file(config))
    written = Written(json, report, open_report, inputs)
    asked = parse_specs(models or [DEFAULT_MODELS[settings.task]])
    if missing := not_installed(asked, settings.task):
        remedy = "pip install '.[nightly]' in the folder of streamer's code"
        errors.print(f"without {', '.join(missing)}: {remedy}", markup=False)
    specs = models_of(asked, loaded, settings.task)
    if settings.repeats == "keep" and (silent := never_repeating(specs, settings.keys, loaded)):
        errors.print(
            f"{', '.join(silent)}: recall.again.candidates = 0 recommends nothing that a user has"
            " met, and --repeats keep scores it; set it, as 50",
            style="yellow",
            markup=False,
            highlight=False,
        )
    of_file: dict[str, Any] = {
        "mapping": mapping,
        "event_type": event_type,
        "items": items,
        "users": users,
        "file_format": file_format,
        "delimiter": delimiter,
        "encoding": encoding,
    }
    opened, open_again = _opened(log, loaded, strict, of_file)
    planned = PlannedReplay(open_again, specs, settings, loaded)
    if sweep is None:
        is_league = any(spec.text == ALL for spec in asked)
        _replay_once(opened, planned, processes, written, league=is_league)
    else:
        _replay_swept(opened, planned, processes, written, sweep)


def _replay_once(
    log: EventLog, planned: PlannedReplay, processes: int | None, written: Written, *, league: bool
) -> None:
    from streamer.replay.report import report
    from streamer.replay.result import encoded

    result = _result(log, planned, processes, "replaying")
    written.write(lambda: encoded(result), lambda origin: report(result, origin, league=league))
    show_result(result)
    result.check_scored()


def _replay_swept(
    log: EventLog, planned: PlannedReplay, processes: int | None, written: Written, text: str
) -> None:
    from streamer.replay.result import encoded
    from streamer.replay.sweep import Sweep, SweptRun, sweep_page, swept_settings

    knob, values = swept_settings(text, planned.settings, planned.config)
    runs = []
    for value, turned in values:
        at_value = dataclasses.replace(planned, settings=turned)
        result = _result(log, at_value, processes, f"{knob}={value}")
        result.check_scored()
        runs.append(SweptRun(value=value, result=result))
    sweep = Sweep(knob=knob, runs=runs)
    written.write(lambda: encoded(sweep), lambda origin: sweep_page(sweep, origin))
    show_sweep(sweep)


def _result(log: EventLog, planned: PlannedReplay, processes: int | None, doing: str) -> Result:
    from streamer.replay.processes import n_processes, replay_by
    from streamer.replay.result import result_of

    experiment = planned.experiment(log)
    with rated_progress() as bar:
        reading = bar.add_task("reading", total=log.n_estimated)
        found = experiment.survey(lambda n: bar.update(reading, completed=n))
        bar.update(reading, completed=found.n_events, total=found.n_events)
        replaying = bar.add_task(doing, total=found.n_events)
        outcome = replay_by(
            n_processes(planned, found, processes),
            planned,
            experiment,
            found,
            lambda n: bar.update(replaying, completed=n),
        )
    return result_of(outcome)


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


def _windows(text: str) -> dict[str, Any]:
    from streamer.config.specs import duration_ms

    if text.isdecimal():
        return {"n_windows": int(text)}
    try:
        return {"window_ms": duration_ms(text)}
    except ValueError as error:
        raise ConfigError(f"--windows {text!r} is neither a number of windows: {error}") from None


def _opened(
    log: str, config: Config, strict: bool, of_file: Mapping[str, Any]
) -> tuple[EventLog, Callable[[], EventLog] | None]:
    """Open a topic or a file, of which ``of_file`` has what was said of it; and return what opens
    it in another process, None where it can be read once only."""
    from streamer.application.topic_log import PREFIX, open_topic
    from streamer_producers.datasets import open_log
    from streamer_producers.log_file import is_read_once

    if not log.startswith(PREFIX):
        open_again = partial(
            open_log,
            log,
            types=config.event_types,
            files=config.files,
            strict=strict,
            sort=True,
            **of_file,
        )
        opened = open_again()
        show_remarks(opened.remarks)
        read = (log, of_file["items"], of_file["users"])
        return opened, None if any(map(is_read_once, filter(None, read))) else open_again
    if any(each is not None for each in of_file.values()):
        raise ConfigError(
            "--map, --type, --items, --users, --format, --delimiter and --encoding are of files;"
            f" {log} holds events already"
        )
    topic = open_topic(config, log, strict=strict)
    return topic, partial(copy, topic)  # where it ended when it was opened
