"""What ranking needs to know of the catalogue's items, in columns that are looked up by key."""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from streamer.events import Item
from streamer_models.state.ids.id_table import id_key
from streamer_models.state.ids.key_map import KeyMap
from streamer_models.state.table import Keys, Slots, grown

CATEGORIES_MAX: Final = 8
"""Categories of an item that count, the first ones it names."""
UNKNOWN_MS: Final = -1
_REMEMBERED: Final = 1_000
"""Newest items that need not be looked for again."""
_NONE: Final = -1
Places = NDArray[np.int32]
_NO_KEYS: Final[Keys] = np.zeros(0, dtype=np.uint64)


class CategoryLabels:
    """Labels of the categories that items are in, each at a place of its own while it is used.

    Attributes
    ----------
    keys
        Of the labels, by place; what stands at a free place means nothing.
    """

    def __init__(self) -> None:
        self.keys: Keys = np.zeros(64, dtype=np.uint64)
        self._places: dict[str, int] = {}
        self._place_of_key: dict[int, int] = {}
        self._labels: list[str] = []
        self._n_items: list[int] = []
        self._free: list[int] = []

    def __getitem__(self, place: int) -> str:
        return self._labels[place]

    def places(self, keys: Keys) -> Places:
        """Places of the labels with some keys, of those that are used; as often as asked for."""
        found = [self._place_of_key[key] for key in keys.tolist() if key in self._place_of_key]
        return np.array(found, dtype=np.int32)

    def take(self, label: str) -> int:
        """Place of a label that one more item has."""
        place = self._places.get(label)
        if place is None:
            place = self._new(label)
        self._n_items[place] += 1
        return place

    def give_back(self, place: int) -> None:
        """One item less has it."""
        self._n_items[place] -= 1
        if not self._n_items[place]:
            del self._places[self._labels[place]]
            del self._place_of_key[int(self.keys[place])]
            self._free.append(place)

    def _new(self, label: str) -> int:
        if self._free:
            place = self._free.pop()
            self._labels[place] = label
        else:
            place = len(self._labels)
            self._labels.append(label)
            self._n_items.append(0)
        if place >= len(self.keys):
            self.keys = np.concatenate([self.keys, np.zeros_like(self.keys)])
        self._places[label] = place
        key = id_key(label.encode())
        self.keys[place] = key
        self._place_of_key[key] = place
        return place


class ItemFacts:
    """When items were made and what categories they are in: 48 B an item and 12 to 24 of a map.

    Attributes
    ----------
    labels
        Of the categories, by the places that :meth:`categories` speaks of.
    revision
        Rises with each change of when an item was made.
    """

    def __init__(self) -> None:
        self.labels = CategoryLabels()
        self.revision = 0
        self._map = KeyMap()
        self._created_ms = np.zeros((0, 1), dtype=np.int64)
        self._keys = np.zeros((0, 1), dtype=np.uint64)
        self._newest: NDArray[np.intp] | None = None
        self._categories: Places = np.zeros((0, CATEGORIES_MAX), dtype=np.int32)
        self._free: list[int] = []
        self._n_rows = 0

    def __len__(self) -> int:
        return len(self._map)

    def rows(self, keys: Keys) -> Slots:
        """``(n,)`` rows of items, -1 where nothing is known of one."""
        return self._map.find(keys)

    def put(self, item: Item) -> int:
        """Take what the topic says of an item, in place of what it said before; its row."""
        key = id_key(item.item_id.encode())
        row = self._map.find_one(key)
        if row < 0:
            row = self._free.pop() if self._free else self._n_rows
            self._n_rows = max(self._n_rows, row + 1)
            self._map.insert(np.array([key], dtype=np.uint64), np.array([row], dtype=np.int32))
            self._reserve(row + 1)
            self._keys[row] = key
        self._made(row, UNKNOWN_MS if item.created_ts is None else item.created_ts)
        chosen = [*dict.fromkeys(item.categories or [])][:CATEGORIES_MAX]
        places = [self.labels.take(label) for label in chosen]
        self._leave_categories(row)
        self._categories[row, : len(places)] = places
        return row

    def remove(self, item_id: str) -> int:
        """Forget an item; the row that it had, -1: it was not known."""
        key = id_key(item_id.encode())
        row = self._map.find_one(key)
        if row >= 0:
            self._leave_categories(row)
            self._made(row, UNKNOWN_MS)
            self._map.remove(np.array([key], dtype=np.uint64))
            self._free.append(row)
        return row

    def created_ms(self, keys: Keys) -> NDArray[np.int64]:
        """``(n,)`` when items were made, ``UNKNOWN_MS`` where nobody said."""
        rows = self._map.find(keys)
        found = np.full(len(keys), UNKNOWN_MS, dtype=np.int64)
        found[rows >= 0] = self._created_ms[rows[rows >= 0], 0]
        return found

    def newest(self, from_ms: int, to_ms: int, n: int) -> Keys:
        """Return the keys of at most ``n`` items that were made within a time, its ends included:
        the newest first, those of one time in the order of their keys."""
        rows = self._remembered()
        made_ms = self._created_ms[rows, 0]
        if n > _REMEMBERED or (len(rows) and made_ms[0] > to_ms):
            rows = np.flatnonzero(self._created_ms[:, 0] != UNKNOWN_MS)
            made_ms = self._created_ms[rows, 0]
        rows = rows[(made_ms >= from_ms) & (made_ms <= to_ms)]
        keys: Keys = self._keys[self._newest_of(rows, n), 0]
        return keys

    def n_ahead(self, at_ms: int) -> int:
        """Return how many items are made after a time."""
        return len(self._ahead(at_ms))

    def ahead(self, at_ms: int) -> Keys:
        """``(n,)`` keys of the items that are made after a time, in no order."""
        keys: Keys = self._keys[self._ahead(at_ms), 0]
        return keys

    def _ahead(self, at_ms: int) -> NDArray[np.intp]:
        rows = self._remembered()
        found: NDArray[np.intp] = rows[self._created_ms[rows, 0] > at_ms]
        if len(found) == _REMEMBERED:  # there may be more than are remembered
            return np.flatnonzero(self._created_ms[:, 0] > at_ms)
        return found

    def _remembered(self) -> NDArray[np.intp]:
        """Return the rows of the newest items, the newest first."""
        if self._newest is None:
            rows = np.flatnonzero(self._created_ms[:, 0] != UNKNOWN_MS)
            self._newest = self._newest_of(rows, _REMEMBERED)
        return self._newest

    def _newest_of(self, rows: NDArray[np.intp], n: int) -> NDArray[np.intp]:
        return rows[greatest_first(self._created_ms[rows, 0], self._keys[rows, 0], n)]

    def _made(self, row: int, created_ms: int) -> None:
        """Take note of when an item was made."""
        before_ms = int(self._created_ms[row, 0])
        if created_ms == before_ms:
            return
        self.revision += 1
        self._created_ms[row] = created_ms
        if self._newest is None:
            return
        if before_ms != UNKNOWN_MS:
            self._newest = None
        else:
            self._newest = self._newest_of(np.append(self._newest, row), _REMEMBERED)

    def categories(self, keys: Keys) -> Places:
        """``(n, CATEGORIES_MAX)`` places in ``labels`` of each item's categories, then -1."""
        found: Places = _categories_of(self._map.find(keys), self._categories)
        return found

    def affinity(
        self, history: Keys, keys: Keys, *, also_met: Keys = _NO_KEYS
    ) -> NDArray[np.float64]:
        """``(n,)`` for each item the mean over its categories of the share of ``history`` in it.

        Parameters
        ----------
        also_met
            Keys of labels: of each, one more item in that category alone was met.
        """
        of_items = self._categories[_known(self._map.find(history))].ravel()
        met = np.concatenate([of_items[of_items != _NONE], self.labels.places(also_met)])
        shares = np.zeros(len(keys))
        if len(met):
            n_met = len(history) + len(also_met)
            _affinity(self._map.find(keys), self._categories, np.sort(met), n_met, shares)
        return shares

    def shares_in(self, labels: Keys, keys: Keys) -> NDArray[np.float64]:
        """``(n,)`` share of each item's categories that are among some labels, given by key."""
        categories = self.categories(keys)
        there = categories != _NONE
        among = np.isin(categories, self.labels.places(labels)) & there
        found: NDArray[np.float64] = among.sum(axis=1) / np.maximum(there.sum(axis=1), 1)
        return found

    def _reserve(self, n_rows: int) -> None:
        n_before = len(self._created_ms)
        if n_rows > n_before:
            size = max(2 * n_before, 1_024)
            self._created_ms = grown(self._created_ms, size)
            self._created_ms[n_before:] = UNKNOWN_MS
            self._keys = grown(self._keys, size)
            self._categories = grown(self._categories, size)
            self._categories[n_before:] = _NONE

    def _leave_categories(self, row: int) -> None:
        for place in self._categories[row].tolist():
            if place != _NONE:
                self.labels.give_back(place)
        self._categories[row] = _NONE


def greatest_first(values: NDArray[np.number], keys: Keys, n: int) -> NDArray[np.intp]:
    """Return which of some items have the ``n`` greatest values, the greatest first and equal ones
    in the order of their keys.

    Parameters
    ----------
    values, keys
        ``(n_items,)`` of each item: the time when it was made, say, and its key.
    """
    among = np.arange(len(values) if n > 0 else 0)
    if len(among) > n:  # with all that are as great as the last one, whose keys say which are in
        among = np.flatnonzero(values >= np.partition(values, len(values) - n)[len(values) - n])
    found: NDArray[np.intp] = among[np.lexsort((keys[among], -values[among]))[:n]]
    return found


def _known(rows: Slots) -> Slots:
    return rows[rows >= 0]


@numba.njit(cache=True, nogil=True)
def _categories_of(rows: Slots, categories: Places) -> Places:
    found = np.full((len(rows), CATEGORIES_MAX), _NONE, dtype=np.int32)
    for i in range(len(rows)):
        if rows[i] >= 0:
            found[i] = categories[rows[i]]
    return found


@numba.njit(cache=True, nogil=True)
def _affinity(
    rows: Slots, categories: Places, met: Places, n_history: int, shares: NDArray[np.float64]
) -> None:
    """``met`` is sorted and holds a category as often as the history has it."""
    for i in range(len(rows)):
        if rows[i] < 0:
            continue
        n_met = n_categories = 0
        for place in categories[rows[i]]:
            if place < 0:
                break
            n_categories += 1
            at = np.searchsorted(met, place)
            while at < len(met) and met[at] == place:
                n_met += 1
                at += 1
        if n_categories:
            shares[i] = n_met / (n_categories * n_history)
