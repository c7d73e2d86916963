"""What each user met before each event of a step."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.id_table import META_FIRST_OFFSET
from streamer_models.state.ids.key_map import find_slot
from streamer_models.state.inputs import Batch
from streamer_models.state.partition import PartitionState
from streamer_models.state.table import Array, Keys, Slots


@dataclass(frozen=True, slots=True)
class Recent:
    """Items that the users of a step met before each of its events, the newest first.

    Attributes
    ----------
    keys
        ``(n, length)``; meaningful below ``n_before``.
    slots
        ``(n, length)`` of the partition's items; -1 where there is none, or none any more.
    ts_ms
        ``(n, length)`` int64 event times.
    n_before
        ``(n,)`` int64: how many items the user has met before, beyond ``length`` too.
    """

    keys: Keys
    slots: Slots
    ts_ms: NDArray[np.int64]
    n_before: NDArray[np.int64]


def recent_items(batch: Batch, state: PartitionState, length: int) -> Recent:
    """Look up the last items before each event, of the same step too.

    Ask before the step is learned: the rings of :class:`UserHistory` end where it begins. An item
    is there if it was admitted before the event, wherever batches end.

    Parameters
    ----------
    length
        At most that of the rings.
    """
    n = len(batch)
    found = Recent(
        keys=np.zeros((n, length), dtype=np.uint64),
        slots=np.full((n, length), -1, dtype=np.int32),
        ts_ms=np.zeros((n, length), dtype=np.int64),
        n_before=np.zeros(n, dtype=np.int64),
    )
    if n:
        _look_back(
            found.keys,
            found.slots,
            found.ts_ms,
            found.n_before,
            batch.offsets,
            batch.user_slots,
            batch.item_slots,
            state.items.keys[batch.item_slots],
            batch.ts_ms,
            state.own["user_history"].values,
            state.own["user_history_times"].values,
            state.items.map.buckets,
            state.items.map.slots,
            state.items.meta.values,
        )
    return found


@numba.njit(cache=True, nogil=True)
def _look_back(
    keys: Keys,
    slots: Slots,
    ts_ms: NDArray[np.int64],
    n_before: NDArray[np.int64],
    offsets: NDArray[np.int64],
    user_slots: Slots,
    item_slots: Slots,
    item_keys: Keys,
    event_ms: NDArray[np.int64],
    ring: Array,
    times: Array,
    buckets: Keys,
    map_slots: Slots,
    meta: NDArray[np.int64],
) -> None:
    length, ring_length = keys.shape[1], ring.shape[1] - 1
    latest = np.full(len(ring), -1, dtype=np.int32)  # the user's last event of this step
    for i in range(len(offsets)):
        user = user_slots[i]
        before = latest[user]
        if before >= 0:
            n_before[i] = n_before[before] + 1
            keys[i, 0], ts_ms[i, 0] = item_keys[before], event_ms[before]
            slots[i, 0] = item_slots[before]
            for age in range(1, length):  # what was admitted then is so now
                keys[i, age], ts_ms[i, age] = keys[before, age - 1], ts_ms[before, age - 1]
                slots[i, age] = slots[before, age - 1]
        else:
            n = np.int64(ring[user, 0])
            n_before[i] = n
            for age in range(min(n, length)):
                at = 1 + (n - 1 - age) % ring_length
                keys[i, age], ts_ms[i, age] = ring[user, at], np.int64(times[user, at])
        latest[user] = i
        for age in range(min(n_before[i], length)):
            if slots[i, age] >= 0:
                continue
            slot = find_slot(buckets, map_slots, keys[i, age])
            if slot >= 0 and meta[slot, META_FIRST_OFFSET] < offsets[i]:
                slots[i, age] = slot
