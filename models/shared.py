"""What all partitions know of items together: initial value + sum of contributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.key_map import KeyMap
from models.protocols import Model
from models.table import Change, Keys, Rows, Slots, Table, TableSpec, fold

_NO_LIMIT = 1 << 31


class SharedState:
    """Merged rows of the shared tables, by row, for one learner.

    A row lives while at least one partition has the id admitted. Row numbers are local to the
    process. Integer contributions may be added in any order: the values are the same to the bit.

    Parameters
    ----------
    models
        Whose shared tables these are, and who says what a new row starts from.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = models
        specs = [spec for model in models for spec in model.tables() if spec.shared]
        self.tables = {spec.name: Table(spec, rows_max=_NO_LIMIT) for spec in specs}
        self.item_map = KeyMap()
        self.item_keys: Keys = np.zeros(0, dtype=np.uint64)
        self._n_owners = np.zeros(0, dtype=np.int32)
        self._free: list[int] = []
        self._n_rows = 0

    @property
    def n_items(self) -> int:
        return len(self.item_map)

    def rows(self, spec: TableSpec, keys: Keys) -> Slots:
        """``(n,)`` rows of ``keys`` in a shared table: looked up for items, else the index."""
        if spec.entity == "item":
            return self.item_map.find(keys)
        rows = keys.astype(np.int32)
        if len(rows):
            self.tables[spec.name].reserve(int(rows.max()) + 1)
        return rows

    def keys(self, spec: TableSpec, rows: Slots) -> Keys:
        return self.item_keys[rows] if spec.entity == "item" else rows.astype(np.uint64)

    def acquire(self, keys: Keys) -> Slots:
        """A partition admits items: their ``(n,)`` rows, new ones at their initial values."""
        rows = self.item_map.find(keys)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            rows[missing] = self._new_rows(keys[missing])
        self._n_owners[rows] += 1
        return rows

    def _new_rows(self, keys: Keys) -> Slots:
        n_reused = min(len(keys), len(self._free))
        reused = [self._free.pop() for _ in range(n_reused)]
        n_fresh = len(keys) - n_reused
        rows = np.array([*reused, *range(self._n_rows, self._n_rows + n_fresh)], dtype=np.int32)
        self._n_rows += n_fresh
        self._reserve(self._n_rows)
        self.item_keys[rows] = keys
        self.item_map.insert(keys, rows)
        for model in self._models:
            for spec in model.tables():
                if spec.shared and spec.entity == "item":
                    initial = model.initial(spec.name, keys)
                    self.tables[spec.name].values[rows] = 0 if initial is None else initial
        return rows

    def _reserve(self, n_rows: int) -> None:
        for table in self.tables.values():
            if table.spec.entity == "item":
                table.reserve(n_rows)
        if n_rows > len(self.item_keys):
            n_new = max(n_rows, 2 * len(self.item_keys), 256) - len(self.item_keys)
            self.item_keys = np.concatenate([self.item_keys, np.zeros(n_new, np.uint64)])
            self._n_owners = np.concatenate([self._n_owners, np.zeros(n_new, np.int32)])

    def release(self, keys: Keys) -> None:
        """A partition drops items, its contributions already withdrawn; unowned rows are freed."""
        rows = self.item_map.find(keys)
        self._n_owners[rows] -= 1
        unowned = rows[self._n_owners[rows] == 0]
        self.item_map.remove(self.item_keys[unowned])
        self._free.extend(unowned.tolist())

    def add(self, tables: Mapping[str, Rows]) -> None:
        """Add contributions (changes, or whole rows of a checkpoint) to rows already acquired."""
        for name, rows in tables.items():
            if name in self.tables:
                table = self.tables[name]
                at = self.rows(table.spec, rows.keys)  # may let the table grow: before its values
                fold(table.spec, table.values, at, rows.values)

    def apply(self, change: Change) -> None:
        """Apply what another partition committed."""
        self.add(change.withdrawn)
        if "item" in change.ids:
            self.release(change.ids["item"].removed)
            self.acquire(change.ids["item"].added)
        self.add(change.tables)
