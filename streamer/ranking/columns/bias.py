"""The constant column."""

from __future__ import annotations

from collections.abc import Sequence

from streamer.ranking.columns.family import Block, Column, Family
from streamer.ranking.scored import ScoredCandidates


class BiasColumn(Family):
    """1 everywhere."""

    def describe(self) -> Sequence[Column]:
        return [Column("bias", "1: the reward to expect of no item in particular")]

    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        out[:] = 1.0
