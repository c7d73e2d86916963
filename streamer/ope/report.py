"""An off-policy evaluation, or a sweep of one, as a page for the browser."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from html import escape

from streamer.ope.evaluation import LOGGED
from streamer.ope.result import OpeResult, estimate_cells
from streamer.ope.sweep import OpeSweep
from streamer.reports.charts import ChartSeries, IntervalRow, bar_chart, interval_chart
from streamer.reports.frame import (
    Origin,
    ReportHead,
    page,
    sections,
    settings_table,
    soft,
    table,
)
from streamer_models.evaluation.ope import Estimate

_HEADS = ("value", "low", "high", "effective rows", "clipped")
_THE_LOG = "the log"
_OF_EFFECTIVE = (
    "Effective rows: so many rows of equal weight is the log worth for this policy; below some"
    " hundreds, or with a handful of rewards among them, believe nothing."
)
_OF_HALF = "Behind ±: half the interval."
_OF_CLIPPED = (
    "Clipped: share of the rows whose weight was cut (--clip) or left to the reward model"
    " (--switch); the more, the more bias."
)


def ope_page(result: OpeResult, origin: Origin) -> str:
    """Return the page of one policy: what each estimator says of it, beside what the log earned."""
    evaluation = result.evaluation
    estimates = evaluation.metrics
    values = _chart(estimates, f"Reward a row, {_interval(result)}", evaluation.logged)
    parts = [
        ("Value", values + soft(_verdicts(result))),
        ("What was left out, and what to beware of", _notes(result)),
        (
            "Numbers",
            _table({_THE_LOG: evaluation.logged, **estimates}) + soft([_OF_EFFECTIVE, _OF_CLIPPED]),
        ),
        ("Effective rows", _effective(estimates)),
        *_by_position(result),
        *_by_objective(result),
        ("Settings", _settings(result, result.evaluation.policy_parameters)),
    ]
    title = f"What {_policy(result)} would have earned on {result.log_name}"
    head = ReportHead(kind="ope", title=title, origin=origin)
    return page(head, soft([_reading(result)]), sections(parts))


def ope_sweep_page(sweep: OpeSweep, origin: Origin) -> str:
    """Return the page of a sweep: the policy's value under each setting, and of each objective."""
    first, estimator = sweep.runs[0][1], sweep.estimator()
    sums = {_at(sweep, value): run.evaluation.metrics[estimator] for value, run in sweep.runs}
    title, logged = f"Reward a row, by {estimator}, {_interval(first)}", first.evaluation.logged
    if sweep.key.startswith("objectives."):
        said = (
            "Each setting weighs the objectives in its own way, so these sums do not compare with"
            " each other; what is gained and lost is above."
        )
        value = ("Weighed sum", _chart(sums, title) + soft([said]))
        parts = [*_swept_objectives(sweep), value]
    else:
        parts = [("Value", _chart(sums, title, logged)), *_swept_objectives(sweep)]
    others = [name for name in first.evaluation.metrics if name != estimator]
    beside = [f"Estimates of {', '.join(others)} are in the JSON (--json)."] if others else []
    parts += [
        ("What was left out, and what to beware of", _notes(first)),
        (
            "Numbers",
            table(sweep.heads(), sweep.rows()) + soft([_OF_HALF, _OF_EFFECTIVE, *beside]),
        ),
        ("Effective rows", _effective(sums)),
        ("Settings", _settings(first, {})),
    ]
    head = ReportHead(
        kind="ope sweep",
        title=f"{_policy(first)} at values of {sweep.key}, on {first.log_name}",
        origin=origin,
    )
    return page(head, soft([_reading(first)]), sections(parts))


def _swept_objectives(sweep: OpeSweep) -> Iterator[tuple[str, str]]:
    estimator = sweep.estimator()
    for name, of_log in sweep.runs[0][1].evaluation.by_objective.items():
        found = {
            _at(sweep, value): run.evaluation.by_objective[name][estimator]
            for value, run in sweep.runs
        }
        title = f"{name} a row, by {estimator}, {_interval(sweep.runs[0][1])}"
        yield f"Objective {name}", _chart(found, title, of_log[LOGGED])


def _policy(result: OpeResult) -> str:
    """Return the policy as it is typed, a file by its name alone."""
    return re.sub(r"^(bts|logged):([^,]*/)", r"\1:", result.policy)


def _reading(result: OpeResult) -> str:
    return f"Estimated from the log alone, nothing was shown to anybody: {result.size()}."


def _at(sweep: OpeSweep, value: str) -> str:
    return f"{sweep.key.rpartition('.')[2]} = {value}"


def _interval(result: OpeResult) -> str:
    interval = result.settings.interval
    return f"with intervals of {100 * interval.level:g} % ({interval.method})"


def _row(name: str, estimate: Estimate) -> IntervalRow:
    return IntervalRow(name, estimate.value, estimate.low, estimate.high)


def _chart(estimates: Mapping[str, Estimate], title: str, logged: Estimate | None = None) -> str:
    rows = [_row(name, each) for name, each in estimates.items()]
    reference = None if logged is None else _row(_THE_LOG, logged)
    return interval_chart(rows, title=title, reference=reference)


def _verdicts(result: OpeResult) -> Iterator[str]:
    """Yield what the intervals say beside the value of the log, for all estimators at once."""
    logged = result.evaluation.logged.value
    above: list[str] = []
    below: list[str] = []
    level: list[str] = []
    for name, each in result.evaluation.metrics.items():
        if math.isfinite(each.low) and math.isfinite(each.high) and each.standard_error > 0:
            (above if each.low > logged else below if each.high < logged else level).append(name)
    earned = f"what the log earned ({logged:.4g})"
    if above:
        yield f"The whole interval lies above {earned}: {', '.join(above)}."
    if below:
        yield f"The whole interval lies below {earned}: {', '.join(below)}."
    if level:
        yield (
            f"The interval holds {earned}, so the log does not say that the policy is better or"
            f" worse: {', '.join(level)}."
        )
    yield (
        "An interval covers chance alone: not the bias of a clipped weight, nor that of the reward"
        " model behind dm. Where estimators agree, the answer is safe."
    )


def _table(estimates: Mapping[str, Estimate]) -> str:
    rows = [[name, *estimate_cells(each)] for name, each in estimates.items()]
    return table(("estimator", *_HEADS), rows)


def _effective(estimates: Mapping[str, Estimate]) -> str:
    series = [
        ChartSeries("rows read", [float(each.n) for each in estimates.values()]),
        ChartSeries("effective rows", [each.effective_sample_size for each in estimates.values()]),
    ]
    title = "Rows read, and the rows of equal weight that they are worth"
    return bar_chart(list(estimates), series, title=title, y_label="rows")


def _notes(result: OpeResult) -> str:
    lines = [f"<li>{escape(each)}</li>" for each in result.notes(all_positions=True)]
    lines += [f"<li><code>{escape(str(each))}</code></li>" for each in result.survey.malformed]
    return f"<ul>{''.join(lines)}</ul>" if lines else soft(["Nothing was left out."])


def _by_position(result: OpeResult) -> Iterator[tuple[str, str]]:
    found = result.evaluation.by_position
    if not found:
        return
    rows = [
        [position, name, *estimate_cells(each)]
        for position, estimates in found.items()
        for name, each in estimates.items()
    ]
    estimator = result.leading_estimator()
    drawn = [_row(f"position {at}", estimates[estimator]) for at, estimates in found.items()]
    title = f"Reward a row at each position, by {estimator}, {_interval(result)}"
    chart = interval_chart(drawn, title=title)
    yield "By position", chart + table(("position", "estimator", *_HEADS), rows)


def _by_objective(result: OpeResult) -> Iterator[tuple[str, str]]:
    for name, found in result.evaluation.by_objective.items():
        estimates = {each: found[each] for each in found if each != LOGGED}
        chart = _chart(estimates, f"{name} a row, {_interval(result)}", found[LOGGED])
        yield f"Objective {name}", chart + _table({_THE_LOG: found[LOGGED], **estimates})


def _settings(result: OpeResult, parameters: Mapping[str, object]) -> str:
    said = result.as_json()
    settings = said["settings"]
    rows = {
        "log": f"{said['log']}, digest {said['log_digest']}",
        **{name: said[name] for name in ("format", "policy")},
        "policy parameters": _named(parameters) or None,
        **settings,
        "estimators": ", ".join(settings["estimators"]),
        "interval": _named(settings["interval"]),
        "seed": said["seed"],
        **said["versions"],
    }
    return settings_table(rows.items())


def _named(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
