"""Bounded lists of neighbours: the layout of a row, and how a change is folded into it.

A row of width 2M is M keys of neighbours and then their M weights, in order of arrival; a weight
is a whole number of units of 2^-24; where a place is empty both are 0. A *cell* ``(key, weight)``
is one change: a neighbour on the list gains the weight, a new one is appended, and on a full list
it takes the place of the smallest entry (the first of several) and starts at its own weight. To
inherit the smallest weight, as space-saving does (Metwally, Agrawal & El Abbadi 2005), costs 9 % of
recall.

The order of cells matters: what fell off a list is forgotten. So a list belongs to one partition,
and a reader of several adds up what the lists say, not the lists.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

_BLOCK = 64
"""Places of a list that are looked through at once: 16 vectors of 4."""


@numba.njit(cache=True, nogil=True, inline="always")
def n_neighbours(weights: NDArray[np.uint64]) -> int:
    """Return how many places of a list are taken; they are the first."""
    low, high = 0, len(weights)
    if high and weights[high - 1] != 0:
        return high
    while low < high:
        middle = (low + high) // 2
        if weights[middle] != 0:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(cache=True, nogil=True, inline="always")
def _place(keys: NDArray[np.uint64], weights: NDArray[np.uint64], key: np.uint64) -> int:
    """Return where a key is, else the first place that is empty, -1 where there is none."""
    # A block is looked through without a way out, so in vectors; what is met often came early.
    n_blocks = len(keys) // _BLOCK
    for block in range(n_blocks):
        start = block * _BLOCK
        some, found = keys[start : start + _BLOCK], np.uint64(0)
        for i in range(_BLOCK):
            found |= np.uint64(1) if some[i] == key else np.uint64(0)
        place = start
        if found:
            while keys[place] != key:
                place += 1
            return place
        if some[_BLOCK - 1] == 0 and weights[start + _BLOCK - 1] == 0:
            while weights[place] != 0:
                place += 1
            return place
    for i in range(n_blocks * _BLOCK, len(keys)):
        if keys[i] == key or weights[i] == 0:
            return i
    return -1


@numba.njit(cache=True, nogil=True, inline="always")
def _smallest(weights: NDArray[np.uint64]) -> int:
    """Return the first position of the smallest weight."""
    least, position = np.int64(weights[0]), 0  # signed numbers are compared in vectors
    n_blocks = len(weights) // _BLOCK
    for block in range(n_blocks):
        some = weights[block * _BLOCK : (block + 1) * _BLOCK]
        lowest = np.int64(some[0])
        for i in range(1, _BLOCK):
            weight = np.int64(some[i])
            lowest = weight if weight < lowest else lowest
        if lowest < least:
            least, position = lowest, block * _BLOCK
    for i in range(n_blocks * _BLOCK, len(weights)):
        if np.int64(weights[i]) < least:
            least, position = np.int64(weights[i]), i
    while np.int64(weights[position]) != least:
        position += 1
    return position


@numba.njit(cache=True, nogil=True)
def fold_neighbours(
    values: NDArray[np.uint64], slots: NDArray[np.int32], changes: NDArray[Any]
) -> None:
    """Fold cells into rows, in order; a cell of weight 0 changes nothing.

    Parameters
    ----------
    values
        ``(n_rows, 2M)``; written.
    slots
        ``(n,)`` row of each cell.
    changes
        ``(n, 2)`` key of a neighbour, and the weight it gains.
    """
    length = values.shape[1] // 2
    for i in range(len(slots)):
        key, weight = changes[i, 0], changes[i, 1]
        if weight == 0:
            continue
        keys, weights = values[slots[i], :length], values[slots[i], length:]
        place = _place(keys, weights, key)
        if place >= 0:
            weights[place] += weight  # an empty place holds 0
        else:
            place = _smallest(weights)
            weights[place] = weight
        keys[place] = key
