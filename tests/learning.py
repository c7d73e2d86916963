"""Feedback to learn from, and a driver that learns it as the learner does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamer_models.state.ingest import Feedback, admit
from streamer_models.state.inputs import Inputs
from streamer_models.state.model import Model
from streamer_models.state.model import learn as learn_step
from streamer_models.state.partition import Bounds, PartitionState
from streamer_models.state.shared import SharedState
from streamer_models.state.table import Change

SMALL = Bounds(users_max=12, items_max=24, item_sightings_min=2)
"""So small that every stream of :func:`stream` evicts users and items all the time."""
LARGE = Bounds(users_max=10_000, items_max=10_000)
EXPIRY_MS = 3_000_000
"""Some of the ids of :func:`stream` are idle for longer: they expire in small states."""


def stream(
    n: int, *, seed: int, n_users: int = 30, n_items: int = 60, ts_ms: int = 1_700_000_000_000
) -> Feedback:
    """Feedback with gaps in its offsets, late events, skewed items, likes, dislikes, ratings."""
    rng = np.random.default_rng(seed)
    items = (n_items * rng.random(n) ** 2).astype(int)
    ratings = rng.integers(1, 11, n) / 2
    return Feedback(
        # Up to 4,000 offsets an event: 1,000 events cross some thirty sweeps for idle ids.
        offsets=np.cumsum(rng.integers(1, 4_000, n)).astype(np.int64),
        ts_ms=ts_ms + np.arange(n) * 60_000 - rng.integers(0, 600_000, n),
        user_ids=[f"user-{user}" for user in rng.integers(0, n_users, n)],
        item_ids=[f"item-{item}" for item in items],
        rewards=rng.choice([1.0, 1.0, 2.5, -1.0], n).astype(np.float32),
        values=np.where(rng.random(n) < 0.7, ratings, np.nan),
    )


def new_state(
    models: Sequence[Model],
    *,
    bounds: Bounds = SMALL,
    shared: SharedState | None = None,
    partition: int = 0,
) -> PartitionState:
    return PartitionState(partition, models, shared or SharedState(models), bounds=bounds)


def learn(
    feedback: Feedback,
    state: PartitionState,
    models: Sequence[Model],
    *,
    start: int = 0,
    end: int | None = None,
) -> list[Change]:
    """Learn events ``[start, end)`` of a stream as one batch, collecting after each segment."""
    offsets = feedback.offsets
    part = feedback.slice(start, len(offsets) if end is None else end)
    if not len(part):
        return []
    segments = admit(
        part,
        state,
        from_offset=int(offsets[start - 1]) + 1 if start else 0,
        to_offset=int(part.offsets[-1]) + 1,
        idle_expiry_ms=EXPIRY_MS if state.users.rows_max == SMALL.users_max else 0,
    )
    changes = []
    for segment in segments:
        learn_step(models, Inputs(feedback=segment.batch), state)
        changes.append(state.collect())
    return changes
