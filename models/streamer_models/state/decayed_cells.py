"""Forward decay in integers: the two cells of a counter, their one update, their one reading.

Forward decay (Cormode, Shkapenyuk, Srivastava & Xu 2009) weighs an event at time t once and for
all by ``2^(t / half_life)`` and divides by ``2^(T / half_life)`` when the counter is read at T.
So a late event gets the weight it would have had in time, and nothing is decayed in place. The
weights grow without bound, so time is cut into epochs, counted from the Unix epoch, and a counter
is two *cells* ``(epoch, mantissa)``, one for even and one for odd epochs.

Inside its epoch an amount weighs ``amount * 2^(12 + (t - epoch start) / half_life)``, rounded to an
integer. The cell of the epoch's parity takes it: same epoch adds, a newer epoch replaces, an older
one is dropped. Integer sums and "the newest epoch wins" are associative and commutative: partitions
merge exactly, in any order, and an amount is taken back by adding it with the other sign.

Bounds, for amounts of 1, as of the newest event that a counter has seen, taken back or not:

- Dropped is what is at least one whole epoch, 20 half-lives, older: below 2^-20 of its weight.
- Rounding: at most 2^-13 an amount.
- A cell holds up to 2^62: 2^(62 - 12 - 20) = 2^30 amounts of 1 at the very end of an epoch, or
  2^30 / ln 2 = 1.5e9 a half-life. Beyond it a cell stays at the bound instead of overflowing, and
  merges are exact no longer.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

EPOCH_HALF_LIVES = 20
"""Length of an epoch."""
WEIGHT_BITS = 12
"""An amount of 1 at the start of an epoch adds 2^12."""
CELLS_WIDTH = 4
"""Elements of a counter in a row: even epoch, even mantissa, odd epoch, odd mantissa."""
MANTISSA_MAX = 2**62 - 512
"""The largest float below 2^62; two of them still fit into an int64."""


@numba.njit(cache=True, nogil=True, inline="always")
def forward_weight(ts_ms: int, half_life_ms: int) -> tuple[int, float]:
    """Epoch of an event, and ``2^(12 + age of its epoch)``, the weight of an amount of 1."""
    length = half_life_ms * EPOCH_HALF_LIVES
    epoch = ts_ms // length
    return epoch, np.exp2(WEIGHT_BITS + (ts_ms - epoch * length) / half_life_ms)


@numba.njit(cache=True, nogil=True, inline="always")
def whole(weighed: float) -> int:
    """The nearest integer that a cell holds."""
    return int(np.rint(min(max(weighed, -float(MANTISSA_MAX)), float(MANTISSA_MAX))))


@numba.njit(cache=True, nogil=True, inline="always")
def merge_cell(row: NDArray[np.int64], cell: int, epoch: int, mantissa: int) -> None:
    """Merge ``(epoch, mantissa)`` into the cell whose epoch is ``row[cell]``."""
    if epoch == row[cell]:
        row[cell + 1] = min(max(row[cell + 1] + mantissa, -MANTISSA_MAX), MANTISSA_MAX)
    elif epoch > row[cell]:
        row[cell] = epoch
        row[cell + 1] = mantissa


@numba.njit(cache=True, nogil=True, inline="always")
def add_to_counter(row: NDArray[np.int64], counter: int, epoch: int, mantissa: int) -> None:
    """Add a whole, weighed amount to a counter of a row ``(4 * n_counters,)``."""
    merge_cell(row, CELLS_WIDTH * counter + 2 * (epoch & 1), epoch, mantissa)


@numba.njit(cache=True, nogil=True, inline="always")
def read_weights(half_life_ms: int, at_ms: int, weights: NDArray[np.float64]) -> int:
    """Return the first of the three epochs that are read at a time; ``weights`` ``(3,)`` becomes
    the amount that a unit of a mantissa of each stands for.

    They are the epoch of ``at_ms``, the one before, and the one after (clocks that run a little
    ahead). Cells further ahead hold no events of the present and read as 0, so times far in the
    future must be refused before they are learned.
    """
    length = half_life_ms * EPOCH_HALF_LIVES
    first = at_ms // length - 1
    age = (first * length - at_ms) / half_life_ms - WEIGHT_BITS
    for i in range(3):
        weights[i] = np.exp2(age + i * EPOCH_HALF_LIVES)
    return first


@numba.njit(cache=True, nogil=True, inline="always")
def read_counter(
    row: NDArray[np.int64], counter: int, first: int, weights: NDArray[np.float64]
) -> float:
    """``sum of amount * 2^((t - at_ms) / half_life)`` of a counter; see :func:`read_weights`."""
    value = 0.0
    for cell in range(CELLS_WIDTH * counter, CELLS_WIDTH * (counter + 1), 2):
        epoch = row[cell] - first
        if 0 <= epoch < 3:
            value += row[cell + 1] * weights[epoch]
    return value


@numba.njit(cache=True, nogil=True, inline="always")
def log_of_counter(row: NDArray[np.int64], counter: int) -> float:
    """Logarithm, to base 2, of what a counter decays from: it does not change with time, and
    orders counters of one half-life as their values do; -inf where it is not above 0."""
    at = CELLS_WIDTH * counter
    newer, older = (at, at + 2) if row[at] >= row[at + 2] else (at + 2, at)
    value = float(row[newer + 1])
    if row[older] == row[newer] - 1:
        value += float(row[older + 1]) * 2.0**-EPOCH_HALF_LIVES
    if not value > 0:
        return -math.inf
    return float(row[newer] * EPOCH_HALF_LIVES) + math.log2(value)
