"""How long ago an item was made, as the catalogue says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from streamer.ranking.columns.family import Block, Column, Family
from streamer.ranking.scored import ScoredCandidates

_DAY_MS: Final = 86_400_000


class AgeColumns(Family):
    """Days since ``created_ts``."""

    def describe(self) -> Sequence[Column]:
        meaning = "ln(1 + days since the item's created_ts) / 4; 0 where the catalogue has none"
        return [Column("age", meaning), Column("age_known", "1 where it has one")]

    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        context = scored.context
        created_ms = context.catalogue.facts.created_ms(scored.candidates.keys)
        known = created_ms >= 0
        days = np.maximum(context.at_ms - created_ms, 0) / _DAY_MS
        out[0] = np.where(known, np.log1p(days) / 4, 0.0)
        out[1] = known
