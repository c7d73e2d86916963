"""Estimates under models of single items: one factor of ``A⁻¹`` an item.

An item's model is known by the lower-triangular F with ``F Fᵀ = A⁻¹`` and by
``z = Fᵀ (Σ r x - Σ x xᵀ m₀)``, what its outcomes say beyond the prior's mean m₀. Then its mean
parameters are ``m₀ + F z``, and with ``t = Fᵀ x`` a candidate has the mean ``x·m₀ + t·z`` and the
width ``√(xᵀ A⁻¹ x) = |t|``.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.linear_kernels import Matrix, Vector, inverse_factor, times
from streamer_models.bandits.linear_statistics import FADING_UNIT, STATISTICS_BITS
from streamer_models.counters.decay import decayed_values
from streamer_models.state.decayed_cells import CELLS_WIDTH
from streamer_models.state.table import Array

Floats = NDArray[np.float64]


def arm_estimates(
    x: NDArray[np.float32] | NDArray[np.float64],
    known: NDArray[np.intp],
    rows: Array,
    *,
    prior_mean: Floats,
    prior_precisions: Floats,
    half_life_ms: int,
    at_ms: int,
) -> tuple[Floats, Floats]:
    """Return each candidate's mean and width under the model of its own item.

    ``A = Σ x xᵀ + P``, ``A mean = Σ r x + P m₀`` over the item's own outcomes, with P a diagonal:
    disjoint LinUCB (Li et al. 2010, Algorithm 1) around a prior mean that all items share.

    Parameters
    ----------
    x
        ``(n, d)`` features.
    known, rows
        ``(m,)`` candidates that have statistics, and these, ``(m, statistics_width(d))`` or four
        times as wide where they decay (``half_life_ms`` above 0, read as of ``at_ms``).
    prior_mean, prior_precisions
        ``(d,)`` m₀ and the diagonal of P.

    Returns
    -------
    ``(n,)`` ``x·mean`` and ``(n,)`` ``√(xᵀ A⁻¹ x)``.
    """
    means = np.zeros(len(x))
    widths = np.zeros(len(x))
    if half_life_ms and len(rows):  # no rows have no cells to read
        half_life = np.array([half_life_ms], dtype=np.int64)
        numbers = decayed_values(rows.reshape(-1, CELLS_WIDTH), half_life, at_ms)
        numbers = numbers.reshape(len(rows), rows.shape[1] // CELLS_WIDTH)
        numbers *= FADING_UNIT
    else:
        numbers = rows * 2.0**-STATISTICS_BITS
    index = np.full(len(x), -1, dtype=np.int64)
    index[known] = np.arange(len(known))
    _estimate(x, index, numbers, prior_mean, prior_precisions, means, widths)
    return means, widths


@numba.njit(cache=True, nogil=True)
def solve(numbers: Vector, prior_mean: Vector, prior_precisions: Vector) -> tuple[Matrix, Vector]:
    """Return F and z of one row of statistics as numbers, ``(statistics_width(d),)``."""
    d = len(prior_mean)
    a = np.empty((d, d))
    at = 2 + d
    for j in range(d):
        for m in range(j, d):
            a[j, m] = a[m, j] = numbers[at]
            at += 1
    residual = numbers[2 : 2 + d] - times(a, prior_mean)
    for j in range(d):
        a[j, j] += prior_precisions[j]
    factor = inverse_factor(a)
    return factor, times(factor.T, residual)


@numba.njit(cache=True, nogil=True)
def factor_times(factor: Matrix, x: NDArray[np.floating], out: Vector) -> None:
    """``out = Fᵀ x`` of a lower-triangular F."""
    d = len(x)
    out[:] = 0.0
    for j in range(d):
        scale = np.float64(x[j])
        # Whole vectors of 16 are faster than an exact end; the zeros above the diagonal add none.
        for m in range(min(d, (j | 15) + 1)):
            out[m] += scale * factor[j, m]


@numba.njit(cache=True, nogil=True)
def known_estimate(
    factor: Matrix,
    z: Vector,
    x: NDArray[np.floating],
    prior_mean: Vector,
    scratch: Vector,
) -> tuple[float, float]:
    """Return ``x·m₀ + t·z`` and ``|t|``."""
    factor_times(factor, x, scratch)
    mean = square = 0.0
    for j in range(len(x)):
        mean += prior_mean[j] * x[j] + scratch[j] * z[j]
        square += scratch[j] * scratch[j]
    return mean, np.sqrt(square)


@numba.njit(cache=True, nogil=True)
def unknown_estimate(
    x: NDArray[np.floating], prior_mean: Vector, prior_precisions: Vector
) -> tuple[float, float]:
    """Return mean and width of a candidate whose item is known by its prior alone."""
    mean = square = 0.0
    for j in range(len(x)):
        mean += prior_mean[j] * x[j]
        square += np.float64(x[j]) ** 2 / prior_precisions[j]
    return mean, np.sqrt(square)


@numba.njit(cache=True, nogil=True)
def _estimate(
    x: NDArray[np.floating],
    index: NDArray[np.int64],
    numbers: Floats,
    prior_mean: Floats,
    prior_precisions: Floats,
    means: Floats,
    widths: Floats,
) -> None:
    scratch = np.empty(x.shape[1])
    for i in range(len(x)):
        if index[i] < 0:
            means[i], widths[i] = unknown_estimate(x[i], prior_mean, prior_precisions)
        else:
            factor, z = solve(numbers[index[i]], prior_mean, prior_precisions)
            means[i], widths[i] = known_estimate(factor, z, x[i], prior_mean, scratch)
