"""Arithmetic on factors: fixed point that saturates, and inner products whose bits are fixed.

Factors shared by partitions are int32 in units of 2^-24, so that what several partitions add
comes to the same bits in any order (integer accumulators as in reproducible molecular dynamics:
Le Grand, Götz & Walker 2013).
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.table import FIXED_POINT_BITS, FIXED_POINT_UNIT

LIMIT = 64.0
"""What a learner writes saturates at ±64: the divergence guard. The merged value may go beyond by
what others add meanwhile; an int32 of unit 2^-24 holds ±128."""
LANES = 8
"""Scratch rows are padded with zeros to a multiple of this many factors."""

UNIT = np.float32(FIXED_POINT_UNIT)
_INVERSE_UNIT = np.float32(1 << FIXED_POINT_BITS)
_LIMIT_UNITS = np.int32(int(LIMIT) << FIXED_POINT_BITS)
_STEP_UNITS_MAX = np.float32(1 << 28)  # a step of 16: from ±112 it stays inside an int32


@numba.njit(cache=True, nogil=True)
def dots(
    p: NDArray[np.float32],
    q: NDArray[np.float32],
    n: int,
    products: NDArray[np.float32],
    sums: NDArray[np.float32],
) -> None:
    """``products[c] = p · q[c]`` for the first ``n`` rows of ``q``, padded to ``LANES``.

    Eight running sums let the compiler use vector instructions while the order of additions, and
    so every bit of the result, is as written here on every machine. ``sums`` is scratch for them,
    ``(LANES,)``: to allocate it here would take longer than a product.
    """
    for c in range(n):
        sums[:] = 0
        for f in range(0, q.shape[1], LANES):
            for lane in range(LANES):
                sums[lane] += p[f + lane] * q[c, f + lane]
        even = (sums[0] + sums[4]) + (sums[2] + sums[6])
        products[c] = even + ((sums[1] + sums[5]) + (sums[3] + sums[7]))


@numba.njit(cache=True, nogil=True)
def stepped(value: np.int32, step: np.float32) -> np.int32:
    """A fixed-point value after a step of at most ±16, saturating at ±64."""
    units = min(max(step * _INVERSE_UNIT, -_STEP_UNITS_MAX), _STEP_UNITS_MAX)
    moved = np.int32(value + np.int32(np.rint(units)))
    return np.int32(min(max(moved, -_LIMIT_UNITS), _LIMIT_UNITS))


@numba.njit(cache=True, nogil=True)
def clipped(value: np.float32) -> np.float32:
    """A float factor, saturating at ±64."""
    return min(max(value, np.float32(-LIMIT)), np.float32(LIMIT))


def as_floats(rows: NDArray[np.int32]) -> NDArray[np.float32]:
    """Fixed-point rows as floats of the same shape."""
    floats: NDArray[np.float32] = rows.astype(np.float32) * UNIT
    return floats
