"""A made-up partition whose true state is known, to hold against what a store gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import numpy as np

from streamer.commit_ids import commit_id
from streamer.protocols import (
    STORE_SCHEMA_VERSION,
    Checkpoint,
    Entry,
    Layout,
    ParameterStore,
    PartitionImage,
    RestorableStore,
    Schedule,
)
from streamer_models.state.ids.id_table import id_key
from streamer_models.state.table import Array, Change, IdChange, Merge, Rows, TableSpec, fold

TABLES = (
    TableSpec("user_meta", "user", Merge.REPLACE, "i8", 4),
    TableSpec("user_factors", "user", Merge.REPLACE, "f4", 5),
    TableSpec("user_history", "user", Merge.RECENT, "u8", 1 + 6),
    TableSpec("item_factors", "item", Merge.SUM, "i4", 5),
    TableSpec("item_popularity", "item", Merge.DECAYED, "i8", 4),
    TableSpec("item_neighbours", "item", Merge.NEIGHBOURS, "u8", 6),
    TableSpec("recent_items", "slot", Merge.RECENT, "u8", 1 + 8),
)
LAYOUT = Layout(STORE_SCHEMA_VERSION, 4, TABLES, {"learner.seed": 1})
ENTITIES = ("item", "user")


@dataclass
class State:
    """Names by entity and key, rows by table and key."""

    names: dict[str, dict[int, bytes]] = field(
        default_factory=lambda: {entity: {} for entity in ENTITIES}
    )
    rows: dict[str, dict[int, bytes]] = field(
        default_factory=lambda: {spec.name: {} for spec in TABLES}
    )

    def apply(self, change: Change) -> None:
        for entity, ids in change.ids.items():
            for key in ids.removed.tolist():
                self.names[entity].pop(key)
                for spec in TABLES:
                    if spec.entity == entity:
                        self.rows[spec.name].pop(key, None)
            self.names[entity].update(zip(ids.added.tolist(), ids.names, strict=True))
        for spec in TABLES:
            if spec.name in change.tables:
                self._fold(spec, change.tables[spec.name])

    def _fold(self, spec: TableSpec, changes: Rows) -> None:
        rows = self.rows[spec.name]
        for key, value in zip(changes.keys.tolist(), changes.values, strict=True):
            row = np.frombuffer(rows.get(key, bytes(spec.row_bytes)), spec.dtype).copy()
            fold(spec, row[None, :], np.zeros(1, np.int32), value[None, :].copy())
            rows[key] = row.tobytes()


def state_of(image: PartitionImage) -> State:
    """Names and rows of a loaded image once its entries are folded into them."""
    state = State()
    for entity, (keys, names) in image.checkpoint.names.items():
        state.names[entity] = dict(zip(keys.tolist(), names, strict=True))
    for table, rows in image.checkpoint.tables.items():
        values = (row.tobytes() for row in rows.values)
        state.rows[table] = dict(zip(rows.keys.tolist(), values, strict=True))
    for entry in image.entries:
        state.apply(entry.change)
    return state


class World:
    """A partition that admits, drops and changes at random, as a learner would.

    Parameters
    ----------
    partition, seed : the same ones give the same entries.
    """

    def __init__(self, partition: int = 0, *, seed: int = 0) -> None:
        self.partition = partition
        self.state = State()
        self.version = 0
        self.commit_id = 0
        self.offsets = {"events": 0}
        self.watermark_ms = 0
        self._rng = np.random.default_rng((seed, partition))
        self._n_named = 0
        self._fresh: dict[str, dict[int, bytes]] = {entity: {} for entity in ENTITIES}
        self._removed: dict[str, set[int]] = {entity: set() for entity in ENTITIES}
        self._touched: dict[str, set[int]] = {spec.name: set() for spec in TABLES}

    def next_entry(self) -> Entry:
        """One more batch learned: the state moves on, and this is what it commits."""
        ids = {entity: self._next_ids(entity) for entity in ENTITIES}
        live = {
            entity: sorted(
                (self.state.names[entity].keys() - set(ids[entity].removed.tolist()))
                | set(ids[entity].added.tolist())
            )
            for entity in ENTITIES
        }
        tables = {spec.name: self._next_rows(spec, live.get(spec.entity, [0])) for spec in TABLES}
        gone = ids["item"].removed
        withdrawn = {
            "item_factors": Rows(gone, self._rng.integers(-9, 9, (len(gone), 5), np.int32))
        }
        change = Change(withdrawn, ids, tables)
        taken = int(self._rng.integers(1, 50))
        self.version += 1
        self.watermark_ms += taken
        start = self.offsets["events"]
        self.offsets = {"events": start + taken, "decisions": 7 * self.version}
        others = {p: self.version for p in range(LAYOUT.n_partitions) if p != self.partition}
        schedule = Schedule(
            self.version,
            {
                "events": (start, start + taken),
                "decisions": (7 * self.version - 7, 7 * self.version),
            },
            others,
            dict(others),
        )
        committed_ms = 1_700_000_000_000 + self.version
        parent_id = self.commit_id
        self.commit_id = commit_id(parent_id, schedule, committed_ms)
        entry = Entry(
            partition=self.partition,
            schedule=schedule,
            change=change,
            watermark_ms=self.watermark_ms,
            publish_ms=np.sort(self._rng.integers(0, 2**40, 5)),
            committed_ms=committed_ms,
            n_events=taken,
            parent_id=parent_id,
            commit_id=self.commit_id,
        )
        self.state.apply(change)
        self._note(change)
        return entry

    def checkpoint(self) -> Checkpoint:
        """What changed since the last call."""
        checkpoint = Checkpoint(
            partition=self.partition,
            version=self.version,
            offsets=dict(self.offsets),
            watermark_ms=self.watermark_ms,
            names={
                entity: (np.array(list(named), np.uint64), tuple(named.values()))
                for entity, named in self._fresh.items()
            },
            removed={
                entity: np.array(sorted(keys), np.uint64) for entity, keys in self._removed.items()
            },
            tables={spec.name: self._changed_rows(spec) for spec in TABLES},
            sizes={
                **{name: len(rows) for name, rows in self.state.rows.items()},
                **{f"names:{entity}": len(named) for entity, named in self.state.names.items()},
            },
            commit_id=self.commit_id,
        )
        for remembered in (self._fresh, self._removed, self._touched):
            for of_one in remembered.values():
                of_one.clear()
        return checkpoint

    def _next_ids(self, entity: str) -> IdChange:
        live = np.array(sorted(self.state.names[entity]), np.uint64)
        removed = self._rng.choice(live, size=len(live) // 5, replace=False) if len(live) else live
        first, self._n_named = self._n_named, self._n_named + int(self._rng.integers(0, 6))
        names = [f"{entity} №{n}\0{'é' * (n % 3)}".encode() for n in range(first, self._n_named)]
        if len(removed) and entity == "user":  # one comes back at once, under the same key
            names.append(self.state.names[entity][int(removed[0])])
        added = np.array([id_key(name) for name in names], np.uint64)
        return IdChange(added, tuple(names), removed)

    def _next_rows(self, spec: TableSpec, live: list[int]) -> Rows:
        n = min(len(live), int(self._rng.integers(0, 8)))
        cells = spec.merge is Merge.NEIGHBOURS  # several a row
        keys = self._rng.choice(np.array(live, np.uint64), size=n, replace=cells)
        shape = (n, spec.change_width)
        values: Array = self._rng.integers(0, 100, shape).astype(spec.dtype)
        if spec.dtype == "f4":
            values = self._rng.normal(size=shape).astype(np.float32)
        return Rows(keys, values)

    def _note(self, change: Change) -> None:
        for entity, ids in change.ids.items():
            for key in ids.removed.tolist():
                self._removed[entity].add(key)
                self._fresh[entity].pop(key, None)
                for spec in TABLES:
                    if spec.entity == entity:
                        self._touched[spec.name].discard(key)
            self._fresh[entity].update(zip(ids.added.tolist(), ids.names, strict=True))
        for table, rows in change.tables.items():
            self._touched[table].update(rows.keys.tolist())

    def _changed_rows(self, spec: TableSpec) -> Rows:
        keys = sorted(self._touched[spec.name])
        joined = b"".join(self.state.rows[spec.name][key] for key in keys)
        values = np.frombuffer(joined, spec.dtype).reshape(-1, spec.width)
        return Rows(np.array(keys, np.uint64), values)


class CutShort(Exception):
    """The process of whoever writes to a store is lost."""


def cut_short_after(store: ParameterStore, n_writes: int) -> RestorableStore:
    """A store to which so many writes of a copy or a rebuild come through."""
    left = [n_writes]

    class Cut:
        def __getattr__(self, name: str) -> object:
            if name in ("replace_layout", "acquire", "restore", "forget"):
                if not left[0]:
                    raise CutShort
                left[0] -= 1
            return getattr(store, name)

    return cast(RestorableStore, Cut())
