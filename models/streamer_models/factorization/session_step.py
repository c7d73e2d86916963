"""One online step of session factors, and scores by them, as kernels."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.factorization.mf_step import SOFTMAX, drawn, slopes, squared_units
from streamer_models.factorization.session_tokens import (
    BIAS_SQUARE_START,
    SQUARE_START,
    TokenArrays,
    adagrad_rate,
    add_vectors,
    known_at,
    meet,
    no_steps,
    step_tokens,
)
from streamer_models.state.fixed_point import UNIT, clipped, dots, padded, stepped
from streamer_models.state.table import Slots

USER_SHARE = np.float32(0.3)
"""Weight of the user's own vector beside the mean of those of the last items."""


def recency_weights(length: int) -> NDArray[np.float32]:
    """Return ``(length,)`` weights of the last items, the newest first: ``(1 + k)^-.7``."""
    weights: NDArray[np.float32] = ((1.0 + np.arange(length)) ** -0.7).astype(np.float32)
    return weights


@numba.njit(cache=True, nogil=True)
def shares_of(weights: NDArray[np.float32], rows: Slots, shares: NDArray[np.float32]) -> int:
    """Write the share of each recent item in their mean, 0 where there is none (row -1); return
    how many places to look at."""
    total, last = np.float32(0), 0
    for age in range(len(rows)):
        shares[age] = weights[age] if rows[age] >= 0 else np.float32(0)
        total += shares[age]
        if rows[age] >= 0:
            last = age + 1
    for age in range(last):
        shares[age] /= total
    return last


@numba.njit(cache=True, nogil=True)
def _session_vector(
    user: NDArray[np.float32],
    items: NDArray[np.int32],
    tokens: TokenArrays,
    rows: Slots,
    shares: NDArray[np.float32],
    n: int,
    out: NDArray[np.float32],
) -> None:
    """``out = .3 p_u + sum of share * v`` over the last items.

    Parameters
    ----------
    user
        ``(k,)`` or more: p_u.
    items, tokens
        ``(n_rows, 2 k + 1)`` fixed point: q, v and bias; and what their tokens add.
    rows, shares
        ``(length,)``; places from ``n`` on are not looked at.
    out
        ``(k,)`` or more.
    """
    k = (items.shape[1] - 1) // 2
    for f in range(k):
        out[f] = USER_SHARE * user[f]
    for age in range(n):
        if rows[age] >= 0:
            for f in range(k):
                out[f] += shares[age] * (np.float32(items[rows[age], k + f]) * UNIT)
            at = known_at(tokens, rows[age])
            if at >= 0:
                add_vectors(tokens, at, k, k, shares[age], out)


@numba.njit(cache=True, nogil=True)
def session_scores(
    user: NDArray[np.float32],
    recent: NDArray[np.float32],
    weights: NDArray[np.float32],
    candidates: NDArray[np.float32],
) -> NDArray[np.float32]:
    """``(n,)`` scores ``c · q_i + b_i`` of candidates.

    Parameters
    ----------
    user
        ``(k + 1,)`` row of the user; zeros where there is none.
    recent
        ``(length, 2 k + 1)`` q, v and bias of the last items that are known, the newest first.
    weights
        ``(length,)`` :func:`recency_weights` of their places.
    candidates
        ``(n, 2 k + 1)``.
    """
    k, n = len(user) - 1, len(candidates)
    rows = np.arange(len(recent)).astype(np.int32)
    shares = np.empty(len(recent), dtype=np.float32)
    n_recent = shares_of(weights, rows, shares)
    c = np.zeros(padded(k), dtype=np.float32)
    for f in range(k):
        c[f] = USER_SHARE * user[f]
    for age in range(n_recent):
        for f in range(k):
            c[f] += shares[age] * recent[age, k + f]
    q = np.zeros((n, padded(k)), dtype=np.float32)
    for i in range(n):
        q[i, :k] = candidates[i, :k]
    scores = np.empty(n, dtype=np.float32)
    dots(c, q, n, scores)
    for i in range(n):
        scores[i] += candidates[i, 2 * k]
    return scores


@numba.njit(cache=True, nogil=True)
def learn_session(
    users: NDArray[np.float32],
    items: NDArray[np.int32],
    squares: NDArray[np.int64],
    tokens: TokenArrays,
    user_slots: Slots,
    candidates: Slots,
    log_expected: NDArray[np.float32],
    rewards: NDArray[np.float32],
    recent: Slots,
    weights: NDArray[np.float32],
    learning_rate: float,
    token_rate: float,
    regularization: float,
    start: int,
    stop: int,
) -> None:
    """Take one step an event of ``[start, stop)``, in place and in order; new rows are all made
    from the old ones.

    Parameters
    ----------
    users
        ``(n_users, k + 1)``: factors and AdaGrad accumulator.
    items
        ``(n_rows, 2 k + 1)``: q, v and bias, fixed point.
    squares
        ``(n_rows, 3)``: AdaGrad accumulators of q, v and bias, fixed point.
    tokens
        What the items' tokens add to them.
    candidates
        ``(n, 1 + n_negatives)`` rows of ``items``: the event's item, then negatives (-1: none).
    log_expected
        ``(n, n_negatives)``, subtracted from the scores of negatives.
    rewards
        ``(n,)``; 0 teaches nothing here.
    recent
        ``(n, length)`` rows of the user's last items, -1 where there is none.
    """
    k = users.shape[1] - 1
    n_candidates, length = candidates.shape[1], recent.shape[1]
    q = np.zeros((n_candidates, padded(k)), dtype=np.float32)
    own, bias = np.zeros_like(q), np.zeros(1, dtype=np.float32)
    biases, steps = np.empty(n_candidates, np.float32), no_steps(n_candidates + length)
    c, pull = np.zeros((1, padded(k)), np.float32), np.zeros((1, padded(k)), np.float32)
    rows, slope = np.empty(n_candidates, np.int32), np.empty(n_candidates, np.float32)
    scores, shift = np.empty(n_candidates, np.float32), np.empty(n_candidates, np.float32)
    shares, square = np.empty(length, dtype=np.float32), np.empty(1, dtype=np.float32)
    decay = np.float32(regularization)
    for i in range(start, stop):
        if rewards[i] == 0:
            continue
        n = drawn(candidates, log_expected, i, rewards[i], rows, shift)
        n_recent = shares_of(weights, recent[i], shares)
        _session_vector(users[user_slots[i]], items, tokens, recent[i], shares, n_recent, c[0])
        for at in range(n):
            for f in range(k):
                own[at, f] = q[at, f] = np.float32(items[rows[at], f]) * UNIT
            bias[0] = np.float32(items[rows[at], 2 * k]) * UNIT - shift[at]
            known = known_at(tokens, rows[at])
            if known >= 0:
                add_vectors(tokens, known, 0, k, 1.0, q[at])
                add_vectors(tokens, known, 2 * k, 1, 1.0, bias)
            biases[at] = bias[0]
        dots(c[0], q, n, scores)
        for at in range(n):
            scores[at] += biases[at]
        slopes(scores, n, rewards[i], SOFTMAX, slope)
        pull[:] = 0
        for at in range(n):
            for f in range(k):
                pull[0, f] += slope[at] * q[at, f]
        dots(c[0], c, 1, square)
        c_square = square[0] / k
        _step_items(items, squares, rows, slope, n, c[0], c_square, own, learning_rate, decay)
        dots(pull[0], pull, 1, square)
        if len(tokens.known):
            n_met = 0
            for at in range(n):
                known = known_at(tokens, rows[at])
                if known >= 0:
                    n_met = meet(tokens, known, slope[at], 0.0, steps, n_met)
            for age in range(n_recent):
                known = known_at(tokens, recent[i, age]) if recent[i, age] >= 0 else -1
                if known >= 0:
                    n_met = meet(tokens, known, 0.0, shares[age], steps, n_met)
            step_tokens(tokens, steps, n_met, c[0], c_square, pull[0], square[0] / k, token_rate)
        _step_context(
            items, squares, recent[i], shares, n_recent, pull[0], square[0] / k, learning_rate,
            decay,
        )  # fmt: skip
        _step_user(users[user_slots[i]], pull[0], square[0] / k, learning_rate, decay)


@numba.njit(cache=True, nogil=True)
def _step_items(
    items: NDArray[np.int32],
    squares: NDArray[np.int64],
    rows: Slots,
    slope: NDArray[np.float32],
    n: int,
    c: NDArray[np.float32],
    c_square: float,
    q: NDArray[np.float32],
    learning_rate: float,
    decay: np.float32,
) -> None:
    """Towards the event's item and away from negatives: q and biases."""
    k = (items.shape[1] - 1) // 2
    for at in range(n):
        row = rows[at]
        square = slope[at] * slope[at]
        squares[row, 0] += squared_units(square * c_square)
        squares[row, 2] += squared_units(square)
        rate = adagrad_rate(squares[row, 0], SQUARE_START, learning_rate)
        for f in range(k):
            step = rate * (slope[at] * c[f] - decay * q[at, f])
            items[row, f] = stepped(items[row, f], step)
        rate = adagrad_rate(squares[row, 2], BIAS_SQUARE_START, learning_rate)
        bias = np.float32(items[row, 2 * k]) * UNIT
        items[row, 2 * k] = stepped(items[row, 2 * k], rate * (slope[at] - decay * bias))


@numba.njit(cache=True, nogil=True)
def _step_context(
    items: NDArray[np.int32],
    squares: NDArray[np.int64],
    rows: Slots,
    shares: NDArray[np.float32],
    n: int,
    pull: NDArray[np.float32],
    pull_square: float,
    learning_rate: float,
    decay: np.float32,
) -> None:
    """Vectors of the last items, each by its share."""
    k = (items.shape[1] - 1) // 2
    for age in range(n):
        row = rows[age]
        if row < 0:
            continue
        squares[row, 1] += squared_units(shares[age] * shares[age] * pull_square)
        rate = adagrad_rate(squares[row, 1], SQUARE_START, learning_rate)
        for f in range(k):
            v = np.float32(items[row, k + f]) * UNIT
            step = rate * (shares[age] * pull[f] - decay * v)
            items[row, k + f] = stepped(items[row, k + f], step)


@numba.njit(cache=True, nogil=True)
def _step_user(
    user: NDArray[np.float32],
    pull: NDArray[np.float32],
    pull_square: float,
    learning_rate: float,
    decay: np.float32,
) -> None:
    k = len(user) - 1
    user[k] += np.float32(min(float(USER_SHARE * USER_SHARE * pull_square), 1e3))
    rate = np.float32(learning_rate / math.sqrt(user[k] + SQUARE_START))
    for f in range(k):
        user[f] = clipped(user[f] + rate * (USER_SHARE * pull[f] - decay * user[f]))
