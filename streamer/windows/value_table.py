"""Values of features by entity, in columns that a request reads some hundred rows of at once."""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.key_map import KeyMap, find_slot
from streamer_models.state.table import Keys, Slots

Values = NDArray[np.float64]
Times = NDArray[np.int64]
GONE: Final = -1
"""In place of a window's end: the entity has left the window."""
_ROWS_MIN: Final = 1_024
_FORGOTTEN_SHARE: Final = 64
"""A full table forgets 1/64 of its rows at once, so that finding the oldest costs little."""


class ValueTable:
    """One value an entity and feature; 33 B, and 24 to 48 of its feature's map from key to row.

    Entities are known by the 64-bit keys of their ids: two of one feature with one key would be
    read as one entity, which among a million happens once in some 40 million tables.

    Parameters
    ----------
    rows_max
        Bound of the values of all features together; those that came longest ago are forgotten.

    Attributes
    ----------
    n_forgotten
        At the bound.
    newest_end_ms
        ``(n_features,)`` end of the newest window that each feature ever had a value of; -1: none.
    """

    def __init__(self, n_features: int, *, rows_max: int) -> None:
        self.n_forgotten = 0
        self.newest_end_ms: Times = np.full(n_features, -1, dtype=np.int64)
        self._maps = [KeyMap() for _ in range(n_features)]
        self._rows_max = rows_max
        self._keys: Keys = np.zeros(0, dtype=np.uint64)
        self._values: Values = np.zeros(0)
        self._starts: Times = np.zeros(0, dtype=np.int64)
        self._ends: Times = np.zeros(0, dtype=np.int64)
        self._came: Times = np.zeros(0, dtype=np.int64)
        self._n_put = [0] * n_features
        self._n_rows = self._n_came = 0
        self._free: list[int] = []

    def __len__(self) -> int:
        return sum(map(len, self._maps))

    # --- reading ---------------------------------------------------------------------------------

    def read(self, feature: int, keys: Keys, at_ms: int, *, stale_after_ms: int) -> Values:
        """``(n,)`` values at a time; NaN where there is none, or one of a window that ended longer
        than ``stale_after_ms`` before it, or after it."""
        held, found = self._maps[feature], np.empty(len(keys))
        columns = (self._values, self._ends)
        _read(held.buckets, held.slots, *columns, keys, at_ms, stale_after_ms, found)
        return found

    def one(self, feature: int, key: int) -> tuple[float, int, int] | None:
        """Value and bounds of its window, however old."""
        row = self._maps[feature].find_one(key)
        if row < 0:
            return None
        return float(self._values[row]), int(self._starts[row]), int(self._ends[row])

    def n_put(self, feature: int) -> int:
        """Rises with every change of a feature's values."""
        return self._n_put[feature]

    def all_of(self, feature: int) -> tuple[Keys, Values, Times]:
        """Keys of all entities with a value of a feature, the values and the windows' ends."""
        slots = self._maps[feature].slots
        rows = slots[slots >= 0]
        return self._keys[rows], self._values[rows], self._ends[rows]

    # --- writing ---------------------------------------------------------------------------------

    def put(self, feature: int, keys: Keys, values: Values, starts: Times, ends: Times) -> None:
        """Take ``(n,)`` values, in their order; an end ``GONE`` deletes.

        A value of an older window than the one that is known is passed over.
        """
        self._n_put[feature] += 1
        held = self._maps[feature]
        new = np.unique(keys[(held.find(keys) < 0) & (ends != GONE)])
        held.insert(new, self._new_rows(new))
        rows, came = held.find(keys), self._n_came + np.arange(len(keys))
        self._n_came += len(keys)
        columns = (self._values, self._starts, self._ends, self._came)
        _put(rows, values, starts, ends, came, *columns)
        known = rows[rows >= 0]  # before anything is known there is no end to look at
        self._remove(feature, np.unique(known[self._ends[known] == GONE]))
        self.newest_end_ms[feature] = max(self.newest_end_ms[feature], ends.max(initial=GONE))

    def forget_oldest(self) -> None:
        """Keep to the bound."""
        n = len(self)
        if n <= self._rows_max:
            return
        n_out = n - self._rows_max + self._rows_max // _FORGOTTEN_SHARE
        live = [held.slots[held.slots >= 0] for held in self._maps]
        came = np.concatenate([self._came[rows] for rows in live])
        last_out = np.partition(came, n_out - 1)[n_out - 1]
        for feature, rows in enumerate(live):
            self._remove(feature, rows[self._came[rows] <= last_out])
        self.n_forgotten += n_out

    def _new_rows(self, keys: Keys) -> Slots:
        n_again = min(len(keys), len(self._free))
        again, self._free = self._free[:n_again], self._free[n_again:]
        n_more = len(keys) - n_again
        rows = np.array([*again, *range(self._n_rows, self._n_rows + n_more)], dtype=np.int32)
        self._n_rows += n_more
        size = len(self._keys)
        if self._n_rows > size:
            n_added = max(self._n_rows, size + size // 2, _ROWS_MIN) - size
            self._keys = np.concatenate([self._keys, np.zeros(n_added, np.uint64)])
            self._values = np.concatenate([self._values, np.zeros(n_added)])
            for name in ("_starts", "_ends", "_came"):
                column = getattr(self, name)
                setattr(self, name, np.concatenate([column, np.zeros(n_added, np.int64)]))
        self._keys[rows] = keys
        self._ends[rows] = GONE
        return rows

    def _remove(self, feature: int, rows: Slots) -> None:
        if len(rows):
            self._n_put[feature] += 1
            self._maps[feature].remove(self._keys[rows])
            self._free += rows.tolist()


def largest(keys: Keys, values: Values, n: int) -> Keys:
    """At most ``n`` keys of the largest values, the largest first, equal ones in the order of their
    keys; those of NaN are left out."""
    known = ~np.isnan(values)
    keys, values = keys[known], values[known]
    if n < len(values):
        smallest = np.partition(values, len(values) - n)[len(values) - n]
        keys, values = keys[values >= smallest], values[values >= smallest]
    found: Keys = keys[np.lexsort((keys, -values))[:n]]
    return found


@numba.njit(cache=True, nogil=True)
def _read(
    buckets: Keys,
    slots: Slots,
    values: Values,
    ends: Times,
    keys: Keys,
    at_ms: int,
    stale_after_ms: int,
    found: Values,
) -> None:
    for i in range(len(keys)):
        row = find_slot(buckets, slots, keys[i])
        found[i] = np.nan
        if row >= 0 and 0 <= at_ms - ends[row] <= stale_after_ms:
            found[i] = values[row]


@numba.njit(cache=True, nogil=True)
def _put(
    rows: Slots,
    values: Values,
    starts: Times,
    ends: Times,
    came: Times,
    to_values: Values,
    to_starts: Times,
    to_ends: Times,
    to_came: Times,
) -> None:
    for i in range(len(rows)):
        row = rows[i]
        if row < 0:
            continue
        if ends[i] == GONE:
            to_ends[row] = GONE
        elif ends[i] >= to_ends[row]:
            to_values[row], to_starts[row] = values[i], starts[i]
            to_ends[row], to_came[row] = ends[i], came[i]
