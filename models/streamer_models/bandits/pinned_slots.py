"""Slots of a slate that pinned items leave to those that are chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def free_slots(n_chosen: int, pinned_at: Sequence[int]) -> NDArray[np.int64]:
    """``(n_chosen,)`` slots of the items that were chosen, among pinned ones at theirs.

    >>> free_slots(3, [0, 2]).tolist()
    [1, 3, 4]
    """
    slots = np.arange(n_chosen + len(pinned_at))
    return np.setdiff1d(slots, pinned_at)[:n_chosen] if len(pinned_at) else slots
