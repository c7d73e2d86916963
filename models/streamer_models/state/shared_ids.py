"""Rows of the ids that several partitions have, for as long as one of them has an id."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.key_map import KeyMap
from streamer_models.state.table import Keys, Slots


class SharedIds:
    """Rows of the ids of one entity that at least one partition has admitted.

    Attributes
    ----------
    map
        Key → row.
    keys
        ``(capacity,)`` key of each row.
    """

    def __init__(self) -> None:
        self.map = KeyMap()
        self.keys: Keys = np.zeros(0, dtype=np.uint64)
        self.n_rows = 0
        self._n_owners = np.zeros(0, dtype=np.int32)
        self._free: list[int] = []

    def is_live(self, rows: Slots) -> NDArray[np.bool_]:
        """Return for ``(n,)`` rows whether a partition has their id; a free row keeps its key."""
        live: NDArray[np.bool_] = self._n_owners[rows] > 0
        return live

    def acquire(self, keys: Keys) -> tuple[Slots, Slots]:
        """A partition admits ids: their ``(n,)`` rows, and those of them that are new."""
        rows = self.map.find(keys)
        missing = np.flatnonzero(rows < 0)
        new = self._take(keys[missing]) if len(missing) else rows[:0]
        rows[missing] = new
        self._n_owners[rows] += 1
        return rows, new

    def _take(self, keys: Keys) -> Slots:
        n_reused = min(len(keys), len(self._free))
        reused = [self._free.pop() for _ in range(n_reused)]
        n_fresh = len(keys) - n_reused
        fresh = np.arange(self.n_rows, self.n_rows + n_fresh, dtype=np.int32)
        rows = np.concatenate([np.array(reused, dtype=np.int32), fresh])
        self.n_rows += n_fresh
        if self.n_rows > len(self.keys):
            n_more = max(self.n_rows, 2 * len(self.keys), 256) - len(self.keys)
            self.keys = np.concatenate([self.keys, np.zeros(n_more, np.uint64)])
            self._n_owners = np.concatenate([self._n_owners, np.zeros(n_more, np.int32)])
        self.keys[rows] = keys
        self.map.insert(keys, rows)
        return rows

    def release(self, keys: Keys) -> Slots:
        """A partition drops ids, its contributions already withdrawn; the rows of those that no
        partition has any more."""
        rows = self.map.find(keys)
        assert rows.min(initial=0) >= 0, "an id is dropped that was not admitted"
        self._n_owners[rows] -= 1
        unowned: Slots = rows[self._n_owners[rows] == 0]
        self.map.remove(self.keys[unowned])
        self._give_back(unowned)
        return unowned

    def _give_back(self, unowned: Slots) -> None:
        """Rows that are free, to be taken again."""
        self._free.extend(unowned.tolist())
