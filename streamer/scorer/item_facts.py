"""What ranking needs to know of the catalogue's items, in columns that are looked up by key."""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from models.id_table import id_key
from models.key_map import KeyMap
from models.table import Keys, Slots
from streamer.events import Item
from streamer.scorer.items import grown

CATEGORIES_MAX: Final = 8
"""Categories of an item that count, the first ones it names."""
UNKNOWN_MS: Final = -1


class ItemFacts:
    """When items were made and what categories they are in: 40 B an item and 12 to 24 of a map.

    A category is known by 32 bits of its label's digest; two labels in one digest are read as one
    category, which happens once in some 60,000 categories.
    """

    def __init__(self) -> None:
        self._map = KeyMap()
        self._created_ms = np.zeros((0, 1), dtype=np.int64)
        self._categories = np.zeros((0, CATEGORIES_MAX), dtype=np.uint32)
        self._free: list[int] = []
        self._n_rows = 0

    def __len__(self) -> int:
        return len(self._map)

    def put(self, item: Item) -> None:
        """Take what the topic says of an item, in place of what it said before."""
        key = id_key(item.item_id.encode())
        row = self._map.find_one(key)
        if row < 0:
            row = self._free.pop() if self._free else self._n_rows
            self._n_rows = max(self._n_rows, row + 1)
            self._map.insert(np.array([key], dtype=np.uint64), np.array([row], dtype=np.int32))
        if row >= len(self._created_ms):
            size = max(2 * len(self._created_ms), 1_024)
            self._created_ms = grown(self._created_ms, size)
            self._categories = grown(self._categories, size)
        self._created_ms[row] = UNKNOWN_MS if item.created_ts is None else item.created_ts
        self._categories[row] = 0
        codes = [_code(label) for label in dict.fromkeys(item.categories or [])]
        self._categories[row, : len(codes[:CATEGORIES_MAX])] = codes[:CATEGORIES_MAX]

    def remove(self, item_id: str) -> None:
        """Forget an item; one that is not known is passed over."""
        key = id_key(item_id.encode())
        row = self._map.find_one(key)
        if row >= 0:
            self._map.remove(np.array([key], dtype=np.uint64))
            self._free.append(row)

    def created_ms(self, keys: Keys) -> NDArray[np.int64]:
        """``(n,)`` when items were made, ``UNKNOWN_MS`` where nobody said."""
        rows = self._map.find(keys)
        found = np.full(len(keys), UNKNOWN_MS, dtype=np.int64)
        found[rows >= 0] = self._created_ms[rows[rows >= 0], 0]
        return found

    def affinity(self, history: Keys, keys: Keys) -> NDArray[np.float64]:
        """``(n,)`` for each item the mean over its categories of the share of ``history`` in it."""
        met = self._categories[_known(self._map.find(history))].ravel()
        met = np.sort(met[met > 0])
        shares = np.zeros(len(keys))
        if len(met):
            _affinity(self._map.find(keys), self._categories, met, len(history), shares)
        return shares


def _known(rows: Slots) -> Slots:
    return rows[rows >= 0]


@numba.njit(cache=True, nogil=True)
def _affinity(
    rows: Slots,
    categories: NDArray[np.uint32],
    met: NDArray[np.uint32],
    n_history: int,
    shares: NDArray[np.float64],
) -> None:
    """``met`` is sorted and holds a category as often as the history has it."""
    for i in range(len(rows)):
        if rows[i] < 0:
            continue
        n_met = n_categories = 0
        for code in categories[rows[i]]:
            if code == 0:
                break
            n_categories += 1
            at = np.searchsorted(met, code)
            while at < len(met) and met[at] == code:
                n_met += 1
                at += 1
        if n_categories:
            shares[i] = n_met / (n_categories * n_history)


def _code(label: str) -> int:
    return (id_key(label.encode()) & 0xFFFFFFFF) or 1
