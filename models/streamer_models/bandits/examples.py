"""What a bandit learns from: items that were shown, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Examples:
    """Changes in what is known of items shown, in columns of length n.

    One row says that an item's reward was taken as ``before`` and is now taken as ``after``; NaN
    is: not learned. So a first outcome is (NaN, r), an amended one (r, r'), one that is taken back
    (r, NaN), and what they add up to depends on the last outcome alone.

    Attributes
    ----------
    offsets
        int64 offset of the decision.
    ts_ms
        int64 event time of the decision: what evidence ages by.
    arm_ids
        Ids of the items.
    features
        ``(n, d)`` float32, those the decision was drawn with, within ±``FEATURE_MAX``.
    before, after
        float64.
    """

    offsets: NDArray[np.int64]
    ts_ms: NDArray[np.int64]
    arm_ids: Sequence[str]
    features: NDArray[np.float32]
    before: NDArray[np.float64]
    after: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.offsets)
