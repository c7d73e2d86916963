"""The items a slate is chosen from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.replica.items import ItemView
from streamer_models.state.table import Keys, Slots


@dataclass(frozen=True, slots=True)
class Candidates:
    """The union of what the channels bring.

    Attributes
    ----------
    rows
        Items with parameters, in the order of their keys.
    new_ids
        Items without, which stand behind them.
    keys
        ``(n,)`` keys of all of them.
    places
        ``(n_channels, n)`` place in each channel's order, from 0; -1 where it did not bring it.
    """

    rows: Slots
    new_ids: list[str]
    keys: Keys
    places: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.keys)

    def ids(self, items: ItemView) -> list[str]:
        """Return the ids of all candidates."""
        names = items.names
        return [names[row] for row in self.rows.tolist()] + self.new_ids

    def zeros(self) -> NDArray[np.float32]:
        """Return a score of 0 for each candidate."""
        return np.zeros(len(self), dtype=np.float32)
