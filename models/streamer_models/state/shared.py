"""What a learner knows of all partitions: merged rows of items and arms (initial value + sum of
contributions), and each partition's neighbour lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.key_map import KeyMap
from streamer_models.state.partition_lists import PartitionLists
from streamer_models.state.protocols import TableOwner
from streamer_models.state.readable import ReadRows
from streamer_models.state.shared_ids import SharedIds
from streamer_models.state.table import (
    ID_ENTITIES,
    ITEM,
    SHARED_ENTITIES,
    Array,
    Change,
    Keys,
    Merge,
    Rows,
    Slots,
    Table,
    TableSpec,
    fold,
)
from streamer_models.state.top_rows import Ranked, TopRows, Tops

_NO_LIMIT = 1 << 31


class SharedState:
    """Merged rows of the shared tables, by row, and neighbour lists, for one learner.

    A row lives while at least one partition has the id admitted. Row numbers are local to the
    process. Integer contributions may be added in any order: the values are the same to the bit.
    Lists are kept by partition, so the order of commits of different partitions does not matter
    either.

    Parameters
    ----------
    models
        Whose shared tables these are, and who says what a new row starts from.
    """

    def __init__(self, models: Sequence[TableOwner]) -> None:
        self._model_of = {spec: model for model in models for spec in model.tables() if spec.shared}
        self.tables = {spec.name: Table(spec, rows_max=_NO_LIMIT) for spec in self._model_of}
        self._ranked = _ranked(models)
        self._tops: dict[str, TopRows] = {}
        self._lists = {
            spec.name: PartitionLists(spec)
            for model in models
            for spec in model.tables()
            if self.is_kept_by_partition(spec)
        }
        # Users are in one partition each: their ids are shared only where a model asks for it.
        asked = {spec.entity for spec in (*self._model_of, *self.list_specs)}
        self.ids = {
            entity: SharedIds()
            for entity in ID_ENTITIES
            if entity in SHARED_ENTITIES or entity in asked
        }

    def is_kept_by_partition(self, spec: TableSpec) -> bool:
        """Whether rows of each partition are kept beside merged ones: a decayed cell that another
        partition withdrew keeps its epoch, so merged ones are no function of what is contributed,
        and what is learned must not depend on them."""
        decayed = spec.merge is Merge.DECAYED and spec.name in self._ranked
        return spec.merge is Merge.NEIGHBOURS or decayed

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
                table.note(rows)

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
                table.note(at)

    def tops(self, spec: TableSpec) -> Tops:
        """Return the greatest rows of a table that is declared to be ranked, as it is now."""
        table, ids = self.tables[spec.name], self.ids[spec.entity]
        tops = self._tops.get(spec.name)
        if tops is None:
            tops = self._tops[spec.name] = TopRows(self._ranked[spec.name], spec.width)
        noted = table.take_noted()
        return tops.current(noted, ids.n_rows, lambda rows: self.taken(spec, rows), ids.keys)

    def taken(self, spec: TableSpec, rows: Slots) -> Array:
        """Return ``(n, width)`` copies of rows as a function of what is contributed, that of an
        owned partition as it is now; zeros for negative rows and free ones."""
        known = rows >= 0
        if spec.merge is not Merge.DECAYED or spec.entity not in self.ids:
            values = self.tables[spec.name].values
            return values.take(rows, axis=0) if known.all() else _with_zeros(values, rows, known)
        ids = self.ids[spec.entity]
        live = known & ids.is_live(rows)
        places = np.flatnonzero(live).astype(np.int32)
        by_partition = self._lists[spec.name].read(ids.keys[rows[places]])
        if len(by_partition) == 1 and len(places) == len(rows):
            found: Array = by_partition[0]
            return found
        merged: Array = np.zeros((len(rows), spec.width), dtype=spec.dtype)
        for contributed in by_partition:
            fold(spec, merged, places, contributed)
        return merged

    # --- neighbour lists ------------------------------------------------------------------------

    @property
    def list_specs(self) -> list[TableSpec]:
        """Tables that :meth:`lists` reads."""
        return [lists.spec for lists in self._lists.values()]

    def own_lists(self, partition: int, table: Table, slots: KeyMap) -> None:
        """Read the lists of a partition that this learner owns from its table."""
        self._lists[table.spec.name].own(partition, table, slots)

    def lists(self, spec: TableSpec, keys: Keys) -> Array:
        """Return ``(n_partitions, n, width)`` neighbour lists of ids, of every partition known by
        rising number; zeros where it has none. Those of owned partitions are as they are now."""
        return self._lists[spec.name].read(keys)

    # --- what other learners own -----------------------------------------------------------------

    def load(
        self,
        partition: int,
        names: Mapping[str, tuple[Keys, Sequence[bytes]]],
        tables: Mapping[str, Rows],
    ) -> None:
        """Take the checkpoint of a partition that another learner owns."""
        for entity in self.ids:
            if entity in names:
                self.acquire(entity, names[entity][0])
        self.add(tables)
        for name, lists in self._lists.items():
            if name in tables:
                lists.load(partition, tables[name])

    def apply(self, partition: int, change: Change) -> None:
        """Apply what a partition that another learner owns has committed."""
        self.add(change.withdrawn)
        for entity in self.ids:
            if entity in change.ids:
                self.release(entity, change.ids[entity].removed)
                self.acquire(entity, change.ids[entity].added)
        self.add(change.tables)
        for name, lists in self._lists.items():
            if lists.spec.entity in change.ids:
                lists.drop(partition, change.ids[lists.spec.entity].removed)
            if name in change.tables:
                lists.fold(partition, change.tables[name])


def _with_zeros(values: Array, rows: Slots, known: NDArray[np.bool_]) -> Array:
    found: Array = np.zeros((len(rows), values.shape[1]), dtype=values.dtype)
    found[known] = values[rows[known]]
    return found


def _ranked(models: Sequence[TableOwner]) -> dict[str, Ranked]:
    """Tables of ids that are read by rank."""
    readings = (reading for model in models for reading in model.readable())
    return {
        reading.spec.name: reading.ranked
        for reading in readings
        if isinstance(reading, ReadRows) and reading.ranked is not None
    }
