"""Counters that decay by half-lives of event time, exactly mergeable: forward decay in integers.

Forward decay (Cormode, Shkapenyuk, Srivastava & Xu 2009) weighs an event at time t once and for
all by ``2^(t / half_life)`` and divides by ``2^(T / half_life)`` when the counter is read at T.
So a late event gets the weight it would have had in time, and nothing is decayed in place. The
weights grow without bound, so time is cut into epochs, counted from the Unix epoch, and a counter
is two *cells* ``(epoch, mantissa)``, one for even and one for odd epochs.

Inside its epoch an event weighs ``reward * 2^(12 + (t - epoch start) / half_life)``, rounded to an
integer. The cell of the epoch's parity takes it: same epoch adds, a newer epoch replaces, an older
one is dropped. What was replaced or dropped is at least one whole epoch (20 half-lives) older than
the newest event: its weight is below 2^-20. Integer sums and "the newest epoch wins" are
associative and commutative: partitions merge exactly, in any order.

Headroom of :func:`add_decayed`: 2^63 / 2^(12 + 20) = 2^31 events of weight 1 at the very end of an
epoch, or 2^31 * ln 2 = 1.5e9 a half-life: 17,000 a second on one item at a half-life of a day.
Rounding: at most 2^-13 of a weight.

:func:`add_counted` counts many events of all types under many half-lives, and sums of values that
may be negative: there an epoch is 12 half-lives, and what is dropped weighs less than 2^-12. A cell
stops at +-2^52, so 2^11 of them merge without an overflow. That is 2^28 = 2.7e8 events of weight 1
at the very end of an epoch, or 270 of the largest value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.table import Slots

EPOCH_HALF_LIVES = 20
"""Length of an epoch."""
WEIGHT_BITS = 12
"""An event of weight 1 at the start of an epoch adds 2^12."""
CELLS_WIDTH = 4
"""Elements a half-life takes in a row: even epoch, even mantissa, odd epoch, odd mantissa."""
COUNTED_EPOCH_HALF_LIVES = 12
"""Length of an epoch of :func:`add_counted`."""
VALUE_MAX = 1e6
"""A value beyond it is counted as this."""
_MANTISSA_MAX = 1 << 52


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
            length = half_lives[h] * EPOCH_HALF_LIVES
            epoch = ts_ms[i] // length
            age = (ts_ms[i] - epoch * length) / half_lives[h]
            mantissa = np.int64(np.rint(weights[i] * 2.0 ** (WEIGHT_BITS + age)))
            cell = CELLS_WIDTH * h + 2 * (epoch & 1)
            row = slots[i]
            if epoch == cells[row, cell]:
                cells[row, cell + 1] += mantissa
            elif epoch > cells[row, cell]:
                cells[row, cell] = epoch
                cells[row, cell + 1] = mantissa


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
    Both ``(n, n_half_lives)``; weights are in units of 2^-12 of an event at its epoch's start.
    """
    epochs = np.empty((len(ts_ms), len(half_lives)), dtype=np.int64)
    weights = np.empty((len(ts_ms), len(half_lives)), dtype=np.float64)
    for i in range(len(ts_ms)):
        for h in range(len(half_lives)):
            length = half_lives[h] * COUNTED_EPOCH_HALF_LIVES
            epoch = ts_ms[i] // length
            epochs[i, h] = epoch
            weights[i, h] = np.exp2(WEIGHT_BITS + (ts_ms[i] - epoch * length) / half_lives[h])
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
            mantissa = int(np.rint(weights[at, h] * amount))
            cell = CELLS_WIDTH * c + 2 * (epochs[at, h] & 1)
            if epochs[at, h] == cells[row, cell]:
                mantissa += int(cells[row, cell + 1])
            elif epochs[at, h] < cells[row, cell]:
                continue
            cells[row, cell] = epochs[at, h]
            cells[row, cell + 1] = min(max(mantissa, -_MANTISSA_MAX), _MANTISSA_MAX)


@numba.njit(cache=True, nogil=True)
def counted_sums(
    cells: NDArray[np.int64], half_lives: NDArray[np.int64], at_ms: int
) -> NDArray[np.float64]:
    """Read cells of :func:`add_counted`, as :func:`decayed_values` does those of ``add_decayed``.

    Parameters
    ----------
    cells
        ``(n, 4 * n_counters)``.
    half_lives
        ``(n_counters,)`` ms.

    Returns
    -------
    ``(n, n_counters)``.
    """
    sums = np.zeros((len(cells), len(half_lives)), dtype=np.float64)
    factors = np.empty(3, dtype=np.float64)
    for c in range(len(half_lives)):
        length = half_lives[c] * COUNTED_EPOCH_HALF_LIVES
        first = at_ms // length - 1
        for k in range(3):
            factors[k] = np.exp2(((first + k) * length - at_ms) / half_lives[c] - WEIGHT_BITS)
        for i in range(len(cells)):
            for cell in range(CELLS_WIDTH * c, CELLS_WIDTH * (c + 1), 2):
                k = cells[i, cell] - first
                if 0 <= k < 3:
                    sums[i, c] += cells[i, cell + 1] * factors[k]
    return sums


def decayed_values(
    cells: NDArray[np.int64], half_lives: NDArray[np.int64], at_ms: int
) -> NDArray[np.float64]:
    """Read counters: ``sum of weight * 2^((t - at_ms) / half_life)`` over the events of a row.

    Read are the cells of the epoch of ``at_ms``, of the one before, and of the one after (clocks
    that run a little ahead). Cells further ahead hold no events of the present and read as 0, so
    times far in the future must be refused before they are learned.

    Parameters
    ----------
    cells
        ``(n, 4 * n_half_lives)``.
    half_lives
        ``(n_half_lives,)`` ms.
    at_ms
        Time to read at.

    Returns
    -------
    ``(n, n_half_lives)`` float64.
    """
    epochs, mantissas = cells[:, 0::2], cells[:, 1::2]
    each = np.repeat(half_lives, 2)
    lengths = each * EPOCH_HALF_LIVES
    current = np.abs(epochs - at_ms // lengths) <= 1
    # Masked before the power: a stale epoch would only underflow, a wrong one could overflow.
    exponents = np.where(current, (epochs * lengths - at_ms) / each - WEIGHT_BITS, 0.0)
    values = np.where(current, mantissas * np.exp2(exponents), 0.0)
    sums: NDArray[np.float64] = values[:, 0::2] + values[:, 1::2]
    return sums
