"""The command ``streamer ope``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import msgspec
import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from streamer.commands.options import StrictOption, config_file
from streamer.commands.screen import errors, output
from streamer.commands.written import OpenOption, ReportOption, Written
from streamer.errors import ConfigError

if TYPE_CHECKING:
    from streamer.config import Config
    from streamer.ope.bandit_log import BanditLog, Survey
    from streamer.ope.passes import Watch
    from streamer.ope.result import OpeResult
    from streamer_models.evaluation.ope import Interval

FORMATS = ("obd", "decisions", "mab")
REWARD_MODELS = ("ridge", "none")
_SHOW_EVERY = 64


def ope(
    log: Annotated[Path, typer.Argument(help="The log: a file or a folder of its format.")],
    log_format: Annotated[
        str,
        typer.Option(
            "--format",
            help="`obd`: Open Bandit Dataset; `decisions`: ours; `mab`: ten arms, uniform.",
        ),
    ],
    policy: Annotated[
        str,
        typer.Option(
            "--policy",
            help="uniform, best-fixed, fixed:ITEM, bts:FILE, logged:FILE, blend, or one that learns"
            " on the way, any of bandit.policy: linucb:alpha=0.05.",
        ),
    ],
    estimators: Annotated[
        str | None,
        typer.Option(
            "--estimators",
            help="Out of replay, ips, snips, dm, dr, switch-dr; default: all that the log allows.",
        ),
    ] = None,
    ci: Annotated[
        str, typer.Option("--ci", help="Intervals: bootstrap:RESAMPLES, normal or t.")
    ] = "bootstrap:1000",
    level: Annotated[float, typer.Option("--level", help="Of the intervals, in (0, 1).")] = 0.95,
    matches: Annotated[
        int | None, typer.Option("--matches", min=1, help="Stop replay after so many matches.")
    ] = None,
    clip: Annotated[
        float, typer.Option("--clip", help="Bound of the weights of ips, snips and dr.")
    ] = float("inf"),
    switch: Annotated[
        float, typer.Option("--switch", help="Weight above which switch-dr trusts its model alone.")
    ] = 10.0,
    reward_model: Annotated[
        str, typer.Option("--reward-model", help="Of dm, dr and switch-dr: ridge, or none of them.")
    ] = "ridge",
    folds: Annotated[
        int, typer.Option("--folds", min=2, help="Folds that the reward model is fitted across.")
    ] = 5,
    events: Annotated[
        Path | None,
        typer.Option("--events", help="What became of the decisions; of a folder: in it."),
    ] = None,
    uniform: Annotated[
        bool, typer.Option("--uniform", help="The log was drawn uniformly, whatever else it says.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of draws, folds and resamples.")] = 0,
    json: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None,
    report: ReportOption = None,
    open_report: OpenOption = False,
    sweep: Annotated[
        str | None,
        typer.Option(
            "--sweep",
            help="KEY=VALUE,VALUE of the objectives or the bandit: the policy under each, decisions"
            " only.",
        ),
    ] = None,
    strict: StrictOption = False,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Configuration: rewards, join and bandit of decisions."),
    ] = None,
) -> None:
    """Estimate from a log what another policy would have earned (off-policy evaluation)."""
    from streamer.config import Config, load_config
    from streamer.ope.evaluation import OpeSettings, evaluate
    from streamer.ope.policy_specs import open_policy
    from streamer.ope.report import ope_page, ope_sweep_page
    from streamer.ope.result import OpeResult
    from streamer.ope.sweep import OpeSweep, surveyed, swept_configs

    of_policy = policy.partition(":")[2]  # bts:FILE,draws=…, logged:FILE
    inputs = (log, events, of_policy, of_policy.partition(",")[0], config_file(config))
    written = Written(json, report, open_report, inputs)
    if sweep is not None and log_format != "decisions":
        raise ConfigError(f"--sweep goes with --format decisions, not with {log_format}")
    base = load_config(config) if log_format == "decisions" or config else Config()
    key, settings = ("", [("", base)]) if sweep is None else swept_configs(sweep, base)
    interval, runs = _interval(ci, level, seed), []
    with _bar() as watch:

        def read(config: Config) -> tuple[BanditLog, Survey]:
            opened = _open_log(log, log_format, events, config, uniform=uniform, strict=strict)
            return opened, opened.survey(lambda done: watch("reading", done, 0))

        logs = surveyed([each for _, each in settings], read)
        for (value, each), (opened, survey) in zip(settings, logs, strict=True):
            asked = OpeSettings(
                estimators=_estimators(estimators, reward_model, survey),
                interval=interval,
                clip=clip,
                switch=switch,
                matches=matches,
                n_folds=folds,
                seed=seed,
            )
            make_policy = open_policy(policy, opened, survey, seed=seed, config=each)
            evaluation = evaluate(opened, survey, make_policy, asked, watch=watch)
            runs.append((value, OpeResult(opened, survey, policy, asked, evaluation)))
    result = runs[0][1]
    if sweep is None:
        written.write(lambda: _encoded(result.as_json()), lambda origin: ope_page(result, origin))
        table = result.table()
    else:
        swept = OpeSweep(key, runs)
        written.write(
            lambda: _encoded(swept.as_json()), lambda origin: ope_sweep_page(swept, origin)
        )
        table = swept.table()
    _show(table, result)


def _encoded(as_json: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(as_json), indent=2) + b"\n"


def _open_log(
    path: Path,
    log_format: str,
    events: Path | None,
    config: Config,
    *,
    uniform: bool,
    strict: bool,
) -> BanditLog:
    from streamer.learner.configured import reward_function
    from streamer.ope.decision_log import DecisionLog
    from streamer.ope.mab_log import UniformArmsLog
    from streamer.ope.obd_log import OpenBanditLog

    if log_format not in FORMATS:
        raise ConfigError(f"--format {log_format!r} is none of {', '.join(FORMATS)}")
    if events is not None and log_format != "decisions":
        raise ConfigError(f"--events goes with --format decisions, not with {log_format}")
    if log_format == "obd":
        return OpenBanditLog(path, uniform=uniform, strict=strict)
    if log_format == "mab":
        return UniformArmsLog(path, strict=strict)
    return DecisionLog(
        path,
        events=events,
        rewards=reward_function(config),
        join=config.join,
        dedup_window=config.learner.dedup_window,
        uniform=uniform,
        strict=strict,
    )


def _interval(ci: str, level: float, seed: int) -> Interval:
    from streamer_models.evaluation.ope import Interval
    from streamer_models.evaluation.ope.intervals import Method

    method, _, count = ci.partition(":")
    try:
        if method not in get_args(Method) or (count and method != "bootstrap"):
            raise ValueError("write bootstrap:1000, normal or t")
        n_resamples = int(count) if count else 1_000
        return Interval(method, level, n_resamples, seed)  # type: ignore[arg-type]
    except ValueError as error:
        raise ConfigError(f"--ci {ci!r} --level {level}: {error}") from error


def _estimators(names: str | None, reward_model: str, survey: Survey) -> tuple[str, ...]:
    from streamer.ope.evaluation import ESTIMATORS, MODELLED

    if reward_model not in REWARD_MODELS:
        raise ConfigError(f"--reward-model {reward_model!r} is none of {', '.join(REWARD_MODELS)}")
    if names is None:
        return tuple(
            name
            for name in ESTIMATORS
            if (survey.uniform or name != "replay")
            and (reward_model != "none" or name not in MODELLED)
        )
    asked = tuple(name.strip() for name in names.split(","))
    without = [name for name in asked if name in MODELLED and reward_model == "none"]
    if without:
        raise ConfigError(
            f"--estimators {', '.join(without)}: they need a reward model; leave out"
            " --reward-model none"
        )
    return asked


@contextmanager
def _bar() -> Iterator[Watch]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task("reading", total=None)
        doing = "reading"

        def watch(now: str, done: int, total: int) -> None:
            nonlocal doing
            if done % _SHOW_EVERY and done != total:
                return
            if now != doing:
                doing = now
                bar.reset(task, description=now)
            bar.update(task, completed=done, total=total or None)

        yield watch


def _show(table: object, result: OpeResult) -> None:
    output.print(table)
    for said in (result.size(), *result.notes()):
        output.print(said, highlight=False, markup=False, soft_wrap=True)
    for malformed in result.survey.malformed:
        errors.print(
            f"  {malformed}", style="yellow", highlight=False, markup=False, soft_wrap=True
        )
