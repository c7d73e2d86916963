"""One knob of production at several values: what is it worth on this log?"""

from __future__ import annotations

from html import escape

import msgspec

from streamer.errors import ConfigError
from streamer.replay.charts import ChartSeries, line_chart
from streamer.replay.compare import Comparison, compare
from streamer.replay.knobs import KNOBS, Knobs, turned
from streamer.replay.report import page
from streamer.replay.result import Result, event_us, main_metric

_N_RESAMPLES = 1_000


class SweptRun(msgspec.Struct, frozen=True, kw_only=True):
    """The result at one value, as it was typed."""

    value: str
    result: Result


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """The result of ``streamer replay --sweep``.

    Attributes
    ----------
    knob
        Its name.
    runs
        In the order of the values given, over the same events.
    """

    format: int = 1
    knob: str
    runs: list[SweptRun]

    @property
    def models(self) -> list[str]:
        """Names of the models."""
        return list(self.runs[0].result.metrics)

    @property
    def metric(self) -> str:
        """The metric that a table or a chart leads with."""
        return main_metric(self.runs[0].result.metrics[self.models[0]])

    def change(self, run: SweptRun, model: str) -> Comparison:
        """A model at a value against itself at the first, by a paired bootstrap over users."""
        return compare(
            self.runs[0].result,
            run.result,
            metric=self.metric,
            models=(model, model),
            n_resamples=_N_RESAMPLES,
            seed=run.result.seed,
        )


def parse_sweep(text: str, knobs: Knobs) -> tuple[str, list[tuple[str, Knobs]]]:
    """The knob of ``KNOB=VALUE,VALUE``, and each value with the knobs it stands for.

    Raises
    ------
    ConfigError
        When there is no such knob, a value is none of it, or there are fewer than two.

    Examples
    --------
    >>> name, values = parse_sweep("drop=0,0.1", Knobs())
    >>> name, [(text, knobs.drop) for text, knobs in values]
    ('drop', [('0', 0.0), ('0.1', 0.1)])
    """
    name, _, listed = (each.strip() for each in text.partition("="))
    texts = [each.strip() for each in listed.split(",") if each.strip()]
    if len(texts) < 2 or len(set(texts)) < len(texts):
        raise ConfigError(
            f"--sweep {text!r}: write KNOB=VALUE,VALUE with two values or more, none of them"
            f" twice; knobs are {', '.join(KNOBS)}"
        )
    return name, [(each, turned(knobs, name, each)) for each in texts]


def sweep_page(sweep: Sweep) -> str:
    """The page: the curve, and the numbers it is drawn through."""
    labels = [run.value for run in sweep.runs]
    metric = sweep.metric
    series = [
        ChartSeries(model, [run.result.metrics[model][metric] for run in sweep.runs])
        for model in sweep.models
    ]
    log, scored = sweep.runs[0].result.log, sweep.runs[0].result.events_scored
    title = f"{metric} by {sweep.knob}"
    chart = line_chart(labels, series, title=title, y_label=metric, x_label=sweep.knob)
    summary = (
        f'<p class="soft">{log.n_events:,} events, {scored:,} of them scored at each value of'
        f" {escape(sweep.knob)}.</p>"
    )
    body = f"{chart}\n<h2>Numbers</h2>\n{_table(sweep)}"
    return page(f"{sweep.knob} on {log.name}", summary, body)


def _table(sweep: Sweep) -> str:
    metrics = [
        name
        for name in sweep.runs[0].result.metrics[sweep.models[0]]
        if name not in ("events_scored", "events_per_s")
    ]
    names = (sweep.knob, "model", *metrics, f"change of {sweep.metric}", "µs/event")
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = []
    for run in sweep.runs:
        for model in sweep.models:
            values = run.result.metrics[model]
            cells = "".join(_cell(values[name]) for name in metrics)
            change = change_text(sweep.change(run, model)) if run is not sweep.runs[0] else "–"
            rows.append(
                f"<tr><td>{escape(run.value)}</td><td>{escape(model)}</td>{cells}"
                f"<td>{escape(change)}</td><td>{event_us(values)}</td></tr>"
            )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        '<p class="soft">Changes are against the first value, with the 95 % interval of a paired'
        " bootstrap over users.</p>"
    )


def _cell(value: float | None) -> str:
    return "<td>–</td>" if value is None else f"<td>{value:.4f}</td>"


def change_text(change: Comparison) -> str:
    """Difference and interval in one cell."""
    return f"{change.difference:+.4f} ({change.low:+.4f} to {change.high:+.4f})"
