"""A linear model of shared and per-arm parameters, one block an arm eliminated: kernels.

With shared features z and an arm's own x, rewards are ``z·β + x·θ_a``. An arm's block is

``A_a = Σ x xᵀ + λ I``, ``B_a = Σ x zᵀ``, ``b_a = Σ r x``, kept as ``A_a⁻¹``, ``G_a = A_a⁻¹ B_a``
and ``c_a = A_a⁻¹ b_a``.

What is left of z once the arm has explained what it can, ``z~ = z - G_aᵀ x``, meets the shared
``S = λ I + Σ_a (Z_a - B_aᵀ A_a⁻¹ B_a)``, the Schur complement. An example changes S by the one
term ``z~ z~ᵀ / (1 + xᵀ A_a⁻¹ x)``, so all of it is Sherman-Morrison. Mean and variance are
``z~·β + x·c_a`` and ``z~ᵀ S⁻¹ z~ + xᵀ A_a⁻¹ x``: the same numbers as in Algorithm 2 of Li et al.
(2010), without its four products.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.linear_kernels import Matrix, Vector, inverse_factor, outer_square
from streamer_models.bandits.linear_statistics import STATISTICS_BITS, add_outcome, read_sums
from streamer_models.bandits.sherman_morrison import Q_MIN, dot, step, symmetric_times
from streamer_models.state.table import Slots


@numba.njit(cache=True, nogil=True)
def step_hybrid(
    inverse: Matrix,
    slopes: Matrix,
    own: Vector,
    shared_inverse: Matrix,
    beta: Vector,
    zx: NDArray[np.floating],
    before: float,
    after: float,
    scratch: Matrix,
) -> bool:
    """Bring an arm's ``A⁻¹``, G (``slopes``) and c (``own``), and ``S⁻¹`` and β, from outcome
    ``before`` to ``after`` (NaN: none). ``zx`` is z, then x; ``scratch`` is ``(4, k + d)``.

    False: too little would be left to be precise; compute all afresh.
    """
    k, d = len(beta), len(own)
    x = zx[k:]
    u, rest = scratch[0, :d], scratch[1, :k]
    symmetric_times(inverse, x, u)
    residual(zx, slopes, rest)
    if not (np.isnan(before) or np.isnan(after)):
        change = after - before
        for j in range(d):
            own[j] += change * u[j]
        symmetric_times(shared_inverse, rest, scratch[2, :k])
        for j in range(k):
            beta[j] += change * scratch[2, j]
        return True
    reward, sign = (before, -1.0) if np.isnan(after) else (after, 1.0)
    q = 1.0 + sign * dot(x, u)
    if q < Q_MIN:
        return False
    gain = sign / q
    error = reward - dot(x, own)
    none = np.zeros((0, 0))
    if not step(
        shared_inverse, none, beta, rest, np.nan, error, gain, scratch[2, :k], scratch[3, :k]
    ):
        return False
    for j in range(d):
        scale = gain * u[j]
        own[j] += scale * error
        for m in range(d):
            inverse[j, m] -= scale * u[m]
        for m in range(k):
            slopes[j, m] += scale * rest[m]
    return True


@numba.njit(cache=True, nogil=True)
def residual(zx: NDArray[np.floating], slopes: Matrix, rest: Vector) -> None:
    """``rest = z - Gᵀ x``."""
    k = len(rest)
    for m in range(k):
        rest[m] = zx[m]
    for j in range(len(slopes)):
        scale = np.float64(zx[k + j])
        for m in range(k):
            rest[m] -= scale * slopes[j, m]


@numba.njit(cache=True, nogil=True)
def residuals(
    zx: NDArray[np.floating],
    rows: Slots,
    inverse: NDArray[np.float64],
    slopes: NDArray[np.float64],
    own: Matrix,
    prior_strength: float,
) -> tuple[Matrix, Vector, Vector]:
    """``(n, k)`` z~, ``(n,)`` ``x·c`` and ``(n,)`` ``xᵀ A⁻¹ x``; negative rows are unknown arms."""
    n, k, d = len(zx), slopes.shape[2], slopes.shape[1]
    rest, means, squares = np.empty((n, k)), np.zeros(n), np.zeros(n)
    u = np.empty(d)
    for i in range(n):
        row = rows[i]
        x = zx[i, k:]
        if row < 0:
            for m in range(k):
                rest[i, m] = zx[i, m]
            for j in range(d):
                squares[i] += np.float64(x[j]) * np.float64(x[j])
            squares[i] /= prior_strength
            continue
        residual(zx[i], slopes[row], rest[i])
        symmetric_times(inverse[row], x, u)
        squares[i] = dot(x, u)
        means[i] = dot(x, own[row])
    return rest, means, squares


@numba.njit(cache=True, nogil=True)
def refresh_arm(
    row: NDArray[np.int64],
    prior_strength: float,
    inverse: Matrix,
    slopes: Matrix,
    own: Vector,
    shared: Matrix,
    shared_rewards: Vector,
) -> None:
    """Compute ``A⁻¹``, G and c of one row of statistics over (z, x) afresh, and add what it says
    of β, ``Z - Bᵀ G`` and ``Σ r z - Gᵀ b``, to ``shared`` ``(k, k)`` and ``shared_rewards``."""
    k, d = len(shared_rewards), len(own)
    joint, b = np.empty((k + d, k + d)), np.empty(k + d)
    read_sums(row, b, joint)
    a = joint[k:, k:].copy()
    for j in range(d):
        a[j, j] += prior_strength
    inverse[:] = outer_square(inverse_factor(a))
    symmetric_times(inverse, b[k:], own)
    slopes[:] = 0.0
    for j in range(d):
        for i in range(d):
            for m in range(k):
                slopes[j, m] += inverse[j, i] * joint[k + i, m]
    for m in range(k):
        shared_rewards[m] += b[m]
        for i in range(k):
            shared[m, i] += joint[m, i]
        for j in range(d):
            shared_rewards[m] -= slopes[j, m] * b[k + j]
            for i in range(k):
                shared[m, i] -= joint[k + j, m] * slopes[j, i]


@numba.njit(cache=True, nogil=True)
def learn_hybrid(
    values: NDArray[np.int64],
    inverse: NDArray[np.float64],
    slopes: NDArray[np.float64],
    own: Matrix,
    retired: NDArray[np.int64],
    shared_inverse: Matrix,
    beta: Vector,
    rows: Slots,
    x: NDArray[np.floating],
    before: Vector,
    after: Vector,
    prior_strength: float,
    n_since: int,
    refresh_every: int,
    scratch: Matrix,
) -> int:
    """Bring examples from ``before`` to ``after``, as :func:`step_hybrid`, in order.

    Everything is computed afresh after ``refresh_every`` examples; returned is the number of those
    since the last time.
    """
    for i in range(len(rows)):
        row = rows[i]
        if row < 0 or (np.isnan(before[i]) and np.isnan(after[i])):
            continue
        add_outcome(values[row], x[i], before[i], -1, 2.0**STATISTICS_BITS)
        add_outcome(values[row], x[i], after[i], 1, 2.0**STATISTICS_BITS)
        n_since += 1
        if n_since >= refresh_every or not step_hybrid(
            inverse[row], slopes[row], own[row], shared_inverse, beta,
            x[i], before[i], after[i], scratch,
        ):  # fmt: skip
            every = np.arange(len(own)).astype(np.int32)
            refresh_hybrid(
                values, inverse, slopes, own, retired, shared_inverse, beta, every, prior_strength
            )
            n_since = 0
    return n_since


@numba.njit(cache=True, nogil=True)
def refresh_hybrid(
    values: NDArray[np.int64],
    inverse: NDArray[np.float64],
    slopes: NDArray[np.float64],
    own: Matrix,
    retired: NDArray[np.int64],
    shared_inverse: Matrix,
    beta: Vector,
    rows: Slots,
    prior_strength: float,
) -> None:
    """Compute everything of ``rows`` afresh, and from it and from what gone arms had said
    (``retired``, statistics over z) ``S⁻¹`` and β."""
    k = len(beta)
    shared, rewards = np.empty((k, k)), np.empty(k)
    read_sums(retired, rewards, shared)
    for j in range(k):
        shared[j, j] += prior_strength
    for row in rows:
        if values[row, 0] != 0:
            refresh_arm(
                values[row], prior_strength, inverse[row], slopes[row], own[row], shared, rewards
            )
        else:  # never used, free again, or all was taken back
            inverse[row] = np.eye(len(inverse[row])) / prior_strength
            slopes[row] = 0.0
            own[row] = 0.0
    shared_inverse[:] = outer_square(inverse_factor(shared))
    symmetric_times(shared_inverse, rewards, beta)
