"""What a user was shown and did not take up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamer.ranking.columns.family import Block, Column, Family
from streamer.ranking.scored import ScoredCandidates


class PassedByColumn(Family):
    """How often the user was shown an item; what was taken up is no candidate."""

    def describe(self) -> Sequence[Column]:
        if not self.config.bandit.impressions or self.config.funnel.ranker != "bandit":
            return []
        meaning = "ln(1 + times shown to the user among the last items shown)"
        return [Column("passed_by", meaning)]

    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        context, keys = scored.context, scored.candidates.keys
        shown, n_times = np.unique(
            context.version.users.shown(context.user_row), return_counts=True
        )
        if not len(shown):
            out[0] = 0.0
            return
        at = np.minimum(np.searchsorted(shown, keys), len(shown) - 1)
        out[0] = np.log1p(np.where(shown[at] == keys, n_times[at], 0).astype(np.float64))
