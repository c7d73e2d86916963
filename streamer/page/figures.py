"""Figures of a service from its own metrics: rates and latencies between two looks."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Final

from prometheus_client import CollectorRegistry

from streamer.application.scraped import histogram_quantile, summed
from streamer.config import Config
from streamer.kafka.log_ends import Ends, TopicPartition

NAN: Final = float("nan")
SHOWN_S: Final = 300
"""Seconds that charts show."""
_LATE_MAX_S: Final = 15
_POSITION: Final = "streamer_scorer_position"
_SECONDS: Final = "streamer_scorer_request_seconds"
_OVER: Final = 30
"""Looks that quantiles of latencies and shares are over: few answers in one second make none."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a service shows at one moment; NaN where it is not known.

    Attributes
    ----------
    learned_per_s
        Events whose effect came to be served, a second.
    to_learn, to_answer
        Messages that wait: events and decisions for what is served to have learned them, requests.
    fresh_p50_ms, fresh_p99_ms
        From an event's publication to a version that has learned it.
    answers_per_s
        Requests answered a second, over both doors.
    answer_p50_ms, answer_p99_ms
        Time to score one, of the last half minute.
    new_share
        Share of the slots with a new item, of the last half minute.
    gini, items_shown
        Gini index of the slots that items got of late, and how many items got one.
    """

    learned_per_s: float = NAN
    to_learn: float = NAN
    to_answer: float = NAN
    fresh_p50_ms: float = NAN
    fresh_p99_ms: float = NAN
    answers_per_s: float = NAN
    answer_p50_ms: float = NAN
    answer_p99_ms: float = NAN
    new_share: float = NAN
    gini: float = NAN
    items_shown: float = NAN


class FigureSeries:
    """The figures of the last minutes, a point a second.

    A look that comes late stands for the seconds since the one before it; where nobody looked for
    longer, there is nothing.
    """

    def __init__(self) -> None:
        self._points: dict[str, deque[float | None]] = {
            each.name: deque([None] * SHOWN_S, maxlen=SHOWN_S) for each in fields(Figures)
        }
        self._to_s = -math.inf

    def note(self, figures: Figures, now_s: float) -> None:
        """Add what a look found; times are of a clock that never goes back."""
        passed_s = now_s - self._to_s
        n_points = 1 if math.isinf(passed_s) else min(int(passed_s), SHOWN_S)
        self._to_s = now_s if passed_s > SHOWN_S else self._to_s + n_points
        n_empty = n_points - 1 if n_points > _LATE_MAX_S else 0
        for name, points in self._points.items():
            value = getattr(figures, name)
            shown_value = None if math.isnan(value) else float(f"{value:.4g}")
            points.extend([None] * n_empty + [shown_value] * (n_points - n_empty))

    def of(self, name: str) -> list[float | None]:
        """Return the points of a figure, the newest last; None where it was not known."""
        return list(self._points[name])


@dataclass(slots=True)
class OwnMetrics:
    """Reads the metrics of this process, again and again.

    Parameters
    ----------
    registry
        Of a scorer.
    """

    config: Config
    registry: CollectorRegistry
    _before: deque[tuple[float, Mapping[str, float]]] = field(
        default_factory=lambda: deque(maxlen=_OVER)
    )

    def figures(self, now_s: float, ends: Mapping[TopicPartition, Ends]) -> Figures:
        """Return the figures now.

        Parameters
        ----------
        now_s
            Of a clock that never goes back.
        ends
            Of the topics that are learned from; empty: not known.
        """
        samples = self.samples()
        last_s, last = self._before[-1] if self._before else (now_s, samples)
        passed_s = now_s - last_s
        first = self._before[0][1] if self._before else samples
        self._before.append((now_s, samples))

        def per_s(name: str) -> float:
            return (samples.get(name, 0.0) - last.get(name, 0.0)) / passed_s if passed_s else NAN

        def of(name: str) -> float:
            return samples.get(name, NAN)

        def since(name: str) -> float:
            return samples.get(name, 0.0) - first.get(name, 0.0)

        buckets = {name: since(name) for name in samples if name.startswith(f"{_SECONDS}_bucket")}
        n_slots = since("streamer_scorer_slots_total")
        answered = max(buckets.values(), default=0.0) > 0
        events = f"{_POSITION}{{{self.config.topics.topic('events')}}}"
        return Figures(
            learned_per_s=per_s(events),
            to_learn=self._to_learn(ends),
            to_answer=of("streamer_scorer_lag"),
            fresh_p50_ms=of("streamer_scorer_freshness_ms{0.5}"),
            fresh_p99_ms=of("streamer_scorer_freshness_ms{0.99}"),
            answers_per_s=per_s("streamer_scorer_requests_total"),
            answer_p50_ms=1_000 * histogram_quantile(buckets, _SECONDS, 0.5) if answered else NAN,
            answer_p99_ms=1_000 * histogram_quantile(buckets, _SECONDS, 0.99) if answered else NAN,
            new_share=since("streamer_scorer_new_total") / n_slots if n_slots else NAN,
            gini=of("streamer_scorer_exposure_gini"),
            items_shown=of("streamer_scorer_exposure_items"),
        )

    def samples(self) -> dict[str, float]:
        """Return every sample of this process, as ``name`` or ``name{first label}``."""
        return summed(
            (sample.name, sample.labels, sample.value)
            for family in self.registry.collect()
            for sample in family.samples
        )

    def _to_learn(self, ends: Mapping[TopicPartition, Ends]) -> float:
        """Messages that what is served has not learned; NaN where the ends are not known."""
        learned = {self.config.topics.topic(role) for role in ("events", "decisions")}
        positions = {
            (sample.labels["topic"], int(sample.labels["partition"])): int(sample.value)
            for family in self.registry.collect()
            if family.name == _POSITION
            for sample in family.samples
        }
        waiting = [
            max(0, end.high - max(end.low, positions.get(where, 0)))
            for where, end in ends.items()
            if where[0] in learned
        ]
        return float(sum(waiting)) if waiting else NAN


def shown(value: float, unit: str = "") -> str:
    """Return a figure as it is read.

    >>> [shown(each) for each in (12_345.6, 12.34, 0.1234, float("nan"))]
    ['12,346', '12.3', '0.123', '–']
    >>> shown(4.0, "ms")
    '4 ms'
    """
    if math.isnan(value):
        return "–"
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 1 else 3
    text = f"{value:,.{digits}f}"
    return f"{text} {unit}" if unit else text
