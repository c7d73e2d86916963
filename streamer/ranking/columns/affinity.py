"""A user's taste for an item's categories."""

from __future__ import annotations

from collections.abc import Sequence

from streamer.ranking.columns.family import Block, Column, Family
from streamer.ranking.scored import ScoredCandidates


class AffinityColumn(Family):
    """How often the categories of an item are among the user's last items."""

    def describe(self) -> Sequence[Column]:
        meaning = (
            "share of the user's last items, or of the request's seeds, that are in the item's"
            " categories, their mean"
        )
        return [Column("category_affinity", meaning)]

    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        context = scored.context
        out[0] = context.catalogue.facts.affinity(context.last(), scored.candidates.keys)
