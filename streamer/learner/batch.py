"""Messages of a partition → feedback in columns: decode, reject, drop duplicates, reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.events import Event, EventColumns, EventTypes
from streamer.events.decoding import Rejected, decode_events
from streamer.events.types import IMPRESSION
from streamer.learner.dedup import DedupWindow
from streamer.learner.join.answers import FeedbackBatch, answers
from streamer.learner.join.join import JoinSettings
from streamer.protocols import MessageBatch
from streamer_models.counters.decayed_counting import CountedEvents
from streamer_models.counters.decayed_features import DecayedFeatures
from streamer_models.counters.impressions import Impressions
from streamer_models.state.ingest import Feedback

_SURFACE_MAX = 256

RewardFunction = Callable[[NDArray[np.int8], NDArray[np.float64]], NDArray[np.float32]]
"""Event types (codes) and values, both ``(n,)`` → rewards ``(n,)``; NaN is no feedback."""


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """What a batch of messages turned out to hold.

    Attributes
    ----------
    rejected
        Bad messages; ``index`` is the position in the batch.
    answers
        The events that may answer a decision; None where none are joined.
    counted
        The events that fading features count; None where there are no such features.
    impressions
        The items that users were shown; None where nobody wants to know.
    n_duplicates, n_unrewarded
        Events that give no feedback: repeated ids, and types without a reward (impressions).
    """

    feedback: Feedback
    answers: FeedbackBatch | None
    counted: CountedEvents | None
    impressions: Impressions | None
    rejected: list[Rejected]
    n_duplicates: int
    n_unrewarded: int


def decode_batch(
    batch: MessageBatch,
    *,
    types: EventTypes,
    dedup: DedupWindow,
    rewards: RewardFunction,
    join: JoinSettings | None = None,
    features: DecayedFeatures | None = None,
    with_impressions: bool = False,
) -> DecodedBatch:
    """Decode a batch; the duplicate window moves on by it."""
    columns, rejected = decode_events(batch.values, batch.publish_ms, types)
    offsets = batch.offsets[columns.index]
    fresh = dedup.fresh(columns.event_ids, offsets)
    reward = rewards(columns.types, columns.values)
    n_fresh = int(fresh.sum())
    taught = fresh & ~np.isnan(reward)
    feedback = Feedback(
        offsets=offsets,
        ts_ms=columns.ts_ms,
        user_ids=columns.user_ids,
        item_ids=columns.item_ids,
        rewards=reward,
        values=columns.values,
    )
    n_taught = int(taught.sum())
    if n_taught < len(taught):
        feedback = _chosen(feedback, np.flatnonzero(taught))
    answering = None
    if join is not None:
        answering = answers(
            columns,
            offsets,
            fresh,
            reward,
            to_offset=int(batch.offsets[-1]) + 1,
            match_without_request=join.match_without_request,
        )
    counted = None
    if features is not None:
        counted = _counted(columns, offsets, fresh, batch.publish_ms, features)
    return DecodedBatch(
        feedback,
        answering,
        counted,
        _impressions(columns, offsets, fresh) if with_impressions else None,
        rejected,
        len(fresh) - n_fresh,
        n_fresh - n_taught,
    )


def _impressions(
    columns: EventColumns, offsets: NDArray[np.int64], fresh: NDArray[np.bool_]
) -> Impressions:
    at = np.flatnonzero(fresh & (columns.types == IMPRESSION))
    return Impressions(offsets[at], _picked(columns.user_ids, at), _picked(columns.item_ids, at))


def _counted(
    columns: EventColumns,
    offsets: NDArray[np.int64],
    fresh: NDArray[np.bool_],
    publish_ms: NDArray[np.int64],
    features: DecayedFeatures,
) -> CountedEvents:
    """The events of types that count, at their own time; at that of their publication where a clock
    ran ahead: what comes from far ahead would outweigh everything until then."""
    at = np.flatnonzero(fresh & features.counts_any[columns.types])
    published = publish_ms[columns.index[at]]
    ts_ms = columns.ts_ms[at]
    ids: dict[str, Sequence[str]] = {}
    for entity in features.entities:
        if entity == "surface":
            ids[entity] = [_surface(columns.events[i]) for i in at.tolist()]
        else:
            names = columns.user_ids if entity == "user" else columns.item_ids
            ids[entity] = names if len(at) == len(names) else _picked(names, at)
    return CountedEvents(
        offsets=offsets[at],
        ts_ms=np.where(published >= 0, np.minimum(ts_ms, published), ts_ms),
        types=columns.types[at],
        values=columns.values[at],
        ids=ids,
    )


def _surface(event: Event) -> str:
    """What an event's context names as its surface, as a request may; "" where it names none."""
    surface = (event.context or {}).get("surface")
    return surface if isinstance(surface, str) and len(surface) <= _SURFACE_MAX else ""


def _chosen(feedback: Feedback, at: NDArray[np.intp]) -> Feedback:
    return Feedback(
        offsets=feedback.offsets[at],
        ts_ms=feedback.ts_ms[at],
        user_ids=_picked(feedback.user_ids, at),
        item_ids=_picked(feedback.item_ids, at),
        rewards=feedback.rewards[at],
        values=feedback.values[at],
    )


def _picked(names: Sequence[str], at: NDArray[np.intp]) -> list[str]:
    return [names[i] for i in at.tolist()]
