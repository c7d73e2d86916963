"""What happens now: figures that change each second, and what came of the last slates."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from nicegui import ui

from streamer.application.doctor import examine
from streamer.page.charts import LineChart
from streamer.page.figures import SHOWN_S, shown
from streamer.page.looking import Looking, Seen
from streamer.page.outcomes import Outcomes
from streamer.page.predictions import Predictions
from streamer.page.tables import table

_UNKNOWN = (
    "Other processes keep figures of their own that this one does not know: what the learner counts"
    " of repeated events and commits, its alarms of drift, and what other scorers answer. They are"
    " at the metrics.port of each process."
)


@dataclass(frozen=True, slots=True)
class _Card:
    """One figure.

    Attributes
    ----------
    meaning
        Shown below it.
    """

    name: str
    meaning: str
    text: Callable[[Seen], str]


def _two(seen: Seen, first: str, second: str) -> str:
    figures = seen.figures
    return f"{shown(getattr(figures, first))} / {shown(getattr(figures, second))} ms"


def _matched(seen: Seen) -> str:
    rate = math.nan if seen.outcomes is None else seen.outcomes.match_rate
    return "–" if math.isnan(rate) else f"{100 * rate:.1f} %"


def _new_share(seen: Seen) -> str:
    share = seen.figures.new_share
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def _calibration(seen: Seen) -> str:
    ratio = math.nan if seen.outcomes is None else seen.outcomes.predicted.ratio
    return "–" if math.isnan(ratio) else f"{ratio:.2f}"


def _drift(seen: Seen) -> str:
    last, before = (math.nan,) * 2 if seen.outcomes is None else seen.outcomes.predicted.losses
    return "–" if math.isnan(last) else f"{last:.3f} / {before:.3f}"


_CARDS = (
    _Card(
        "Events learned",
        "a second, as they are served",
        lambda s: shown(s.figures.learned_per_s),
    ),
    _Card("Wait to be learned", "events and decisions", lambda s: shown(s.figures.to_learn)),
    _Card(
        "Freshness", "p50 / p99, event → served", lambda s: _two(s, "fresh_p50_ms", "fresh_p99_ms")
    ),
    _Card("Answers", "a second, of this process", lambda s: shown(s.figures.answers_per_s)),
    _Card(
        "Time of an answer",
        "p50 / p99, last half minute",
        lambda s: _two(s, "answer_p50_ms", "answer_p99_ms"),
    ),
    _Card("Wait to be answered", "requests on the topic", lambda s: shown(s.figures.to_answer)),
    _Card("Feedback matched", "share that found its slate", _matched),
    _Card("Calibration", "reward observed / expected, last slates", _calibration),
    _Card("Drift", "log loss of the last fifth / before it", _drift),
    _Card(
        "Exposure",
        "Gini / items, of the last slots here",
        lambda s: f"{shown(s.figures.gini)} / {shown(s.figures.items_shown)}",
    ),
    _Card("New items", "share of the slots, last half minute", _new_share),
    _Card("Dead letters", "in the last hour", lambda s: shown(float(s.letters.total()))),
)
_CHARTS = {
    "Events learned and answers, a second": {
        "learned": "learned_per_s",
        "answers": "answers_per_s",
    },
    "Messages that wait": {"to be learned": "to_learn", "to be answered": "to_answer"},
    "Freshness, ms": {"p50": "fresh_p50_ms", "p99": "fresh_p99_ms"},
    "Time of an answer, ms": {"p50": "answer_p50_ms", "p99": "answer_p99_ms"},
}


def show_now(looking: Looking) -> None:
    """Build the tab."""
    failed = ui.label().classes("wrong").props('role="status"')
    failed.set_visibility(False)
    values = []
    with ui.element("div").classes("cards"):
        for card in _CARDS:
            with ui.element("div").classes("card"):
                ui.label(card.name).classes("name")
                values.append((ui.label("–").classes("value").mark(card.name), card.text))
                ui.label(card.meaning).classes("soft")
    with ui.element("div").classes("charts"):
        charts = {title: LineChart(title, list(lines), SHOWN_S) for title, lines in _CHARTS.items()}
    rates = ui.element("div")
    ui.label(_UNKNOWN).classes("soft").style("margin-top: 16px; max-width: 80ch")
    _show_doctor(looking)
    joined: list[Outcomes | None] = [None]

    async def look() -> None:
        seen = await looking.seen()
        failed.set_text(f"The topics can't be read: {seen.failed}" if seen.failed else "")
        failed.set_visibility(seen.failed is not None)
        for label, text in values:
            label.set_text(text(seen))
        for title, lines in _CHARTS.items():
            charts[title].show([looking.series.of(name) for name in lines.values()])
        if seen.outcomes is not None and seen.outcomes is not joined[0]:
            joined[0] = seen.outcomes
            rates.clear()
            with rates:
                _show_rates(seen.outcomes, seen.at_ms)

    ui.timer(1.0, look)


def _show_rates(outcomes: Outcomes, now_ms: int) -> None:
    with ui.element("h2"):
        ui.label("What came of the last slates")
    ui.label(outcomes.said(now_ms)).classes("soft")
    if not outcomes.rates:
        ui.label("Nothing came of a slate yet: no event names one.").classes("soft")
        return
    with ui.element("div").classes("tables"):
        for by, rates in groupby(outcomes.rates, key=lambda rate: rate.by):
            with ui.element("div").classes("card"):
                table(
                    f"By {by}",
                    ["", "items", "taken", "rate", "reward"],
                    [
                        [
                            rate.name,
                            f"{rate.n_items:,}",
                            f"{rate.n_taken:,}",
                            f"{100 * rate.click_rate:.1f} %",
                            f"{rate.reward / rate.n_items:.3f}",
                        ]
                        for rate in rates
                    ],
                )
    _show_predicted(outcomes.predicted)


def _show_predicted(predicted: Predictions) -> None:
    if predicted.whole is None:
        return
    with ui.element("h2"):
        ui.label("How well rewards were predicted")
    ui.label(
        "Calibration: the mean reward that was expected of an item, beside the one that came: alike"
        " where predictions are right. Drift: where the log loss rises from part to part, tastes"
        " changed, or something that is ranked by broke."
    ).classes("soft").style("max-width: 80ch")
    with ui.element("div").classes("tables"):
        for caption, first, parts in (
            ("By expected reward", "expected", predicted.by_size),
            ("Over time", "from (UTC)", predicted.by_time),
        ):
            with ui.element("div").classes("card"):
                table(
                    caption,
                    [first, "items", "mean expected", "observed", "log loss"],
                    [
                        [
                            each.name,
                            f"{each.n_items:,}",
                            f"{each.expected:.3f}",
                            f"{each.observed:.3f}",
                            f"{each.log_loss:.3f}",
                        ]
                        for each in parts
                    ],
                )


def _show_doctor(looking: Looking) -> None:
    with ui.element("h2"):
        ui.label("The whole installation")
    ui.label(
        "What `streamer doctor` asks of the broker, the store and the topics; it takes seconds."
    ).classes("soft")

    async def ask() -> None:
        button.disable()
        try:
            findings = await asyncio.to_thread(list, examine(looking.served.config))
        finally:
            button.enable()
        found.clear()
        with found:
            table(
                "Findings",
                ["", "check", "what is", "what to do"],
                [[each.state, each.check, each.said, each.remedy] for each in findings],
                n_words=4,
            )

    button = ui.button("Look over all of it", on_click=ask).props("outline no-caps")
    found = ui.element("div").props('aria-live="polite"')
