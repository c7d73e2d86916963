"""What a partition and its learner hold, to the bit; and a store of checkpoints to reload from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from streamer_models.state.model import Model
from streamer_models.state.partition import PartitionState
from streamer_models.state.shared import SharedState
from streamer_models.state.shared_ids import SharedIds
from streamer_models.state.table import Array, Keys, Rows, Slots, TableSpec, fold

Snapshot = dict[str, dict[int, bytes]]
"""Rows by table and key; a row of zeros is one that was never written, and left out."""


def snapshot(state: PartitionState) -> Snapshot:
    """Every live row of a partition and every merged row."""
    rows: Snapshot = {}
    for name, table in {**state.own, **state.contributions}.items():
        slots = _live(state, table.spec, len(table))
        rows[name] = _nonzero(_keys(state, table.spec, slots), table.values[slots])
    return rows | shared_snapshot(state.shared)


def shared_snapshot(shared: SharedState) -> Snapshot:
    """Every merged row of a learner, and every partition's lists as it knows them."""
    rows: Snapshot = {}
    for name, table in shared.tables.items():
        if table.spec.entity in shared.ids:
            ids = shared.ids[table.spec.entity]
            live = _live_rows(ids)
            live = live[live < len(table)]
            rows[f"merged {name}"] = _nonzero(ids.keys[live], table.values[live])
        else:
            rows[f"merged {name}"] = _nonzero(np.arange(len(table)), table.values)
    return rows | _lists(shared)


def _lists(shared: SharedState) -> Snapshot:
    """Every neighbour list of every partition, those of one id one after the other."""
    rows: Snapshot = {}
    for spec in shared.list_specs:
        ids = shared.ids[spec.entity]
        keys = ids.keys[_live_rows(ids)]
        lists = shared.lists(spec, keys).swapaxes(0, 1).reshape(len(keys), -1)
        rows[f"lists {spec.name}"] = _nonzero(keys, lists)
    return rows


def _live_rows(ids: SharedIds) -> Slots:
    return np.flatnonzero(ids.map.find(ids.keys) == np.arange(len(ids.keys))).astype(np.int32)


def merged_by_hand(models: Sequence[Model], states: Sequence[PartitionState]) -> Snapshot:
    """Initial values + contributions of all partitions, row by row."""
    merged: Snapshot = {}
    for model in models:
        for spec in (spec for spec in model.tables() if spec.shared):
            rows: dict[int, Array] = {}
            for state in states:
                values = state.contributions[spec.name].values
                slots = _live(state, spec, len(values))
                for key, slot in zip(_keys(state, spec, slots).tolist(), slots, strict=True):
                    if key not in rows:
                        rows[key] = _initial(model, spec, key)
                    fold(spec, rows[key], np.zeros(1, np.int32), values[slot : slot + 1])
            of_all = {key: row.tobytes() for key, row in rows.items() if np.any(row != 0)}
            merged[f"merged {spec.name}"] = of_all
    return merged


def _initial(model: Model, spec: TableSpec, key: int) -> Array:
    row = np.zeros((1, spec.width), spec.dtype)
    if spec.entity != "slot":
        initial = model.initial(spec.name, np.array([key], dtype=np.uint64))
        row[:] = 0 if initial is None else initial
    return row


def _live(state: PartitionState, spec: TableSpec, n_rows: int) -> Array:
    if spec.entity in state.ids:
        return state.ids[spec.entity].live_slots()
    return np.arange(n_rows, dtype=np.int32)


def _keys(state: PartitionState, spec: TableSpec, slots: Array) -> Array:
    return state.ids[spec.entity].keys[slots] if spec.entity in state.ids else slots


def _nonzero(keys: Array, values: Array) -> dict[int, bytes]:
    written = np.any(values != 0, axis=1)
    rows = zip(keys[written].tolist(), values[written], strict=True)
    return {key: row.tobytes() for key, row in rows}


@dataclass
class Stored:
    """What a store keeps of one partition's checkpoints: rows by table and key, names by key."""

    names: dict[str, dict[int, bytes]] = field(default_factory=dict)
    rows: dict[str, dict[int, Array]] = field(default_factory=dict)
    watermark_ms: int = 0

    def checkpoint(self, state: PartitionState) -> None:
        """Take what changed since the last checkpoint: ids that went, ids that came, rows."""
        names, removed, tables = state.take_checkpoint()
        entities = {
            name: table.spec.entity for name, table in {**state.own, **state.contributions}.items()
        }
        for entity, keys in removed.items():
            for key in keys.tolist():
                self.names.setdefault(entity, {}).pop(key, None)
                for name, rows in self.rows.items():
                    if entities[name] == entity:
                        rows.pop(key, None)
        for entity, (keys, id_names) in names.items():
            known = zip(keys.tolist(), id_names, strict=True)
            self.names.setdefault(entity, {}).update(known)
        for name, part in tables.items():
            stored = self.rows.setdefault(name, {})
            stored.update(zip(part.keys.tolist(), part.values.copy(), strict=True))
        sizes = {name: len(rows) for name, rows in self.rows.items()}
        sizes |= {f"names:{entity}": len(known) for entity, known in self.names.items()}
        assert {name: n for name, n in state.stored_sizes().items() if n} == {
            name: n for name, n in sizes.items() if n
        }, "a store would miss rows that are there, or take others for there"
        self.watermark_ms = state.watermark_ms

    def load(self, state: PartitionState) -> PartitionState:
        """Fill an empty state, rows in another order than they were written in."""
        state.load(*self.contents())
        state.watermark_ms = self.watermark_ms
        return state

    def contents(self) -> tuple[dict[str, tuple[Keys, tuple[bytes, ...]]], dict[str, Rows]]:
        """Names by entity and rows by table, as a store gives them."""
        names = {
            entity: (np.array(list(known), dtype=np.uint64), tuple(known.values()))
            for entity, known in self.names.items()
        }
        tables = {
            name: Rows(
                np.array(list(rows)[::-1], dtype=np.uint64), np.stack(list(rows.values())[::-1])
            )
            for name, rows in self.rows.items()
            if rows
        }
        return names, tables
