"""Where an item stood when it was seen: what the learner knows and who ranks does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streamer.ranking.columns.family import Block, Column, Family
from streamer.ranking.scored import ScoredCandidates

POSITION: Final = "position"


class PositionColumn(Family):
    """0 of all candidates: they are compared as if all stood first.

    The learner puts ``ln(1 + slot)`` in its place for what was shown, so that its weight says how
    attention falls with the slot, and what stands first is not taken for better because it is
    looked at more often.
    """

    def describe(self) -> Sequence[Column]:
        meaning = "0 of candidates; ln(1 + slot), the first slot 0, where what was shown is learned"
        return [Column(POSITION, meaning)]

    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        out[:] = 0.0
