"""Dense linear algebra of small models as kernels whose bits are fixed.

BLAS and LAPACK add up in an order of their own on each machine, so a slate could be drawn
otherwise where it is checked than where it was served. Here every inner loop runs along
independent elements: the compiler may use vector instructions, and each sum still has one order.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]

BLOCK = 64
"""Rows of actions worked on at a time: 64 * 64 features * 8 B = 32 kB stay near the first cache."""


def kernel_rows(x: NDArray[Any]) -> NDArray[np.float32] | NDArray[np.float64]:
    """``x`` as float32 or float64, contiguous and writable: other kinds would each be compiled."""
    if x.dtype != np.float32:
        x = np.asarray(x, dtype=np.float64)
    if not (x.flags.c_contiguous and x.flags.writeable):
        x = np.array(x, order="C")
    return x


@numba.njit(cache=True, nogil=True)
def inverse_factor(a: Matrix) -> Matrix:
    """Lower-triangular F with ``F Fᵀ = A⁻¹``, for a symmetric positive definite A.

    ``A = Vᵀ V`` with V lower-triangular (a Cholesky factorization from the last row up), ``F =
    V⁻¹``. A pivot that rounding made less than 1e-12 of its diagonal is taken as that.
    """
    d = len(a)
    rest = a.copy()
    for j in range(d - 1, -1, -1):
        pivot = np.sqrt(max(rest[j, j], 1e-12 * a[j, j]))
        for m in range(j):
            rest[j, m] /= pivot
        rest[j, j] = pivot
        for i in range(j):
            factor = rest[j, i]
            for m in range(i + 1):
                rest[i, m] -= factor * rest[j, m]
    inverse = np.zeros((d, d))
    for i in range(d):
        for k in range(i):
            factor = rest[i, k]
            for m in range(k + 1):
                inverse[i, m] -= factor * inverse[k, m]
        for m in range(i):
            inverse[i, m] /= rest[i, i]
        inverse[i, i] = 1.0 / rest[i, i]
    return inverse


@numba.njit(cache=True, nogil=True)
def products(x: NDArray[np.floating], parameters: Matrix) -> Matrix:
    """``(n_draws, n)``: the rows of ``parameters`` ``(n_draws, d)`` times those of ``x``."""
    n, d = x.shape
    out = np.empty((len(parameters), n))
    columns = np.zeros((d, BLOCK))
    sums = np.empty(BLOCK)
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        _transpose(x, start, size, columns)
        for draw in range(len(parameters)):
            sums[:] = 0.0
            _add_columns(columns, parameters[draw], 0, sums)
            out[draw, start : start + size] = sums[:size]
    return out


@numba.njit(cache=True, nogil=True)
def times(matrix: Matrix, vector: Vector) -> Vector:
    """``M v`` of a vector, in the order of :func:`products`: four terms at a time."""
    n, d = matrix.shape
    out = np.zeros(n)
    for i in range(n):
        j = 0
        while j + 3 < d:
            first = vector[j] * matrix[i, j] + vector[j + 1] * matrix[i, j + 1]
            second = vector[j + 2] * matrix[i, j + 2] + vector[j + 3] * matrix[i, j + 3]
            out[i] += first + second
            j += 4
        while j < d:
            out[i] += vector[j] * matrix[i, j]
            j += 1
    return out


@numba.njit(cache=True, nogil=True)
def explained_squares(a: Matrix, b: Vector, mean: Vector) -> float:
    """``(2 b - A mean)·mean``: what a linear model takes off ``Σ r²``."""
    explained = 2.0 * b - times(a, mean)
    return float(times(explained.reshape((1, len(b))), mean)[0])


@numba.njit(cache=True, nogil=True)
def _add_columns(columns: Matrix, weights: Vector, start: int, sums: Vector) -> None:
    """Add ``weights[j] * columns[j]`` from ``start`` on, four at a time: sums are loaded
    and stored a quarter as often then."""
    j = start
    while j + 3 < len(weights):
        w0, w1 = weights[j], weights[j + 1]
        w2, w3 = weights[j + 2], weights[j + 3]
        for c in range(BLOCK):
            first = w0 * columns[j, c] + w1 * columns[j + 1, c]
            sums[c] += first + (w2 * columns[j + 2, c] + w3 * columns[j + 3, c])
        j += 4
    while j < len(weights):
        w0 = weights[j]
        for c in range(BLOCK):
            sums[c] += w0 * columns[j, c]
        j += 1


@numba.njit(cache=True, nogil=True)
def products_and_deviations(
    x: NDArray[np.floating], mean: Vector, factor: Matrix
) -> tuple[Vector, Vector]:
    """``(n,)`` ``x·mean``, as :func:`products` has it, and ``|Fᵀ x|`` of a lower-triangular F."""
    n, d = x.shape
    means, deviations = np.empty(n), np.empty(n)
    columns = np.zeros((d, BLOCK))
    mean_sums, sums, squares = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        _transpose(x, start, size, columns)
        mean_sums[:] = 0.0
        _add_columns(columns, mean, 0, mean_sums)
        squares[:] = 0.0
        for m in range(d):
            sums[:] = 0.0
            _add_columns(columns, factor[:, m], m, sums)
            for c in range(BLOCK):
                squares[c] += sums[c] * sums[c]
        means[start : start + size] = mean_sums[:size]
        deviations[start : start + size] = np.sqrt(squares[:size])
    return means, deviations


@numba.njit(cache=True, nogil=True)
def _transpose(x: NDArray[np.floating], start: int, size: int, columns: Matrix) -> None:
    for c in range(size):
        for j in range(x.shape[1]):
            columns[j, c] = x[start + c, j]
