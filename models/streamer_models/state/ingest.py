"""Feedback by external ids → batches by slot: admission, eviction, expiry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.columns import Columns
from streamer_models.state.inputs import NO_FEEDBACK, Batch, Events, Inputs, Profiles
from streamer_models.state.model import Model, learn, make_room
from streamer_models.state.partition import PartitionState
from streamer_models.state.table import ITEM, PROFILE, USER

SWEEP_OFFSETS = 1 << 16
"""Idle ids are looked for once in so many offsets: a scan of 10^5 rows is about 1 ms."""


@dataclass(frozen=True, slots=True)
class Feedback(Columns):
    """Feedback of one partition in offset order, in columns of length n, by external id.

    Attributes are those of :class:`streamer_models.state.inputs.Batch`.
    """

    offsets: NDArray[np.int64]
    ts_ms: NDArray[np.int64]
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    rewards: NDArray[np.float32]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of offsets whose users and items are admitted: ``[from_offset, to_offset)``.

    Attributes
    ----------
    batch
        Its feedback, without that by or on an id that is not admitted (yet).
    n_unadmitted
        Feedback left out of the batch.
    """

    from_offset: int
    to_offset: int
    batch: Batch
    n_unadmitted: int


def admit(
    feedback: Feedback,
    state: PartitionState,
    *,
    from_offset: int,
    to_offset: int,
    idle_expiry_ms: int = 0,
    rate_factor: float = 1.0,
) -> Iterator[Segment]:
    """Admit the ids of the feedback found in ``[from_offset, to_offset)``, a segment at a time.

    A segment ends where ids must be evicted before the next event, and at multiples of
    ``SWEEP_OFFSETS`` where idle ids expire, so that both happen at the same event wherever batches
    end. Before it asks for the next segment, the caller learns this one and takes
    ``state.collect()``.

    Parameters
    ----------
    idle_expiry_ms
        Ids without an event for so long (in event time, against the partition's watermark) are
        dropped; 0: never.
    rate_factor
        As in :class:`streamer_models.state.inputs.Batch`.
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
            rest = feedback.slice(start, end)
            n, batch = _admit_prefix(rest, state, rate_factor)
            start += n
            to = sweep_to if start == end else int(feedback.offsets[start])
            yield Segment(at, to, batch, n - len(batch))
            at = to
            if start == end:
                break


def admit_profiles(
    user_ids: Sequence[str],
    rows: NDArray[np.uint64],
    offsets: NDArray[np.int64],
    state: PartitionState,
) -> tuple[int, Profiles]:
    """Admit users who say something of themselves until an eviction is due, evicting first where
    one is due at once.

    Parameters
    ----------
    user_ids, rows, offsets
        ``(n,)`` ids, ``(n, width)`` packed rows and ``(n,)`` rising offsets.

    Returns
    -------
    tuple of int and Profiles
        How many rows were taken, and those of them whose users are admitted.
    """
    ids = state.ids[PROFILE]
    plan = ids.plan(user_ids)
    if len(user_ids) and plan.n_ready == 0:
        state.evict(PROFILE, ids.evictable())
        plan = ids.plan(user_ids)
    n = plan.n_ready
    ids.apply(plan, n, offsets)
    state.reserve()
    kept = plan.slots[:n] >= 0
    slots = plan.slots[:n][kept]
    ids.seen(slots, offsets[:n][kept], np.zeros(len(slots), dtype=np.int64))
    return n, Profiles(slots, rows[:n][kept])


def event_parts(
    feedback: Feedback,
    events: Events,
    state: PartitionState,
    models: Sequence[Model],
    *,
    from_offset: int,
    to_offset: int,
    idle_expiry_ms: int = 0,
    rate_factor: float = 1.0,
) -> Iterator[tuple[Segment, Events]]:
    """Cut ``[from_offset, to_offset)`` into parts that can be learned at once, having evicted what
    had to go before each: for the feedback (:func:`admit`) and for any of the models.

    Yields the feedback and the events of each part.
    """
    at, n_taken = from_offset, 0
    while True:
        ahead = Inputs(events=events.slice(n_taken, len(events)) if n_taken else events)
        end = make_room(models, ahead, state)
        end = to_offset if end is None else end
        n = int(np.searchsorted(feedback.offsets, end))
        for segment in admit(
            feedback.slice(0, n),
            state,
            from_offset=at,
            to_offset=end,
            idle_expiry_ms=idle_expiry_ms,
            rate_factor=rate_factor,
        ):
            first, n_taken = n_taken, int(np.searchsorted(events.offsets, segment.to_offset))
            yield segment, events.slice(first, n_taken)
        at, feedback = end, feedback.slice(n, len(feedback))
        if at == to_offset:
            return


def learn_feedback(
    feedback: Feedback,
    state: PartitionState,
    models: Sequence[Model],
    *,
    from_offset: int,
    to_offset: int,
) -> Iterator[Segment]:
    """Learn feedback alone, a segment at a time; see :func:`admit`."""
    for segment in admit(feedback, state, from_offset=from_offset, to_offset=to_offset):
        learn(models, Inputs(feedback=segment.batch), state)
        yield segment


def _sweeps(from_offset: int, to_offset: int, idle_expiry_ms: int) -> Iterator[tuple[int, int]]:
    if from_offset == to_offset:
        yield from_offset, to_offset
    at = from_offset
    while at < to_offset:
        end = (at // SWEEP_OFFSETS + 1) * SWEEP_OFFSETS if idle_expiry_ms else to_offset
        yield at, min(end, to_offset)
        at = end


def _admit_prefix(
    feedback: Feedback, state: PartitionState, rate_factor: float
) -> tuple[int, Batch]:
    """Admit ids until an eviction is due, evicting first where one is due at once; return how many
    events were taken, and those of them whose ids are admitted."""
    users, items = state.users.plan(feedback.user_ids), state.items.plan(feedback.item_ids)
    if len(feedback) and users.n_ready == 0:
        state.evict("user", state.users.evictable())
        users = state.users.plan(feedback.user_ids)
    if len(feedback) and items.n_ready == 0:
        state.evict("item", state.items.evictable())
        items = state.items.plan(feedback.item_ids)
    n = min(users.n_ready, items.n_ready)
    if n == 0:
        return 0, NO_FEEDBACK
    state.users.apply(users, n, feedback.offsets)
    state.items.apply(items, n, feedback.offsets)
    state.reserve()
    state.watermark_ms = max(state.watermark_ms, int(feedback.ts_ms[:n].max()))
    admitted = (users.slots[:n] >= 0) & (items.slots[:n] >= 0)
    kept, item_slots = feedback.slice(0, n).take(admitted), items.slots[:n][admitted]
    batch = Batch(
        offsets=kept.offsets,
        ts_ms=kept.ts_ms,
        user_slots=users.slots[:n][admitted],
        item_slots=item_slots,
        item_rows=state.item_rows[item_slots],
        rewards=kept.rewards,
        values=kept.values,
        rate_factor=rate_factor,
    )
    if len(batch):
        state.users.seen(batch.user_slots, batch.offsets, batch.ts_ms)
        state.items.seen(batch.item_slots, batch.offsets, batch.ts_ms)
    return n, batch
