"""How many times as likely an item is as any, by its popularity at several half-lives."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.decayed_cells import read_counter, read_weights

SMOOTHING = 20.0
"""Events of the next longer half-life that a shorter one is smoothed by."""
ITEMS_MAX = 30_000


@numba.njit(cache=True, nogil=True)
def popularity_shares(
    counts: NDArray[np.int64],
    cells: NDArray[np.int64],
    total: int,
    total_cells: NDArray[np.int64],
    half_lives: NDArray[np.int64],
    n_items: int,
    at_ms: int,
) -> NDArray[np.float64]:
    """``(1 + n_half_lives, n)``: of all time, then by half-life, the longest first.

    Of all time it is ``m count / total``, with m items known (at most 30,000); each half-life is
    smoothed by the next longer one: ``(m value + 20 longer) / (sum of all values + 20)``.

    Parameters
    ----------
    counts, cells
        ``(n, 1)`` and ``(n, 4 n_half_lives)`` rows of items.
    total, total_cells
        The same of all items: a number, and ``(1, 4 n_half_lives)``.
    half_lives
        ``(n_half_lives,)`` ms.
    """
    n, m = len(counts), float(min(n_items, ITEMS_MAX))
    shares = np.zeros((1 + len(half_lives), n))
    for i in range(n):
        shares[0, i] = m * counts[i, 0] / max(total, 1)
    weights = np.empty(3)
    place = 1
    for h in np.argsort(-half_lives):
        first = read_weights(half_lives[h], at_ms, weights)
        all_items = max(read_counter(total_cells[0], h, first, weights), 0.0)
        for i in range(n):
            value = max(read_counter(cells[i], h, first, weights), 0.0)
            longer = shares[place - 1, i]
            shares[place, i] = (m * value + SMOOTHING * longer) / (all_items + SMOOTHING)
        place += 1
    return shares
