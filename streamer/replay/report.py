"""A result as one page that a person can read: no script, nothing to fetch, light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape

from streamer.replay.charts import ChartSeries, bar_chart, line_chart
from streamer.replay.result import (
    Calibration,
    Numbers,
    Result,
    best_first,
    drawn_over_time,
    event_us,
    lower_is_better,
    main_metric,
    shown_metrics,
)
from streamer.replay.topk_task import LOG_LOSS, RECALLED

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #dfe4ea;
  --paper: #ffffff; --card: #f6f8fa;
  --c0: #1f6feb; --c1: #d9480f; --c2: #2b8a3e; --c3: #9c36b5; --c4: #c92a2a;
  --c5: #0b7285; --c6: #a56600; --c7: #5f3dc4; --c8: #495057; --c9: #c2255c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa7b5; --line: #30363d;
  --paper: #0d1117; --card: #161b22;
  --c0: #58a6ff; --c1: #ff9248; --c2: #56d364; --c3: #d2a8ff; --c4: #ff7b72;
  --c5: #4dd0e1; --c6: #e3b341; --c7: #a5a0ff; --c8: #adb5bd; --c9: #f783ac; } }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 58rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
p { margin: .5rem 0; } .soft, figcaption { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .35rem .9rem .35rem 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } td small { color: var(--soft); }
td { vertical-align: top; } td.best { font-weight: 650; } td.best small { font-weight: 400; }
.settings td { text-align: left; }
figure { margin: 1rem 0 0; padding: 1rem; background: var(--card); border-radius: 8px; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
.grid { stroke: var(--line); } .axis { stroke: var(--soft); } .whisker { stroke: var(--ink); }
.line { fill: none; stroke-width: 2.2; stroke-linejoin: round; }
.key { margin-right: 1.1rem; white-space: nowrap; font-size: .88rem; }
.key i { display: inline-block; width: .75rem; height: .75rem; border-radius: 2px;
  margin-right: .35rem; }
.legend { margin: .35rem 0 .5rem; line-height: 1.8; }
""" + "".join(
    f".line.c{at} {{ stroke: var(--c{at}); }} .dot.c{at}, .bar.c{at} {{ fill: var(--c{at}); }}"
    f" i.c{at} {{ background: var(--c{at}); }}\n"
    for at in range(10)
)


def report(result: Result, *, extra: Iterable[tuple[str, str]] = ()) -> str:
    """The page.

    Parameters
    ----------
    extra
        More sections: a heading and the HTML of a chart.
    """
    names = list(result.metrics)
    lead = main_metric(result.metrics[names[0]])
    of_ranks, of_scores, of_lists = shown_metrics(result)
    sections = [
        ("Metrics", _metrics_table(result, of_ranks, timed=True) + _ERRORS),
        *([("Scores", _metrics_table(result, of_scores) + _OF_SCORES)] if of_scores else []),
        *([("Lists", _metrics_table(result, of_lists) + _OF_LISTS)] if of_lists else []),
        *((f"{name} over time", _over_time(result, name)) for name in drawn_over_time(result)),
        ("Cold and warm", _by_group(result, lead)),
        *([("Calibration", _calibrated(result.calibration))] if result.calibration else []),
        *extra,
        ("Settings", _settings(result)),
    ]
    body = "\n".join(f"<h2>{escape(heading)}</h2>\n{html}" for heading, html in sections)
    return page(f"Replay of {result.log.name}", _summary(result), body)


def page(title: str, summary: str, body: str) -> str:
    """One self-contained page; ``summary`` and ``body`` are HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{summary}\n{body}\n</body>\n</html>\n"
    )


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
    lines += [f"{each}." for each in log.clipped]
    return "".join(f'<p class="soft">{escape(line)}</p>' for line in lines)


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


def _metrics_table(result: Result, metrics: Sequence[str], *, timed: bool = False) -> str:
    names = ("model", *metrics, *(["µs/event"] if timed else []))
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    best = {name: _best(result, name) for name in metrics}
    rows = []
    for model in best_first(result):
        values, errors = result.metrics[model], result.standard_errors[model]
        cells = "".join(_cell(values, errors, name, best[name]) for name in metrics)
        time = f"<td>{event_us(values)}</td>" if timed else ""
        rows.append(f"<tr><td>{escape(model)}</td>{cells}{time}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


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


def _over_time(result: Result, metric: str) -> str:
    labels = [_day(window.from_ts) for window in result.windows]
    series = [
        ChartSeries(name, [window.metrics[name][metric] for window in result.windows])
        for name in result.metrics
    ]
    title = f"{metric} in {len(labels)} windows of time, by the day on which each begins"
    return line_chart(labels, series, title=title, y_label=metric)


def _by_group(result: Result, metric: str) -> str:
    groups = {name: part for name, part in result.groups.items() if part.events_scored}
    labels = [f"{name} ({part.events_scored:,})" for name, part in groups.items()]
    series = [
        ChartSeries(name, [part.metrics[name][metric] for part in groups.values()])
        for name in result.metrics
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
    body = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>"
        for name, value in rows
        if value is not None
    )
    return f'<div class="scroll"><table class="settings"><tbody>{body}</tbody></table></div>'


def _day(ts_ms: int | None) -> str:
    return "–" if ts_ms is None else datetime.fromtimestamp(ts_ms / 1_000, UTC).date().isoformat()
