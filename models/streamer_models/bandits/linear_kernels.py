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
def outer_square(factor: Matrix) -> Matrix:
    """``F Fᵀ`` of a lower-triangular F."""
    d = len(factor)
    columns = factor.T.copy()
    product = np.zeros((d, d))
    for k in range(d):
        for i in range(k, d):
            scale = columns[k, i]
            for m in range(k, i + 1):
                product[i, m] += scale * columns[k, m]
    for i in range(d):
        for m in range(i):
            product[m, i] = product[i, m]
    return product


@numba.njit(cache=True, nogil=True)
def draw_parameters(mean: Vector, covariance: Matrix, normal: Matrix, scale: float) -> Matrix:
    """``(n_draws, d)``: ``mean + scale Rᵀ z`` with ``Rᵀ R = covariance``, z a row of ``normal``.

    R is the upper-triangular Cholesky factor; pivots as in :func:`inverse_factor`.
    """
    d = len(mean)
    rest = covariance.copy()
    for j in range(d):
        pivot = np.sqrt(max(rest[j, j], 1e-12 * covariance[j, j]))
        for m in range(j, d):
            rest[j, m] /= pivot
        rest[j, j] = pivot
        for i in range(j + 1, d):
            factor = rest[j, i]
            for m in range(i, d):
                rest[i, m] -= factor * rest[j, m]
    drawn = np.empty(normal.shape)
    for draw in range(len(normal)):
        drawn[draw] = mean
        for j in range(d):
            factor = scale * normal[draw, j]
            for m in range(j, d):
                drawn[draw, m] += factor * rest[j, m]
    return drawn


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
            _add_columns(columns, parameters[draw], 1.0, 0, sums)
            out[draw, start : start + size] = sums[:size]
    return out


@numba.njit(cache=True, nogil=True)
def _add_columns(columns: Matrix, weights: Vector, scale: float, start: int, sums: Vector) -> None:
    """Add ``scale * weights[j] * columns[j]`` from ``start`` on, four at a time: sums are loaded
    and stored a quarter as often then."""
    j = start
    while j + 3 < len(weights):
        w0, w1 = scale * weights[j], scale * weights[j + 1]
        w2, w3 = scale * weights[j + 2], scale * weights[j + 3]
        for c in range(BLOCK):
            first = w0 * columns[j, c] + w1 * columns[j + 1, c]
            sums[c] += first + (w2 * columns[j + 2, c] + w3 * columns[j + 3, c])
        j += 4
    while j < len(weights):
        w0 = scale * weights[j]
        for c in range(BLOCK):
            sums[c] += w0 * columns[j, c]
        j += 1


@numba.njit(cache=True, nogil=True)
def factor_deviations(x: NDArray[np.floating], factor: Matrix) -> Vector:
    """``(n,)`` ``|Fᵀ x|`` of a lower-triangular F for every row of ``x``."""
    n, d = x.shape
    out = np.zeros(n)
    columns = np.empty((d, BLOCK))
    sums = np.empty(BLOCK)
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        _transpose(x, start, size, columns)
        for m in range(d):
            sums[:] = 0.0
            for j in range(m, d):
                weight = factor[j, m]
                for c in range(size):
                    sums[c] += weight * columns[j, c]
            for c in range(size):
                out[start + c] += sums[c] * sums[c]
    return np.sqrt(out)


@numba.njit(cache=True, nogil=True)
def means_and_squares(
    x: NDArray[np.floating], mean: Vector, matrix: Matrix
) -> tuple[Vector, Vector]:
    """``x·mean`` and ``xᵀ M x`` of every row of ``x``, ``(n,)`` each.

    M is symmetric: read are its diagonal and what is right of it.
    """
    n, d = x.shape
    means, squares = np.empty(n), np.empty(n)
    columns = np.zeros((d, BLOCK))
    sums, mean_sums, square_sums = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        _transpose(x, start, size, columns)
        mean_sums[:] = 0.0
        square_sums[:] = 0.0
        for i in range(d):
            for c in range(BLOCK):
                sums[c] = matrix[i, i] * columns[i, c]
                mean_sums[c] += mean[i] * columns[i, c]
            _add_columns(columns, matrix[i], 2.0, i + 1, sums)
            for c in range(BLOCK):
                square_sums[c] += sums[c] * columns[i, c]
        means[start : start + size] = mean_sums[:size]
        squares[start : start + size] = square_sums[:size]
    return means, squares


@numba.njit(cache=True, nogil=True)
def _transpose(x: NDArray[np.floating], start: int, size: int, columns: Matrix) -> None:
    for c in range(size):
        for j in range(x.shape[1]):
            columns[j, c] = x[start + c, j]
