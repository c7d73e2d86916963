"""What came of showing an item: times shown and share of positive outcomes, by half-life."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.ranking.columns.family import Block, Column, Family, by_half_life
from streamer.ranking.scored import ScoredCandidates
from streamer.replica.arms import ArmView
from streamer_models.state.table import Keys

Floats = NDArray[np.float64]

CTR_STRENGTH: Final = 20.0
"""Times shown that the share of all items weighs in the share of one."""
_CTR_START: Final = 0.05  # of all items, before any was shown, worth 20 times shown


class OutcomeColumns(Family):
    """Counts of slots shown come from what the bandit has learned."""

    def describe(self) -> Sequence[Column]:
        if self.config.funnel.ranker != "bandit":
            return []
        kinds = (
            ("exposures", "ln(1 + decayed times shown) / 4"),
            (
                "ctr",
                "ln of the decayed share of positive outcomes when shown over that of all items",
            ),
        )
        return [
            Column(by_half_life(kind, half_life_s), meaning)
            for kind, meaning in kinds
            for half_life_s in self.config.popularity.half_lives_s
        ]

    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        context, n_half_lives = scored.context, len(out) // 2
        shown, rates = _rates(context.version.bandit.arms, scored.candidates.keys, context.at_ms)
        out[:n_half_lives] = np.log1p(shown).T / 4
        out[n_half_lives:] = rates.T


def _rates(
    arms: ArmView, keys: Keys, at_ms: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``(n, n_half_lives)`` each: decayed times shown, and ln of the smoothed share of positive
    outcomes over that of all items."""
    shown, positive = (np.maximum(each, 0.0) for each in arms.faded(keys, at_ms))
    all_shown, all_positive = (np.maximum(each, 0.0) for each in arms.faded_totals(at_ms))
    return shown, log_lift(positive, shown, all_positive, all_shown)


def log_lift(
    positive: Floats, shown: Floats, all_positive: Floats, all_shown: Floats
) -> NDArray[np.float64]:
    """Return ln of smoothed shares of positive outcomes over those of all items."""
    overall = (all_positive + _CTR_START * CTR_STRENGTH) / (all_shown + CTR_STRENGTH)
    smoothed = (positive + CTR_STRENGTH * overall) / (shown + CTR_STRENGTH)
    lift: Floats = np.log(smoothed / overall)
    return lift
