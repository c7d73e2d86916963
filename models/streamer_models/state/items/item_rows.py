"""Rows of a catalogue's items: which row is whose, and which are free."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.id_table import id_key
from streamer_models.state.ids.key_map import KeyMap
from streamer_models.state.table import Keys, grown

ITEMS_MAX: Final = 1_000_000
_ROWS_MIN: Final = 1_024


class ItemRows:
    """A row for each item, as long as the item is known; free rows are taken again.

    At ``items_max`` items that are not known yet are refused.

    Attributes
    ----------
    map
        Key → row.
    n_refused
        Items refused so far.
    capacity
        Rows that there is room for.
    """

    def __init__(self, items_max: int = ITEMS_MAX) -> None:
        self.map = KeyMap()
        self.n_refused = 0
        self._items_max = items_max
        self._keys: Keys = np.zeros(0, dtype=np.uint64)
        self._live = np.zeros(0, dtype=np.bool_)
        self._n_rows = 0
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self.map)

    @property
    def capacity(self) -> int:
        """Rows that there is room for."""
        return len(self._keys)

    @property
    def keys(self) -> Keys:
        """``(n_rows,)`` key of the item in each row, or of one that was there."""
        return self._keys[: self._n_rows]

    @property
    def live(self) -> NDArray[np.bool_]:
        """``(n_rows,)`` whether an item has the row."""
        return self._live[: self._n_rows]

    def take(self, item_id: str) -> int:
        """Return the row of an item, a free one if it has none; -1 where it is refused."""
        key = id_key(item_id.encode())
        row = self.map.find_one(key)
        if row >= 0:
            return row
        if len(self) >= self._items_max:
            self.n_refused += 1
            return -1
        if self._free:
            row = self._free.pop()
        else:
            row = self._n_rows
            self._n_rows += 1
            if row >= self.capacity:
                size = max(2 * row, _ROWS_MIN)
                self._keys, self._live = grown(self._keys, size), grown(self._live, size)
        self.map.insert(np.array([key], dtype=np.uint64), np.array([row], dtype=np.int32))
        self._keys[row], self._live[row] = key, True
        return row

    def release(self, item_id: str) -> int:
        """Forget an item; return the row that it had, -1: it was not known."""
        key = id_key(item_id.encode())
        row = self.map.find_one(key)
        if row >= 0:
            self.map.remove(np.array([key], dtype=np.uint64))
            self._free.append(row)
            self._live[row] = False
        return row
