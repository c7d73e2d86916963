"""Feedback that may answer a decision: an object an event, and many of them in columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.learner.rewards import EventOutcomes
from streamer_models.state.columns import Columns
from streamer_models.state.id_column import IdColumn


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
class FeedbackRows(Columns):
    """Feedback in columns of length n, in the order of its offsets; see :class:`ItemFeedback`."""

    offsets: NDArray[np.int64]
    ts_ms: NDArray[np.int64]
    watermark_ms: NDArray[np.int64]
    user_ids: IdColumn
    item_ids: IdColumn
    rewards: NDArray[np.float64]
    seen: NDArray[np.bool_]
    named: NDArray[np.bool_]
    outcomes: EventOutcomes

    def feedback(self) -> list[ItemFeedback]:
        """Return each as an object."""
        columns = zip(
            self.offsets.tolist(),
            self.ts_ms.tolist(),
            self.watermark_ms.tolist(),
            self.user_ids.strings(),
            self.item_ids.strings(),
            self.rewards.tolist(),
            self.seen.tolist(),
            self.named.tolist(),
            self.outcomes.serves.tolist(),
            self.outcomes.shares.tolist(),
            strict=True,
        )
        return [ItemFeedback(*values) for values in columns]
