"""Which ids of a run are admitted, and at which slots: the walk behind :class:`IdTable`."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.table import Keys, Slots

ADMITTED, UNSEEN, REFUSED = range(3)


@numba.njit(cache=True, nogil=True)
def admit(
    name_of: NDArray[np.int64],
    keys: Keys,
    taken: NDArray[np.bool_],
    buckets: Slots,
    counts: NDArray[np.int64],
    sightings_min: int,
    free: Slots,
    n_slots: int,
    rows_max: int,
    slots: Slots,
    outcome: NDArray[np.int8],
) -> int:
    """Walk over ids that have no slot, in order, and give slots to those that are admitted.

    Parameters
    ----------
    name_of
        ``(n,)`` which of the m different names each is.
    keys, buckets
        ``(m,)`` of the names: their keys, and their sighting counters.
    taken
        ``(m,)`` whether a live id has the key of a name; those admitted are added.
    counts
        By counter, sightings up to now; none beyond its end.
    free
        Free slots below ``n_slots``, rising.
    slots
        ``(n,)``, -1 at first; written.
    outcome
        ``(n,)``, written: ``ADMITTED`` where an id takes its slot, ``UNSEEN`` where it was not
        sighted often enough, ``REFUSED`` where its key is another id's, -1 else.

    Returns
    -------
    int
        Ids before the first for which there is no slot left; at most ``n``.
    """
    slot_of = np.full(len(keys), np.int32(-1))
    same_key = _first_of(keys)
    same_bucket = _first_of(buckets.astype(np.uint64)) if sightings_min > 1 else same_key
    n_sighted = np.zeros(len(keys), dtype=np.int64)
    n_new = 0
    for i in range(len(name_of)):
        name = name_of[i]
        if slot_of[name] >= 0:
            slots[i] = slot_of[name]
            continue
        if taken[same_key[name]]:
            outcome[i] = REFUSED
            continue
        if sightings_min > 1:
            stored = counts[buckets[name]] if buckets[name] < len(counts) else 0
            n_sighted[same_bucket[name]] += 1
            if stored + n_sighted[same_bucket[name]] < sightings_min:
                outcome[i] = UNSEEN
                continue
        slot = free[n_new] if n_new < len(free) else n_slots + n_new - len(free)
        if slot >= rows_max:
            return i
        n_new += 1
        slot_of[name] = slots[i] = slot
        taken[same_key[name]] = True
        outcome[i] = ADMITTED
    return len(name_of)


@numba.njit(cache=True, nogil=True)
def _first_of(keys: Keys) -> NDArray[np.int64]:
    """Return for each key the index of the first that equals it."""
    size = 4
    while size < 2 * len(keys):
        size *= 2
    buckets = np.full(size, -1)
    mask = np.uint64(size - 1)
    first = np.empty(len(keys), dtype=np.int64)
    for i in range(len(keys)):
        at = keys[i] & mask
        while buckets[at] >= 0 and keys[buckets[at]] != keys[i]:
            at = (at + np.uint64(1)) & mask
        if buckets[at] < 0:
            buckets[at] = i
        first[i] = buckets[at]
    return first
