"""A map from 64-bit keys to rows that numba kernels can read: open addressing, linear probing."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.table import Array, Keys, Slots

_EMPTY = -1
_SIZE_MIN = 64


class KeyMap:
    """uint64 key → int32 slot, at most half full, so a look-up takes 1.5 probes on average.

    Keys are taken as already well mixed (they are digests), so their low bits are the bucket.

    Attributes
    ----------
    buckets
        ``(size,)`` uint64 keys; meaningful where ``slots >= 0``.
    slots
        ``(size,)`` int32; -1 is empty. Both are replaced when the map grows: read them afresh.
    """

    def __init__(self) -> None:
        self.buckets: Keys = np.zeros(_SIZE_MIN, dtype=np.uint64)
        self.slots: Slots = np.full(_SIZE_MIN, _EMPTY, dtype=np.int32)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def find(self, keys: Keys) -> Slots:
        """``(n,)`` slots of ``keys``, -1 where absent."""
        found: Slots = _find(self.buckets, self.slots, keys)
        return found

    def find_one(self, key: int) -> int:
        return int(find_slot(self.buckets, self.slots, np.uint64(key)))

    def take(self, keys: Keys, values: Array, found: Array) -> None:
        """Write the rows of ``values`` at the slots of ``(n,)`` keys into ``found``, zeros where a
        key is absent."""
        _take(self.buckets, self.slots, keys, values, found)

    def insert(self, keys: Keys, slots: Slots) -> None:
        """Add keys (or give present ones another slot)."""
        needed = 2 * (self._n + len(keys))
        if needed > len(self.slots):
            self._grow(needed)
        self._n += _insert(self.buckets, self.slots, keys, slots)

    def remove(self, keys: Keys) -> None:
        """Take keys out; absent ones are passed over."""
        self._n -= _remove(self.buckets, self.slots, keys)

    def _grow(self, needed: int) -> None:
        size = 1 << int(needed - 1).bit_length()
        live = self.slots >= 0
        keys, slots = self.buckets[live], self.slots[live]
        self.buckets = np.zeros(size, dtype=np.uint64)
        self.slots = np.full(size, _EMPTY, dtype=np.int32)
        _insert(self.buckets, self.slots, keys, slots)


@numba.njit(cache=True, nogil=True)
def find_slot(buckets: NDArray[np.uint64], slots: Slots, key: np.uint64) -> int:
    """Slot of one key, -1 where absent; for use inside kernels."""
    mask = np.uint64(len(slots) - 1)
    bucket = key & mask
    while slots[bucket] >= 0:
        if buckets[bucket] == key:
            return int(slots[bucket])
        bucket = (bucket + np.uint64(1)) & mask
    return -1


@numba.njit(cache=True, nogil=True)
def _find(buckets: NDArray[np.uint64], slots: Slots, keys: Keys) -> Slots:
    found = np.empty(len(keys), dtype=np.int32)
    for i in range(len(keys)):
        found[i] = find_slot(buckets, slots, keys[i])
    return found


@numba.njit(cache=True, nogil=True)
def _take(
    buckets: NDArray[np.uint64], slots: Slots, keys: Keys, values: Array, found: Array
) -> None:
    for i in range(len(keys)):
        slot = find_slot(buckets, slots, keys[i])
        if slot >= 0:
            found[i] = values[slot]
        else:
            found[i] = 0


@numba.njit(cache=True, nogil=True)
def _insert(buckets: NDArray[np.uint64], slots: Slots, keys: Keys, new_slots: Slots) -> int:
    mask = np.uint64(len(slots) - 1)
    n_new = 0
    for i in range(len(keys)):
        bucket = keys[i] & mask
        while slots[bucket] >= 0 and buckets[bucket] != keys[i]:
            bucket = (bucket + np.uint64(1)) & mask
        n_new += slots[bucket] < 0
        buckets[bucket] = keys[i]
        slots[bucket] = new_slots[i]
    return n_new


@numba.njit(cache=True, nogil=True)
def _remove(buckets: NDArray[np.uint64], slots: Slots, keys: Keys) -> int:
    """Backward-shift deletion: later keys of the run move up, so no tombstones are needed."""
    mask = np.uint64(len(slots) - 1)
    one = np.uint64(1)
    n_removed = 0
    for i in range(len(keys)):
        hole = keys[i] & mask
        while slots[hole] >= 0 and buckets[hole] != keys[i]:
            hole = (hole + one) & mask
        if slots[hole] < 0:
            continue
        n_removed += 1
        probe = (hole + one) & mask
        while slots[probe] >= 0:
            home = buckets[probe] & mask
            # The key at `probe` may fill the hole if its home does not lie between the two.
            if ((probe - home) & mask) >= ((probe - hole) & mask):
                buckets[hole], slots[hole] = buckets[probe], slots[probe]
                hole = probe
            probe = (probe + one) & mask
        slots[hole] = -1
    return n_removed
