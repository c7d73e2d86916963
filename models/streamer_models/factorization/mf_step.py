"""One online step of implicit matrix factorization, as a kernel over a batch."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.fixed_point import UNIT, clipped, dots, padded, stepped
from streamer_models.state.ids.kernel_ints import ZERO
from streamer_models.state.table import Slots

LOSSES = ("bpr", "logistic", "softmax")
BPR, LOGISTIC, SOFTMAX = range(3)

SQUARE_BITS = 32
"""AdaGrad accumulators are int64 in units of 2^-32: up to 2^31 of summed squares."""

_SQUARE_UNIT = 2.0**-SQUARE_BITS
_SQUARE_MAX = 2.0**10
_TINY = 1e-8


@numba.njit(cache=True, nogil=True)
def all_finite(values: NDArray[np.float32]) -> bool:
    return bool(np.isfinite(values).all())


@numba.njit(cache=True, nogil=True)
def candidate_rows(positives: Slots, negatives: Slots, row_of: Slots) -> Slots:
    """``(n, 1 + n_negatives)`` rows of shared tables, -1 where there is no negative.

    Parameters
    ----------
    positives
        ``(n,)`` rows.
    negatives
        ``(n, n_negatives)`` item slots, -1 for none.
    row_of
        Row of each slot.
    """
    n, n_negatives = negatives.shape
    rows = np.empty((n, 1 + n_negatives), dtype=np.int32)
    for i in range(n):
        rows[i, 0] = positives[i]
        for j in range(n_negatives):
            slot = negatives[i, j]
            rows[i, 1 + j] = row_of[slot] if slot >= 0 else np.int32(-1)
    return rows


@numba.njit(cache=True, nogil=True)
def drawn(
    candidates: Slots,
    log_expected: NDArray[np.float32],
    i: int,
    weight: float,
    rows: Slots,
    shift: NDArray[np.float32],
) -> int:
    """Write the rows that event ``i`` is about, and what is subtracted from the score of each;
    return how many they are. A weight that is not positive is about the event's item alone.

    Parameters
    ----------
    candidates
        ``(n, 1 + n_negatives)``: the event's item, then negatives (-1: none).
    log_expected
        ``(n, n_negatives)`` of negatives; or ``(0, 0)``: nothing.
    """
    n = ZERO
    for c in range(candidates.shape[1] if weight > 0 else 1):
        if candidates[i, c] >= 0:
            rows[n] = candidates[i, c]
            shift[n] = log_expected[i, c - 1] if c and len(log_expected) else np.float32(0)
            n += 1
    return n


@numba.njit(cache=True, nogil=True)
def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else 1.0 - 1.0 / (1.0 + math.exp(x))


@numba.njit(cache=True, nogil=True)
def slopes(
    scores: NDArray[np.float32], n: int, weight: float, loss: int, out: NDArray[np.float32]
) -> None:
    """``out[c] = - d loss / d scores[c]`` of a positive (c = 0) and ``n - 1`` negatives, weighted.

    bpr: mean of -ln σ(s_0 - s_c); logistic: -ln σ(s_0) - mean of ln σ(-s_c); softmax: -ln of the
    positive's share of Σ exp s_c. A negative weight is a disliked item: |weight| · -ln σ(-s_0).
    """
    if weight < 0:
        out[0] = weight * _sigmoid(scores[0])
        return
    if loss == SOFTMAX:
        highest = scores[0]
        for c in range(1, n):
            highest = max(highest, scores[c])
        total = 0.0
        for c in range(n):
            out[c] = math.exp(scores[c] - highest)
            total += out[c]
        for c in range(1, n):
            out[c] *= -weight / total
        out[0] = weight * (1.0 - out[0] / total)
        return
    out[0] = weight * (1.0 - _sigmoid(scores[0])) if loss == LOGISTIC else 0.0
    share = weight / max(1, n - 1)
    for c in range(1, n):
        if loss == LOGISTIC:
            out[c] = -share * _sigmoid(scores[c])
        else:
            out[c] = -share * _sigmoid(scores[c] - scores[0])
            out[0] -= out[c]


@numba.njit(cache=True, nogil=True)
def squared_units(square: float) -> np.int64:
    """A squared gradient in units of an accumulator."""
    return np.int64(np.rint(min(square, _SQUARE_MAX) / _SQUARE_UNIT))


@numba.njit(cache=True, nogil=True)
def _rates(
    squares: NDArray[np.int64],
    rows: Slots,
    slope: NDArray[np.float32],
    n: int,
    p_square: float,
    learning_rate: float,
    rates: NDArray[np.float64],
) -> None:
    """Add the squared gradients of factors and of biases to AdaGrad's accumulators, and write the
    learning rates that result into ``rates``, ``(2, n)`` or more; a row may be there twice."""
    for c in range(n):
        square = slope[c] * slope[c]
        squares[rows[c], 0] += squared_units(square * p_square)
        squares[rows[c], 1] += squared_units(square)
        rates[0, c], rates[1, c] = squares[rows[c], 0], squares[rows[c], 1]
    # In loops of their own, which the compiler makes vectors of.
    for kind in range(2):
        for c in range(rates.shape[1]):
            rates[kind, c] = learning_rate / math.sqrt(rates[kind, c] * _SQUARE_UNIT + _TINY)


@numba.njit(cache=True, nogil=True)
def _read(items: NDArray[np.int32], rows: Slots, n: int, q: NDArray[np.float32]) -> None:
    for c in range(n):
        row = rows[c]
        for f in range(items.shape[1] - 1):
            q[c, f] = np.float32(items[row, f]) * UNIT


@numba.njit(cache=True, nogil=True)
def _step_items(
    items: NDArray[np.int32],
    rows: Slots,
    slope: NDArray[np.float32],
    n: int,
    p: NDArray[np.float32],
    q: NDArray[np.float32],
    rates: NDArray[np.float64],
    learning_rate: float,
    decay: np.float32,
) -> None:
    k = items.shape[1] - 1
    shrink = np.float32(learning_rate) * decay
    for c in range(n):
        row = rows[c]
        pull = np.float32(rates[0, c]) * slope[c]
        for f in range(k):
            items[row, f] = stepped(items[row, f], pull * p[f] - shrink * q[c, f])
        bias = np.float32(items[row, k]) * UNIT
        items[row, k] = stepped(items[row, k], np.float32(rates[1, c]) * slope[c] - shrink * bias)


@numba.njit(cache=True, nogil=True)
def learn_implicit(
    users: NDArray[np.float32],
    items: NDArray[np.int32],
    squares: NDArray[np.int64],
    user_slots: Slots,
    candidates: Slots,
    log_expected: NDArray[np.float32],
    weights: NDArray[np.float32],
    loss: int,
    learning_rate: float,
    regularization: float,
) -> None:
    """Take one step an event, in place and in order; new rows are all made from the old ones.

    Parameters
    ----------
    users
        ``(n_users, k + 1)``: factors and AdaGrad accumulator.
    items
        ``(n_rows, k + 1)``: factors and bias, fixed point.
    squares
        ``(n_rows, 2)``: AdaGrad accumulators of factors and of bias, fixed point.
    user_slots
        ``(n,)`` rows of ``users``.
    candidates
        ``(n, 1 + n_negatives)`` rows of ``items``: the event's item, then negatives (-1: none).
    log_expected
        ``(n, n_negatives)``, subtracted from the scores of negatives; or ``(0, 0)``.
    weights
        ``(n,)`` rewards; 0 teaches nothing here.
    """
    k = users.shape[1] - 1
    n_candidates = candidates.shape[1]
    q = np.zeros((n_candidates, padded(k)), dtype=np.float32)
    p = np.zeros((1, padded(k)), dtype=np.float32)
    gradient = np.zeros((1, padded(k)), dtype=np.float32)
    rows = np.empty(n_candidates, dtype=np.int32)
    scores = np.empty(n_candidates, dtype=np.float32)
    shift = np.empty(n_candidates, dtype=np.float32)
    slope = np.empty(n_candidates, dtype=np.float32)
    square = np.empty(1, dtype=np.float32)
    rates = np.ones((2, n_candidates))
    decay = np.float32(regularization)
    for i in range(len(user_slots)):
        if weights[i] == 0:
            continue
        user = user_slots[i]
        for f in range(k):
            p[0, f] = users[user, f]
        n = drawn(candidates, log_expected, i, weights[i], rows, shift)
        _read(items, rows, n, q)
        dots(p[0], q, n, scores)
        for c in range(n):
            scores[c] += np.float32(items[rows[c], k]) * UNIT - shift[c]
        slopes(scores, n, weights[i], loss, slope)
        gradient[:] = 0
        for c in range(n):
            for f in range(k):
                gradient[0, f] += slope[c] * q[c, f]
        dots(p[0], p, 1, square)
        _rates(squares, rows, slope, n, square[0] / k, learning_rate, rates)
        _step_items(items, rows, slope, n, p[0], q, rates, learning_rate, decay)
        dots(gradient[0], gradient, 1, square)
        users[user, k] += min(square[0] / np.float32(k), np.float32(_SQUARE_MAX))
        rate = np.float32(learning_rate / math.sqrt(users[user, k] + _TINY))
        shrink = np.float32(learning_rate) * decay
        for f in range(k):
            users[user, f] = clipped(p[0, f] + rate * gradient[0, f] - shrink * p[0, f])
