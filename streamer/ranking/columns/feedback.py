"""How much feedback an item had: ever, and decayed by each half-life.

The blend weighs that already: beside it there are no such columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from streamer.ranking.columns.family import Block, Column, Family, by_half_life
from streamer.ranking.recall.blend import BlendChannel
from streamer.ranking.recall.channel import Channel
from streamer.ranking.scored import ScoredCandidates
from streamer.replica.items import COUNT


def _blended(channels: Sequence[Channel[Any]]) -> bool:
    return any(isinstance(each, BlendChannel) for each in channels)


class FeedbackColumns(Family):
    """Positive feedback ever, and whether the item has parameters."""

    def describe(self) -> Sequence[Column]:
        if _blended(self.channels):
            return []
        return [
            Column("log_count", "ln(1 + positive feedback ever) / 4"),
            Column("known", "1 for an item that has parameters, 0 for one that nobody has met"),
        ]

    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        rows = scored.candidates.rows
        out[:] = 0.0
        out[0, : len(rows)] = np.log1p(scored.context.items.column(COUNT)[rows]) / 4
        out[1, : len(rows)] = 1.0


class DecayedFeedbackColumns(Family):
    """Decayed positive feedback, one column a half-life."""

    def describe(self) -> Sequence[Column]:
        if _blended(self.channels):
            return []
        return [
            Column(by_half_life("trending", each), "ln(1 + decayed positive feedback) / 4")
            for each in self.config.popularity.half_lives_s
        ]

    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        context, rows = scored.context, scored.candidates.rows
        counts = np.zeros((len(scored.candidates), len(out)))
        counts[: len(rows)] = context.items.decayed(rows, context.at_ms)
        out[:] = np.log1p(counts).T / 4
