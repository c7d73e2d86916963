"""How many rows of a table the store has, so that it can tell where some were taken away."""

from __future__ import annotations

import numpy as np

from streamer_models.state.table import Slots


class StoredRows:
    """Slots of one table whose rows a checkpoint has written: a byte a slot.

    >>> stored = StoredRows()
    >>> stored.add(np.array([0, 3], np.int32))
    >>> stored.add(np.array([3, 4], np.int32))
    >>> stored.drop(np.array([0, 1, 9], np.int32))
    >>> stored.n
    2
    """

    def __init__(self) -> None:
        self.n = 0
        self._is_stored = np.zeros(0, dtype=np.bool_)

    def add(self, slots: Slots) -> None:
        """Note that rows are written; ``slots`` has none twice."""
        n_slots = int(slots.max(initial=-1)) + 1
        if n_slots > len(self._is_stored):
            grown = np.zeros(max(n_slots, 2 * len(self._is_stored)), dtype=np.bool_)
            grown[: len(self._is_stored)] = self._is_stored
            self._is_stored = grown
        self.n += int(np.count_nonzero(~self._is_stored[slots]))
        self._is_stored[slots] = True

    def drop(self, slots: Slots) -> None:
        """Note that rows go, if they were written; ``slots`` has none twice."""
        known = slots[slots < len(self._is_stored)]
        self.n -= int(np.count_nonzero(self._is_stored[known]))
        self._is_stored[known] = False
