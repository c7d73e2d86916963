"""Rows of the ids of one partition, by key, for readers that hold several partitions' rows."""

from __future__ import annotations

import numpy as np

from streamer_models.state.shared_ids import SharedIds
from streamer_models.state.table import Array, Keys, Slots, TableSpec, fold, grown


class KeyedRows:
    """Rows of one table of one partition: some 40 B and the row for each id."""

    def __init__(self, spec: TableSpec) -> None:
        self._spec = spec
        self._ids = SharedIds()
        self._values: Array = np.zeros((0, spec.width), dtype=spec.dtype)

    def put(self, keys: Keys, values: Array) -> None:
        """Replace rows by ``(n, width)`` values; of a repeated key the last counts."""
        rows = self._rows(keys)  # may let the values grow: before they are taken
        self._values[rows] = values

    def fold(self, keys: Keys, changes: Array) -> None:
        """Apply ``(n, change_width)`` changes in order; keys may repeat."""
        rows = self._rows(keys)
        fold(self._spec, self._values, rows, changes)

    def drop(self, keys: Keys) -> None:
        """Forget rows; absent keys are passed over."""
        present = keys[self._ids.map.find(keys) >= 0]
        self._values[self._ids.release(present)] = 0

    def take(self, keys: Keys, found: Array) -> None:
        """Write ``(n, width)`` rows of keys into ``found``, zeros where absent."""
        self._ids.map.take(keys, self._values, found)

    def _rows(self, keys: Keys) -> Slots:
        """Return the row of each key; new ones are zero."""
        rows = self._ids.map.find(keys)
        absent = rows < 0
        if absent.any():
            self._ids.acquire(np.unique(keys[absent]))
            if len(self._ids.keys) > len(self._values):
                self._values = grown(self._values, len(self._ids.keys))
            rows = self._ids.map.find(keys)
        return rows
