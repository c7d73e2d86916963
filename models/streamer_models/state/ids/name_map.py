"""Ids ↔ slots by the bytes of the ids: an arena of names, and open addressing on their hashes."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.id_buckets import FREE, NUMBER, Buckets, free, put
from streamer_models.state.ids.id_bytes import Bytes, Hashes, copy_bytes, same_bytes, texts_of
from streamer_models.state.ids.id_column import IdColumn
from streamer_models.state.ids.kernel_ints import ZERO
from streamer_models.state.table import Slots

Spans = NDArray[np.int64]
"""``(n_slots, 2)``: start and end of each slot's name in the arena."""

_BUCKETS_MIN = 64
_ARENA_MIN = 1 << 12


class NameMap:
    """Id → slot and slot → id. Two ids are the same where all their bytes are: a hash finds the
    bucket and decides nothing.

    At most half of the buckets are taken. The arena holds at most twice the bytes of the names
    that were live when it was last made, or 4 kB: names that went are squeezed out when it is full.

    Attributes
    ----------
    live
        ``(n_slots,)`` whether each slot holds an id; not to be written to.
    """

    def __init__(self) -> None:
        self.live: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._spans: Spans = np.zeros((0, 2), dtype=np.int64)
        self._hashes: Hashes = np.zeros(0, dtype=np.uint64)
        self._buckets: Buckets = np.full(_BUCKETS_MIN, FREE)
        self._arena: Bytes = np.zeros(_ARENA_MIN, dtype=np.uint8)
        self._n_written = 0
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def find(self, ids: IdColumn) -> Slots:
        """Return the ``(n,)`` slots of ids, -1 where absent."""
        found: Slots = _find(
            ids.data, ids.starts, ids.ends, ids.hashes, self._arena, self._spans, self._buckets
        )
        return found

    def name(self, slot: int) -> bytes:
        """Return the id of a live slot in UTF-8."""
        return self.names(np.array([slot]))[0]

    def names(self, slots: NDArray[np.integer]) -> tuple[bytes, ...]:
        """Return the ids of live slots in UTF-8."""
        assert self.live[slots].all(), slots
        return tuple(texts_of(self._arena, self._spans[slots, 0], self._spans[slots, 1]))

    def reserve(self, n_slots: int) -> None:
        """Have room for slots below ``n_slots``."""
        more = n_slots - len(self.live)
        if more > 0:
            self._spans = np.concatenate([self._spans, np.zeros((more, 2), np.int64)])
            self._hashes = np.concatenate([self._hashes, np.zeros(more, np.uint64)])
            self.live = np.concatenate([self.live, np.zeros(more, np.bool_)])

    def insert(self, ids: IdColumn, slots: Slots) -> None:
        """Put ids that are absent, and different, at free slots."""
        if len(ids) == 0:
            return
        self._make_room(int(ids.n_bytes.sum()))
        needed = 2 * (self._n + len(ids))
        if needed > len(self._buckets):
            self._buckets = np.full(1 << int(needed - 1).bit_length(), FREE)
            _fill(self._buckets, self._hashes, np.flatnonzero(self.live))
        self._n_written = _insert(
            ids.data,
            ids.starts,
            ids.ends,
            ids.hashes,
            slots,
            self._n_written,
            self._arena,
            self._spans,
            self._hashes,
            self._buckets,
        )
        self.live[slots] = True
        self._n += len(ids)

    def remove(self, slots: Slots) -> None:
        """Free live slots, each given once."""
        assert self.live[slots].all(), slots
        _remove(slots, self._hashes, self._buckets)
        self.live[slots] = False
        self._n -= len(slots)

    def _make_room(self, n_bytes: int) -> None:
        if self._n_written + n_bytes <= len(self._arena):
            return
        live = np.flatnonzero(self.live)
        n_live = int((self._spans[live, 1] - self._spans[live, 0]).sum())
        # Twice what is needed: so a byte is moved once, on average, for a byte that is added.
        arena = np.zeros(max(_ARENA_MIN, 2 * (n_live + n_bytes)), dtype=np.uint8)
        self._n_written = _squeeze(live, self._arena, arena, self._spans)
        self._arena = arena


def distinct(ids: IdColumn) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each different id stands first, ``(m,)`` rising, and ``(n,)`` which of them
    each id is."""
    buckets = np.full(1 << max(2, int(2 * len(ids)).bit_length()), FREE)
    first, which = _distinct(ids.data, ids.starts, ids.ends, ids.hashes, buckets)
    return first, which


@numba.njit(cache=True, nogil=True)
def _candidate(buckets: Buckets, hashed: np.uint64, at: np.uint64) -> np.uint64:
    """Return the first bucket from ``at`` on that may hold an id of a hash, or that is free."""
    mask = np.uint64(len(buckets) - 1)
    at &= mask
    while (buckets[at] & NUMBER) != FREE and ((buckets[at] ^ hashed) & ~NUMBER) != 0:
        at = (at + np.uint64(1)) & mask
    return at


@numba.njit(cache=True, nogil=True)
def _find(
    data: Bytes,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    hashes: Hashes,
    arena: Bytes,
    spans: Spans,
    buckets: Buckets,
) -> Slots:
    found = np.full(len(starts), np.int32(-1))
    for i in range(len(starts)):
        n = ends[i] - starts[i]
        at = _candidate(buckets, hashes[i], hashes[i])
        while (buckets[at] & NUMBER) != FREE:
            slot = np.int64(buckets[at] & NUMBER)
            start = spans[slot, 0]
            if spans[slot, 1] - start == n and same_bytes(data, starts[i], arena, start, n):
                found[i] = slot
                break
            at = _candidate(buckets, hashes[i], at + np.uint64(1))
    return found


@numba.njit(cache=True, nogil=True)
def _fill(buckets: Buckets, hashes: Hashes, slots: NDArray[np.int64]) -> None:
    for slot in slots:
        put(buckets, hashes[slot], slot)


@numba.njit(cache=True, nogil=True)
def _insert(
    data: Bytes,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    hashes: Hashes,
    slots: Slots,
    n_written: int,
    arena: Bytes,
    spans: Spans,
    slot_hashes: Hashes,
    buckets: Buckets,
) -> int:
    for i in range(len(starts)):
        slot, end = slots[i], n_written + ends[i] - starts[i]
        copy_bytes(data, starts[i], ends[i] - starts[i], arena, n_written)
        spans[slot, 0], spans[slot, 1] = n_written, end
        slot_hashes[slot] = hashes[i]
        put(buckets, hashes[i], slot)
        n_written = end
    return n_written


@numba.njit(cache=True, nogil=True)
def _remove(slots: Slots, hashes: Hashes, buckets: Buckets) -> None:
    mask = np.uint64(len(buckets) - 1)
    for slot in slots:
        at = hashes[slot] & mask
        while (buckets[at] & NUMBER) != np.uint64(slot):
            at = (at + np.uint64(1)) & mask
        free(buckets, hashes, at)


@numba.njit(cache=True, nogil=True)
def _squeeze(slots: NDArray[np.int64], arena: Bytes, squeezed: Bytes, spans: Spans) -> int:
    """Copy the names of live slots, each behind the one before; the bytes written."""
    n_written = ZERO
    for slot in slots:
        start, end = spans[slot, 0], spans[slot, 1]
        copy_bytes(arena, start, end - start, squeezed, n_written)
        spans[slot, 0], spans[slot, 1] = n_written, n_written + end - start
        n_written += end - start
    return n_written


@numba.njit(cache=True, nogil=True)
def _distinct(
    data: Bytes,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    hashes: Hashes,
    buckets: Buckets,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    first = np.empty(len(starts), dtype=np.int64)
    which = np.full(len(starts), -1)
    n_distinct = 0
    for i in range(len(starts)):
        n = ends[i] - starts[i]
        at = _candidate(buckets, hashes[i], hashes[i])
        while (buckets[at] & NUMBER) != FREE:
            known = np.int64(buckets[at] & NUMBER)
            start = starts[first[known]]
            if ends[first[known]] - start == n and same_bytes(data, starts[i], data, start, n):
                which[i] = known
                break
            at = _candidate(buckets, hashes[i], at + np.uint64(1))
        if which[i] < 0:
            buckets[at] = (hashes[i] & ~NUMBER) | np.uint64(n_distinct)
            first[n_distinct] = i
            which[i] = n_distinct
            n_distinct += 1
    return first[:n_distinct], which
