"""Exposure of items: how unequally the last slots were shared out."""

from __future__ import annotations

from typing import Final

import numpy as np

from streamer_models.evaluation.ranking_metrics import exposure_gini
from streamer_models.state.table import Keys

SLOTS_KEPT: Final = 20_000
"""Slots of two thousand slates of ten; 20,000 * 8 B = 160 kB. Counting them takes some 1 ms."""


class Exposure:
    """The items of the last slots, by their keys.

    One thread notes slates; any thread may ask, and sees a slate as a whole or in part.

    Parameters
    ----------
    n_slots
        Slots that are remembered; the oldest ones go first.
    """

    def __init__(self, n_slots: int = SLOTS_KEPT) -> None:
        self._keys: Keys = np.zeros(n_slots, dtype=np.uint64)
        self._n = 0

    def note(self, keys: Keys) -> None:
        """Remember the items of a slate."""
        size = len(self._keys)
        self._keys[(self._n + np.arange(len(keys))) % size] = keys
        self._n += len(keys)

    def n_items(self) -> int:
        """Return how many items stood in the last slots."""
        return len(np.unique(self._last()))

    def gini(self, n_items: int) -> float:
        """Return the Gini index of the slots that each item got; NaN before the first slate.

        Parameters
        ----------
        n_items
            Items that could have been shown: without those that were not, ten items that everybody
            is shown would look fair.
        """
        counts = np.unique(self._last(), return_counts=True)[1].astype(np.int64)
        return exposure_gini(counts, n_items=max(n_items, len(counts)))

    def _last(self) -> Keys:
        return self._keys[: min(self._n, len(self._keys))].copy()
