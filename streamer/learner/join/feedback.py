"""Feedback that may answer a decision: an object an event, and many of them in columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.learner.rewards import EventOutcomes
from streamer_models.state.columns import Columns
from streamer_models.state.ids.id_column import IdColumn


@dataclass(frozen=True, slots=True)
class ItemFeedback:
    """One event that names an item shown.

    Attributes
    ----------
    offset, ts_ms
        Its own.
    watermark_ms
        Greatest event time before it, in its topic's order: what says whether it is late.
    reward
        NaN where its type is worth nothing.
    seen
        Whether it reports that the item was really seen (an impression).
    named
        Whether it names the request; otherwise user, item and time say which one it answers.
    serves, share
        Bit j: it brings the j-th objective; how much of it.
    """

    offset: int
    ts_ms: int
    watermark_ms: int
    user_id: str
    item_id: str
    reward: float
    seen: bool
    named: bool = True
    serves: int = 0
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Answers(Columns):
    """Events that may answer a decision, in columns of length n, in order.

    Attributes
    ----------
    at
        ``(n,)`` int64, index of each among all events of its batch.
    request_ids, named
        "" where an event names none; whether it names one.
    seen
        ``(n,)`` whether it says that an item was seen.
    outcomes
        What it brings to objectives.
    """

    at: NDArray[np.int64]
    request_ids: IdColumn
    named: NDArray[np.bool_]
    user_ids: IdColumn
    item_ids: IdColumn
    rewards: NDArray[np.float64]
    seen: NDArray[np.bool_]
    outcomes: EventOutcomes


@dataclass(frozen=True, slots=True)
class FeedbackRows(Columns):
    """Answers with what says whether they are late, in columns of length n, in order.

    Attributes
    ----------
    offsets, ts_ms, watermark_ms
        As of :class:`ItemFeedback`.
    """

    offsets: NDArray[np.int64]
    ts_ms: NDArray[np.int64]
    watermark_ms: NDArray[np.int64]
    answers: Answers

    def feedback(self) -> list[ItemFeedback]:
        """Return each as an object."""
        answers = self.answers
        columns = zip(
            self.offsets.tolist(),
            self.ts_ms.tolist(),
            self.watermark_ms.tolist(),
            answers.user_ids.strings(),
            answers.item_ids.strings(),
            answers.rewards.tolist(),
            answers.seen.tolist(),
            answers.named.tolist(),
            answers.outcomes.serves.tolist(),
            answers.outcomes.shares.tolist(),
            strict=True,
        )
        return [ItemFeedback(*values) for values in columns]
