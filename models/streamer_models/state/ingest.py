"""Feedback by external ids → batches by slot, learned: admission, eviction, expiry, models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.partition import PartitionState
from streamer_models.state.protocols import Batch, Model
from streamer_models.state.table import ITEM, USER, Slots

SWEEP_OFFSETS = 1 << 16
"""Idle ids are looked for once in so many offsets: a scan of 10^5 rows is about 1 ms."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """Feedback of one partition in offset order, in columns of length n, by external id.

    Attributes are those of :class:`streamer_models.state.protocols.Batch`.
    """

    offsets: NDArray[np.int64]
    ts_ms: NDArray[np.int64]
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    rewards: NDArray[np.float32]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.offsets)

    def part(self, start: int, end: int) -> Feedback:
        return Feedback(
            self.offsets[start:end],
            self.ts_ms[start:end],
            self.user_ids[start:end],
            self.item_ids[start:end],
            self.rewards[start:end],
            self.values[start:end],
        )


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of offsets that has been learned: ``[from_offset, to_offset)``.

    Attributes
    ----------
    n_learned
        Events that taught something; not those by an id not admitted (yet).
    offsets, user_slots, item_slots
        ``(n,)`` of all its feedback; slots are -1 where an id is not admitted.
    """

    from_offset: int
    to_offset: int
    n_learned: int
    offsets: NDArray[np.int64]
    user_slots: Slots
    item_slots: Slots

    @property
    def n_unadmitted(self) -> int:
        return len(self.offsets) - self.n_learned


def learn_feedback(
    feedback: Feedback,
    state: PartitionState,
    models: Sequence[Model],
    *,
    from_offset: int,
    to_offset: int,
    idle_expiry_ms: int = 0,
    rate_factor: float = 1.0,
) -> Iterator[Segment]:
    """Learn the feedback found in ``[from_offset, to_offset)``, a segment at a time.

    A segment ends where ids must be evicted before the next event, and at multiples of
    ``SWEEP_OFFSETS`` where idle ids expire, so that both happen at the same event wherever batches
    end. After each segment, and before the next is asked for, the caller takes
    ``state.collect()``.

    Parameters
    ----------
    idle_expiry_ms
        Ids without an event for so long (in event time, against the partition's watermark) are
        dropped; 0: never.
    rate_factor
        As in :class:`streamer_models.state.protocols.Batch`.
    """
    start = 0
    for sweep_from, sweep_to in _sweeps(from_offset, to_offset, idle_expiry_ms):
        due = sweep_from % SWEEP_OFFSETS == 0 and 0 < sweep_from < sweep_to
        if idle_expiry_ms and due:
            # Not arms: how many decisions have been read by now is a matter of chance.
            for entity in (USER, ITEM):
                state.evict(entity, state.ids[entity].idle(state.watermark_ms - idle_expiry_ms))
        end = int(np.searchsorted(feedback.offsets, sweep_to))
        at = sweep_from
        while True:
            rest = feedback.part(start, end)
            n_learned, user_slots, item_slots = _learn_prefix(rest, state, models, rate_factor)
            n = len(user_slots)
            start += n
            to = sweep_to if start == end else int(feedback.offsets[start])
            yield Segment(at, to, n_learned, rest.offsets[:n], user_slots, item_slots)
            at = to
            if start == end:
                break


def _sweeps(from_offset: int, to_offset: int, idle_expiry_ms: int) -> Iterator[tuple[int, int]]:
    if from_offset == to_offset:
        yield from_offset, to_offset
    at = from_offset
    while at < to_offset:
        end = (at // SWEEP_OFFSETS + 1) * SWEEP_OFFSETS if idle_expiry_ms else to_offset
        yield at, min(end, to_offset)
        at = end


def _learn_prefix(
    feedback: Feedback, state: PartitionState, models: Sequence[Model], rate_factor: float
) -> tuple[int, Slots, Slots]:
    """Learn until an eviction is due, evicting first where one is due at once.

    How many events taught something, and the slots of the users and items of all that were taken.
    """
    users, items = state.users.plan(feedback.user_ids), state.items.plan(feedback.item_ids)
    if len(feedback) and users.n_ready == 0:
        state.evict("user", state.users.evictable())
        users = state.users.plan(feedback.user_ids)
    if len(feedback) and items.n_ready == 0:
        state.evict("item", state.items.evictable())
        items = state.items.plan(feedback.item_ids)
    n = min(users.n_ready, items.n_ready)
    if n == 0:
        return 0, users.slots[:0], items.slots[:0]
    state.users.apply(users, n, feedback.offsets)
    state.items.apply(items, n, feedback.offsets)
    state.reserve()
    state.watermark_ms = max(state.watermark_ms, int(feedback.ts_ms[:n].max()))
    batch = _batch(feedback, users.slots[:n], items.slots[:n], state, rate_factor)
    if len(batch):
        state.users.seen(batch.user_slots, batch.offsets, batch.ts_ms)
        state.items.seen(batch.item_slots, batch.offsets, batch.ts_ms)
        for model in models:
            model.learn(batch, state, state.shared)
    return len(batch), users.slots[:n], items.slots[:n]


def _batch(
    feedback: Feedback,
    user_slots: NDArray[np.int32],
    item_slots: NDArray[np.int32],
    state: PartitionState,
    rate_factor: float,
) -> Batch:
    n = len(user_slots)
    admitted = (user_slots >= 0) & (item_slots >= 0)
    chosen = slice(0, n) if admitted.all() else np.flatnonzero(admitted)
    items = item_slots[chosen]
    return Batch(
        offsets=feedback.offsets[:n][chosen],
        ts_ms=feedback.ts_ms[:n][chosen],
        user_slots=user_slots[chosen],
        item_slots=items,
        item_rows=state.item_rows[items],
        rewards=feedback.rewards[:n][chosen],
        values=feedback.values[:n][chosen],
        rate_factor=rate_factor,
    )
