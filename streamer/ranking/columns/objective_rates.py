"""What an item brings of each objective when it is shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamer.ranking.columns.family import Block, Column, Family
from streamer.ranking.columns.outcomes import log_lift
from streamer.ranking.scored import ScoredCandidates


class ObjectiveRateColumns(Family):
    """One column an objective, decayed by the longest half-life of popularity."""

    def describe(self) -> Sequence[Column]:
        return [
            Column(
                f"{name}_rate",
                f"ln of what an item brings of {name} a time shown over that of all items, decayed",
            )
            for name in self.config.objectives
        ]

    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        arms, at_ms = scored.context.version.bandit.arms, scored.context.at_ms
        keys = scored.candidates.keys
        shown = np.maximum(arms.faded(keys, at_ms)[0][:, -1:], 0.0)
        all_shown = np.maximum(arms.faded_totals(at_ms)[0][-1:], 0.0)
        gained = np.maximum(arms.gained(keys, at_ms), 0.0)
        all_gained = np.maximum(arms.gained_totals(at_ms), 0.0)
        out[:] = log_lift(gained, shown, all_gained, all_shown).T
