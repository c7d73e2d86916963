"""Arithmetic on factors: fixed point that saturates, and inner products whose bits are fixed.

Factors shared by partitions are int32 in units of 2^-24, so that what several partitions add
comes to the same bits in any order (integer accumulators as in reproducible molecular dynamics:
Le Grand, Götz & Walker 2013).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
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


@intrinsic
def _dot(typing_context: Any, p: Any, q: Any, row: Any) -> Any:
    """``p · q[row]``, in vectors of ``LANES`` that the compiler does not find by itself."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), LANES)
        left = context.make_array(signature.args[0])(context, builder, arguments[0])
        right = context.make_array(signature.args[1])(context, builder, arguments[1])
        width = builder.extract_value(right.shape, 1)
        q_row = builder.gep(right.data, [builder.mul(arguments[2], width)])
        zeros = ir.Constant(vector, [0.0] * LANES)
        sums = cgutils.alloca_once_value(builder, zeros)  # type: ignore[no-untyped-call]

        def lanes(data: Any, at: Any) -> Any:
            pointer = builder.bitcast(builder.gep(data, [at]), vector.as_pointer())
            return builder.load(pointer, align=4)

        with cgutils.for_range(builder, builder.udiv(width, width.type(LANES))) as loop:
            at = builder.mul(loop.index, width.type(LANES))
            products = builder.fmul(lanes(left.data, at), lanes(q_row, at))
            builder.store(builder.fadd(builder.load(sums), products), sums)
        each = [
            builder.extract_element(builder.load(sums), ir.IntType(32)(lane))
            for lane in range(LANES)
        ]
        halves = [builder.fadd(each[lane], each[lane + 4]) for lane in range(4)]
        return builder.fadd(builder.fadd(halves[0], halves[2]), builder.fadd(halves[1], halves[3]))

    return types.float32(p, q, types.int64), generate


@numba.njit(cache=True, nogil=True)
def dots(
    p: NDArray[np.float32], q: NDArray[np.float32], n: int, products: NDArray[np.float32]
) -> None:
    """``products[c] = p · q[c]`` for the first ``n`` rows of ``q``, padded to ``LANES``.

    Eight running sums are one vector, and the order of additions, and so every bit of the result,
    is as written here on every machine: lane by lane, then ``((0 + 4) + (2 + 6)) + ((1 + 5) + (3 +
    7))``.
    """
    for c in range(n):
        products[c] = _dot(p, q, c)  # type: ignore[call-arg]


@numba.njit(cache=True, nogil=True)
def padded(k: int) -> int:
    """Length of a scratch row of ``k`` factors."""
    return (k + LANES - 1) // LANES * LANES


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
