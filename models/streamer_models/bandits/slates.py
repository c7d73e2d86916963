"""Slates drawn from scores, with the probability of every choice.

A slot's propensity is the probability of its item *given the slots before it*; the product over
the slots is that of the whole slate. A draw is a function of its arguments, its random numbers are
hashes of (seed, slot), so whoever kept the arguments can draw the same slate again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.seeding import random_bits, stream

# A domain of its own ("slate"): policies derive their posterior draws from the same seed.
_DOMAIN = np.uint64(0x736C617465)
_ZERO, _ONE, _S11 = np.uint64(0), np.uint64(1), np.uint64(11)
# Weights are taken anew, relative to the best that remains, before they can underflow.
_WEIGHT_MIN = 1e-200
_ALL = np.ones(512, dtype=np.bool_)

Indices = NDArray[np.intp]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Draw:
    """A slate: columns of length ``min(k, n)`` in slot order.

    Attributes
    ----------
    order
        intp positions of the candidates chosen.
    propensities
        float64 in (0, 1]: probability of the item at its slot, given the slots before.
    explored
        bool: the item is not the best remaining one by ``scores``.
    """

    order: Indices
    propensities: Floats
    explored: Flags


def draw_best(
    scores: Floats, k: int, seed: int, *, uniform_share: float, slots: Sequence[int] = ()
) -> Draw:
    """Take the best remaining candidate slot by slot, or a uniform one with a small probability.

    With r candidates remaining and share ε, the best has ``1 - ε + ε / r``, each other ``ε / r``.
    Over estimated rewards this is ε-greedy, over upper confidence bounds LinUCB with full support.

    Parameters
    ----------
    scores
        ``(n,)``, finite. Of equal ones the first is the best.
    k
        Slots; where there are fewer candidates, all are drawn.
    seed
        Any int.
    uniform_share
        ε in [0, 1].
    slots
        Slots that explore; the others take the best remaining with propensity 1. Empty: all
        explore. Slots from k on are passed over.

    Raises
    ------
    ValueError
        Where an argument is out of its range.

    Examples
    --------
    >>> draw = draw_best(np.array([0.1, 0.9, 0.5]), 2, seed=3, uniform_share=0.3)
    >>> draw.order.tolist(), draw.propensities.round(2).tolist()
    ([1, 0], [0.8, 0.15])
    """
    ranking = _ranking(scores, k)
    share = _checked_share(uniform_share)
    explores = _exploring(slots, min(k, len(ranking)))
    return Draw(*_draw_best(ranking, explores, _start(seed), share))


def draw_plackett_luce(
    scores: Floats,
    k: int,
    seed: int,
    *,
    temperature: float,
    uniform_share: float = 0.0,
    slots: Sequence[int] = (),
) -> Draw:
    """Draw slot by slot from the softmax over the candidates that remain.

    ``p(i) = (1 - ε) exp(s_i / T) / Σ exp(s_j / T) + ε / r`` over the r remaining j: the model of
    Plackett (1975) and Luce (1959), mixed with a uniform share.

    Parameters
    ----------
    temperature
        T, above 0, in units of the scores.
    scores, k, seed, uniform_share, slots
        As in :func:`draw_best`.

    Raises
    ------
    ValueError
        Where an argument is out of its range.
    """
    ranking = _ranking(scores, k)
    share = _checked_share(uniform_share)
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature={temperature} must be above 0 and finite")
    explores = _exploring(slots, min(k, len(ranking)))
    values = np.asarray(scores, dtype=np.float64)
    return Draw(
        *_draw_plackett_luce(values, ranking, explores, _start(seed), share, float(temperature))
    )


def draw_thompson(
    samples: Floats,
    k: int,
    seed: int,
    *,
    scores: Floats,
    uniform_share: float,
    slots: Sequence[int] = (),
) -> Draw:
    """Thompson sampling from given posterior draws: a slot takes the best remaining of one draw.

    Each exploring slot picks one of the m draws, all alike probable and anew for each slot. With
    m_i the number of draws whose best remaining candidate is i, ``p(i) = (1 - ε) m_i / m + ε / r``:
    exact given the draws. Weighting by 1/p is unbiased for every set of draws when ε > 0.

    Parameters
    ----------
    samples
        ``(m, n)`` draws of the candidates' rewards, finite. Of equal ones the first is the best.
    scores
        ``(n,)`` posterior means, finite: what slots that don't explore are ranked by, and what
        ``explored`` compares with.
    k, seed, uniform_share, slots
        As in :func:`draw_best`.

    Raises
    ------
    ValueError
        Where an argument is out of its range or the shapes don't fit.
    """
    ranking = _ranking(scores, k)
    share = _checked_share(uniform_share)
    values = np.ascontiguousarray(samples, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(ranking) or len(values) == 0:
        raise ValueError(
            f"samples of shape {values.shape}: expected (m, {len(ranking)}) with m of at least 1,"
            " one column a score"
        )
    _check_finite("samples", values)
    explores = _exploring(slots, min(k, len(ranking)))
    return Draw(*_draw_thompson(values, ranking, explores, _start(seed), share))


# --- arguments ---------------------------------------------------------------------------------


def _ranking(scores: Floats, k: int) -> Indices:
    """Candidates from the best score to the worst, equal ones in their own order."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"scores of shape {values.shape}: expected one number a candidate, (n,)")
    if k < 0:
        raise ValueError(f"k={k}: a slate has at least 0 slots")
    _check_finite("scores", values)
    ranking: Indices = (-values).argsort(kind="stable")
    return ranking


def _check_finite(name: str, values: Floats) -> None:
    # A sum is finite only where all its terms are, and is three times as fast to look at.
    if math.isfinite(np.add.reduce(values, axis=None)):
        return
    finite = np.isfinite(values)
    if not finite.all():
        at = np.unravel_index(int(np.argmin(finite)), values.shape)
        raise ValueError(
            f"{name}[{', '.join(str(int(i)) for i in at)}] is {values[at]}: all must be finite;"
            " leave such candidates out, or look for what diverged"
        )


def _checked_share(uniform_share: float) -> float:
    if not 0 <= uniform_share <= 1:
        raise ValueError(f"uniform_share={uniform_share} must be within 0 and 1")
    return float(uniform_share)


def _exploring(slots: Sequence[int], n_slots: int) -> Flags:
    if len(slots) == 0:
        return _ALL[:n_slots] if n_slots <= len(_ALL) else np.ones(n_slots, dtype=np.bool_)
    if min(slots) < 0:
        raise ValueError(f"slots={list(slots)}: slots are counted from 0")
    explores = np.zeros(n_slots, dtype=np.bool_)
    explores[[slot for slot in slots if slot < n_slots]] = True
    return explores


def _start(seed: int) -> np.uint64:
    return np.uint64(seed & 0xFFFFFFFFFFFFFFFF)


# --- kernels: `remaining[:n]` are the candidates left, the best score first ----------------------


@numba.njit(cache=True, nogil=True)
def _uniform(seed: np.uint64, slot: int, number: np.uint64) -> float:
    """One of a slot's two random numbers, in [0, 1): multiples of 2^-53."""
    start = stream(seed, _DOMAIN, np.uint64(slot))
    return float(random_bits(start, number) >> _S11) * 2.0**-53


@numba.njit(cache=True, nogil=True)
def _below(uniform: float, n: int) -> int:
    return min(int(uniform * n), n - 1)


@numba.njit(cache=True, nogil=True)
def _remove(remaining: Indices, at: int, n: int) -> None:
    for j in range(at, n - 1):
        remaining[j] = remaining[j + 1]


@numba.njit(cache=True, nogil=True)
def _draw_best(
    ranking: Indices, explores: Flags, seed: np.uint64, share: float
) -> tuple[Indices, Floats, Flags]:
    k, n = len(explores), len(ranking)
    remaining = ranking.copy()
    order = np.empty(k, dtype=np.intp)
    propensities = np.ones(k)
    explored = np.zeros(k, dtype=np.bool_)
    for slot in range(k):
        at = 0
        if explores[slot]:
            if _uniform(seed, slot, _ZERO) < share:
                at = _below(_uniform(seed, slot, _ONE), n)
            # One candidate left has propensity 1, which the sum could miss by a rounding.
            if n > 1:
                propensities[slot] = share / n + (1.0 - share if at == 0 else 0.0)
        order[slot] = remaining[at]
        explored[slot] = at != 0
        _remove(remaining, at, n)
        n -= 1
    return order, propensities, explored


@numba.njit(cache=True, nogil=True)
def _draw_plackett_luce(
    scores: Floats,
    ranking: Indices,
    explores: Flags,
    seed: np.uint64,
    share: float,
    temperature: float,
) -> tuple[Indices, Floats, Flags]:
    k, n = len(explores), len(ranking)
    remaining = ranking.copy()
    order = np.empty(k, dtype=np.intp)
    propensities = np.ones(k)
    explored = np.zeros(k, dtype=np.bool_)
    weights = np.zeros(n)
    for slot in range(k):
        at = 0
        if explores[slot]:
            if weights[remaining[0]] < _WEIGHT_MIN:
                best = scores[remaining[0]]
                for j in range(n):
                    weights[remaining[j]] = np.exp((scores[remaining[j]] - best) / temperature)
            total = 0.0
            for j in range(n):
                total += weights[remaining[j]]
            uniform = _uniform(seed, slot, _ONE)
            if _uniform(seed, slot, _ZERO) < share:
                at = _below(uniform, n)
            else:
                reached = weights[remaining[0]]
                while reached <= uniform * total and at < n - 1:
                    at += 1
                    reached += weights[remaining[at]]
            if n > 1:
                softmax = weights[remaining[at]] / total
                propensities[slot] = share / n + (1.0 - share) * softmax
        order[slot] = remaining[at]
        explored[slot] = at != 0
        _remove(remaining, at, n)
        n -= 1
    return order, propensities, explored


@numba.njit(cache=True, nogil=True)
def _draw_thompson(
    samples: Floats, ranking: Indices, explores: Flags, seed: np.uint64, share: float
) -> tuple[Indices, Floats, Flags]:
    k, n, m = len(explores), len(ranking), len(samples)
    remaining = ranking.copy()
    order = np.empty(k, dtype=np.intp)
    propensities = np.ones(k)
    explored = np.zeros(k, dtype=np.bool_)
    # At slot t, t candidates are gone: the best remaining of a draw is among its first k.
    bests = np.empty((m, k), dtype=np.intp)
    for draw in range(m):
        _first_k(samples[draw], bests[draw])
    heads = np.zeros(m, dtype=np.intp)
    taken = np.zeros(n, dtype=np.bool_)
    for slot in range(k):
        at = 0
        if explores[slot]:
            for draw in range(m):
                while taken[bests[draw, heads[draw]]]:
                    heads[draw] += 1
            uniform = _uniform(seed, slot, _ONE)
            if _uniform(seed, slot, _ZERO) < share:
                at = _below(uniform, n)
            else:
                draw = _below(uniform, m)
                while remaining[at] != bests[draw, heads[draw]]:
                    at += 1
            n_agreeing = 0
            for draw in range(m):
                n_agreeing += bests[draw, heads[draw]] == remaining[at]
            if n > 1:
                propensities[slot] = share / n + (1.0 - share) * (n_agreeing / m)
        order[slot] = remaining[at]
        explored[slot] = at != 0
        taken[remaining[at]] = True
        _remove(remaining, at, n)
        n -= 1
    return order, propensities, explored


@numba.njit(cache=True, nogil=True)
def _first_k(values: Floats, best: Indices) -> None:
    """Positions of the k largest, the largest first and of equal ones the first, by insertion."""
    n_kept, k = 0, len(best)
    for i in range(len(values)):
        if n_kept == k:
            if k == 0 or values[i] <= values[best[k - 1]]:
                continue
            j = k - 1
        else:
            j = n_kept
            n_kept += 1
        while j > 0 and values[best[j - 1]] < values[i]:
            best[j] = best[j - 1]
            j -= 1
        best[j] = i
