"""Which ids of a run are admitted, and at which slots: the walk behind :class:`IdTable`."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.table import Slots

ADMITTED, UNSEEN, REFUSED = range(3)


@numba.njit(cache=True, nogil=True)
def admit(
    name_of: NDArray[np.int64],
    key_of: NDArray[np.int64],
    taken: NDArray[np.bool_],
    bucket_of: NDArray[np.int64],
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
    key_of, bucket_of
        ``(m,)`` which of the different keys a name has, and which of the sighting counters.
    taken
        By key: whether a live id has it; those admitted are added.
    counts
        By counter: sightings up to now; those of this walk are added.
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
    slot_of = np.full(len(key_of), np.int32(-1))
    n_new = 0
    for i in range(len(name_of)):
        name = name_of[i]
        if slot_of[name] >= 0:
            slots[i] = slot_of[name]
            continue
        key = key_of[name]
        if taken[key]:
            outcome[i] = REFUSED
            continue
        if sightings_min > 1:
            counts[bucket_of[name]] += 1
            if counts[bucket_of[name]] < sightings_min:
                outcome[i] = UNSEEN
                continue
        slot = free[n_new] if n_new < len(free) else n_slots + n_new - len(free)
        if slot >= rows_max:
            return i
        n_new += 1
        slot_of[name] = slots[i] = slot
        taken[key] = True
        outcome[i] = ADMITTED
    return len(name_of)
