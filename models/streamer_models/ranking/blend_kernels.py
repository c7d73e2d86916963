"""The listwise blend in kernels: scores, one step's gradient, and weights from sums."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

N_CONTEXTS = 8
"""Numbers that say who asks and when; the first is 1."""
_SESSION_S, _LONG_S = 1_800.0, 3 * 86_400.0
_LOW, _HIGH = 0.05, 1.0
STATISTIC_BITS = 20
"""Sums are int64 in units of 2^-20: up to 2^43."""
_UNITS = float(1 << STATISTIC_BITS)
_GRADIENT_MAX = 64.0
_UNBOUNDED = (1, 4)
"""Contexts without a bound of their own: how much was met, and how long ago."""
_DEVIATIONS = 2.0
NO_LIMIT = 1e9
"""Beyond every context."""


@numba.njit(cache=True, nogil=True)
def user_context(n_events: int, gap_ms: int) -> Floats:
    """``(8,)`` contexts of a user who has met ``n_events`` items, the last one ``gap_ms`` ago."""
    context = np.zeros(N_CONTEXTS)
    context[0] = 1.0
    context[1] = math.log1p(n_events) / 2 - 1.2
    context[2] = 1 / (1 + n_events)
    if n_events == 0:
        context[6] = 1.0
        return context
    gap_s = max(gap_ms, 0) / 1000
    context[3] = 1.0 if gap_s > _SESSION_S else 0.0
    context[4] = math.log1p(gap_s) / 5 - 1
    context[5] = 1.0 if gap_s == 0 else 0.0
    context[7] = 1.0 if gap_s > _LONG_S else 0.0
    return context


@numba.njit(cache=True, nogil=True)
def blend_columns(shares: Floats, raw: Floats) -> Floats:
    """``(n, 2 n_shares + n_raw)`` columns of candidates.

    Parameters
    ----------
    shares
        ``(n_shares, n)``: how many times as likely a channel says a candidate is as any item; its
        logarithm is taken twice, with .05 and with 1 added, so that it tells small ones apart and
        large ones too.
    raw
        ``(n_raw, n)``: scores that are logits already.
    """
    n_shares, n = shares.shape
    columns = np.empty((n, 2 * n_shares + len(raw)))
    for i in range(n):
        for s in range(n_shares):
            columns[i, 2 * s] = math.log(shares[s, i] + _LOW)
            columns[i, 2 * s + 1] = math.log(shares[s, i] + _HIGH)
        for r in range(len(raw)):
            columns[i, 2 * n_shares + r] = raw[r, i]
    return columns


@numba.njit(cache=True, nogil=True)
def blend_scores(columns: Floats, weights: Floats, limits: Floats, context: Floats) -> Floats:
    """``(n,)`` logits ``sum over f, k of weights[f, k] context[k] columns[i, f]``, with contexts
    within their limits."""
    n_columns = columns.shape[1]
    crossed = np.zeros(n_columns)
    for f in range(n_columns):
        for k in range(len(context)):
            crossed[f] += weights[f, k] * _within(context[k], limits, k)
    scores = np.zeros(len(columns))
    for i in range(len(columns)):
        for f in range(n_columns):
            scores[i] += crossed[f] * columns[i, f]
    return scores


@numba.njit(cache=True, nogil=True)
def shares_of_choice(scores: Floats) -> Floats:
    """``(n,)`` softmax."""
    shares = np.empty(len(scores))
    highest = -np.inf
    for i in range(len(scores)):
        highest = max(highest, scores[i])
    total = 0.0
    for i in range(len(scores)):
        shares[i] = math.exp(scores[i] - highest)
        total += shares[i]
    for i in range(len(scores)):
        shares[i] /= total
    return shares


@numba.njit(cache=True, nogil=True)
def slope(columns: Floats, shares: Floats, target: int) -> Floats:
    """``(n_columns,)``: the columns that were to be expected less those of the one chosen, the
    gradient of the negative log-likelihood in the crossed weights."""
    difference = np.zeros(columns.shape[1])
    for f in range(columns.shape[1]):
        difference[f] = -columns[target, f]
    for i in range(len(columns)):
        for f in range(columns.shape[1]):
            difference[f] += shares[i] * columns[i, f]
    for f in range(len(difference)):
        difference[f] = min(max(difference[f], -_GRADIENT_MAX), _GRADIENT_MAX)
    return difference


@numba.njit(cache=True, nogil=True)
def _within(value: float, limits: Floats, k: int) -> float:
    found: float = min(max(value, limits[0, k]), limits[1, k])
    return found


def statistics_width(n_columns: int) -> int:
    """Return how many sums a blend has."""
    d = n_columns * N_CONTEXTS
    return d * (d + 1) // 2 + d + 2 * N_CONTEXTS


@numba.njit(cache=True, nogil=True)
def add_statistics(
    sums: NDArray[np.int64],
    steps: Floats,
    n_columns: int,
    weights: Floats,
    limits: Floats,
    rate: float,
) -> None:
    """Add ``sum of g gᵀ`` (upper triangle, row by row), ``sum of g (g·W) - rate g``, and those of
    the contexts and of their squares.

    Parameters
    ----------
    sums
        :func:`statistics_width` of them, in units of 2^-20.
    steps
        ``(n, n_columns + n_contexts)``: a slope and a context each; g is their outer product, the
        context within its limits.
    weights, limits
        ``(n_columns, n_contexts)`` and ``(2, n_contexts)`` that the slopes were taken at.
    """
    n_contexts = steps.shape[1] - n_columns
    d = n_columns * n_contexts
    added = np.zeros(len(sums))
    g = np.empty(d)
    for i in range(len(steps)):
        along = 0.0
        for f in range(n_columns):
            for k in range(n_contexts):
                context = _within(steps[i, n_columns + k], limits, k)
                g[f * n_contexts + k] = steps[i, f] * context
                along += g[f * n_contexts + k] * weights[f, k]
        at = 0
        for a in range(d):
            for b in range(a, d):
                added[at] += g[a] * g[b]
                at += 1
        for a in range(d):
            added[at + a] += g[a] * along - rate * g[a]
        for k in range(n_contexts):
            context = steps[i, n_columns + k]
            added[at + d + k] += context
            added[at + d + n_contexts + k] += context * context
    for at in range(len(sums)):
        sums[at] += np.int64(np.rint(added[at] * _UNITS))


@numba.njit(cache=True, nogil=True)
def context_limits(sums: NDArray[np.int64], n_contexts: int) -> Floats:
    """``(2, n_contexts)`` the least and the greatest context that weights are used with: two
    deviations from the mean of those they were learned with. A straight line is not known to go on
    beyond: users who were seen once a minute come back after a day."""
    limits = np.empty((2, n_contexts))
    limits[0], limits[1] = -NO_LIMIT, NO_LIMIT
    first = len(sums) - 2 * n_contexts
    n = sums[first] / _UNITS  # the first context is 1
    if n > 0:
        for k in _UNBOUNDED:
            mean = sums[first + k] / _UNITS / n
            square = sums[first + n_contexts + k] / _UNITS / n
            reach = _DEVIATIONS * math.sqrt(max(square - mean * mean, 0.0))
            limits[0, k], limits[1, k] = mean - reach, mean + reach
    return limits


@numba.njit(cache=True, nogil=True)
def solved_weights(sums: NDArray[np.int64], prior: Floats, precisions: Floats) -> Floats:
    """Return the weights that the sums stand for: ``(A₀ + A)⁻¹ (A₀ W₀ + b)``.

    By a Cholesky factorization in a fixed order of operations: the same bits in every process.

    Parameters
    ----------
    sums
        Of :func:`add_statistics`.
    prior, precisions
        ``(n_columns, n_contexts)``: W₀, and the diagonal of A₀.
    """
    d = prior.size
    w0, a0 = prior.reshape(d), precisions.reshape(d)
    lower = np.zeros((d, d))
    at = 0
    for a in range(d):
        for b in range(a, d):
            lower[b, a] = sums[at] / _UNITS
            at += 1
        lower[a, a] += a0[a]
    x = np.empty(d)
    for a in range(d):
        x[a] = a0[a] * w0[a] + sums[at + a] / _UNITS
    for a in range(d):
        for b in range(a + 1):
            total = lower[a, b]
            for c in range(b):
                total -= lower[a, c] * lower[b, c]
            if a == b:
                lower[a, a] = math.sqrt(max(total, 1e-9))
            else:
                lower[a, b] = total / lower[b, b]
    for a in range(d):
        for c in range(a):
            x[a] -= lower[a, c] * x[c]
        x[a] /= lower[a, a]
    for a in range(d - 1, -1, -1):
        for c in range(a + 1, d):
            x[a] -= lower[c, a] * x[c]
        x[a] /= lower[a, a]
    return x.reshape(prior.shape)
