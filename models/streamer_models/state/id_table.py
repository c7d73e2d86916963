"""Collisionless external id → slot: admission by frequency, eviction of the idle, bounded."""

from __future__ import annotations

import functools
import hashlib
import heapq
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import repeat

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.key_map import KeyMap
from streamer_models.state.readable import ReadRows
from streamer_models.state.table import IdChange, Keys, Merge, Rows, Slots, Table, TableSpec

META_SLOT, META_LAST_OFFSET, META_LAST_TS, META_FIRST_OFFSET = range(4)
"""Columns of the ``<entity>_meta`` table."""

SIGHTING_BUCKETS = 1 << 16
"""Counters of ids not yet admitted: 65,536 * 8 B = 512 kB a partition and entity, at most."""

EVICTED_SHARE = 64
"""A full table drops 1/64 of its rows at once, so that eviction costs nothing on average."""


@functools.lru_cache(maxsize=1 << 14)  # an id is often admitted to several tables, one by one
def id_key(name: bytes) -> int:
    """First 8 bytes (little endian) of BLAKE2b-64 of an id: its key in logs and stores."""
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")


def keys_of(ids: Sequence[str]) -> Keys:
    """``(n,)`` keys of ids."""
    return np.fromiter((id_key(each.encode()) for each in ids), np.uint64, len(ids))


@dataclass(frozen=True, slots=True)
class Resolution:
    """What :meth:`IdTable.plan` found for a run of names; nothing is changed yet.

    Attributes
    ----------
    slots
        ``(n,)`` int32: -1 where the id is not (yet) admitted.
    n_ready
        Names before which no eviction is needed; at most ``n``.
    """

    slots: Slots
    n_ready: int
    positions: list[int]  # of the names to be admitted, rising; their keys and slots:
    keys: list[int]
    new_slots: list[int]
    sightings: list[tuple[int, int]]  # (position, bucket) of those not admitted
    refused: list[int]  # positions of names whose key belongs to another live id


class IdTable:
    """External ids of one entity in one partition.

    A slot is taken at admission (the lowest free one) and given back at eviction, so the table is
    a function of what is stored: reloading it gives the same slots and the same next slot. All
    decisions depend on the ids, their offsets and event times alone, never on where batches end.
    Two live ids with one 64-bit key can't both be admitted: the later one is refused and counted.

    Parameters
    ----------
    entity
        ``"user"``, ``"item"`` or ``"arm"``.
    rows_max
        Bound of live ids. At the bound, those with the oldest last event go.
    sightings_min
        An id is admitted at this many sightings (1: at once). Counts of ids not yet admitted share
        2^16 counters, so a rare collision admits early, never late.
    """

    def __init__(self, entity: str, *, rows_max: int, sightings_min: int = 1) -> None:
        if rows_max < 2 or sightings_min < 1:
            raise ValueError(
                f"{entity} table: rows_max={rows_max} must be at least 2"
                f" and sightings_min={sightings_min} at least 1"
            )
        self.entity = entity
        self.rows_max = rows_max
        self.sightings_min = sightings_min
        self.meta = Table(self.specs(entity)[0], rows_max=rows_max)
        self.sightings = Table(self.specs(entity)[1], rows_max=SIGHTING_BUCKETS)
        self.keys: Keys = np.zeros(0, dtype=np.uint64)
        self.map = KeyMap()
        self.n_slots = 0
        self.n_evicted = 0
        self.n_refused = 0
        self._slot_of: dict[str, int] = {}
        self._names: list[bytes | None] = []
        self._free: list[int] = []
        self._unmapped: list[int] = []
        self._added: list[int] = []
        self._removed: list[int] = []

    @staticmethod
    def specs(entity: str) -> tuple[TableSpec, TableSpec]:
        """Tables an id table stores: one row an id, and the sighting counters."""
        return (
            TableSpec(f"{entity}_meta", entity, Merge.REPLACE, "i8", 4),
            TableSpec(f"{entity}_sightings", "slot", Merge.REPLACE, "i8", 1),
        )

    @classmethod
    def readable(cls, entity: str) -> ReadRows:
        """The row an id, for readers."""
        return ReadRows(cls.specs(entity)[0])

    def __len__(self) -> int:
        return len(self._slot_of)

    def find(self, name: str) -> int:
        """Slot of an id, -1 where absent. Changes nothing."""
        return self._slot_of.get(name, -1)

    def name(self, slot: int) -> bytes:
        name = self._names[slot]
        assert name is not None, (self.entity, slot)
        return name

    def take_unmapped(self) -> Slots:
        """Live slots taken since the last call, rising: those the caller has no row for yet."""
        slots = sorted({slot for slot in self._unmapped if self._names[slot] is not None})
        self._unmapped.clear()
        return np.array(slots, dtype=np.int32)

    def live_slots(self) -> Slots:
        """``(n,)`` slots of all live ids, rising."""
        return np.sort(np.fromiter(self._slot_of.values(), dtype=np.int32, count=len(self)))

    def is_live(self, slots: Slots) -> NDArray[np.bool_]:
        """``(n,)`` whether each slot holds an id now."""
        found: NDArray[np.bool_] = self.map.find(self.keys[slots]) == slots
        return found

    # --- admission: plan, then apply -----------------------------------------------------------

    def plan(self, names: Sequence[str]) -> Resolution:
        """Slots of ``names`` in order, admitting as it goes, without changing anything yet."""
        found = map(self._slot_of.get, names, repeat(-1))
        slots = np.fromiter(found, dtype=np.int32, count=len(names))
        (missing,) = (slots < 0).nonzero()
        plan = Resolution(slots, len(names), [], [], [], [], [])
        if len(missing) == 0:
            return plan
        missing_names = [names[position] for position in missing.tolist()]
        distinct = list(dict.fromkeys(missing_names))
        distinct_keys = [id_key(name.encode()) for name in distinct]
        holders = self.map.find(np.array(distinct_keys, dtype=np.uint64)).tolist()
        key_of = dict(zip(distinct, distinct_keys, strict=True))
        # Keys of another live id.
        refused = {key for key, holder in zip(distinct_keys, holders, strict=True) if holder >= 0}
        new: dict[str, int] = {}
        counts: dict[int, int] = {}
        free = sorted(self._free)  # the lowest free slot first, then those never used
        for position, name in zip(missing.tolist(), missing_names, strict=True):
            slot = new.get(name, -1)
            if slot < 0:
                key = key_of[name]
                if key in refused:
                    plan.refused.append(position)
                    continue
                if not self._enough_sightings(key, counts):
                    plan.sightings.append((position, key % SIGHTING_BUCKETS))
                    continue
                n_new = len(new)
                slot = free[n_new] if n_new < len(free) else self.n_slots + n_new - len(free)
                if slot >= self.rows_max:
                    return replace(plan, n_ready=position)
                new[name] = slot
                refused.add(key)
                plan.positions.append(position)
                plan.keys.append(key)
                plan.new_slots.append(slot)
            slots[position] = slot
        return plan

    def _enough_sightings(self, key: int, counts: dict[int, int]) -> bool:
        if self.sightings_min == 1:
            return True
        bucket = key % SIGHTING_BUCKETS
        if bucket not in counts:
            stored = self.sightings.values
            counts[bucket] = int(stored[bucket, 0]) if bucket < len(stored) else 0
        counts[bucket] += 1
        return counts[bucket] >= self.sightings_min

    def apply(
        self, plan: Resolution, n: int, names: Sequence[str], offsets: NDArray[np.int64]
    ) -> None:
        """Carry out a plan for its first ``n`` names, seen at ``offsets`` (``(n,)`` or more)."""
        if plan.sightings:
            buckets = np.array([b for at, b in plan.sightings if at < n], dtype=np.int32)
            self.sightings.reserve(SIGHTING_BUCKETS)
            self.sightings.touch(buckets)
            np.add.at(self.sightings.values[:, 0], buckets, 1)
        self.n_refused += bisect_left(plan.refused, n)
        n_admitted = bisect_left(plan.positions, n)
        if n_admitted == 0:
            return
        new_slots = plan.new_slots[:n_admitted]
        n_slots = max(self.n_slots, max(new_slots) + 1)
        self.reserve(n_slots)
        for slot in new_slots:
            if not self._free:
                break
            if self._free[0] == slot:
                heapq.heappop(self._free)
        positions = plan.positions[:n_admitted]
        slots = np.array(new_slots, dtype=np.int32)
        keys = np.array(plan.keys[:n_admitted], dtype=np.uint64)
        self.meta.touch(slots)
        _start_meta(self.meta.values, slots, offsets[positions])
        self.keys[slots] = keys
        self.map.insert(keys, slots)
        for slot, position in zip(new_slots, positions, strict=True):
            name = names[position]
            self._names[slot] = name.encode()
            self._slot_of[name] = slot
        self.n_slots = n_slots
        self._added += new_slots
        self._unmapped += new_slots

    def _put(self, slot: int, key: int, name: str, offset: int) -> None:
        self._unmapped.append(slot)
        self.n_slots = max(self.n_slots, slot + 1)
        self._names[slot] = name.encode()
        self._slot_of[name] = slot
        self.keys[slot] = key
        self.meta.values[slot] = (slot, offset, 0, offset)

    def reserve(self, n_slots: int) -> None:
        self.meta.reserve(n_slots)
        size = len(self.meta)
        if size > len(self.keys):
            self.keys = np.concatenate([self.keys, np.zeros(size - len(self.keys), np.uint64)])
            self._names.extend([None] * (size - len(self._names)))

    def seen(self, slots: Slots, offsets: NDArray[np.int64], ts_ms: NDArray[np.int64]) -> None:
        """Note events of ids: the last offset and the greatest event time of each slot."""
        self.meta.touch(slots)
        _see(self.meta.values, slots, offsets, ts_ms)

    # --- eviction ------------------------------------------------------------------------------

    def evictable(self) -> Slots:
        """The 1/64 of live slots (at least one) whose last event is oldest, rising."""
        live = self.live_slots()
        n = max(1, self.rows_max // EVICTED_SHARE)
        oldest = np.argsort(self.meta.values[live, META_LAST_OFFSET], kind="stable")[:n]
        return np.sort(live[oldest])

    def idle(self, before_ts_ms: int) -> Slots:
        """Live slots whose latest event time is before ``before_ts_ms``, rising."""
        live = self.live_slots()
        stale: Slots = live[self.meta.values[live, META_LAST_TS] < before_ts_ms]
        return stale

    def evict(self, slots: Slots) -> None:
        """Drop ids; their slots are free again."""
        for slot in slots.tolist():
            name = self.name(slot)
            del self._slot_of[name.decode()]
            self._removed.append(int(self.keys[slot]))
            heapq.heappush(self._free, slot)
            self._names[slot] = None
        self.map.remove(self.keys[slots])
        self.meta.values[slots] = 0
        self.n_evicted += len(slots)
        self._trim()

    def _trim(self) -> None:
        """Let ``n_slots`` be the highest live slot + 1, as a reload would have it."""
        n_slots = self.n_slots
        while n_slots and self._names[n_slots - 1] is None:
            n_slots -= 1
        if n_slots < self.n_slots:
            self._free = [slot for slot in self._free if slot < n_slots]
            heapq.heapify(self._free)
            self.n_slots = n_slots

    def restore(self, change: IdChange, meta: Rows) -> None:
        """Admit again ids of a recorded change, at the slots their ``meta`` rows name."""
        order = np.argsort(meta.keys)
        at = order[np.searchsorted(meta.keys, change.added, sorter=order)]
        slots = meta.values[at, META_SLOT].astype(np.int32)
        n_slots = max(self.n_slots, int(slots.max(initial=-1)) + 1)
        free = set(self._free).union(range(self.n_slots, n_slots))
        self._free = sorted(free.difference(slots.tolist()))
        self.reserve(n_slots)
        for key, name, row in zip(change.added, change.names, meta.values[at], strict=True):
            slot, first_offset = int(row[META_SLOT]), int(row[META_FIRST_OFFSET])
            self._put(slot, int(key), name.decode(), first_offset)
        self.map.insert(change.added, slots)

    # --- what changed, and loading -------------------------------------------------------------

    @property
    def changed(self) -> bool:
        """Whether ids were admitted or dropped since :meth:`settle`."""
        return len(self._added) > 0 or len(self._removed) > 0

    def changes(self) -> IdChange:
        """Ids admitted and dropped since :meth:`settle`."""
        added = np.array(self._added, dtype=np.int32)
        return IdChange(
            added=self.keys[added],
            names=tuple(self.name(slot) for slot in self._added),
            removed=np.array(self._removed, dtype=np.uint64),
        )

    def settle(self) -> None:
        self._added.clear()
        self._removed.clear()
        self.meta.settle()
        self.sightings.settle()

    def load(self, keys: Keys, names: Sequence[bytes], meta: NDArray[np.int64]) -> None:
        """Fill an empty table from stored columns; ``meta`` is ``(n, 4)``."""
        assert len(self) == 0, "load() fills an empty table"
        if len(keys) == 0:
            return
        slots = meta[:, META_SLOT].astype(np.int32)
        self.reserve(int(slots.max()) + 1)
        self.n_slots = int(slots.max()) + 1
        self.keys[slots] = keys
        self.meta.values[slots] = meta
        for slot, name in zip(slots.tolist(), names, strict=True):
            self._names[slot] = name
            self._slot_of[name.decode()] = slot
        self.map.insert(keys, slots)
        self._unmapped += slots.tolist()
        self._free = sorted(set(range(self.n_slots)).difference(slots.tolist()))


@numba.njit(cache=True, nogil=True)
def _see(
    meta: NDArray[np.int64], slots: Slots, offsets: NDArray[np.int64], ts_ms: NDArray[np.int64]
) -> None:
    for i in range(len(slots)):
        row = meta[slots[i]]
        row[META_LAST_OFFSET] = offsets[i]
        row[META_LAST_TS] = max(row[META_LAST_TS], ts_ms[i])


@numba.njit(cache=True, nogil=True)
def _start_meta(meta: NDArray[np.int64], slots: Slots, offsets: NDArray[np.int64]) -> None:
    """Rows of ids met for the first time."""
    for i in range(len(slots)):
        row = meta[slots[i]]
        row[META_SLOT] = slots[i]
        row[META_FIRST_OFFSET] = row[META_LAST_OFFSET] = offsets[i]
        row[META_LAST_TS] = 0
