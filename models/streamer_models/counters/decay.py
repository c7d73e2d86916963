"""Counters that decay by half-lives of event time: events into rows of cells, and rows read.

The arithmetic of a cell, and its bounds, are in :mod:`streamer_models.state.decayed_cells`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.decayed_cells import (
    add_to_counter,
    forward_weight,
    read_counter,
    read_weights,
    whole,
)
from streamer_models.state.table import Slots

VALUE_MAX = 1e6
"""A value beyond it is counted as this: 2^(62 - 32 - 20) = 1,024 of them fit into a cell."""


def half_lives_ms(half_lives_s: Sequence[float]) -> NDArray[np.int64]:
    """Half-lives in whole milliseconds.

    Raises
    ------
    ValueError
        Where there is none, or one is below a millisecond.
    """
    milliseconds = np.rint(np.asarray(half_lives_s, dtype=np.float64) * 1000).astype(np.int64)
    if len(milliseconds) == 0 or milliseconds.min() < 1:
        raise ValueError(
            f"half_lives_s={list(half_lives_s)}: at least one half-life is needed, each of at"
            " least 0.001 s"
        )
    return milliseconds


@numba.njit(cache=True, nogil=True)
def add_decayed(
    cells: NDArray[np.int64],
    slots: Slots,
    ts_ms: NDArray[np.int64],
    weights: NDArray[np.float32],
    half_lives: NDArray[np.int64],
) -> None:
    """Count events in place: ``cells[slots[i]]`` takes ``weights[i]`` at ``ts_ms[i]``.

    Parameters
    ----------
    cells
        ``(n_rows, 4 * n_half_lives)``.
    slots, ts_ms, weights
        ``(n,)``; event times may come in any order. A weight that is not positive is passed over.
    half_lives
        ``(n_half_lives,)`` ms.
    """
    for i in range(len(slots)):
        if not weights[i] > 0:
            continue
        for h in range(len(half_lives)):
            epoch, weight = forward_weight(ts_ms[i], half_lives[h])
            add_to_counter(cells[slots[i]], h, epoch, whole(weights[i] * weight))


@numba.njit(cache=True, nogil=True)
def forward_weights(
    ts_ms: NDArray[np.int64], half_lives: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Epochs and weights of events, for :func:`add_counted`.

    Parameters
    ----------
    ts_ms
        ``(n,)`` event times.
    half_lives
        ``(n_half_lives,)`` ms.

    Returns
    -------
    Both ``(n, n_half_lives)``; see :func:`streamer_models.state.decayed_cells.forward_weight`.
    """
    epochs = np.empty((len(ts_ms), len(half_lives)), dtype=np.int64)
    weights = np.empty((len(ts_ms), len(half_lives)), dtype=np.float64)
    for i in range(len(ts_ms)):
        for h in range(len(half_lives)):
            epochs[i, h], weights[i, h] = forward_weight(ts_ms[i], half_lives[h])
    return epochs, weights


@numba.njit(cache=True, nogil=True)
def add_counted(
    cells: NDArray[np.int64],
    slots: Slots,
    places: NDArray[np.int64],
    types: NDArray[np.int8],
    values: NDArray[np.float64],
    epochs: NDArray[np.int64],
    weights: NDArray[np.float64],
    counters: NDArray[np.int64],
) -> None:
    """Count events in place, each under the counters that its type belongs to.

    Parameters
    ----------
    cells
        ``(n_rows, 4 * n_counters)``.
    slots
        ``(m,)`` row of each event to be counted; negative: it has none.
    places
        ``(m,)`` where it stands in the columns below.
    types, values
        ``(n,)``; type codes from 0 to 62, and what an event adds to a sum, NaN: nothing.
    epochs, weights
        ``(n, n_half_lives)`` of :func:`forward_weights`.
    counters
        ``(n_counters, 3)``: a bit for each type that is counted, the column of its half-life, and
        whether values are summed.
    """
    for i in range(len(slots)):
        row, at = slots[i], places[i]
        if row < 0:
            continue
        for c in range(len(counters)):
            if not (counters[c, 0] >> types[at]) & 1:
                continue
            h = counters[c, 1]
            amount = 1.0
            if counters[c, 2]:
                amount = 0.0 if np.isnan(values[at]) else values[at]
                amount = min(max(amount, -VALUE_MAX), VALUE_MAX)
            add_to_counter(cells[row], c, epochs[at, h], whole(weights[at, h] * amount))


@numba.njit(cache=True, nogil=True)
def decayed_values(
    cells: NDArray[np.int64], half_lives: NDArray[np.int64], at_ms: int
) -> NDArray[np.float64]:
    """Read counters: ``sum of weight * 2^((t - at_ms) / half_life)`` over the events of a row.

    Parameters
    ----------
    cells
        ``(n, 4 * n_counters)``.
    half_lives
        ``(n_counters,)`` ms.
    at_ms
        Time to read at; events more than an epoch ahead of it are not read.

    Returns
    -------
    ``(n, n_counters)`` float64.
    """
    values = np.empty((len(cells), len(half_lives)), dtype=np.float64)
    weights = np.empty(3)
    for c in range(len(half_lives)):
        first = read_weights(half_lives[c], at_ms, weights)
        for i in range(len(cells)):
            values[i, c] = read_counter(cells[i], c, first, weights)
    return values
