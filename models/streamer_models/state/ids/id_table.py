"""Collisionless external id → slot: admission by frequency, eviction of the idle, bounded."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.admission import ADMITTED, REFUSED, UNSEEN, admit
from streamer_models.state.ids.id_column import IdColumn
from streamer_models.state.ids.key_map import KeyMap
from streamer_models.state.ids.name_map import NameMap, distinct
from streamer_models.state.readable import ReadRows
from streamer_models.state.table import IdChange, Keys, Merge, Rows, Slots, Table, TableSpec

META_SLOT, META_LAST_OFFSET, META_LAST_TS, META_FIRST_OFFSET = range(4)
"""Columns of the ``<entity>_meta`` table."""

SIGHTING_BUCKETS = 1 << 16
"""Counters of ids not yet admitted: 65,536 * 8 B = 512 kB a partition and entity, at most."""

_PLANNED_MIN = 256
"""Ids planned at least; more than twice the free slots are planned only where most have a slot."""


def n_evicted_at(rows_max: int) -> int:
    """Return how many ids a table full at ``rows_max`` drops at once, at least one: 1/64 of them,
    and of small tables up to 1/8 or 1,000.

    Each time costs a scan of the table, and a commit, which takes as long as some 300 events. So a
    flood of new ids is learned about as fast at a bound of 8,000 as at one of 64,000.
    """
    return max(1, rows_max // 64, min(rows_max // 8, 1_000))


@functools.lru_cache(maxsize=1 << 14)  # an id is often admitted to several tables, one by one
def id_key(name: bytes) -> int:
    """First 8 bytes (little endian) of BLAKE2b-64 of an id: its key in logs and stores."""
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")


def keys_of(ids: Sequence[str]) -> Keys:
    """Return the ``(n,)`` keys of ids."""
    return IdColumn.of(ids).keys() if len(ids) else np.zeros(0, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Resolution:
    """What :meth:`IdTable.plan` found for a run of ids; nothing is changed yet.

    Attributes
    ----------
    ids
        The n first ids of the run: all of them, or more than ``n_ready``.
    slots
        ``(n,)`` int32: -1 where the id is not (yet) admitted.
    n_ready
        Ids before which no eviction is needed; at most ``n``.
    admitted, refused, unseen
        Indices, rising, of the ids that take a slot, of those whose key belongs to another live
        id, and of those not sighted often enough.
    keys
        Of those that are admitted.
    buckets
        Sighting counters of ``unseen``.
    """

    ids: IdColumn
    slots: Slots
    n_ready: int
    admitted: NDArray[np.int64]
    keys: Keys
    refused: NDArray[np.int64]
    unseen: NDArray[np.int64]
    buckets: Slots


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
        self._names = NameMap()
        self._free: Slots = _NO_SLOTS  # rising
        self._unmapped: list[Slots] = []
        self._added: list[Slots] = []
        self._removed: list[Keys] = []

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
        return len(self._names)

    @property
    def n_free(self) -> int:
        """Ids that can be admitted before one must be evicted."""
        return self.rows_max - len(self)

    def find(self, name: str) -> int:
        """Return the slot of an id, -1 where absent. Changes nothing."""
        return int(self.slots_of([name])[0])

    def slots_of(self, ids: Sequence[str]) -> Slots:
        """Return the ``(n,)`` slots of ids, -1 where absent. Changes nothing."""
        return self._names.find(IdColumn.of(ids))

    def name(self, slot: int) -> bytes:
        """Return the id of a live slot in UTF-8."""
        return self._names.name(slot)

    def take_unmapped(self) -> Slots:
        """Return the live slots taken since the last call, rising: the caller has no row for them
        yet."""
        if not self._unmapped:
            return _NO_SLOTS
        slots = np.unique(_joined(self._unmapped))
        self._unmapped.clear()
        return slots[self._names.live[slots]]

    def live_slots(self) -> Slots:
        """Return the ``(n,)`` slots of all live ids, rising."""
        return np.flatnonzero(self._names.live).astype(np.int32)

    @property
    def live(self) -> NDArray[np.bool_]:
        """``(capacity,)`` whether each slot holds an id now; for kernels to read."""
        return self._names.live

    def is_live(self, slots: Slots) -> NDArray[np.bool_]:
        """Return for ``(n,)`` slots whether each holds an id now."""
        live: NDArray[np.bool_] = self._names.live[slots]
        return live

    # --- admission: plan, then apply -----------------------------------------------------------

    def plan(self, ids: Sequence[str]) -> Resolution:
        """Find the slots of ids in order, admitting as it goes, without changing anything yet.

        Of many ids and few free slots only the first are looked at: all up to the one that needs an
        eviction, after which the rest is planned anew.
        """
        ids = IdColumn.of(ids)
        n = max(_PLANNED_MIN, 2 * self.n_free)
        while n < len(ids):
            plan = self._plan(ids.slice(0, n))
            if plan.n_ready < n:
                return plan
            n *= 4
        return self._plan(ids)

    def _plan(self, ids: IdColumn) -> Resolution:
        slots = self._names.find(ids)
        missing = np.flatnonzero(slots < 0)
        if len(missing) == 0:
            nothing = missing
            return Resolution(ids, slots, len(ids), nothing, _NO_KEYS, nothing, nothing, _NO_SLOTS)
        first, name_of = distinct(ids.take(missing))
        keys = keys_of(ids.take(missing[first]))
        buckets = (keys % np.uint64(SIGHTING_BUCKETS)).astype(np.int32)
        found = np.full(len(missing), -1, dtype=np.int32)
        outcome = np.full(len(missing), -1, dtype=np.int8)
        n_ready = admit(
            name_of,
            keys,
            self.map.find(keys) >= 0,
            buckets,
            self.sightings.values[:, 0],
            self.sightings_min,
            self._free,
            self.n_slots,
            self.rows_max,
            found,
            outcome,
        )
        slots[missing] = found
        admitted, unseen = np.flatnonzero(outcome == ADMITTED), np.flatnonzero(outcome == UNSEEN)
        return Resolution(
            ids=ids,
            slots=slots,
            n_ready=int(missing[n_ready]) if n_ready < len(missing) else len(ids),
            admitted=missing[admitted],
            keys=keys[name_of[admitted]],
            refused=missing[outcome == REFUSED],
            unseen=missing[unseen],
            buckets=buckets[name_of[unseen]],
        )

    def apply(self, plan: Resolution, n: int, offsets: NDArray[np.int64]) -> None:
        """Carry out a plan for its first ``n`` ids, seen at ``offsets`` (``(n,)`` or more)."""
        n_unseen = int(np.searchsorted(plan.unseen, n))
        if n_unseen:
            buckets = plan.buckets[:n_unseen]
            self.sightings.reserve(SIGHTING_BUCKETS)
            self.sightings.touch(buckets)
            np.add.at(self.sightings.values[:, 0], buckets, 1)
        self.n_refused += int(np.searchsorted(plan.refused, n))
        at = plan.admitted[: np.searchsorted(plan.admitted, n)]
        if len(at) == 0:
            return
        slots, keys = plan.slots[at], plan.keys[: len(at)]
        # Free slots are taken from the lowest on, and those never used once there are none.
        self._free = self._free[len(at) :]
        self.n_slots = max(self.n_slots, int(slots.max()) + 1)
        self.reserve(self.n_slots)
        self.meta.touch(slots)
        _start_meta(self.meta.values, slots, offsets[at])
        self._put(slots, keys, plan.ids.take(at))
        self._added.append(slots)

    def _put(self, slots: Slots, keys: Keys, ids: IdColumn) -> None:
        self.keys[slots] = keys
        self.map.insert(keys, slots)
        self._names.insert(ids, slots)
        self._unmapped.append(slots)

    def reserve(self, n_slots: int) -> None:
        """Have room for slots below ``n_slots``."""
        self.meta.reserve(n_slots)
        size = len(self.meta)
        if size > len(self.keys):
            self.keys = np.concatenate([self.keys, np.zeros(size - len(self.keys), np.uint64)])
            self._names.reserve(size)

    def seen(self, slots: Slots, offsets: NDArray[np.int64], ts_ms: NDArray[np.int64]) -> None:
        """Note events of ids: the last offset and the greatest event time of each slot."""
        self.meta.touch(slots)
        _see(self.meta.values, slots, offsets, ts_ms)

    # --- eviction ------------------------------------------------------------------------------

    def evictable(self) -> Slots:
        """The live slots whose last event is oldest, as many as go at once, rising."""
        live = self.live_slots()
        n = n_evicted_at(self.rows_max)
        last = self.meta.values[live, META_LAST_OFFSET]
        if n < len(live):  # so that few are put in order
            old = last <= np.partition(last, n - 1)[n - 1]
            live, last = live[old], last[old]
        oldest = np.argsort(last, kind="stable")[:n]
        return np.sort(live[oldest])

    def idle(self, before_ts_ms: int) -> Slots:
        """Live slots whose latest event time is before ``before_ts_ms``, rising."""
        live = self.live_slots()
        stale: Slots = live[self.meta.values[live, META_LAST_TS] < before_ts_ms]
        return stale

    def evict(self, slots: Slots) -> None:
        """Drop ids; their slots are free again."""
        keys = self.keys[slots]
        self._names.remove(slots)
        self._removed.append(keys)
        self.map.remove(keys)
        self.meta.values[slots] = 0
        self.n_evicted += len(slots)
        # The highest live slot + 1, as a reload would have it.
        live = self.live_slots()
        self.n_slots = int(live[-1]) + 1 if len(live) else 0
        free = np.sort(np.concatenate([self._free, slots]))
        self._free = free[: np.searchsorted(free, self.n_slots)]

    def restore(self, change: IdChange, meta: Rows) -> None:
        """Admit again ids of a recorded change, at the slots their ``meta`` rows name."""
        order = np.argsort(meta.keys)
        rows = meta.values[order[np.searchsorted(meta.keys, change.added, sorter=order)]]
        slots = rows[:, META_SLOT].astype(np.int32)
        n_slots = max(self.n_slots, int(slots.max(initial=-1)) + 1)
        never_used = np.arange(self.n_slots, n_slots, dtype=np.int32)
        self._free = np.setdiff1d(np.concatenate([self._free, never_used]), slots)
        self.n_slots = n_slots
        self.reserve(n_slots)
        _start_meta(self.meta.values, slots, rows[:, META_FIRST_OFFSET])
        self._put(slots, change.added, IdColumn.of_bytes(change.names))

    # --- what changed, and loading -------------------------------------------------------------

    @property
    def changed(self) -> bool:
        """Whether ids were admitted or dropped since :meth:`settle`."""
        return len(self._added) > 0 or len(self._removed) > 0

    def changes(self) -> IdChange:
        """Return the ids admitted and dropped since :meth:`settle`."""
        added = _joined(self._added)
        removed = np.concatenate([_NO_KEYS, *self._removed])
        return IdChange(added=self.keys[added], names=self._names.names(added), removed=removed)

    def settle(self) -> None:
        self._added.clear()
        self._removed.clear()
        self.meta.settle()
        self.sightings.settle()

    def load(self, keys: Keys, names: Sequence[bytes], meta: NDArray[np.int64]) -> None:
        """Fill an empty table from stored columns; ``meta`` is ``(n, 4)``.

        Raises
        ------
        ValueError
            Where two ids have one slot, or one has none that can be.
        """
        assert len(self) == 0, "load() fills an empty table"
        if len(keys) == 0:
            return
        found = np.unique(meta[:, META_SLOT])
        if len(found) < len(keys) or found[0] < 0 or found[-1] > np.iinfo(np.int32).max:
            raise ValueError(f"{self.entity} table: {len(keys)} ids do not have a slot each")
        slots = meta[:, META_SLOT].astype(np.int32)
        self.n_slots = int(slots.max()) + 1
        self.reserve(self.n_slots)
        self.meta.values[slots] = meta
        self._put(slots, keys, IdColumn.of_bytes(names))
        self._free = np.setdiff1d(np.arange(self.n_slots, dtype=np.int32), slots)


_NO_SLOTS: Slots = np.zeros(0, dtype=np.int32)
_NO_KEYS: Keys = np.zeros(0, dtype=np.uint64)


def _joined(parts: Sequence[Slots]) -> Slots:
    return np.concatenate([_NO_SLOTS, *parts])


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
