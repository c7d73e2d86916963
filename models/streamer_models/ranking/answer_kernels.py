"""Choices among the items of slates in kernels, as sums that can be taken back."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.ranking.blend_kernels import STATISTIC_BITS, shares_of_choice, slope

Floats = NDArray[np.float64]

N_BEHIND = 2
"""Numbers that are logged of an item behind its columns: its logit, and ``V · columns`` in it."""
LOGGED_MAX = 1_024.0
"""Bound of a number that is logged. Slopes are bounded by 64 and rates by 100, so a choice adds at
most 64 * (64 + 100) * 2^20 < 2^34 to a sum: 2^29 of the greatest there are stay within int64."""
_UNITS = float(1 << STATISTIC_BITS)


def sums_width(n_columns: int) -> int:
    """Return how many sums there are of choices with so many columns."""
    return n_columns * (n_columns + 1) // 2 + n_columns + 1


@numba.njit(cache=True, nogil=True)
def add_choices(
    sums: NDArray[np.int64],
    slate: NDArray[np.float32],
    outcomes: Floats,
    sign: int,
    rate: float,
) -> None:
    """Add what a slate teaches, or take it back.

    Each item taken up is one choice: it, among those that were seen and not taken up. What it adds
    to a sum is a whole number by itself, so what is taken back leaves nothing behind.

    Parameters
    ----------
    sums
        :func:`sums_width` of them, in units of 2^-20: ``w g gᵀ`` (upper triangle, row by row),
        ``w (g (g·V) - rate g)``, and w, summed over choices.
    slate
        ``(k, n_columns + 2)``: the columns of each item, its logit, and ``V · columns`` in it.
    outcomes
        ``(k,)`` weights w of the items taken up; 0 of those seen and passed over, NaN of others.
    sign
        1 adds, -1 takes back.
    """
    passed = np.flatnonzero(outcomes == 0)
    n = slate.shape[1] - N_BEHIND
    rows = np.empty((len(passed) + 1, slate.shape[1]))
    for i in range(len(passed)):
        rows[1 + i] = slate[passed[i]]
    for target in range(len(slate)):
        weight = outcomes[target]
        if not weight > 0 or not len(passed):
            continue
        rows[0] = slate[target]
        g = slope(rows, shares_of_choice(rows[:, n].copy()), 0)
        along, at = g[n + 1], 0
        for a in range(n):
            for b in range(a, n):
                sums[at] += sign * np.int64(np.rint(weight * (g[a] * g[b]) * _UNITS))
                at += 1
        for a in range(n):
            sums[at + a] += sign * np.int64(np.rint(weight * (g[a] * (along - rate)) * _UNITS))
        sums[at + n] += sign * np.int64(np.rint(weight * _UNITS))
