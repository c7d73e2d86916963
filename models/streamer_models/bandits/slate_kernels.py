"""Slates drawn place by place: kernels of :mod:`streamer_models.bandits.slates`.

``remaining[:n]`` are the candidates left, the best score first; of a slot ``choices[:m]`` are
those that may be placed there, the best first: the same array where nothing is composed.

Where the composition says what is shown, nothing is drawn: a slot's propensity is the probability
that it would have got what is shown there, given what is shown in the slots before.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.composition import Composition
from streamer_models.bandits.composition_kernels import (
    Placed,
    choose_from,
    nothing_placed,
    pass_over,
    place_item,
    remove,
)
from streamer_models.state.seeding import random_bits, stream

# A domain of its own ("slate"): policies derive their posterior draws from the same seed.
_DOMAIN = np.uint64(0x736C617465)
_ZERO, _ONE, _S11 = np.uint64(0), np.uint64(1), np.uint64(11)
# Weights are taken anew, relative to the best that remains, before they can underflow.
_WEIGHT_MIN = 1e-200
_FIRSTS = 3

Indices = NDArray[np.intp]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@numba.njit(cache=True, nogil=True)
def _uniform(seed: np.uint64, slot: int, number: np.uint64) -> float:
    """One of a slot's two random numbers, in [0, 1): multiples of 2^-53."""
    start = stream(seed, _DOMAIN, np.uint64(slot))
    return float(random_bits(start, number) >> _S11) * 2.0**-53


@numba.njit(cache=True, nogil=True)
def _below(uniform: float, n: int) -> int:
    return min(int(uniform * n), n - 1)


@numba.njit(cache=True, nogil=True)
def _place_of(item: int, choices: Indices, m: int) -> int:
    """Place of a candidate among the choices of a slot; -1: it is none of them."""
    for at in range(m):
        if choices[at] == item:
            return at
    return -1


@numba.njit(cache=True, nogil=True)
def _is_never(at: int, explores: bool) -> bool:
    """Whether a slot could not get the choice at a place."""
    return at < 0 or (at > 0 and not explores)


@numba.njit(cache=True, nogil=True)
def _take(item: int, remaining: Indices, n: int, composition: Composition, placed: Placed) -> int:
    """Take what a slot got out of the ``n`` candidates left, and return how many are left then; a
    slot that is below 0 got none of them."""
    if item < 0:
        pass_over(placed)
        return n
    remove(remaining, item, n)
    if composition.on:
        place_item(composition, placed, item, remaining, n - 1)
    return n - 1


@numba.njit(cache=True, nogil=True)
def fill_best(
    scores: Floats,
    ranking: Indices,
    explores: Flags,
    seed: np.uint64,
    share: float,
    composition: Composition,
) -> tuple[Indices, Floats, Flags]:
    k, n, given = len(explores), len(ranking), len(composition.shown) > 0
    remaining = ranking.copy()
    order = np.empty(k, dtype=np.intp)
    propensities = np.ones(k)
    explored = np.zeros(k, dtype=np.bool_)
    placed = nothing_placed(composition, n)
    for slot in range(k):
        at, m, choices = 0, n, remaining
        if composition.on:
            m = choose_from(composition, placed, remaining, n, scores)
            choices = placed.choices
        if given:
            at = _place_of(composition.shown[slot], choices, m)
        if explores[slot]:
            if not given and _uniform(seed, slot, _ZERO) < share:
                at = _below(_uniform(seed, slot, _ONE), m)
            # One candidate left has propensity 1, which the sum could miss by a rounding.
            if m > 1:
                propensities[slot] = share / m + (1.0 - share if at == 0 else 0.0)
        if given and _is_never(at, explores[slot]):
            propensities[slot] = 0.0
        order[slot] = composition.shown[slot] if given else choices[at]
        explored[slot] = at != 0
        n = _take(order[slot], remaining, n, composition, placed)
    return order, propensities, explored


@numba.njit(cache=True, nogil=True)
def fill_plackett_luce(
    scores: Floats,
    ranking: Indices,
    explores: Flags,
    seed: np.uint64,
    share: float,
    temperature: float,
    composition: Composition,
) -> tuple[Indices, Floats, Flags]:
    k, n, given = len(explores), len(ranking), len(composition.shown) > 0
    remaining = ranking.copy()
    order = np.empty(k, dtype=np.intp)
    propensities = np.ones(k)
    explored = np.zeros(k, dtype=np.bool_)
    weights = np.zeros(n)
    placed = nothing_placed(composition, n)
    for slot in range(k):
        at, m, choices, values = 0, n, remaining, scores
        if composition.on:
            m = choose_from(composition, placed, remaining, n, scores)
            choices, values = placed.choices, placed.adjusted
        if given:
            at = _place_of(composition.shown[slot], choices, m)
        if explores[slot]:
            if composition.on or weights[choices[0]] < _WEIGHT_MIN:
                best = values[choices[0]]
                for j in range(m):
                    weights[choices[j]] = np.exp((values[choices[j]] - best) / temperature)
            total = 0.0
            for j in range(m):
                total += weights[choices[j]]
            uniform = _uniform(seed, slot, _ONE)
            if given:
                pass
            elif _uniform(seed, slot, _ZERO) < share:
                at = _below(uniform, m)
            else:
                reached = weights[choices[0]]
                while reached <= uniform * total and at < m - 1:
                    at += 1
                    reached += weights[choices[at]]
            if m > 1 and at >= 0:
                softmax = weights[choices[at]] / total
                propensities[slot] = share / m + (1.0 - share) * softmax
        if given and _is_never(at, explores[slot]):
            propensities[slot] = 0.0
        order[slot] = composition.shown[slot] if given else choices[at]
        explored[slot] = at != 0
        n = _take(order[slot], remaining, n, composition, placed)
    return order, propensities, explored


@numba.njit(cache=True, nogil=True)
def fill_thompson(
    samples: Floats,
    scores: Floats,
    ranking: Indices,
    explores: Flags,
    seed: np.uint64,
    share: float,
    composition: Composition,
) -> tuple[Indices, Floats, Flags]:
    k, n, n_draws = len(explores), len(ranking), len(samples)
    given = len(composition.shown) > 0
    remaining = ranking.copy()
    order = np.empty(k, dtype=np.intp)
    propensities = np.ones(k)
    explored = np.zeros(k, dtype=np.bool_)
    # At slot t, t candidates are gone: the best remaining of a draw is among its first k. What a
    # composition takes is most often found among a few times as many.
    n_firsts = min(n, _FIRSTS * k) if composition.on else k
    bests = np.empty((n_draws, n_firsts), dtype=np.intp)
    for draw in range(n_draws):
        _first_k(samples[draw], bests[draw])
    last_possible = np.full(n, -1, dtype=np.intp)
    heads = np.zeros(n_draws, dtype=np.intp)
    tops = np.empty(n_draws, dtype=np.intp)
    taken = np.zeros(n, dtype=np.bool_)
    placed = nothing_placed(composition, n)
    for slot in range(k):
        at, m, choices, least = 0, n, remaining, 0.0
        if composition.on:
            m = choose_from(composition, placed, remaining, n, scores)
            choices = placed.choices
            least = placed.costs[choices[0]]
            for j in range(m):
                last_possible[choices[j]] = slot
                least = min(least, placed.costs[choices[j]])
        if given:
            at = _place_of(composition.shown[slot], choices, m)
        if explores[slot]:
            for draw in range(n_draws):
                if composition.on:
                    tops[draw] = _best_of(
                        samples[draw],
                        placed.costs,
                        least,
                        choices,
                        m,
                        bests[draw],
                        last_possible,
                        slot,
                    )
                else:
                    while taken[bests[draw, heads[draw]]]:
                        heads[draw] += 1
                    tops[draw] = bests[draw, heads[draw]]
            uniform = _uniform(seed, slot, _ONE)
            if given:
                pass
            elif _uniform(seed, slot, _ZERO) < share:
                at = _below(uniform, m)
            else:
                draw = _below(uniform, n_draws)
                while choices[at] != tops[draw]:
                    at += 1
            n_agreeing = 0
            for draw in range(n_draws):
                n_agreeing += at >= 0 and tops[draw] == choices[at]
            if m > 1:
                propensities[slot] = share / m + (1.0 - share) * (n_agreeing / n_draws)
        if given and _is_never(at, explores[slot]):
            propensities[slot] = 0.0
        order[slot] = composition.shown[slot] if given else choices[at]
        explored[slot] = at != 0
        n = _take(order[slot], remaining, n, composition, placed)
        if order[slot] >= 0:
            taken[order[slot]] = True
    return order, propensities, explored


@numba.njit(cache=True, nogil=True)
def _best_of(
    values: Floats,
    costs: Floats,
    least: float,
    choices: Indices,
    m: int,
    firsts: Indices,
    last_possible: Indices,
    slot: int,
) -> int:
    """The choice with the greatest value less its cost, of equal ones the first candidate.

    Parameters
    ----------
    least
        The least cost of a choice.
    firsts
        The first candidates by value, the best first. All others are looked at only where what
        these are worth at the least cost does not decide.
    last_possible
        ``(n,)`` the last slot at which each candidate was a choice.
    """
    best, highest = -1, 0.0
    for item in firsts:
        if best >= 0 and values[item] - least < highest:
            return best
        value = values[item] - costs[item]
        if last_possible[item] == slot and (best < 0 or _is_above(value, item, highest, best)):
            best, highest = item, value
    for j in range(m):
        item = choices[j]
        value = values[item] - costs[item]
        if best < 0 or _is_above(value, item, highest, best):
            best, highest = item, value
    return best


@numba.njit(cache=True, nogil=True)
def _is_above(value: float, item: int, highest: float, best: int) -> bool:
    return value > highest or (value == highest and item < best)


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
