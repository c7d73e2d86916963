"""The features of an item shown as a learner has them: where it stood is known by then."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.events import Decision
from streamer.ranking.columns.position import POSITION


def learned_row(decision: Decision, item_id: str) -> NDArray[np.float64]:
    """Return ``(d,)`` features of an item of a decision without pinned ones."""
    row = decision.feature_matrix()[decision.candidates.index(item_id)].copy()
    row[decision.feature_names.index(POSITION)] = np.log1p(decision.items.index(item_id))
    learned: NDArray[np.float64] = row.astype(np.float64)
    return learned
