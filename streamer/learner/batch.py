"""Messages of a partition → feedback in columns: decode, reject, drop duplicates, reward."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.events import EventTypes
from streamer.events.decoding import Rejected
from streamer.events.event_columns import EventColumns, decode_events
from streamer.events.types import IMPRESSION
from streamer.learner.dedup import DedupWindow
from streamer.learner.join.answers import FeedbackBatch, answers
from streamer.learner.join.join import JoinSettings
from streamer.learner.rewards import EventOutcomes
from streamer.protocols import MessageBatch
from streamer_models.state.ids.id_column import IdColumn
from streamer_models.state.ingest import Feedback
from streamer_models.state.inputs import Events

_SURFACE_MAX = 256


class RewardFunction(Protocol):
    """Rewards of events by type (codes) and value, both ``(n,)``."""

    def __call__(self, types: NDArray[np.int8], values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return ``(n,)`` rewards; NaN is no feedback."""

    def clipped(self, types: NDArray[np.int8], values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return ``(n,)`` whether a reward would be the same at the nearest bound."""

    def outcomes(self, types: NDArray[np.int8], values: NDArray[np.float64]) -> EventOutcomes:
        """Return what ``(n,)`` events bring to objectives."""


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """What a batch of messages turned out to hold.

    Attributes
    ----------
    events
        Events of all types but for repeated ones.
    answers
        The events that may answer a decision; None where none are joined.
    rejected
        Bad messages; ``index`` is the position in the batch.
    n_duplicates, n_unrewarded
        Events that give no feedback: repeated ids, impressions, and types without a reward.
    n_ahead
        Events but for repeated ones whose own time lay after their publication.
    n_clipped
        The same whose values are clipped by the ``value_range`` of their type, by its name.
    """

    feedback: Feedback
    events: Events
    answers: FeedbackBatch | None
    rejected: list[Rejected]
    n_duplicates: int
    n_unrewarded: int
    n_ahead: int = 0
    n_clipped: Counter[str] = field(default_factory=Counter)


def decode_batch(
    batch: MessageBatch,
    *,
    types: EventTypes,
    dedup: DedupWindow,
    rewards: RewardFunction,
    join: JoinSettings | None = None,
) -> DecodedBatch:
    """Decode a batch; the duplicate window moves on by it."""
    columns, rejected = decode_events(batch.values, batch.publish_ms, types)
    offsets = batch.offsets[columns.index]
    fresh = dedup.fresh(columns.event_ids, offsets)
    reward = rewards(columns.types, columns.values)
    n_fresh = int(fresh.sum())
    # To be shown an item is not to meet it, whatever it is worth to the slate.
    taught = fresh & ~np.isnan(reward) & (columns.types != IMPRESSION)
    kept = columns.take(taught)
    clipped = columns.types[fresh & rewards.clipped(columns.types, columns.values)]
    feedback = Feedback(
        offsets=offsets[taught],
        ts_ms=kept.ts_ms,
        user_ids=kept.user_ids,
        item_ids=kept.item_ids,
        rewards=reward[taught],
        values=kept.values,
    )
    answering = None
    if join is not None:
        answering = answers(
            columns,
            offsets,
            fresh,
            reward,
            rewards.outcomes(columns.types, columns.values),
            to_offset=int(batch.offsets[-1]) + 1,
            match_without_request=join.match_without_request != "never",
        )
    return DecodedBatch(
        feedback,
        _events(columns.take(fresh), offsets[fresh]),
        answering,
        rejected,
        len(fresh) - n_fresh,
        n_fresh - len(feedback),
        int((columns.ahead & fresh).sum()),
        Counter(types.names[code] for code in clipped.tolist()),
    )


def _events(fresh: EventColumns, offsets: NDArray[np.int64]) -> Events:
    return Events(
        offsets=offsets,
        ts_ms=fresh.ts_ms,
        types=fresh.types,
        values=fresh.values,
        user_ids=fresh.user_ids,
        item_ids=fresh.item_ids,
        surfaces=_short(fresh.surfaces),
    )


def _short(surfaces: IdColumn) -> IdColumn:
    """Surfaces as a request may name them: none where an event's has more characters."""
    long = np.flatnonzero(surfaces.n_bytes > _SURFACE_MAX)
    too_long = [i for i in long.tolist() if len(surfaces[i]) > _SURFACE_MAX]
    if not too_long:
        return surfaces
    ends = surfaces.ends.copy()
    ends[too_long] = surfaces.starts[too_long]
    return replace(surfaces, ends=ends)
