"""A user's taste for an item's categories."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamer.ranking.columns.family import Block, Column, Family
from streamer.ranking.profiles import COUNTS_AS, chosen
from streamer.ranking.scored import ScoredCandidates
from streamer_models.state.ids.id_table import keys_of


class AffinityColumn(Family):
    """How often the categories of an item are among the user's last items."""

    def describe(self) -> Sequence[Column]:
        meaning = (
            "share of the user's last items, or of the request's seeds, that are in the item's"
            " categories, their mean; a category that the user chose counts as 3 items"
        )
        return [Column("category_affinity", meaning)]

    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        context = scored.context
        own = np.repeat(keys_of(list(chosen(context))), COUNTS_AS)
        facts, keys = context.catalogue.facts, scored.candidates.keys
        out[0] = facts.affinity(context.last(), keys, also_met=own)
