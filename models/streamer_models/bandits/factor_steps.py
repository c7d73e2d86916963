"""Posteriors that follow examples one by one: kernels.

An example (x, r) that counts as w of them (-w where it is taken back) changes ``F Fᵀ = A⁻¹`` by
``-(w / q) F v vᵀ Fᵀ`` with ``v = Fᵀ x`` and ``q = 1 + w |v|²`` (Sherman & Morrison 1950), so F
becomes ``F L`` with ``L Lᵀ = I - (w / q) v vᵀ``. With ``p_j = 1 + w Σ_{i ≥ j} v_i²``, L is

``L_jj = √(p_{j+1} / p_j)``, ``L_ij = -w v_i v_j / √(p_j p_{j+1})`` below it (Carlson 1973),

which takes O(d²) to apply; and z (see :mod:`streamer_models.bandits.arm_estimates`) becomes
``Lᵀ (z + w (r - x·m₀) v)``.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.arm_estimates import (
    factor_times,
    known_estimate,
    solve,
    unknown_estimate,
)
from streamer_models.bandits.linear_kernels import Matrix, Vector, explained_squares
from streamer_models.bandits.linear_statistics import (
    ADDED,
    STATISTICS_BITS,
    TAKEN_BACK,
    add_outcome,
    read_sums,
)
from streamer_models.state.table import Slots

Q_MIN = 1e-6
"""Below this q, an example taken back would lose too many digits: solve afresh."""


@numba.njit(cache=True, nogil=True)
def step(
    factor: Matrix,
    z: Vector,
    x: NDArray[np.floating],
    prior_mean: Vector,
    before: float,
    after: float,
    weight: float,
    v: Vector,
) -> bool:
    """Bring F and z from outcome ``before`` to ``after`` (NaN: none); ``v`` is scratch ``(d,)``.

    The example counts as ``weight`` of them.

    False: too little would be left to be precise; nothing is changed, solve afresh.
    """
    d = len(x)
    factor_times(factor, x, v)
    if not (np.isnan(before) or np.isnan(after)):
        for j in range(d):
            z[j] += weight * (after - before) * v[j]
        return True
    w, reward = (-weight, before) if np.isnan(after) else (weight, after)
    q = 1.0
    for j in range(d):
        q += w * v[j] * v[j]
        reward -= prior_mean[j] * x[j]
    if q < Q_MIN:
        return False
    # From the last column to the first, since p_j sums what is behind.
    following, weighted = 1.0, 0.0
    diagonal, below = np.empty(d), np.empty(d)
    for j in range(d - 1, -1, -1):
        p = following + w * v[j] * v[j]
        diagonal[j] = np.sqrt(following / p)
        below[j] = w * v[j] / np.sqrt(p * following)
        value = z[j] + w * reward * v[j]
        z[j] = diagonal[j] * value - below[j] * weighted
        weighted += v[j] * value
        following = p
    for k in range(d):
        weighted = 0.0
        for j in range(k, -1, -1):
            value = factor[k, j]
            factor[k, j] = diagonal[j] * value - below[j] * weighted
            weighted += value * v[j]
    return True


@numba.njit(cache=True, nogil=True)
def learn_rows(
    values: NDArray[np.int64],
    factors: NDArray[np.float64],
    z: Matrix,
    n_since: NDArray[np.int64],
    rows: Slots,
    x: NDArray[np.floating],
    before: Vector,
    after: Vector,
    prior_mean: Vector,
    prior_precisions: Vector,
    refresh_every: int,
    weights: Vector | None = None,
) -> None:
    """Bring rows from outcomes ``before`` to ``after``, example by example: the integers first,
    then F and z by a step, or afresh where that is due. Negative rows are passed over.

    ``weights`` is ``(n,)``, as how many examples each counts; None: as one.
    """
    v = np.empty(x.shape[1])
    for i in range(len(rows)):
        row = rows[i]
        if row < 0 or (np.isnan(before[i]) and np.isnan(after[i])):
            continue
        weight = 1.0
        if weights is not None:
            weight = weights[i]
        unit = 2.0**STATISTICS_BITS * weight
        add_outcome(values[row], x[i], before[i], TAKEN_BACK, unit)
        add_outcome(values[row], x[i], after[i], ADDED, unit)
        n_since[row] += 1
        if n_since[row] < refresh_every and step(
            factors[row], z[row], x[i], prior_mean, before[i], after[i], weight, v
        ):
            continue
        refresh_row(values, factors, z, n_since, row, prior_mean, prior_precisions)


@numba.njit(cache=True, nogil=True)
def refresh_row(
    values: NDArray[np.int64],
    factors: NDArray[np.float64],
    z: Matrix,
    n_since: NDArray[np.int64],
    row: int,
    prior_mean: Vector,
    prior_precisions: Vector,
) -> None:
    """Compute F and z of one row afresh from its integers."""
    n_since[row] = 0
    factor, weighted = solve(values[row] * 2.0**-STATISTICS_BITS, prior_mean, prior_precisions)
    factors[row] = factor
    z[row] = weighted


@numba.njit(cache=True, nogil=True)
def mean_of(factor: Matrix, z: Vector, prior_mean: Vector) -> Vector:
    """Return mean parameters, ``(d,)``, as ``prior_mean + times(factor, z)`` has them: terms in
    fours up to the diagonal, above which all are 0."""
    d = len(z)
    mean = prior_mean.copy()
    for i in range(d):
        total = 0.0
        j = 0
        while j <= i and j + 3 < d:
            first = z[j] * factor[i, j] + z[j + 1] * factor[i, j + 1]
            second = z[j + 2] * factor[i, j + 2] + z[j + 3] * factor[i, j + 3]
            total += first + second
            j += 4
        while j <= i:
            total += z[j] * factor[i, j]
            j += 1
        mean[i] += total
    return mean


@numba.njit(cache=True, nogil=True)
def unexplained_squares(row: NDArray[np.int64], mean: Vector) -> float:
    """Return ``Σ (r - x·mean)²`` of one row of integers."""
    d = len(mean)
    b, a = np.empty(d), np.empty((d, d))
    read_sums(row, b, a)
    return float(row[1] * 2.0**-STATISTICS_BITS - explained_squares(a, b, mean))


@numba.njit(cache=True, nogil=True)
def estimate_rows(
    x: NDArray[np.floating],
    rows: Slots,
    factors: NDArray[np.float64],
    z: Matrix,
    prior_mean: Vector,
    prior_precisions: Vector,
) -> tuple[Vector, Vector]:
    """Return ``(n,)`` means and widths of candidates by the rows of their items; -1: none."""
    n = len(x)
    means, widths = np.empty(n), np.empty(n)
    scratch = np.empty(x.shape[1])
    for i in range(n):
        row = rows[i]
        if row < 0:
            means[i], widths[i] = unknown_estimate(x[i], prior_mean, prior_precisions)
        else:
            means[i], widths[i] = known_estimate(factors[row], z[row], x[i], prior_mean, scratch)
    return means, widths
