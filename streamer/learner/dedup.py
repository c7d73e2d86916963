"""Which messages repeat an event id: a window of offsets, rebuilt by reading them again."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.id_buckets import FREE, NUMBER, Buckets, free, put
from streamer_models.state.ids.id_bytes import Bytes, Hashes, copy_bytes, same_bytes
from streamer_models.state.ids.id_column import IdColumn

_SIZE_MIN = 16
_BYTES_MIN = 64


class DedupWindow:
    """An event repeats when its id stood at one of the last ``n_offsets`` offsets of the partition.

    That is a function of the log alone: after a restart, feeding it the messages of the window
    before the first new one restores it.

    Ids stand in a queue, in the order of their offsets; a repeated one is queued again, and its
    bucket names the later place. Queue, bytes and buckets are rings whose sizes are powers of two,
    for at most the ids of ``n_offsets`` offsets and one batch more: 28 B and the bytes an id, and 8
    a bucket, of which half are taken. 100,000 ids of 18 bytes are 8 MB a partition.

    Parameters
    ----------
    n_offsets
        Length of the window; 0 turns duplicates' removal off.
    """

    def __init__(self, n_offsets: int) -> None:
        self.n_offsets = n_offsets
        self._first = self._next = 0  # counted on, whatever the ring's size
        self._offsets: NDArray[np.int64] = np.zeros(_SIZE_MIN, dtype=np.int64)
        self._hashes: Hashes = np.zeros(_SIZE_MIN, dtype=np.uint64)
        self._starts: NDArray[np.int64] = np.zeros(_SIZE_MIN, dtype=np.int64)
        self._lengths: NDArray[np.int32] = np.zeros(_SIZE_MIN, dtype=np.int32)
        self._bytes: Bytes = np.zeros(_BYTES_MIN, dtype=np.uint8)
        self._next_byte = 0  # counted on as well
        self._buckets: Buckets = np.full(2 * _SIZE_MIN, FREE)

    def __len__(self) -> int:
        return self._next - self._first

    @property
    def n_bytes(self) -> int:
        """Memory of the rings."""
        queue = (self._offsets, self._hashes, self._starts, self._lengths)
        return sum(ring.nbytes for ring in (*queue, self._bytes, self._buckets))

    def fresh(self, event_ids: IdColumn, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for ``(n,)`` events whether each is new; the window then holds them all."""
        n = len(event_ids)
        fresh = np.ones(n, dtype=np.bool_)
        if n == 0 or self.n_offsets == 0:
            return fresh
        self._reserve(len(self) + n, event_ids.n_bytes)
        self._next_byte = _queue(
            event_ids.data,
            event_ids.starts,
            event_ids.ends,
            event_ids.hashes,
            offsets,
            self.n_offsets,
            self._next,
            self._next_byte,
            self._offsets,
            self._hashes,
            self._starts,
            self._lengths,
            self._bytes,
            self._buckets,
            fresh,
        )
        self._next += n
        self._first = _expire(
            int(offsets[-1]) - self.n_offsets,
            self._first,
            self._next,
            self._offsets,
            self._hashes,
            self._buckets,
        )
        return fresh

    def _reserve(self, n: int, more_bytes: NDArray[np.int64]) -> None:
        """Have room for ``n`` ids in all, new ones of so many bytes among them."""
        size, at = len(self._offsets), np.arange(self._first, self._next) % len(self._offsets)
        if n > size:
            size = _power_of_two(n)
            to = np.arange(self._first, self._next) % size
            self._offsets = _moved(self._offsets, at, to, size)
            self._hashes = _moved(self._hashes, at, to, size)
            self._starts = _moved(self._starts, at, to, size)
            self._lengths = _moved(self._lengths, at, to, size)
            moved = np.zeros(len(self._buckets) // 2, dtype=np.int64)
            moved[at] = to
            old, self._buckets = self._buckets, np.full(2 * size, FREE)
            _fill(self._buckets, old, moved, self._hashes)
            at = to
        # An id is not cut at the end of the ring: what is left there is shorter than the id.
        held = self._next_byte - int(self._starts[at[0]]) if len(at) else 0
        needed = held + int(more_bytes.sum()) + int(more_bytes.max())
        if needed > len(self._bytes):
            ring = np.zeros(_power_of_two(needed), dtype=np.uint8)
            self._next_byte = _rewrite(at, self._starts, self._lengths, self._bytes, ring)
            self._bytes = ring


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


def _moved(
    ring: NDArray[Any], at: NDArray[np.int64], to: NDArray[np.int64], size: int
) -> NDArray[Any]:
    moved = np.zeros(size, dtype=ring.dtype)
    moved[to] = ring[at]
    return moved


@numba.njit(cache=True, nogil=True)
def _queue(
    data: Bytes,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    hashes: Hashes,
    offsets: NDArray[np.int64],
    n_offsets: int,
    first: int,
    next_byte: int,
    queued_offsets: NDArray[np.int64],
    queued_hashes: Hashes,
    queued_starts: NDArray[np.int64],
    queued_lengths: NDArray[np.int32],
    ring: Bytes,
    buckets: Buckets,
    fresh: NDArray[np.bool_],
) -> int:
    """Queue ids and note which are fresh; return the next byte's count."""
    mask, byte_mask = len(queued_offsets) - 1, len(ring) - 1
    bucket_mask = np.uint64(len(buckets) - 1)
    for i in range(len(starts)):
        n = ends[i] - starts[i]
        at = hashes[i] & bucket_mask
        while (buckets[at] & NUMBER) != FREE:
            if ((buckets[at] ^ hashes[i]) & ~NUMBER) == 0:
                known = np.int64(buckets[at] & NUMBER)
                if queued_lengths[known] == n and same_bytes(
                    data, starts[i], ring, queued_starts[known] & byte_mask, n
                ):
                    fresh[i] = offsets[i] - queued_offsets[known] > n_offsets
                    break
            at = (at + np.uint64(1)) & bucket_mask
        place = (first + i) & mask
        buckets[at] = (hashes[i] & ~NUMBER) | np.uint64(place)
        queued_offsets[place] = offsets[i]
        queued_hashes[place] = hashes[i]
        queued_lengths[place] = n
        next_byte = _write(data, starts[i], n, next_byte, ring, queued_starts, place)
    return next_byte


@numba.njit(cache=True, nogil=True)
def _write(
    data: Bytes,
    start: int,
    n: int,
    next_byte: int,
    ring: Bytes,
    queued_starts: NDArray[np.int64],
    place: int,
) -> int:
    """Write an id into the ring, in one piece; return the next byte's count."""
    at = next_byte & (len(ring) - 1)
    if at + n > len(ring):
        next_byte += len(ring) - at
        at = 0
    queued_starts[place] = next_byte
    copy_bytes(data, start, n, ring, at)
    return next_byte + n


@numba.njit(cache=True, nogil=True)
def _rewrite(
    places: NDArray[np.int64],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    ring: Bytes,
    larger: Bytes,
) -> int:
    """Write all ids into a larger ring; return the next byte's count."""
    next_byte = 0
    for place in places:
        start = starts[place] & (len(ring) - 1)
        next_byte = _write(ring, start, lengths[place], next_byte, larger, starts, place)
    return next_byte


@numba.njit(cache=True, nogil=True)
def _fill(
    buckets: Buckets,
    old: Buckets,
    moved: NDArray[np.int64],
    hashes: Hashes,
) -> None:
    """Give a bucket to each place that had one among fewer buckets, under its new number."""
    for bucket in old:
        if (bucket & NUMBER) != FREE:
            place = moved[np.int64(bucket & NUMBER)]
            put(buckets, hashes[place], place)


@numba.njit(cache=True, nogil=True)
def _expire(
    before: int,
    first: int,
    end: int,
    offsets: NDArray[np.int64],
    hashes: Hashes,
    buckets: Buckets,
) -> int:
    """Drop the ids before an offset from the queue; return the first that stays."""
    mask = len(offsets) - 1
    while first < end and offsets[first & mask] < before:
        _forget(np.uint64(first & mask), hashes, buckets)
        first += 1
    return first


@numba.njit(cache=True, nogil=True)
def _forget(place: np.uint64, hashes: Hashes, buckets: Buckets) -> None:
    """Free the bucket that names a place, if one does: a repeated id has a later one."""
    mask = np.uint64(len(buckets) - 1)
    at = hashes[np.int64(place)] & mask
    while (buckets[at] & NUMBER) != place:
        if (buckets[at] & NUMBER) == FREE:
            return
        at = (at + np.uint64(1)) & mask
    free(buckets, hashes, at)
