"""Item-item co-occurrence: what the same users meet within a few items of each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from streamer_models.neighbors.pairs import PairLists, PreparedPairs
from streamer_models.state.inputs import Inputs
from streamer_models.state.model import StepwiseModel
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable
from streamer_models.state.shared import SharedState
from streamer_models.state.table import TableSpec


class ItemNeighbours(StepwiseModel):
    """Bounded lists of an item's neighbours by recency.

    When a user who has met n items takes item i, whatever the reward, then for each of the last
    ``window`` ones, h_k (k = 0 the newest)::

        x = (1 + n)^-1/4 (1 + k)^-1/4,   L[h_k][i] += x,   L[i][h_k] += x

    A user with a long history counts less a pair, as its pairs are many (Deshpande & Karypis 2004);
    sums of pairs are kept as events come (Huang et al. 2015, "TencentRec"). Nothing decays: the
    place of an entry that is not met again is taken. Learn
    :class:`streamer_models.counters.history.UserHistory` beside it, with a length of at least
    ``window``.

    Cost of an event with a window of 10 and lists of 100: 20 cells, 3.6 µs with 3,000 items and 5.4
    with 100,000, 470 B in the log; a window of 20 has twice the cells.

    Parameters
    ----------
    list_length
        Neighbours an item and partition, 16 B each: 200 are 3.2 kB.
    window
        How many of the user's last items an item is paired with.

    Attributes
    ----------
    lists
        Its table as it is read.
    """

    def __init__(self, *, list_length: int = 200, window: int = 20) -> None:
        places = 1.0 / np.sqrt(np.sqrt(np.arange(1.0, 1 + window)))
        self.pairs = PairLists("item_neighbours", list_length, places, aging=0.0, back=1.0)
        self.lists = self.pairs.reading

    def settings(self) -> Mapping[str, Any]:
        return self.pairs.settings()

    def tables(self) -> Sequence[TableSpec]:
        return (self.lists.spec,)

    def readable(self) -> Sequence[Readable]:
        return (self.lists,)

    def prepare(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> PreparedPairs:
        """Find the pairs of all events."""
        return self.pairs.prepare(inputs.feedback, state)
