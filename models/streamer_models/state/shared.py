"""What all partitions know of items and arms together: initial value + sum of contributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from streamer_models.state.key_map import KeyMap
from streamer_models.state.protocols import Model
from streamer_models.state.table import (
    ITEM,
    SHARED_ENTITIES,
    Change,
    Keys,
    Rows,
    Slots,
    Table,
    TableSpec,
    fold,
)

_NO_LIMIT = 1 << 31


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
        rows = np.array([*reused, *range(self.n_rows, self.n_rows + n_fresh)], dtype=np.int32)
        self.n_rows += n_fresh
        if self.n_rows > len(self.keys):
            n_more = max(self.n_rows, 2 * len(self.keys), 256) - len(self.keys)
            self.keys = np.concatenate([self.keys, np.zeros(n_more, np.uint64)])
            self._n_owners = np.concatenate([self._n_owners, np.zeros(n_more, np.int32)])
        self.keys[rows] = keys
        self.map.insert(keys, rows)
        return rows

    def release(self, keys: Keys) -> None:
        """A partition drops ids, its contributions already withdrawn; unowned rows are freed."""
        rows = self.map.find(keys)
        self._n_owners[rows] -= 1
        unowned = rows[self._n_owners[rows] == 0]
        self.map.remove(self.keys[unowned])
        self._free.extend(unowned.tolist())


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
        self._model_of = {spec: model for model in models for spec in model.tables() if spec.shared}
        self.tables = {spec.name: Table(spec, rows_max=_NO_LIMIT) for spec in self._model_of}
        self.ids = {entity: SharedIds() for entity in SHARED_ENTITIES}

    @property
    def item_map(self) -> KeyMap:
        return self.ids[ITEM].map

    @property
    def n_items(self) -> int:
        return len(self.item_map)

    def rows(self, spec: TableSpec, keys: Keys) -> Slots:
        """``(n,)`` rows of ``keys`` in a shared table: looked up for ids, else the index."""
        if spec.entity in self.ids:
            return self.ids[spec.entity].map.find(keys)
        rows = keys.astype(np.int32)
        if len(rows):
            self.tables[spec.name].reserve(int(rows.max()) + 1)
        return rows

    def keys(self, spec: TableSpec, rows: Slots) -> Keys:
        if spec.entity in self.ids:
            return self.ids[spec.entity].keys[rows]
        return rows.astype(np.uint64)

    def acquire(self, entity: str, keys: Keys) -> Slots:
        """A partition admits ids: their ``(n,)`` rows, new ones at their initial values."""
        rows, new = self.ids[entity].acquire(keys)
        if len(new):
            self._start(entity, new)
        return rows

    def _start(self, entity: str, rows: Slots) -> None:
        """Bring new rows to their initial values."""
        ids = self.ids[entity]
        for spec, model in self._model_of.items():
            if spec.entity == entity:
                table = self.tables[spec.name]
                table.reserve(ids.n_rows)
                initial = model.initial(spec.name, ids.keys[rows])
                table.values[rows] = 0 if initial is None else initial

    def release(self, entity: str, keys: Keys) -> None:
        """A partition drops ids, its contributions already withdrawn."""
        self.ids[entity].release(keys)

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
        for entity in SHARED_ENTITIES:
            if entity in change.ids:
                self.release(entity, change.ids[entity].removed)
                self.acquire(entity, change.ids[entity].added)
        self.add(change.tables)
