"""Counts of outcomes that one process learns, for policies that read no contexts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.arm_counts import ArmCounts, Counts
from streamer_models.bandits.policies.base import CountedLearned
from streamer_models.bandits.protocols import Contexts
from streamer_models.state.table import Keys

Floats = NDArray[np.float64]


class CountedMemory(CountedLearned):
    """Counts by arm, in memory; the parameters are those of
    :class:`streamer_models.bandits.arm_counts.ArmCounts`.

    Attributes
    ----------
    outcomes
        Counts by arm.
    """

    def __init__(self, *, half_life_s: float, arms_max: int, sightings_min: int) -> None:
        self.outcomes = ArmCounts(
            arms_max=arms_max, sightings_min=sightings_min, half_life_s=half_life_s
        )

    def counts(self, arms: Keys) -> Counts:
        return self.outcomes.counts(arms)

    def total(self) -> Counts:
        return self.outcomes.total()

    def amend(
        self,
        x: Contexts,
        arms: Keys,
        before: Floats,
        after: Floats,
        ts_ms: NDArray[np.int64],
        weights: Floats | None = None,
    ) -> None:
        """Bring outcomes from ``before`` to ``after``; contexts and weights are not looked at.

        Raises
        ------
        ValueError
            Where a reward is infinite or out of bounds; nothing is learned then.
        """
        self.outcomes.amend(arms, before, after, ts_ms)

    def merge(self, other: CountedMemory) -> None:
        """Add the counts of another.

        Raises
        ------
        ValueError
            Where half-lives differ, or all arms together are too many.
        """
        self.outcomes.merge(other.outcomes)

    def refresh(self) -> None:
        """Nothing is derived from counts."""
