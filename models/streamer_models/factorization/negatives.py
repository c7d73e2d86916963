"""Negatives for implicit feedback: drawn from recent positives and, for the rest, uniformly.

Recent positives are a stream's own popularity, so popular items are pushed down as often as they
are pushed up (Rendle & Freudenthaler 2014; word2vec's unigram draws); uniform draws keep the tail
from floating.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.id_table import META_FIRST_OFFSET
from streamer_models.state.ids.key_map import find_slot
from streamer_models.state.inputs import Batch
from streamer_models.state.partition import PartitionState
from streamer_models.state.seeding import random_bits, scaled_below, stream
from streamer_models.state.table import Keys, Merge, Slots, TableSpec

_DRAWS_MAX = 4
"""Draws for one negative before it is given up: an item of share s survives s^4 of the time."""
_SHARE_UNIT = 1 << 16


@dataclass(frozen=True, slots=True)
class Negatives:
    """Negatives of a batch.

    Attributes
    ----------
    slots
        ``(n, n_negatives)`` int32 item slots, -1 where there is none (and for rewards not above 0).
    log_expected
        ``(n, n_negatives)`` float32: ln of how often each was to be expected among the event's
        draws, which sampled softmax subtracts from its score; ``(0, 0)`` if not asked for.
    """

    slots: Slots
    log_expected: NDArray[np.float32]


class NegativeSampler:
    """Draws item slots, as a function of what is stored and of each event's own random stream.

    For event i a negative is an item that was admitted before i, is admitted still, and is not
    the positive. With probability ``recent_share`` it is looked up in the ring of the last
    positives as of event i, else it is a slot below the highest slot taken before i. So neither
    where batches end nor a reload changes a draw.

    Parameters
    ----------
    n_negatives
        Negatives an event.
    recent_share
        Share drawn from recent positives.
    n_recent_items
        Length of the ring, 8 B each, one ring a partition.
    seed
        Any int.
    corrected
        Whether ``log_expected`` is asked for.
    table
        Name of the ring's table.
    """

    def __init__(
        self,
        *,
        n_negatives: int,
        recent_share: float,
        n_recent_items: int,
        seed: int,
        corrected: bool = False,
        table: str = "recent_items",
    ) -> None:
        if n_negatives < 1 or n_recent_items < 1 or not 0 <= recent_share <= 1:
            raise ValueError(
                f"negatives: n_negatives={n_negatives} and n_recent_items={n_recent_items} must be"
                f" at least 1, recent_share={recent_share} between 0 and 1"
            )
        self.n_negatives = n_negatives
        self.recent_share = recent_share
        self.n_recent_items = n_recent_items
        self.corrected = corrected
        self.seed = np.uint64(seed & 0xFFFFFFFFFFFFFFFF)
        self._table = table

    def table(self) -> TableSpec:
        return TableSpec(self._table, "slot", Merge.RECENT, "u8", 1 + self.n_recent_items)

    def draw(self, batch: Batch, state: PartitionState) -> Negatives:
        """Draw negatives for the positives of a batch and add the positives to the ring."""
        table, items = state.own[self._table], state.items
        table.reserve(1)
        ring = table.values[0]
        slots, log_expected, keys = _sample(
            batch.offsets,
            batch.item_slots,
            batch.rewards,
            ring,
            int(ring[0]),
            items.keys,
            items.map.buckets,
            items.map.slots,
            items.live,
            items.meta.values,
            items.n_slots,
            self.seed,
            np.uint64(state.partition),
            self.n_negatives,
            self.recent_share,
            self.corrected,
        )
        table.merge(np.zeros(len(keys), dtype=np.int32), keys)
        return Negatives(slots, log_expected)


@numba.njit(cache=True, nogil=True)
def _sample(
    offsets: NDArray[np.int64],
    item_slots: Slots,
    rewards: NDArray[np.float32],
    ring: Keys,
    n_before: int,
    keys: Keys,
    buckets: Keys,
    map_slots: Slots,
    live: NDArray[np.bool_],
    meta: NDArray[np.int64],
    n_slots: int,
    seed: np.uint64,
    partition: np.uint64,
    n_negatives: int,
    recent_share: float,
    corrected: bool,
) -> tuple[Slots, NDArray[np.float32], Keys]:
    """Negatives, what was expected of each, and ``(n_liked, 1)`` keys of the positives."""
    liked = np.flatnonzero(rewards > 0)
    liked_keys = keys[item_slots[liked]]
    drawn = np.full((len(offsets), n_negatives), np.int32(-1))
    n_high_at = np.empty(len(liked), dtype=np.int64)
    _draw(
        drawn,
        n_high_at,
        liked,
        offsets,
        item_slots,
        ring,
        n_before,
        buckets,
        map_slots,
        live,
        meta,
        n_slots,
        seed,
        partition,
        round(recent_share * _SHARE_UNIT),
    )
    log_expected = np.zeros(drawn.shape if corrected else (0, 0), dtype=np.float32)
    if corrected:
        _expect(
            log_expected,
            drawn,
            n_high_at,
            liked,
            item_slots,
            ring,
            n_before,
            buckets,
            map_slots,
            np.zeros(n_slots if recent_share > 0 else 0, dtype=np.int32),
            recent_share,
        )
    return drawn, log_expected, liked_keys.reshape(-1, 1)


@numba.njit(cache=True, nogil=True)
def _draw(
    drawn: Slots,
    n_high_at: NDArray[np.int64],
    liked: NDArray[np.int64],
    offsets: NDArray[np.int64],
    item_slots: Slots,
    ring: Keys,
    n_before: int,
    buckets: Keys,
    map_slots: Slots,
    live: NDArray[np.bool_],
    meta: NDArray[np.int64],
    n_slots: int,
    seed: np.uint64,
    partition: np.uint64,
    recent_share: int,
) -> None:
    length = len(ring) - 1
    n_high = n_slots
    for n_pushed in range(len(liked)):
        i = liked[n_pushed]
        offset = offsets[i]
        if n_pushed == 0:
            # Slots beyond those taken before this event were given to later ones of the batch,
            # the lowest first, so their first offsets rise with them.
            while n_high > 0 and meta[n_high - 1, META_FIRST_OFFSET] >= offset:
                n_high -= 1
        while n_high < n_slots and meta[n_high, META_FIRST_OFFSET] < offset:
            n_high += 1
        n_high_at[n_pushed] = n_high
        start = stream(seed, partition, np.uint64(offset))
        newest = n_before + n_pushed - 1
        n_ring = min(newest + 1, length)
        for j in range(drawn.shape[1]):
            for attempt in range(_DRAWS_MAX):
                bits = random_bits(start, np.uint64(j * _DRAWS_MAX + attempt))
                if n_ring > 0 and np.int64(bits & np.uint64(_SHARE_UNIT - 1)) < recent_share:
                    at = newest - scaled_below(bits, n_ring)
                    if at >= n_before:
                        slot = item_slots[liked[at - n_before]]
                    else:
                        slot = find_slot(buckets, map_slots, ring[1 + at % length])
                elif n_high > 0:
                    slot = scaled_below(bits, n_high)
                    if not live[slot]:
                        slot = -1
                else:
                    break
                if slot >= 0 and slot != item_slots[i] and meta[slot, META_FIRST_OFFSET] < offset:
                    drawn[i, j] = slot
                    break


@numba.njit(cache=True, nogil=True)
def _expect(
    log_expected: NDArray[np.float32],
    drawn: Slots,
    n_high_at: NDArray[np.int64],
    liked: NDArray[np.int64],
    item_slots: Slots,
    ring: Keys,
    n_before: int,
    buckets: Keys,
    map_slots: Slots,
    counts: NDArray[np.int32],
    recent_share: float,
) -> None:
    """``ln(n drawn * (share * occurrences in the ring / its length + (1 - share) / slots))``.

    ``counts`` are occurrences by slot, zero at first; not looked at without a ``recent_share``.
    They are counted from the ring, not stored: a look-up of 5 ns for each of its keys, once a
    batch.
    """
    length = len(ring) - 1
    if recent_share > 0:
        for at in range(max(0, n_before - length), n_before):
            slot = find_slot(buckets, map_slots, ring[1 + at % length])
            if slot >= 0:
                counts[slot] += 1
    for n_pushed in range(len(liked)):
        i = liked[n_pushed]
        n_ring = min(n_before + n_pushed, length)
        share = recent_share if n_ring else 0.0
        n_drawn = 0
        for j in range(drawn.shape[1]):
            n_drawn += drawn[i, j] >= 0
        uniform = (1.0 - share) / n_high_at[n_pushed] if n_drawn else 0.0
        # All draws are alike where none is from the ring: one logarithm for all of them.
        log_uniform = math.log(n_drawn * uniform) if uniform > 0 else 0.0
        for j in range(drawn.shape[1]):
            if drawn[i, j] >= 0 and share > 0:
                expected = uniform + share * (counts[drawn[i, j]] / n_ring)
                log_expected[i, j] = math.log(n_drawn * expected)
            elif drawn[i, j] >= 0:
                log_expected[i, j] = log_uniform
        if recent_share > 0:
            counts[item_slots[i]] += 1
            oldest = n_before + n_pushed - length
            if oldest >= 0:
                if oldest >= n_before:
                    slot = item_slots[liked[oldest - n_before]]
                else:
                    slot = find_slot(buckets, map_slots, ring[1 + oldest % length])
                if slot >= 0:
                    counts[slot] -= 1
