"""A result as one page that a person can read: no script, nothing to fetch, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from streamer.replay.result import (
    Calibration,
    Numbers,
    Result,
    best_first,
    drawn_over_time,
    event_us,
    leading_metric,
    lower_is_better,
    shown_metrics,
)
from streamer.replay.topk_task import LOG_LOSS, RECALLED
from streamer.reports.charts import (
    N_COLOURS,
    ChartSeries,
    IntervalRow,
    bar_chart,
    interval_chart,
    line_chart,
)
from streamer.reports.frame import (
    Origin,
    ReportHead,
    page,
    sections,
    settings_table,
    soft,
    table_of_cells,
)

_Z: Final = 1.96
"""Standard errors on each side of an interval of 95 %."""


def report(result: Result, origin: Origin, *, league: bool = False) -> str:
    """Return the page.

    Parameters
    ----------
    league
        Whether the models are those of the league.
    """
    of_ranks, of_scores, of_lists = shown_metrics(result)
    parts = [
        *([("Standing", _standing(result))] if len(result.metrics) > 1 else []),
        ("Metrics", _metrics_table(result, of_ranks, timed=True) + _ERRORS),
        *([("Scores", _metrics_table(result, of_scores) + _OF_SCORES)] if of_scores else []),
        *([("Lists", _metrics_table(result, of_lists) + _OF_LISTS)] if of_lists else []),
        *((f"{name} over time", _over_time(result, name)) for name in drawn_over_time(result)),
        ("Cold and warm", _by_group(result, leading_metric(result))),
        *([("Calibration", _calibrated(result.calibration))] if result.calibration else []),
        ("Settings", _settings(result)),
    ]
    head = ReportHead(
        kind="league" if league else "replay",
        title=f"{'League on' if league else 'Replay of'} {result.log.name}",
        origin=origin,
    )
    return page(head, _summary(result), sections(parts))


def _summary(result: Result) -> str:
    log, first_seen = result.log, result.events_first_seen
    task = "ranked" if result.configuration.task == "topk" else "predicted"
    lines = [
        f"{log.n_events:,} events from {_day(log.first_ts)} to {_day(log.last_ts)}.",
        f"{result.events_learned:,} were learned, {result.events_scored:,} of them {task} before.",
    ]
    if result.configuration.task == "topk" and result.events_scored:
        reachable = 1 - first_seen / result.events_scored
        lines.append(
            f"{first_seen:,} were the first event of their item, which nobody can rank: the most"
            f" that can be hit is {reachable:.3f}."
        )
    if log.n_malformed:
        lines.append(f"{log.n_malformed:,} malformed lines were left out.")
    lines += [f"{each}." for each in log.remarks()]
    if len(result.metrics) > N_COLOURS:
        lines.append(
            f"Charts over time and of cold and warm are of the best {N_COLOURS} of"
            f" {len(result.metrics)} models."
        )
    return soft(lines)


_ERRORS = (
    '<p class="soft">Behind ±: the standard error, as if events were independent. To know'
    " whether one model is better, use <code>streamer compare</code>.</p>"
)
_OF_SCORES = (
    '<p class="soft">auc: share of the other candidates below what came next; 0.5 is chance.'
    " log_loss: of its share among the candidates, in nats, less is better (equal shares of n have"
    " ln n); over the events whose item was recalled, so compare it where recalled is alike.</p>"
)
_OF_LISTS = (
    '<p class="soft">Less is better of calibration (divergence of a list\'s categories from the'
    " user's own) and of gini (0: all items shown alike, 1: one alone). diversity is that of"
    " categories, distance that of embeddings.</p>"
)


def _standing(result: Result) -> str:
    metric = leading_metric(result)
    rows = []
    for model in best_first(result):
        value, error = result.metrics[model][metric], result.standard_errors[model].get(metric)
        bounds: tuple[float | None, float | None] = (None, None)
        if value is not None and error is not None:
            bounds = value - _Z * error, value + _Z * error
        rows.append(IntervalRow(model, value, *bounds))
    title = f"{metric}, with intervals of 95 % as if events were independent"
    return interval_chart(rows, title=title)


def _metrics_table(result: Result, metrics: Sequence[str], *, timed: bool = False) -> str:
    names = ("model", *metrics, *(["µs/event"] if timed else []))
    best = {name: _best(result, name) for name in metrics}
    rows = []
    for model in best_first(result):
        values, errors = result.metrics[model], result.standard_errors[model]
        cells = "".join(_cell(values, errors, name, best[name]) for name in metrics)
        time = f"<td>{event_us(values)}</td>" if timed else ""
        rows.append(f"<td>{escape(model)}</td>{cells}{time}")
    return table_of_cells(names, rows)


def _best(result: Result, metric: str) -> float | None:
    having = [each for each in result.metrics.values() if each[metric] is not None]
    known = [value for each in having if (value := each[metric]) is not None]
    # Losses are over the targets that each model recalled: those of other events don't compare.
    over_others = metric == LOG_LOSS and len({each[RECALLED] for each in having}) > 1
    if len(known) < 2 or over_others:
        return None
    return min(known) if lower_is_better(metric) else max(known)


def _cell(values: Numbers, errors: Numbers, metric: str, best: float | None) -> str:
    value, error = values[metric], errors.get(metric)
    if value is None:
        return "<td>–</td>"
    behind = "" if error is None else f"<br><small>± {error:.4f}</small>"
    kind = ' class="best"' if value == best else ""
    return f"<td{kind}>{value:.4f}{behind}</td>"


def _drawn(result: Result) -> list[str]:
    """Return the models of charts whose colours tell them apart: all, or the best ones."""
    if len(result.metrics) <= N_COLOURS:
        return list(result.metrics)
    return best_first(result)[:N_COLOURS]


def _over_time(result: Result, metric: str) -> str:
    labels = [_day(window.from_ts) for window in result.windows]
    series = [
        ChartSeries(name, [window.metrics[name][metric] for window in result.windows])
        for name in _drawn(result)
    ]
    title = f"{metric} in {len(labels)} windows of time, by the day on which each begins"
    return line_chart(labels, series, title=title, y_label=metric)


def _by_group(result: Result, metric: str) -> str:
    groups = {name: part for name, part in result.groups.items() if part.events_scored}
    labels = [f"{name} ({part.events_scored:,})" for name, part in groups.items()]
    series = [
        ChartSeries(name, [part.metrics[name][metric] for part in groups.values()])
        for name in _drawn(result)
    ]
    cold_below = result.configuration.cold_below
    title = f"{metric}; cold: before {cold_below} consumptions (number of events)"
    return bar_chart(labels, series, title=title, y_label=metric)


def _calibrated(calibration: Calibration) -> str:
    labels = [f"{middle:.2f}" for middle in calibration.predicted]
    series = [ChartSeries(name, means) for name, means in calibration.actual.items()]
    ideal = ChartSeries("as predicted", calibration.predicted)
    title = "Mean of the values, by what was predicted"
    return line_chart(
        labels, [*series, ideal], title=title, y_label="value", x_label="prediction, about"
    )


def _settings(result: Result) -> str:
    configuration = result.configuration
    rows: Sequence[tuple[str, object]] = [
        ("log", f"{result.log.name}, digest {result.log.digest}"),
        *((name, getattr(configuration, name)) for name in configuration.__struct_fields__),
        *result.versions.items(),
        ("elapsed", f"{result.elapsed_s:.1f} s, {result.events_per_s:,.0f} events/s"),
    ]
    return settings_table(rows)


def _day(ts_ms: int | None) -> str:
    return "–" if ts_ms is None else datetime.fromtimestamp(ts_ms / 1_000, UTC).date().isoformat()
