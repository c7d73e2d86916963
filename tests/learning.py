"""Streams to learn from, a driver that learns them as the learner does, and what is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from streamer_models.state.ingest import Feedback, learn_feedback
from streamer_models.state.partition import Bounds, PartitionState
from streamer_models.state.protocols import Model
from streamer_models.state.shared import SharedState
from streamer_models.state.table import Array, Change, Rows, fold

SMALL = Bounds(users_max=12, items_max=24, item_sightings_min=2)
"""So small that every stream of :func:`stream` evicts users and items all the time."""
LARGE = Bounds(users_max=10_000, items_max=10_000)
EXPIRY_MS = 3_000_000
"""Some of the ids of :func:`stream` are idle for longer: they expire in small states."""


def stream(
    n: int, *, seed: int, n_users: int = 30, n_items: int = 60, ts_ms: int = 1_700_000_000_000
) -> Feedback:
    """Feedback with gaps in its offsets, late events, skewed items, likes, dislikes, ratings."""
    rng = np.random.default_rng(seed)
    items = (n_items * rng.random(n) ** 2).astype(int)
    ratings = rng.integers(1, 11, n) / 2
    return Feedback(
        # Up to 4,000 offsets an event: 1,000 events cross some thirty sweeps for idle ids.
        offsets=np.cumsum(rng.integers(1, 4_000, n)).astype(np.int64),
        ts_ms=ts_ms + np.arange(n) * 60_000 - rng.integers(0, 600_000, n),
        user_ids=[f"user-{user}" for user in rng.integers(0, n_users, n)],
        item_ids=[f"item-{item}" for item in items],
        rewards=rng.choice([1.0, 1.0, 2.5, -1.0], n).astype(np.float32),
        values=np.where(rng.random(n) < 0.7, ratings, np.nan),
    )


def new_state(
    models: Sequence[Model],
    *,
    bounds: Bounds = SMALL,
    shared: SharedState | None = None,
    partition: int = 0,
) -> PartitionState:
    return PartitionState(partition, models, shared or SharedState(models), bounds=bounds)


def learn(
    feedback: Feedback,
    state: PartitionState,
    models: Sequence[Model],
    *,
    start: int = 0,
    end: int | None = None,
) -> list[Change]:
    """Learn events ``[start, end)`` of a stream as one batch, collecting after each segment."""
    offsets = feedback.offsets
    part = feedback.part(start, len(offsets) if end is None else end)
    if not len(part):
        return []
    segments = learn_feedback(
        part,
        state,
        models,
        from_offset=int(offsets[start - 1]) + 1 if start else 0,
        to_offset=int(part.offsets[-1]) + 1,
        idle_expiry_ms=EXPIRY_MS if state.users.rows_max == SMALL.users_max else 0,
    )
    return [state.collect() for _ in segments]


def learn_in_batches(
    feedback: Feedback, state: PartitionState, models: Sequence[Model], cuts: Sequence[int]
) -> list[Change]:
    """Learn a stream in batches that end at ``cuts``."""
    ends = [*cuts, len(feedback)]
    starts = [0, *cuts]
    return [
        change
        for start, end in zip(starts, ends, strict=True)
        for change in learn(feedback, state, models, start=start, end=end)
    ]


Snapshot = dict[str, dict[int, bytes]]


def snapshot(state: PartitionState) -> Snapshot:
    """Every live row of a partition and every merged row, to the bit, by table and key."""
    rows: Snapshot = {}
    for name, table in {**state.own, **state.contributions}.items():
        entity = table.spec.entity
        slots = (
            state.ids[entity].live_slots()
            if entity in state.ids
            else np.arange(len(table), dtype=np.int32)
        )
        keys = state.ids[entity].keys[slots] if entity in state.ids else slots
        rows[name] = _nonzero(keys, table.values[slots])
    return rows | shared_snapshot(state.shared)


def shared_snapshot(shared: SharedState) -> Snapshot:
    """Every merged row of a learner, to the bit, by table and key."""
    rows: Snapshot = {}
    for name, table in shared.tables.items():
        if table.spec.entity in shared.ids:
            ids = shared.ids[table.spec.entity]
            live = np.flatnonzero(ids.map.find(ids.keys) == np.arange(len(ids.keys)))
            live = live[live < len(table)]
            rows[f"merged {name}"] = _nonzero(ids.keys[live], table.values[live])
        else:
            rows[f"merged {name}"] = _nonzero(np.arange(len(table)), table.values)
    return rows


def _nonzero(keys: Array, values: Array) -> dict[int, bytes]:
    """Rows by key; a row of zeros is one that was never written."""
    return {
        int(key): row.tobytes() for key, row in zip(keys, values, strict=True) if np.any(row != 0)
    }


@dataclass
class Stored:
    """What a store keeps of one partition's checkpoints: rows by table and key, names by key."""

    names: dict[str, dict[int, bytes]] = field(default_factory=lambda: {"user": {}, "item": {}})
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
                self.names[entity].pop(key, None)
                for name, rows in self.rows.items():
                    if entities[name] == entity:
                        rows.pop(key, None)
        for entity, (keys, id_names) in names.items():
            self.names[entity].update(zip(keys.tolist(), id_names, strict=True))
        for name, part in tables.items():
            stored = self.rows.setdefault(name, {})
            stored.update(zip(part.keys.tolist(), part.values.copy(), strict=True))
        self.watermark_ms = state.watermark_ms

    def load(self, state: PartitionState) -> PartitionState:
        """Fill an empty state, rows in another order than they were written in."""
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
        state.load(names, tables)
        state.watermark_ms = self.watermark_ms
        return state


def merged_by_hand(models: Sequence[Model], states: Sequence[PartitionState]) -> Snapshot:
    """Initial values + contributions of all partitions, row by row."""
    merged: Snapshot = {}
    for model in models:
        for spec in (spec for spec in model.tables() if spec.shared):
            rows: dict[int, Array] = {}
            for state in states:
                table = state.contributions[spec.name]
                items = spec.entity == "item"
                slots = state.items.live_slots() if items else np.arange(len(table))
                for slot in slots.tolist():
                    key = int(state.items.keys[slot]) if items else slot
                    if key not in rows:
                        initial = model.initial(spec.name, np.array([key], dtype=np.uint64))
                        rows[key] = np.zeros((1, spec.width), spec.dtype)
                        rows[key][:] = 0 if initial is None else initial
                    fold(spec, rows[key], np.zeros(1, np.int32), table.values[slot : slot + 1])
            merged[f"merged {spec.name}"] = {
                key: row.tobytes() for key, row in rows.items() if np.any(row != 0)
            }
    return merged
