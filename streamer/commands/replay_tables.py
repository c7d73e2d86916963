"""Tables of what a replay found, on the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from streamer.commands.screen import errors, output, show_malformed, show_remarks

if TYPE_CHECKING:
    from streamer.replay.result import Numbers, Result
    from streamer.replay.sweep import Sweep


def show_result(result: Result) -> None:
    """Print the metrics of each model, the best first, then those of their scores and lists."""
    from streamer.replay.result import best_first, event_us, shown_metrics

    configuration = result.configuration
    metrics, of_scores, of_lists = shown_metrics(result)
    table = _by_model("model", *metrics, "µs/event", title=escape(result.log.name))
    for model in best_first(result):
        values = result.metrics[model]
        deviations = result.standard_errors[model]
        # The first metric's error says enough of the size of chance, and the table fits.
        cells = [_cell(values, deviations if name == metrics[0] else {}, name) for name in metrics]
        table.add_row(escape(model), *cells, event_us(values))
    output.print(table)
    for heading, names in (("scores of", of_scores), ("lists of", of_lists)):
        if names:
            output.print(_beside(heading, result, names))
    drawn = f", {configuration.scored:.3g} of them, drawn," if configuration.scored < 1 else ""
    output.print(
        f"{result.events_scored:,} events scored{drawn} after {configuration.warmup:g} of the log"
        f" as warm-up, {result.events_learned:,} learned, in {result.elapsed_s:.1f} s"
        f" ({result.events_per_s:,.0f} events/s)",
        highlight=False,
    )
    _show_unused(result)


_IN_FILES_ALONE = ("serendipity@",)
"""The table fits a terminal without; the JSON and the report have it."""


def _by_model(*columns: str, title: str | None = None) -> Table:
    table = Table(*columns, title=title)
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    return table


def _beside(heading: str, result: Result, metrics: Sequence[str]) -> Table:
    """Return more metrics, a model in each row as in the table above."""
    from streamer.replay.result import best_first

    metrics = [name for name in metrics if not name.startswith(_IN_FILES_ALONE)]
    table = _by_model(heading, *(name.partition("@")[0] for name in metrics))
    for model in best_first(result):
        cells = [_cell(result.metrics[model], {}, name) for name in metrics]
        table.add_row(escape(model), *cells)
    return table


def show_sweep(sweep: Sweep) -> None:
    """Print the metrics of each model at each value of a knob."""
    from streamer.replay.result import event_us, shown_metrics
    from streamer.replay.sweep import change_text, traded_metrics

    metrics, of_scores, of_lists = shown_metrics(sweep.runs[0].result)
    change = f"{metrics[0]} against {sweep.runs[0].value}"
    title = escape(f"{sweep.knob} on {sweep.runs[0].result.log.name}")
    table = Table(escape(sweep.knob), "model", *metrics, escape(change), "µs/event", title=title)
    for column in table.columns[2:]:
        column.justify = "right"
    for run in sweep.runs:
        for model, values in run.result.metrics.items():
            cells = [_cell(values, {}, name) for name in metrics]
            changed = change_text(sweep.change(run, model)) if run is not sweep.runs[0] else "–"
            table.add_row(escape(run.value), escape(model), *cells, changed, event_us(values))
    output.print(table)
    traded = traded_metrics(sweep.runs[0].result) if of_lists else []
    for names in (of_scores, traded):
        if names:
            output.print(_swept(sweep, names))
    _show_unused(sweep.runs[0].result)


def _swept(sweep: Sweep, metrics: Sequence[str]) -> Table:
    """Return more metrics at each value of a knob."""
    table = Table(escape(sweep.knob), "model", *(name.partition("@")[0] for name in metrics))
    for column in table.columns[2:]:
        column.justify = "right"
    for run in sweep.runs:
        for model, values in run.result.metrics.items():
            cells = [_cell(values, {}, each) for each in metrics]
            table.add_row(escape(run.value), escape(model), *cells)
    return table


def _show_unused(result: Result) -> None:
    """Print what was neither learned nor scored, and what counts for less than it says."""
    if result.events_repeated:
        errors.print(
            f"{result.events_repeated:,} events not scored: their users had consumed the item"
            " before; --repeats keep scores them, and recall.again.candidates = 50 recommends what"
            " was met before",
            style="yellow",
            highlight=False,
        )
    show_malformed(result.log.n_malformed, result.log.malformed)
    show_remarks([*_future(result), *result.log.remarks()])


def _future(result: Result) -> Iterator[str]:
    """Say that a log goes on after today."""
    last_ts = result.log.last_ts
    if last_ts is not None and last_ts > time.time() * 1000:
        last = datetime.fromtimestamp(last_ts / 1000, UTC)
        yield (
            f"the log's last event is of {last:%Y-%m-%d %H:%M} UTC, which is still to come: name"
            " the unit of the times with --map ts=COLUMN:UNIT, or mend the clock; live, an event"
            " counts as of its publication at the latest"
        )


def _cell(values: Numbers, errors: Numbers, metric: str) -> str:
    value, error = values[metric], errors.get(metric)
    if value is None:
        return "–"
    return f"{value:.4f}" if error is None else f"{value:.4f} [dim]± {error:.4f}[/]"
