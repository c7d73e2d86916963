"""A knob of production, or a key of the configuration, at several values: what is it worth?"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from streamer.config import Config
from streamer.config.specs import swept_values
from streamer.errors import ConfigError
from streamer.replay.compare import Comparison, compare
from streamer.replay.funnel_model import funnel_config, funnel_keys
from streamer.replay.knobs import KNOBS, Knobs, turned
from streamer.replay.result import Result, event_us, leading_metric
from streamer.replay.settings import Settings
from streamer.reports.charts import ChartSeries, line_chart
from streamer.reports.frame import Origin, ReportHead, page, sections, soft, table

_N_RESAMPLES = 1_000
_TRADED: Final = (
    *("recall@", "ndcg@", "diversity@", "distance@", "coverage@"),
    *("novelty@", "calibration@", "gini@"),
)


class SweptRun(msgspec.Struct, frozen=True, kw_only=True):
    """The result at one value, as it was typed."""

    value: str
    result: Result


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """The result of ``streamer replay --sweep``.

    Attributes
    ----------
    knob
        Its name, or the dotted key.
    runs
        In the order of the values given, over the same events.
    """

    format: int = 1
    knob: str
    runs: list[SweptRun]

    @property
    def of_key(self) -> bool:
        """Whether a key of the configuration was swept."""
        return "." in self.knob

    @property
    def models(self) -> list[str]:
        """Names of the models."""
        return list(self.runs[0].result.metrics)

    @property
    def metric(self) -> str:
        """The metric that a table or a chart leads with."""
        return leading_metric(self.runs[0].result)

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


def swept_settings(
    text: str, settings: Settings, config: Config
) -> tuple[str, list[tuple[str, Settings]]]:
    """The knob or the key of ``NAME=VALUE,VALUE``, and each value with the settings it stands for.

    Raises
    ------
    ConfigError
        As :func:`parse_sweep`, and when a value is none of the key.
    """
    name = text.partition("=")[0].strip()
    if "." not in name:
        name, values = parse_sweep(text, settings.knobs)
        return name, [(each, replace(settings, knobs=knobs)) for each, knobs in values]
    if name not in funnel_keys(config):
        raise ConfigError(
            f"--sweep {text!r}: {name} is no key that matters to a replay; `streamer config` lists"
            " the keys"
        )
    texts = swept_values(text)
    for each in texts:  # before the first of them is replayed
        funnel_config(config, {name: each}, seed=settings.seed, n_partitions=1)
    return name, [(each, replace(settings, keys={name: each})) for each in texts]


def traded_metrics(result: Result) -> list[str]:
    """Names of the metrics that a change of the configuration trades for each other."""
    known = next(iter(result.metrics.values()))
    return [name for first in _TRADED for name in known if name.startswith(first)]


def sweep_page(sweep: Sweep, origin: Origin) -> str:
    """Return the page: the curve, and the numbers it is drawn through."""
    labels = [run.value for run in sweep.runs]
    metric = sweep.metric
    series = [
        ChartSeries(model, [run.result.metrics[model][metric] for run in sweep.runs])
        for model in sweep.models
    ]
    log, scored = sweep.runs[0].result.log, sweep.runs[0].result.events_scored
    title = f"{metric} by {sweep.knob}"
    chart = line_chart(labels, series, title=title, y_label=metric, x_label=sweep.knob)
    said = f"{log.n_events:,} events, {scored:,} of them scored at each value of {sweep.knob}."
    trades = [_trade(sweep, model) for model in sweep.models] if sweep.of_key else []
    body = "\n".join([chart, *trades, sections([("Numbers", _table(sweep))])])
    head = ReportHead(kind="replay sweep", title=f"{sweep.knob} on {log.name}", origin=origin)
    return page(head, soft([said]), body)


def _trade(sweep: Sweep, model: str) -> str:
    """Return a chart of what each metric of a model is against its value at the first."""
    first = sweep.runs[0]
    series = []
    for name in traded_metrics(first.result):
        base = first.result.metrics[model][name]
        values = [run.result.metrics[model][name] for run in sweep.runs]
        if base:
            ratios = [None if value is None else value / base for value in values]
            series.append(ChartSeries(name, ratios))
    label = f"times the value at {first.value}"
    title = f"What {sweep.knob} trades for what: {model}"
    labels = [run.value for run in sweep.runs]
    return line_chart(labels, series, title=title, y_label=label, x_label=sweep.knob)


def _table(sweep: Sweep) -> str:
    metrics = [
        name
        for name in sweep.runs[0].result.metrics[sweep.models[0]]
        if name not in ("events_scored", "events_per_s")
    ]
    names = (sweep.knob, "model", *metrics, f"change of {sweep.metric}", "µs/event")
    rows = []
    for run in sweep.runs:
        for model in sweep.models:
            values = run.result.metrics[model]
            cells = [_cell(values[name]) for name in metrics]
            change = change_text(sweep.change(run, model)) if run is not sweep.runs[0] else "–"
            rows.append([run.value, model, *cells, change, event_us(values)])
    said = (
        "Changes are against the first value, with the 95 % interval of a paired bootstrap over"
        " users."
    )
    return table(names, rows) + soft([said])


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def change_text(change: Comparison) -> str:
    """Difference and interval in one cell."""
    return f"{change.difference:+.4f} ({change.low:+.4f} to {change.high:+.4f})"
