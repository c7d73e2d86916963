"""All that one partition has taught the model: its users' rows, its contributions to others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streamer_models.state.ids.id_table import IdTable
from streamer_models.state.protocols import TableOwner
from streamer_models.state.shared import SharedState
from streamer_models.state.stored_rows import StoredRows
from streamer_models.state.table import (
    ARM,
    FEATURE_ENTITIES,
    ITEM,
    PROFILE,
    USER,
    Array,
    Change,
    IdChange,
    Keys,
    Merge,
    Rows,
    Slots,
    Table,
    TableSpec,
    TouchedSlots,
    check_specs,
    fold,
)

_INDEX_ROWS_MAX = 1 << 20

CURSOR = TableSpec("join_cursor", "slot", Merge.REPLACE, "i8", 4)
"""One row: from where events and decisions must be read again to have open joins as they were."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of one partition's id tables."""

    users_max: int
    items_max: int
    user_sightings_min: int = 1
    item_sightings_min: int = 1
    arms_max: int = 50_000
    feature_rows_max: int = 200_000


def all_specs(models: Sequence[TableOwner]) -> list[TableSpec]:
    """Every table a partition stores: its cursor, those of its id tables and those of the models.

    Raises
    ------
    ValueError
        Where two of them have one name, or a width cannot be.
    """
    of_models = [spec for model in models for spec in model.tables()]
    of_ids = [spec for entity in _entities(of_models) for spec in IdTable.specs(entity)]
    specs = [CURSOR, *of_ids, *of_models]
    check_specs(specs)
    return specs


def _entities(specs: Sequence[TableSpec], also: Sequence[str] = ()) -> list[str]:
    """Entities a partition has ids of: users and items always, others where a model asks."""
    asked = {*also, *(spec.entity for spec in specs)}
    return [
        USER,
        ITEM,
        *(entity for entity in (PROFILE, ARM, *FEATURE_ENTITIES) if entity in asked),
    ]


class PartitionState:
    """The state partition ``partition`` owns, in the learner that owns it.

    Own tables are indexed by the slots of ``users`` or ``items``; contributions to shared tables
    by item slot (or plain index). Every change is collected into a :class:`Change`, and rows
    changed since the last checkpoint are remembered for the next one.

    Parameters
    ----------
    partition
        Its number.
    models
        Whose tables these are.
    shared
        The learner's merged rows; this partition's admissions and evictions are told to it.
    bounds
        Of the id tables.
    entities
        Entities to have ids of, whatever the models ask for: those that the store has.
    """

    def __init__(
        self,
        partition: int,
        models: Sequence[TableOwner],
        shared: SharedState,
        *,
        bounds: Bounds,
        entities: Sequence[str] = (),
    ) -> None:
        self.partition = partition
        self.shared = shared
        self.users = IdTable(
            USER, rows_max=bounds.users_max, sightings_min=bounds.user_sightings_min
        )
        self.items = IdTable(
            ITEM, rows_max=bounds.items_max, sightings_min=bounds.item_sightings_min
        )
        self.ids = {USER: self.users, ITEM: self.items}
        specs = [spec for model in models for spec in model.tables()]
        for entity in _entities(specs, entities)[2:]:
            rows_max = {PROFILE: bounds.users_max, ARM: bounds.arms_max}
            self.ids[entity] = IdTable(
                entity, rows_max=rows_max.get(entity, bounds.feature_rows_max)
            )
        self.own: dict[str, Table] = {
            table.spec.name: table
            for ids in self.ids.values()
            for table in (ids.meta, ids.sightings)
        }
        self.own[CURSOR.name] = Table(CURSOR, rows_max=1)
        self.contributions: dict[str, Table] = {}
        for spec in specs:
            table = Table(spec, rows_max=self._rows_max(spec))
            (self.contributions if spec.shared else self.own)[spec.name] = table
            if shared.is_kept_by_partition(spec):
                shared.own_lists(partition, table, self.ids[spec.entity].map)
        self.watermark_ms = 0
        self._shared_rows = {
            entity: np.zeros(0, dtype=np.int32) for entity in self.ids if entity in shared.ids
        }
        self._withdrawn: dict[str, list[Rows]] = {}
        self._dirty = {name: TouchedSlots() for name in (*self.own, *self.contributions)}
        self._stored = {name: StoredRows() for name in self._dirty}
        self._evicted: dict[str, list[Slots]] = {entity: [] for entity in self.ids}
        self._names_since: dict[str, dict[int, bytes]] = {entity: {} for entity in self.ids}
        self._removed_since: dict[str, dict[int, None]] = {entity: {} for entity in self.ids}

    @property
    def item_rows(self) -> Slots:
        """Row of each item slot in the shared tables, -1 for a free slot."""
        return self._shared_rows[ITEM]

    def _rows_max(self, spec: TableSpec) -> int:
        return self.ids[spec.entity].rows_max if spec.entity in self.ids else _INDEX_ROWS_MAX

    @property
    def cursor(self) -> tuple[int, ...]:
        """The numbers last given to :meth:`keep_cursor`; zeros at first."""
        table = self.own[CURSOR.name]
        return tuple(table.values[0].tolist()) if len(table) else (0,) * CURSOR.width

    def keep_cursor(self, cursor: tuple[int, ...]) -> None:
        """Keep the cursor of the joins with what was learned up to it."""
        if cursor != self.cursor:
            table = self.own[CURSOR.name]
            table.reserve(1)
            table.touch(np.zeros(1, dtype=np.int32))
            table.values[0] = cursor

    # --- slots ----------------------------------------------------------------------------------

    def reserve(self) -> None:
        """Let every table have a row for every slot, and map new ids to shared rows."""
        taken = {entity: ids.take_unmapped() for entity, ids in self.ids.items()}
        taken = {entity: slots for entity, slots in taken.items() if len(slots)}
        if not taken:
            return
        for table in (*self.own.values(), *self.contributions.values()):
            if table.spec.entity in taken:
                table.reserve(self.ids[table.spec.entity].n_slots)
        for entity, new in taken.items():
            if entity not in self._shared_rows:
                continue
            ids, rows = self.ids[entity], self._shared_rows[entity]
            if len(ids.keys) > len(rows):
                unmapped = np.full(len(ids.keys) - len(rows), -1, dtype=np.int32)
                self._shared_rows[entity] = rows = np.concatenate([rows, unmapped])
            rows[new] = self.shared.acquire(entity, ids.keys[new])

    def evict(self, entity: str, slots: Slots) -> None:
        """Drop ids and their rows, withdrawing what they contributed to shared rows."""
        if len(slots) == 0:
            return
        ids = self.ids[entity]
        keys = ids.keys[slots]
        for table in (*self.own.values(), *self.contributions.values()):
            if table.spec.entity != entity or table is ids.meta or len(table) == 0:
                continue
            if table.spec.shared:
                self._withdraw(table, keys, slots)
            table.values[slots] = 0
        if entity in self._shared_rows:
            self.shared.release(entity, keys)
            self._shared_rows[entity][slots] = -1
        ids.evict(slots)
        self._evicted[entity].append(slots)

    def _withdraw(self, table: Table, keys: Keys, slots: Slots) -> None:
        values = table.values[slots]
        if table.spec.merge is Merge.DECAYED:
            values[:, 1::2] *= -1
        else:
            values *= -1
        rows = Rows(keys, values)
        self.shared.add({table.spec.name: rows})
        self._withdrawn.setdefault(table.spec.name, []).append(rows)

    # --- changes --------------------------------------------------------------------------------

    def collect(self) -> Change:
        """What was learned since the last call; contributions and dirty rows are brought up."""
        tables: dict[str, Rows] = {}
        for name, table in _changed(self.own):
            slots, values = table.changes()
            table.settle()
            if len(slots):
                self._mark_dirty(name, slots)
                tables[name] = Rows(self._keys(table.spec, slots), values)
        for name, table in _changed(self.shared.tables):
            rows, values = table.changes()
            table.settle()
            if len(rows):
                tables[name] = Rows(self.shared.keys(table.spec, rows), values)
                self._contribute(name, tables[name])
        for name, table in _changed(self.contributions):
            slots, values = table.changes()
            table.settle()
            if len(slots):
                assert name not in tables, f"{name} was learned both shared and as contribution"
                self._mark_dirty(name, slots)
                tables[name] = Rows(self._keys(table.spec, slots), values)
                self.shared.add({name: tables[name]})
        withdrawn = {name: _joined(parts) for name, parts in self._withdrawn.items()}
        self._withdrawn.clear()
        changes: dict[str, IdChange] = {}
        for entity, ids in self.ids.items():
            if ids.changed:
                changes[entity] = ids.changes()
                self._note_ids(entity, changes[entity])
            ids.settle()
        return Change(withdrawn=withdrawn, ids=changes, tables=tables)

    def _keys(self, spec: TableSpec, slots: Slots) -> Keys:
        keys: Keys = (
            self.ids[spec.entity].keys[slots]
            if spec.entity in self.ids
            else slots.astype(np.uint64)
        )
        return keys

    def _slots(self, table: Table, keys: Keys) -> Slots:
        if table.spec.entity in self.ids:
            return self.ids[table.spec.entity].map.find(keys)
        slots = keys.astype(np.int32)
        if len(slots):
            table.reserve(int(slots.max()) + 1)
        return slots

    def _contribute(self, name: str, rows: Rows) -> None:
        table = self.contributions[name]
        slots = self._slots(table, rows.keys)
        fold(table.spec, table.values, slots, rows.values)
        self._mark_dirty(name, slots)

    def _mark_dirty(self, name: str, slots: Slots) -> None:
        table = self.own.get(name) or self.contributions[name]
        self._dirty[name].reserve(len(table))
        self._dirty[name].add(slots)

    def _note_ids(self, entity: str, change: IdChange) -> None:
        for slots in self._evicted[entity]:
            for name, table in self._tables():
                if table.spec.entity == entity:
                    self._stored[name].drop(slots)
        self._evicted[entity].clear()
        names, removed = self._names_since[entity], self._removed_since[entity]
        for key in change.removed.tolist():
            names.pop(key, None)
            removed[key] = None
        names.update(zip(change.added.tolist(), change.names, strict=True))

    # --- checkpoints and loading ----------------------------------------------------------------

    @property
    def n_dirty(self) -> int:
        """Rows the next checkpoint writes."""
        return sum(map(len, self._dirty.values())) + sum(map(len, self._names_since.values()))

    def take_checkpoint(
        self,
    ) -> tuple[dict[str, tuple[Keys, tuple[bytes, ...]]], dict[str, Keys], dict[str, Rows]]:
        """Copies of (names, removed, rows) changed since the last call, rows in full."""
        tables: dict[str, Rows] = {}
        for table in (*self.own.values(), *self.contributions.values()):
            name = table.spec.name
            slots = self._live(table.spec, self._dirty[name].slots())
            self._dirty[name].clear()
            if len(slots):
                tables[name] = Rows(self._keys(table.spec, slots), table.values.take(slots, axis=0))
                self._stored[name].add(slots)
        names = {
            entity: (np.array(list(since), dtype=np.uint64), tuple(since.values()))
            for entity, since in self._names_since.items()
        }
        removed = {
            entity: np.array(list(since), dtype=np.uint64)
            for entity, since in self._removed_since.items()
        }
        self._names_since = {entity: {} for entity in self.ids}
        self._removed_since = {entity: {} for entity in self.ids}
        return names, removed, tables

    def stored_sizes(self) -> dict[str, int]:
        """Rows that each table has in the store once all checkpoints taken are written, and
        ``names:`` of each entity, as many as it has rows of ids."""
        sizes = {name: stored.n for name, stored in self._stored.items()}
        names = {f"names:{e}": sizes[ids.meta.spec.name] for e, ids in self.ids.items()}
        return sizes | names

    def _tables(self) -> Iterator[tuple[str, Table]]:
        yield from self.own.items()
        yield from self.contributions.items()

    def _live(self, spec: TableSpec, slots: Slots) -> Slots:
        if spec.entity not in self.ids:
            return slots
        live: Slots = slots[self.ids[spec.entity].is_live(slots)]
        return live

    def load(
        self, names: Mapping[str, tuple[Keys, Sequence[bytes]]], tables: Mapping[str, Rows]
    ) -> None:
        """Fill an empty state from a checkpoint and add its contributions to the shared rows."""
        for entity, ids in self.ids.items():
            keys, id_names = names.get(entity, (np.zeros(0, np.uint64), ()))
            ids.load(keys, id_names, _aligned(keys, tables.get(ids.meta.spec.name), ids.meta))
            if ids.meta.spec.name in tables:
                self._stored[ids.meta.spec.name].add(ids.map.find(keys))
        self.reserve()
        metas = [ids.meta for ids in self.ids.values()]
        for table in (*self.own.values(), *self.contributions.values()):
            rows = tables.get(table.spec.name)
            if rows is not None and table not in metas:
                slots = self._slots(table, rows.keys)  # may make the table larger
                table.values[slots] = rows.values
                self._stored[table.spec.name].add(slots)
        self.shared.add({name: tables[name] for name in self.contributions if name in tables})

    def apply(self, change: Change) -> None:
        """Redo a change of this partition that was committed after the checkpoint loaded."""
        for entity, ids in self.ids.items():
            if entity in change.ids:
                self.evict(entity, ids.map.find(change.ids[entity].removed))
        self._withdrawn.clear()
        for entity, ids in self.ids.items():
            if entity in change.ids and len(change.ids[entity].added):
                ids.restore(change.ids[entity], change.tables[ids.meta.spec.name])
        self.reserve()
        for name, rows in change.tables.items():
            if name in self.contributions:
                self._contribute(name, rows)
            else:
                table = self.own[name]
                slots = self._slots(table, rows.keys)
                fold(table.spec, table.values, slots, rows.values)
                self._mark_dirty(name, slots)
        self.shared.add(
            {name: change.tables[name] for name in self.contributions if name in change.tables}
        )
        for entity, ids in self.ids.items():
            if entity in change.ids:
                self._note_ids(entity, change.ids[entity])
            ids.settle()


def _changed(tables: Mapping[str, Table]) -> list[tuple[str, Table]]:
    """Those with changes: most of some thirty tables have none in a small batch."""
    return [(name, table) for name, table in tables.items() if table.changed]


def _aligned(keys: Keys, rows: Rows | None, meta: Table) -> Array:
    """Meta rows in the order of ``keys``."""
    if rows is None:
        return meta.values[:0]
    order = np.argsort(rows.keys)
    return rows.values[order[np.searchsorted(rows.keys, keys, sorter=order)]]


def _joined(parts: Sequence[Rows]) -> Rows:
    return Rows(
        np.concatenate([rows.keys for rows in parts]),
        np.concatenate([rows.values for rows in parts]),
    )
