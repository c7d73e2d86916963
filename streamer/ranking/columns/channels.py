"""The columns of the recall channels: ``NAME_z``, ``NAME_score`` and ``NAME_rank``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from streamer.ranking.columns.family import Block, Column, Family
from streamer.ranking.scored import ScoredCandidates

PLACES: Final = 10.0
"""The place at which the rank in a channel is worth half."""


class StandardizedScoreColumns(Family):
    """Scores with zero mean and unit deviation over the candidates; the blend weighs them."""

    def describe(self) -> Sequence[Column]:
        return [
            Column(
                each.column("z"),
                f"{each.score_meaning}, standardized over the candidates",
                prior_weight=each.prior_weight("z"),
            )
            for each in self.channels
            if "z" in each.columns
        ]

    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        having = (each for each in self.channels if "z" in each.columns)
        for row, channel in zip(out, having, strict=True):
            row[:] = scored.z[channel.name]


class ScoreColumns(Family):
    """Scores as the channels return them."""

    def describe(self) -> Sequence[Column]:
        return [
            Column(
                each.column("score"),
                f"{each.score_meaning}; 0 where it is not known",
                prior_weight=each.prior_weight("score"),
            )
            for each in self.channels
            if "score" in each.columns
        ]

    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        having = (each for each in self.channels if "score" in each.columns)
        for row, channel in zip(out, having, strict=True):
            row[:] = scored.scores[channel.name]


class RankColumns(Family):
    """From 1 down in the order of each channel; 0 where it did not bring the candidate."""

    def describe(self) -> Sequence[Column]:
        meaning = "10 / (10 + place in the channel `{}`); 0: it did not bring it"
        return [
            Column(each.column("rank"), meaning.format(each.name), from_topic=each.rank_from_topic)
            for each in self.channels
            if "rank" in each.columns
        ]

    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        having = [i for i, each in enumerate(self.channels) if "rank" in each.columns]
        places = scored.candidates.places[having]
        out[:] = np.where(places < 0, 0.0, PLACES / (PLACES + places))
