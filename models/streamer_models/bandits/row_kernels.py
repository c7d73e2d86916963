"""Learning examples into rows of linear models, and computing the rows afresh: kernels."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.linear_kernels import Matrix, Vector
from streamer_models.bandits.linear_statistics import STATISTICS_BITS, add_outcome, amend_fading_row
from streamer_models.bandits.sherman_morrison import refresh, refresh_fading, step
from streamer_models.counters.decay import CELLS_WIDTH
from streamer_models.state.table import Slots

STEPS_A_HALF_LIFE = 32
"""Where evidence fades, models are as of the last of 32 steps a half-life: within 2.2 %."""


@numba.njit(cache=True, nogil=True)
def step_start(ts_ms: int, half_life_ms: int) -> int:
    """Start of the 1/32 half-life that a time is in; a function of the time alone."""
    length = max(1, half_life_ms // STEPS_A_HALF_LIFE)
    return ts_ms // length * length


@numba.njit(cache=True, nogil=True)
def learn_rows(
    values: NDArray[np.int64],
    squares: NDArray[np.int64],
    inverse: NDArray[np.float64],
    spread: NDArray[np.float64],
    theta: Matrix,
    n_since: NDArray[np.int64],
    rows: Slots,
    x: NDArray[np.floating],
    before: Vector,
    after: Vector,
    ts_ms: NDArray[np.int64],
    half_life_ms: int,
    newest_ms: int,
    prior_strength: float,
    refresh_every: int,
    scratch: Matrix,
    added: NDArray[np.int64],
) -> int:
    """Bring rows from outcomes ``before`` to ``after`` (NaN: none), example by example: integers
    first, then the inverse by a step, or afresh where one is due. The newest event time is
    returned; ``half_life_ms`` 0: evidence does not fade, and ``spread`` has no rows."""
    none = np.zeros((0, 0))
    for i in range(len(rows)):
        row = rows[i]
        if row < 0 or (np.isnan(before[i]) and np.isnan(after[i])):
            continue
        start_ms = ts_ms[i]
        weight = 1.0
        if half_life_ms == 0:
            add_outcome(values[row], x[i], before[i], -1, 2.0**STATISTICS_BITS)
            add_outcome(values[row], x[i], after[i], 1, 2.0**STATISTICS_BITS)
        else:
            amend_fading_row(values[row], added, x[i], before[i], after[i], ts_ms[i], half_life_ms)
            amend_fading_row(
                squares[row], added, x[i], before[i], after[i], ts_ms[i], half_life_ms // 2
            )
            newest_before = newest_ms
            newest_ms = max(newest_ms, ts_ms[i])
            start_ms = step_start(newest_ms, half_life_ms)
            if start_ms != step_start(newest_before, half_life_ms):
                refresh_rows(
                    values, squares, inverse, spread, theta, n_since,
                    half_life_ms, start_ms, prior_strength,
                )  # fmt: skip
                continue
            weight = 2.0 ** ((ts_ms[i] - start_ms) / half_life_ms)
        n_since[row] += 1
        model_spread = spread[row] if half_life_ms else none
        if n_since[row] < refresh_every and step(
            inverse[row], model_spread, theta[row], x[i], before[i], after[i], weight,
            scratch[0], scratch[1],
        ):  # fmt: skip
            continue
        refresh_rows(
            values[row : row + 1], squares[row : row + 1], inverse[row : row + 1],
            spread[row : row + 1], theta[row : row + 1], n_since[row : row + 1],
            half_life_ms, start_ms, prior_strength,
        )  # fmt: skip
    return newest_ms


@numba.njit(cache=True, nogil=True)
def refresh_rows(
    values: NDArray[np.int64],
    squares: NDArray[np.int64],
    inverse: NDArray[np.float64],
    spread: NDArray[np.float64],
    theta: Matrix,
    n_since: NDArray[np.int64],
    half_life_ms: int,
    at_ms: int,
    prior_strength: float,
) -> None:
    """Compute inverses and means of all rows afresh, as of a time where evidence fades."""
    n_cells = CELLS_WIDTH if half_life_ms else 1
    for row in range(len(theta)):
        n_since[row] = 0
        if not values[row, :n_cells].any():  # never used, free again, or all was taken back
            _forget(inverse[row], theta[row], prior_strength)
            if half_life_ms:
                _forget(spread[row], theta[row], prior_strength)
            continue
        if half_life_ms:
            refresh_fading(
                values[row], squares[row], half_life_ms, at_ms, prior_strength,
                inverse[row], spread[row], theta[row],
            )  # fmt: skip
        else:
            refresh(values[row], prior_strength, inverse[row], theta[row])


@numba.njit(cache=True, nogil=True)
def _forget(matrix: Matrix, theta: Vector, prior_strength: float) -> None:
    theta[:] = 0.0
    matrix[:] = 0.0
    for j in range(len(theta)):
        matrix[j, j] = 1.0 / prior_strength
