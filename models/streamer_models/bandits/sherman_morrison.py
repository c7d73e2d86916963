"""One example more, one less or another outcome in a linear model's inverse: O(d²) steps.

Written are A⁻¹ and ``θ = A⁻¹ b``. For an example (x, r) of weight w (negative: one taken back),
with ``u = A⁻¹ x`` and ``q = 1 + w xᵀ u`` (Sherman & Morrison 1950):

``A⁻¹ ← A⁻¹ - (w / q) u uᵀ``, ``θ ← θ + (w / q) (r - x·θ) u``.

Where evidence fades there is also the *spread* ``W = V⁻¹ Ṽ V⁻¹`` of D-LinUCB (Russac, Vernade &
Cappé 2019), in which examples weigh w in V and w² in Ṽ. As ``V⁻¹ Ṽ u = W x``, it follows without Ṽ:
``W ← W - (w / q) (u sᵀ + s uᵀ) + ((w / q)² xᵀ s + w |w| / q²) u uᵀ`` with ``s = W x``.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.linear_kernels import Matrix, Vector, inverse_factor, outer_square
from streamer_models.bandits.linear_statistics import read_fading_sums, read_sums

Q_MIN = 1e-6
"""An example taken back that leaves less than this of q would lose too many digits: refresh."""


@numba.njit(cache=True, nogil=True)
def symmetric_times(matrix: Matrix, x: NDArray[np.floating], out: Vector) -> None:
    """``out = M x`` of a symmetric M."""
    out[:] = 0.0
    for j in range(len(x)):
        scale = np.float64(x[j])
        for m in range(len(out)):
            out[m] += scale * matrix[j, m]


@numba.njit(cache=True, nogil=True)
def dot(x: NDArray[np.floating], y: Vector) -> float:
    """``x·y``."""
    total = 0.0
    for j in range(len(y)):
        total += x[j] * y[j]
    return total


@numba.njit(cache=True, nogil=True)
def step(
    inverse: Matrix,
    spread: Matrix,
    theta: Vector,
    x: NDArray[np.floating],
    before: float,
    after: float,
    weight: float,
    u: Vector,
    s: Vector,
) -> bool:
    """Bring a model from outcome ``before`` to ``after`` (NaN: none) of one example, in place.

    ``spread`` is ``(0, 0)`` where evidence doesn't fade; ``u`` and ``s`` are scratch, ``(d,)``.
    False: too little would be left to be precise; nothing was done.
    """
    symmetric_times(inverse, x, u)
    if not (np.isnan(before) or np.isnan(after)):
        change = weight * (after - before)
        for j in range(len(u)):
            theta[j] += change * u[j]
        return True
    reward = after
    if np.isnan(after):
        reward = before
        weight = -weight
    q = 1.0 + weight * dot(x, u)
    if q < Q_MIN:
        return False
    gain = weight / q
    error = gain * (reward - dot(x, theta))
    for j in range(len(u)):
        theta[j] += error * u[j]
        scale = gain * u[j]
        for m in range(len(u)):
            inverse[j, m] -= scale * u[m]
    if len(spread):
        symmetric_times(spread, x, s)
        squares = gain * gain * dot(x, s) + gain * abs(gain)
        for j in range(len(u)):
            along_s, along_u = gain * u[j], squares * u[j] - gain * s[j]
            for m in range(len(u)):
                spread[j, m] += along_u * u[m] - along_s * s[m]
    return True


@numba.njit(cache=True, nogil=True)
def refresh(row: NDArray[np.int64], prior_strength: float, inverse: Matrix, theta: Vector) -> None:
    """Compute ``A⁻¹`` and ``A⁻¹ b`` of one row of statistics afresh."""
    d = len(theta)
    a, b = np.empty((d, d)), np.empty(d)
    read_sums(row, b, a)
    for j in range(d):
        a[j, j] += prior_strength
    inverse[:] = outer_square(inverse_factor(a))
    symmetric_times(inverse, b, theta)


@numba.njit(cache=True, nogil=True)
def refresh_fading(
    row: NDArray[np.int64],
    row_of_squares: NDArray[np.int64],
    half_life_ms: int,
    at_ms: int,
    prior_strength: float,
    inverse: Matrix,
    spread: Matrix,
    theta: Vector,
) -> None:
    """As :func:`refresh` as of a time, and W from the statistics that fade twice as fast."""
    d = len(theta)
    a, b = np.empty((d, d)), np.empty(d)
    read_fading_sums(row_of_squares, half_life_ms // 2, at_ms, b, a)
    for j in range(d):
        a[j, j] += prior_strength
    half = np.empty((d, d))
    squares = a.copy()
    read_fading_sums(row, half_life_ms, at_ms, b, a)
    for j in range(d):
        a[j, j] += prior_strength
    inverse[:] = outer_square(inverse_factor(a))
    symmetric_times(inverse, b, theta)
    for j in range(d):
        symmetric_times(squares, inverse[j], half[j])
    for j in range(d):
        symmetric_times(inverse, half[j], spread[j])
    for j in range(d):
        for m in range(j):
            spread[j, m] = spread[m, j] = 0.5 * (spread[j, m] + spread[m, j])
