"""Sufficient statistics of linear regression as integers that add up exactly.

Ridge regression, LinUCB (Li et al. 2010) and linear Thompson sampling (Agrawal & Goyal 2013) know
the past by ``A = Σ x xᵀ`` and ``b = Σ r x`` alone. Kept as whole multiples of a unit they may be
added in any order, by any number of learners, and taken back again, to the same bits.

A row of statistics holds, in order: n, Σ r², b (d numbers), the upper triangle of A row by row.

Headroom: features within ±8 and rewards within ±1,000 add at most 1e6 * 2^24 = 2^44 to a number,
so 2^19 of the largest rewards there are, or 2^33 examples with features of 8, stay within int64.
Where they fade, an example weighs up to 2^40, and a cell stays at 2^62: 2^22 squares of 1 at the
very end of an epoch, 2^16 of the largest feature, 4 of the largest reward. An example of
weight w counts as w of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.counters.decay import decayed_values
from streamer_models.state.decayed_cells import (
    CELLS_WIDTH,
    add_to_counter,
    forward_weight,
)
from streamer_models.state.ids.kernel_ints import kernel_int
from streamer_models.state.table import Array, Merge, Slots, TableSpec

STATISTICS_BITS = 24
"""Statistics that do not fade are in units of 2^-24."""
FADING_UNIT = 2.0**-8
"""Fading ones are in units of 2^-8 of the amounts that a cell is made for, so that features of a
hundredth are not rounded away: an example at the start of an epoch adds 2^20, at its end 2^40."""
FEATURE_MAX = 8.0
"""Bound of a feature's magnitude."""
REWARD_MAX = 1_000.0
"""Bound of a reward's magnitude."""
WEIGHT_MAX = 1_000.0
"""Bound of the weight of an example."""
ADDED, TAKEN_BACK = kernel_int(1), kernel_int(-1)
"""Signs of an outcome."""


@dataclass(frozen=True, slots=True)
class LinearStatistics:
    """Statistics of one model as numbers.

    Attributes
    ----------
    n
        Examples, or their weight where they fade.
    reward_squares
        ``Σ r²``.
    b
        ``(d,)`` ``Σ r x``.
    a
        ``(d, d)`` ``Σ x xᵀ``.
    """

    n: float
    reward_squares: float
    b: NDArray[np.float64]
    a: NDArray[np.float64]


def statistics_width(n_features: int) -> int:
    """Numbers in a row of statistics.

    >>> statistics_width(2)
    7
    """
    return 2 + n_features + n_features * (n_features + 1) // 2


def statistics_spec(name: str, entity: str, n_features: int, half_life_ms: int) -> TableSpec:
    """Return the table of statistics, which fade where there is a half-life."""
    width = statistics_width(n_features)
    if half_life_ms:
        return TableSpec(name, entity, Merge.DECAYED, "i8", CELLS_WIDTH * width)
    return TableSpec(name, entity, Merge.SUM, "i8", width)


def amend_statistics(
    values: Array,
    rows: Slots,
    features: NDArray[np.floating],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    ts_ms: NDArray[np.int64],
    half_life_ms: int,
    weights: NDArray[np.float64] | None = None,
) -> None:
    """Amend statistics of :func:`statistics_spec`: :func:`amend_fading` them where there is a
    half-life, :func:`amend` them where there is none."""
    if half_life_ms:
        amend_fading(values, rows, features, before, after, ts_ms, half_life_ms, weights)
    else:
        amend(values, rows, features, before, after, weights)


@numba.njit(cache=True, nogil=True)
def amend(
    values: NDArray[np.int64],
    rows: Slots,
    features: NDArray[np.floating],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
) -> None:
    """Bring statistics from outcomes ``before`` to outcomes ``after``, in place.

    Parameters
    ----------
    values
        ``(n_rows, statistics_width(d))``.
    rows
        ``(n,)``; negative ones are passed over.
    features
        ``(n, d)``.
    before, after
        ``(n,)`` rewards; NaN: not learned, before or from now on.
    weights
        ``(n,)`` as how many examples each counts; None: as one.
    """
    for i in range(len(rows)):
        if rows[i] >= 0:
            row, weight = values[rows[i]], 2.0**STATISTICS_BITS
            if weights is not None:
                weight *= weights[i]
            add_outcome(row, features[i], before[i], TAKEN_BACK, weight)
            add_outcome(row, features[i], after[i], ADDED, weight)


@numba.njit(cache=True, nogil=True)
def add_outcome(
    row: NDArray[np.int64], x: NDArray[np.floating], reward: float, sign: int, weight: float
) -> None:
    """Add one example to one row or take it back, as ``sign`` says; NaN is no example."""
    if np.isnan(reward):
        return
    n_features = len(x)
    row[0] += sign * np.int64(np.rint(weight))
    row[1] += sign * np.int64(np.rint(weight * (reward * reward)))
    at = 2 + n_features
    for j in range(n_features):
        row[2 + j] += sign * np.int64(np.rint(weight * (reward * np.float64(x[j]))))
        for m in range(j, n_features):
            square = np.float64(x[j]) * np.float64(x[m])
            row[at] += sign * np.int64(np.rint(weight * square))
            at += 1


@numba.njit(cache=True, nogil=True)
def amend_fading(
    cells: NDArray[np.int64],
    rows: Slots,
    features: NDArray[np.floating],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    ts_ms: NDArray[np.int64],
    half_life_ms: int,
    weights: NDArray[np.float64] | None = None,
) -> None:
    """Amend statistics that decay, as :func:`amend` does those that do not.

    Each number is the two cells of :mod:`streamer_models.state.decayed_cells`: ``cells`` is
    ``(n_rows, 4 * statistics_width(d))``, and ``ts_ms`` ``(n,)`` dates the examples.
    """
    added = np.zeros(cells.shape[1] // CELLS_WIDTH, dtype=np.int64)
    for i in range(len(rows)):
        if rows[i] >= 0:
            row, weight = cells[rows[i]], 1.0
            if weights is not None:
                weight = weights[i]
            amend_fading_row(
                row, added, features[i], before[i], after[i], ts_ms[i], half_life_ms, weight
            )


@numba.njit(cache=True, nogil=True)
def amend_fading_row(
    row: NDArray[np.int64],
    added: NDArray[np.int64],
    x: NDArray[np.floating],
    before: float,
    after: float,
    ts_ms: int,
    half_life_ms: int,
    example_weight: float,
) -> None:
    """One example of :func:`amend_fading`; ``added`` is scratch, ``(statistics_width(d),)``."""
    epoch, weight = forward_weight(ts_ms, half_life_ms)
    weight *= example_weight / FADING_UNIT
    added[:] = 0
    add_outcome(added, x, before, TAKEN_BACK, weight)
    add_outcome(added, x, after, ADDED, weight)
    for j in range(len(added)):
        add_to_counter(row, j, epoch, added[j])


@numba.njit(cache=True, nogil=True)
def read_sums(row: NDArray[np.int64], b: NDArray[np.float64], a: NDArray[np.float64]) -> None:
    """Write ``Σ r x`` and ``Σ x xᵀ`` of one row into ``b`` ``(d,)`` and ``a`` ``(d, d)``."""
    n_features = len(b)
    at = 2 + n_features
    for j in range(n_features):
        b[j] = row[2 + j] * 2.0**-STATISTICS_BITS
        for m in range(j, n_features):
            a[j, m] = a[m, j] = row[at] * 2.0**-STATISTICS_BITS
            at += 1


def statistics(row: NDArray[np.int64], n_features: int) -> LinearStatistics:
    """The numbers in one row, ``(statistics_width(d),)``."""
    values = row.astype(np.float64) * 2.0**-STATISTICS_BITS
    return _unpacked(values, n_features)


def fading_statistics(
    cells: NDArray[np.int64], n_features: int, *, half_life_ms: int, at_ms: int
) -> LinearStatistics:
    """The numbers in one row of cells, ``(4 * statistics_width(d),)``, as of a time."""
    half_life = np.array([half_life_ms], dtype=np.int64)
    values = decayed_values(cells.reshape(-1, CELLS_WIDTH), half_life, at_ms)[:, 0]
    return _unpacked(values * FADING_UNIT, n_features)


def _unpacked(values: NDArray[np.float64], n_features: int) -> LinearStatistics:
    a = np.zeros((n_features, n_features))
    upper = np.triu_indices(n_features)
    a[upper] = values[2 + n_features :]
    a.T[upper] = values[2 + n_features :]
    return LinearStatistics(float(values[0]), float(values[1]), values[2 : 2 + n_features], a)
