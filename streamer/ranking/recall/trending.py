"""What is popular now: decayed counts of positive feedback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.config import Config
from streamer.config.feature_definition import Refused
from streamer.config.masking import toml_text
from streamer.config.settings import PositiveS
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.recall.channel import Channel, Recalled, Scores, WeighedSettings
from streamer.replica.columns import best
from streamer.replica.items import COUNT, DECAYED, ItemView
from streamer_models.state.table import Slots

SILENT_BELOW = 1 / 16
"""A half-life is silent when its strongest item counts less: one event, four half-lives ago."""


class TrendingSettings(WeighedSettings, frozen=True, kw_only=True):
    """Recall by what is popular now."""

    candidates: Annotated[
        int, Meta(ge=0, le=10_000, description="recalled by what is popular now")
    ] = 0
    weight: Annotated[
        float, Meta(ge=0, le=1_000, description="of its score in the bandit's prior")
    ] = 0.0
    half_life_s: Annotated[
        PositiveS, Meta(description="what `popular now` means; one of popularity.half_lives_s")
    ] = 76_800.0


@dataclass(frozen=True, slots=True)
class Trend:
    """What "popular now" is ordered by: a column of :class:`ItemView` and its decay since."""

    column: int
    fade: float

    def values(self, items: ItemView, rows: Slots) -> Scores:
        """Return ``(n,)`` decayed counts now, or plain counts."""
        values: Scores = items.column(self.column)[rows] * np.float32(self.fade)
        return values


class TrendingChannel(Channel[TrendingSettings]):
    """The items with the greatest decayed counts of positive feedback.

    After a quiet night those of a longer half-life, and in the end plain counts.
    """

    name = "trending"
    reason = "trending"
    settings_type = TrendingSettings
    score_meaning = "ln(1 + what the trending channel orders by)"
    # Its score stands among the counts already, one column a half-life.
    columns = ("rank", "z")
    crossed = True
    needs_feedback = True

    @classmethod
    def check(cls, config: Config) -> None:
        chosen, kept = cls.settings_of(config).half_life_s, config.popularity.half_lives_s
        if cls.is_on(config) and chosen not in kept:
            problem = f"{chosen} is none of {toml_text(kept)}; choose one of them"
            raise Refused(problem, cls.key("half_life_s"), "popularity.half_lives_s")

    def recall(self, context: RequestContext, allowed: NDArray[np.bool_], n: int) -> Recalled:
        return Recalled(recall_trending(context.items, self._trend(context), allowed, n))

    def score(self, context: RequestContext, candidates: Candidates) -> Scores:
        found = candidates.zeros()
        values = self._trend(context).values(context.items, candidates.rows)
        found[: len(candidates.rows)] = np.log1p(values)
        return found

    def _trend(self, context: RequestContext) -> Trend:
        half_life = self.config.popularity.half_lives_s.index(self.settings.half_life_s)
        return context.once(
            self.name,
            lambda: choose_trend(context.items, half_life=half_life, at_ms=context.at_ms),
        )


def choose_trend(items: ItemView, *, half_life: int, at_ms: int) -> Trend:
    """Return the asked half-life (its index), or the next longer one that is not silent, or counts.

    After a quiet night the last hour says nothing, and the last day says what people like.
    """
    for index in range(half_life, len(items.half_lives)):
        fade = 2.0 ** ((items.at_ms - at_ms) / int(items.half_lives[index]))
        trend = Trend(DECAYED + index, fade)
        strongest = trend.values(items, items.top(trend.column, 1)[:1])
        if len(strongest) and strongest[0] >= SILENT_BELOW:
            return trend
    return Trend(COUNT, 1.0)


def recall_trending(items: ItemView, trend: Trend, allowed: NDArray[np.bool_], n: int) -> Slots:
    """Return at most ``n`` allowed rows that trend most, best first."""
    top = items.top(trend.column, n)
    found = top[allowed[top]][:n]
    if len(found) < n and len(top) < items.n_rows:
        # So many of the most popular ones are ruled out that all have to be looked at.
        values = np.where(allowed, items.column(trend.column), -np.inf).astype(np.float32)
        found = best(values, n, items.keys)
    return found
