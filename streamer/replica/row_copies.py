"""Copies of rows that lie in many chunks of memory, in one kernel, whatever rows are made of."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from streamer_models.state.table import Array, Slots


@intrinsic
def _copy(typing_context: Any, found: Any, i: Any, address: Any) -> Any:
    """Copy the bytes at an address to row ``i`` of ``found``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = context.make_array(signature.args[0])(context, builder, arguments[0])
        width = builder.extract_value(target.shape, 1)
        row = builder.gep(target.data, [builder.mul(arguments[1], width)])
        source = builder.inttoptr(arguments[2], ir.IntType(8).as_pointer())
        cgutils.raw_memcpy(builder, row, source, width, 1)  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    return types.void(found, types.int64, types.int64), generate


def copy_rows(
    found: Array,
    rows: Slots,
    positions: Slots,
    addresses: NDArray[np.int64],
    chunk_bits: int,
    *,
    close_up: bool = False,
) -> NDArray[np.intp]:
    """Copy rows to ``found``, and return the indices among ``rows`` of those that are there.

    Parameters
    ----------
    found
        ``(n, width)``; absent rows are not written.
    rows
        ``(n,)``; negative ones and those beyond the last are absent.
    positions
        Of each row, -1 where it is absent: its chunk, and its place in it in the lowest bits.
    addresses
        Of the chunks' memory, 0 where there is none. Whoever gives them keeps the chunks alive.
    close_up
        Whether rows lie one after the other in ``found``, without those that are absent between.
    """
    present = np.empty(len(rows), dtype=np.intp)
    n = _copy_rows(found.view(np.uint8), present, rows, positions, addresses, chunk_bits, close_up)
    return present[:n]


@numba.njit(cache=True, nogil=True)
def _copy_rows(
    found: NDArray[np.uint8],
    present: NDArray[np.intp],
    rows: Slots,
    positions: Slots,
    addresses: NDArray[np.int64],
    chunk_bits: int,
    close_up: bool,
) -> int:
    row_bytes, mask = found.shape[1], (1 << chunk_bits) - 1
    n = 0
    for i in range(len(rows)):
        if rows[i] < 0 or rows[i] >= len(positions) or positions[rows[i]] < 0:
            continue
        position = positions[rows[i]]
        chunk = addresses[position >> chunk_bits]
        assert chunk != 0, "a row lies in a chunk that was given up"
        at = n if close_up else i
        present[n] = i
        n += 1
        _copy(found, at, chunk + (position & mask) * row_bytes)  # type: ignore[call-arg]
    return n


@numba.njit(cache=True, nogil=True)
def numbered(values: Array) -> tuple[Array, Slots]:
    """Distinct rows or keys, rising, and the place of each of ``(n,)`` among them."""
    order = np.argsort(values)
    distinct, places = np.empty_like(values), np.empty(len(values), dtype=np.int32)
    n = 0
    for i in range(len(order)):
        if i == 0 or values[order[i]] != distinct[n - 1]:
            distinct[n] = values[order[i]]
            n += 1
        places[order[i]] = n - 1
    return distinct[:n], places
