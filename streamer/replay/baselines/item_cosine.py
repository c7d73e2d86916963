"""Item-to-item cosine similarity over whole histories, kept up to date."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer.errors import ConfigError
from streamer.replay.histories import Histories
from streamer.replay.interactions import Interaction

_POPULARITY_WEIGHT = 1e-9
"""So little that it breaks ties and decides nothing else."""


class ItemCosine:
    """Score of item i is ``Σ_h C[h, i] / √(n_h n_i)`` over the user's history h.

    ``C`` counts users with both items, ``n`` users with one (Sarwar et al. 2001, on binary data).
    A table of all pairs is kept, 4 B each: textbook, not for large catalogues.

    Parameters
    ----------
    items_max
        Bound of the items; 16,384 take 1 GiB.
    """

    def __init__(self, *, items_max: int = 16_384) -> None:
        self._items_max = items_max
        self._pairs: NDArray[np.int32] = np.zeros((256, 256), dtype=np.int32)
        self._counts: NDArray[np.int32] = np.zeros(256, dtype=np.int32)
        self._histories = Histories()

    def score(self, user_row: int, ts_ms: int, n_items: int) -> NDArray[np.float64]:
        """Similarities to the user's history, popularity where there is none."""
        scores = np.empty(n_items)
        _score(self._pairs, self._counts, self._histories.items(user_row), scores)
        return scores

    def learn(self, interaction: Interaction) -> None:
        """Count the item, and its pairs with the user's other items.

        Raises
        ------
        ConfigError
            At more than ``items_max`` items.
        """
        item, history = interaction.item_row, self._histories.items(interaction.user_row)
        if item in history:
            return
        if item >= len(self._counts):
            self._grow(item + 1)
        self._counts[item] += 1
        self._pairs[item, history] += 1
        self._pairs[history, item] += 1
        self._histories.add(interaction.user_row, item)

    def _grow(self, n_items: int) -> None:
        if n_items > self._items_max:
            raise ConfigError(
                f"item-cosine keeps all pairs of items, and there are {n_items:,}; it stops at"
                f" {self._items_max:,}: raise items_max (4 B a pair), or leave this model out"
            )
        size = min(self._items_max, max(n_items, len(self._counts) * 3 // 2))
        n_old = len(self._counts)
        pairs = np.zeros((size, size), dtype=np.int32)
        pairs[:n_old, :n_old] = self._pairs
        counts = np.zeros(size, dtype=np.int32)
        counts[:n_old] = self._counts
        self._pairs, self._counts = pairs, counts


@numba.njit(cache=True, nogil=True)
def _score(
    pairs: NDArray[np.int32],
    counts: NDArray[np.int32],
    history: NDArray[np.int32],
    scores: NDArray[np.float64],
) -> None:
    scores[:] = 0
    for h in history:
        weight = 1.0 / np.sqrt(float(counts[h]))
        row = pairs[h]
        for i in range(len(scores)):
            scores[i] += weight * row[i]
    for i in range(len(scores)):
        if counts[i] > 0:
            scores[i] /= np.sqrt(float(counts[i]))
        scores[i] += _POPULARITY_WEIGHT * counts[i]
