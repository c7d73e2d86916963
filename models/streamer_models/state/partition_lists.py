"""Neighbour lists of all partitions that a learner knows, side by side."""

from __future__ import annotations

import numpy as np

from streamer_models.state.ids.key_map import KeyMap
from streamer_models.state.keyed_rows import KeyedRows
from streamer_models.state.table import Array, Keys, Rows, Table, TableSpec


class PartitionLists:
    """The lists of one table: those of owned partitions, read from their tables as they are now,
    and copies of what other partitions committed.

    Bound: of each partition not owned, as many rows as it has ids admitted.
    """

    def __init__(self, spec: TableSpec) -> None:
        self.spec = spec
        self._owned: dict[int, tuple[Table, KeyMap]] = {}
        self._copies: dict[int, KeyedRows] = {}
        self._partitions: list[int] = []

    def own(self, partition: int, table: Table, slots: KeyMap) -> None:
        """Read a partition's lists from its table, by the slots of its ids."""
        self._owned[partition] = table, slots
        self._partitions = sorted({*self._owned, *self._copies})

    def load(self, partition: int, rows: Rows) -> None:
        """Take whole rows of the checkpoint of a partition that is not owned."""
        self._copy(partition).put(rows.keys, rows.values)

    def fold(self, partition: int, changes: Rows) -> None:
        """Apply cells that a partition not owned has committed."""
        self._copy(partition).fold(changes.keys, changes.values)

    def drop(self, partition: int, keys: Keys) -> None:
        """Forget the lists of ids that a partition not owned has dropped."""
        if partition in self._copies:
            self._copies[partition].drop(keys)

    def read(self, keys: Keys) -> Array:
        """Return ``(n_partitions, n, width)`` lists of ids, the partitions by rising number, zeros
        where a partition has no list."""
        n = len(self._partitions)
        found: Array = np.empty((n, len(keys), self.spec.width), self.spec.dtype)
        for partition, lists in zip(self._partitions, found, strict=True):
            if partition in self._owned:
                table, slots = self._owned[partition]
                slots.take(keys, table.values, lists)
            else:
                self._copies[partition].take(keys, lists)
        return found

    def _copy(self, partition: int) -> KeyedRows:
        assert partition not in self._owned, f"partition {partition} is owned, not followed"
        if partition not in self._copies:
            self._copies[partition] = KeyedRows(self.spec)
            self._partitions = sorted({*self._owned, *self._copies})
        return self._copies[partition]
