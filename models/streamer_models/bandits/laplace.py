"""Online logistic regression by a diagonal Laplace approximation, step by step: kernels.

Weights have independent normal beliefs of mean m and precision q (Chapelle & Li 2011, Algorithm
3). An example (x, y) of weight w moves the mean to the mode

``argmin_v ½ Σ q_i (v_i - m_i)² + w (ln(1 + exp(v·x)) - y v·x)``,

which lies at ``v = m + c x / q`` with ``c = w (y - σ(v·x))``, one equation in one unknown, and then
adds ``w x_i² σ (1 - σ)`` to the precision.

Where evidence fades, a row's natural parameters ``q - q₀`` and ``q m`` fade by
``2^(-age / half_life)`` as they are read: the prior's precision q₀ stays, its mean is 0.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.table import Slots

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]

_N_STEPS_MAX = 50


@numba.njit(cache=True, nogil=True)
def sigmoid(x: float) -> float:
    """``1 / (1 + exp(-x))``."""
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    return math.exp(x) / (1.0 + math.exp(x))


@numba.njit(cache=True, nogil=True)
def mode_step(logit: float, square: float, y: float, weight: float) -> float:
    """c with ``c = w (y - σ(logit + c square))``: Newton's steps, kept inside a bracket."""
    low, high = weight * (y - 1.0), weight * y
    c = 0.0
    for _ in range(_N_STEPS_MAX):
        p = sigmoid(logit + c * square)
        error = c - weight * (y - p)
        if error > 0.0:
            high = c
        else:
            low = c
        following = c - error / (1.0 + weight * square * p * (1.0 - p))
        if not low < following < high:
            following = 0.5 * (low + high)
        if abs(following - c) <= 1e-12 * (1.0 + abs(c)):
            return following
        c = following
    return c


@numba.njit(cache=True, nogil=True)
def fade(mean: Vector, precision: Vector, prior: float, share: float) -> None:
    """Keep a share of the evidence, in place."""
    for j in range(len(mean)):
        kept = prior + (precision[j] - prior) * share
        mean[j] *= share * precision[j] / kept
        precision[j] = kept


@numba.njit(cache=True, nogil=True)
def learn_laplace(
    mean: Matrix,
    precision: Matrix,
    as_of_ms: NDArray[np.int64],
    rows: Slots,
    x: NDArray[np.floating],
    before: Vector,
    after: Vector,
    ts_ms: NDArray[np.int64],
    prior: float,
    half_life_ms: int,
    newest_ms: int,
) -> int:
    """Bring rows from outcomes ``before`` to ``after`` (NaN: none), example by example.

    An outcome is learned as above; one taken back undoes the gradient and the curvature that it has
    today; another outcome is the one after the other. The newest event time is returned;
    ``half_life_ms`` 0: evidence does not fade.
    """
    for i in range(len(rows)):
        row = rows[i]
        if row < 0 or (np.isnan(before[i]) and np.isnan(after[i])):
            continue
        m, q = mean[row], precision[row]
        weight = 1.0
        if half_life_ms:
            newest_ms = max(newest_ms, ts_ms[i])
            fade(m, q, prior, 2.0 ** ((as_of_ms[row] - newest_ms) / half_life_ms))
            as_of_ms[row] = newest_ms
            weight = 2.0 ** ((ts_ms[i] - newest_ms) / half_life_ms)
        for outcome, sign in ((before[i], -1.0), (after[i], 1.0)):
            if not np.isnan(outcome):
                _step(m, q, x[i], outcome, sign, weight, prior)
    return newest_ms


@numba.njit(cache=True, nogil=True)
def _step(
    m: Vector,
    q: Vector,
    x: NDArray[np.floating],
    y: float,
    sign: float,
    weight: float,
    prior: float,
) -> None:
    logit, square = 0.0, 0.0
    for j in range(len(m)):
        value = np.float64(x[j])
        logit += value * m[j]
        square += value * value / q[j]
    if sign > 0:
        c = mode_step(logit, square, y, weight)
        p = sigmoid(logit + c * square)
    else:
        p = sigmoid(logit)
        c = weight * (p - y)
    for j in range(len(m)):
        value = np.float64(x[j])
        m[j] += c * value / q[j]
        q[j] = max(prior, q[j] + sign * weight * value * value * p * (1.0 - p))


@numba.njit(cache=True, nogil=True)
def logits_and_squares(
    x: NDArray[np.floating],
    mean: Matrix,
    precision: Matrix,
    as_of_ms: NDArray[np.int64],
    rows: Slots,
    prior: float,
    half_life_ms: int,
    newest_ms: int,
) -> tuple[Vector, Vector]:
    """``(n,)`` ``x·m`` and ``Σ x² / q``, faded to the newest time; negative rows hold the prior."""
    logits, squares = np.zeros(len(x)), np.zeros(len(x))
    for i in range(len(x)):
        row = rows[i]
        share = 1.0
        if half_life_ms and row >= 0:
            share = 2.0 ** ((as_of_ms[row] - newest_ms) / half_life_ms)
        for j in range(x.shape[1]):
            value = np.float64(x[i, j])
            kept = prior
            if row >= 0:
                kept += (precision[row, j] - prior) * share
                logits[i] += value * mean[row, j] * (share * precision[row, j] / kept)
            squares[i] += value * value / kept
    return logits, squares
