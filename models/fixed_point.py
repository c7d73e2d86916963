"""Arithmetic on factors: fixed point that saturates, and inner products whose bits are fixed.

Factors shared by partitions are int32 in units of 2^-24, so that what several partitions add
comes to the same bits in any order (integer accumulators as in reproducible molecular dynamics:
Le Grand, Götz & Walker 2013).
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from models.table import FIXED_POINT_BITS, FIXED_POINT_UNIT

LIMIT = np.float32(127.0)
"""Factors saturate here, inside the ±128 that an int32 of unit 2^-24 can hold."""

UNIT = np.float32(FIXED_POINT_UNIT)
_INVERSE_UNIT = np.float32(1 << FIXED_POINT_BITS)
_LIMIT_UNITS = np.int64(127 << FIXED_POINT_BITS)


@numba.njit(cache=True, nogil=True)
def dot(a: NDArray[np.float32], b: NDArray[np.float32]) -> np.float32:
    """Inner product of rows whose length is a multiple of 8.

    Eight running sums let the compiler use vector instructions while the order of additions, and
    so every bit of the result, stays as written.
    """
    zero = np.float32(0)
    s0, s1, s2, s3, s4, s5, s6, s7 = zero, zero, zero, zero, zero, zero, zero, zero
    for f in range(0, len(a), 8):
        s0 += a[f] * b[f]
        s1 += a[f + 1] * b[f + 1]
        s2 += a[f + 2] * b[f + 2]
        s3 += a[f + 3] * b[f + 3]
        s4 += a[f + 4] * b[f + 4]
        s5 += a[f + 5] * b[f + 5]
        s6 += a[f + 6] * b[f + 6]
        s7 += a[f + 7] * b[f + 7]
    return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))


@numba.njit(cache=True, nogil=True)
def stepped(value: np.int32, step: np.float32) -> np.int32:
    """A fixed-point value after a step of less than ±2^38, saturating at ±127."""
    moved = np.int64(value) + np.int64(np.rint(step * _INVERSE_UNIT))
    return np.int32(min(max(moved, -_LIMIT_UNITS), _LIMIT_UNITS))


@numba.njit(cache=True, nogil=True)
def clipped(value: np.float32) -> np.float32:
    """A float factor, saturating at ±127."""
    return np.float32(min(max(value, -LIMIT), LIMIT))


def as_floats(rows: NDArray[np.int32]) -> NDArray[np.float32]:
    """Fixed-point rows as floats of the same shape."""
    floats: NDArray[np.float32] = rows.astype(np.float32) * UNIT
    return floats
