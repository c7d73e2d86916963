"""Linear models of single items around the one that all share: what they say of a slate."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.linear_kernels import inverse_factor
from streamer_models.bandits.linear_statistics import FADING_BITS, STATISTICS_BITS
from streamer_models.counters.decay import CELLS_WIDTH, WEIGHT_BITS, decayed_values
from streamer_models.state.table import Array

Floats = NDArray[np.float64]


def arm_beliefs(
    x: NDArray[np.float32],
    known: NDArray[np.intp],
    rows: Array,
    *,
    prior_mean: Floats,
    prior_precisions: Floats,
    half_life_ms: int,
    at_ms: int,
) -> tuple[Floats, Floats]:
    """Each candidate's mean and width under the model of its own item.

    ``A = Σ x xᵀ + P``, ``A mean = Σ r x + P m₀`` over the item's own outcomes, with P a diagonal:
    disjoint LinUCB (Li et al. 2010, Algorithm 1) around a prior mean that all items share.

    Parameters
    ----------
    x
        ``(n, d)`` features.
    known, rows
        ``(m,)`` candidates that have statistics, and these, ``(m, statistics_width(d))`` or four
        times as wide where they fade (``half_life_ms`` above 0, read as of ``at_ms``).
    prior_mean, prior_precisions
        ``(d,)`` m₀ and the diagonal of P.

    Returns
    -------
    ``(n,)`` ``x·mean`` and ``(n,)`` ``√(xᵀ A⁻¹ x)``.
    """
    means = np.zeros(len(x))
    widths = np.zeros(len(x))
    if half_life_ms:
        half_life = np.array([half_life_ms], dtype=np.int64)
        numbers = decayed_values(rows.reshape(-1, CELLS_WIDTH), half_life, at_ms)
        numbers = numbers.reshape(len(rows), rows.shape[1] // CELLS_WIDTH)
        numbers *= 2.0 ** (WEIGHT_BITS - FADING_BITS)
    else:
        numbers = rows * 2.0**-STATISTICS_BITS
    place = np.full(len(x), -1, dtype=np.int64)
    place[known] = np.arange(len(known))
    _solve(x, place, numbers, prior_mean, prior_precisions, means, widths)
    return means, widths


@numba.njit(cache=True, nogil=True)
def _solve(
    x: NDArray[np.float32],
    place: NDArray[np.int64],
    numbers: Floats,
    prior_mean: Floats,
    prior_precisions: Floats,
    means: Floats,
    widths: Floats,
) -> None:
    d = x.shape[1]
    a = np.empty((d, d))
    residual = np.empty(d)
    for i in range(len(x)):
        square = 0.0
        for j in range(d):
            means[i] += prior_mean[j] * x[i, j]
            square += np.float64(x[i, j]) ** 2 / prior_precisions[j]
        if place[i] < 0:
            widths[i] = np.sqrt(square)
            continue
        row = numbers[place[i]]
        at = 2 + d
        for j in range(d):
            for m in range(j, d):
                a[j, m] = a[m, j] = row[at]
                at += 1
        for j in range(d):
            residual[j] = row[2 + j]
            for m in range(d):
                residual[j] -= a[j, m] * prior_mean[m]
        for j in range(d):
            a[j, j] += prior_precisions[j]
        factor = inverse_factor(a)
        # x·A⁻¹·residual and |Fᵀ x|, both from Fᵀ x.
        square = 0.0
        for m in range(d):
            along_x = along_residual = 0.0
            for j in range(m, d):
                along_x += factor[j, m] * x[i, j]
                along_residual += factor[j, m] * residual[j]
            square += along_x * along_x
            means[i] += along_x * along_residual
        widths[i] = np.sqrt(square)
