"""Slates drawn from scores, with the probability of every choice.

A slot's propensity is the probability of its item *given the slots before it*; the product over
the slots is that of the whole slate. A draw is a function of its arguments, its random numbers are
hashes of (seed, slot), so whoever kept the arguments can draw the same slate again.

A composition (:mod:`streamer_models.bandits.composition`) says before each slot which of the
remaining candidates are possible, and lowers scores by what they cost there. "Remaining" and
"score" below are what it leaves: all of them, as they are, where nothing is composed.

Where a composition says what is shown, nothing is drawn: propensities are then those with which
each draw would have given the slots what they have, 0 included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.composition import UNCOMPOSED, Composition
from streamer_models.bandits.slate_kernels import fill_best, fill_plackett_luce, fill_thompson

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
        float64 in (0, 1]: probability of the item at its slot, given the slots before; 0 occurs
        where the composition says what is shown.
    explored
        bool: the item is not the best remaining one by ``scores``.
    """

    order: Indices
    propensities: Floats
    explored: Flags


def draw_best(
    scores: Floats,
    k: int,
    seed: int,
    *,
    uniform_share: float,
    slots: Sequence[int] = (),
    composition: Composition = UNCOMPOSED,
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
    composition
        Of the candidates.

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
    values = np.ascontiguousarray(scores, dtype=np.float64)
    _check_composition(composition, k, len(values))
    return Draw(*fill_best(values, ranking, explores, _start(seed), share, composition))


def draw_plackett_luce(
    scores: Floats,
    k: int,
    seed: int,
    *,
    temperature: float,
    uniform_share: float = 0.0,
    slots: Sequence[int] = (),
    composition: Composition = UNCOMPOSED,
) -> Draw:
    """Draw slot by slot from the softmax over the candidates that remain.

    ``p(i) = (1 - ε) exp(s_i / T) / Σ exp(s_j / T) + ε / r`` over the r remaining j: the model of
    Plackett (1975) and Luce (1959), mixed with a uniform share.

    Parameters
    ----------
    temperature
        T, above 0, in units of the scores.
    scores, k, seed, uniform_share, slots, composition
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
    values = np.ascontiguousarray(scores, dtype=np.float64)
    _check_composition(composition, k, len(values))
    return Draw(
        *fill_plackett_luce(
            values, ranking, explores, _start(seed), share, float(temperature), composition
        )
    )


def draw_thompson(
    samples: Floats,
    k: int,
    seed: int,
    *,
    scores: Floats,
    uniform_share: float,
    slots: Sequence[int] = (),
    composition: Composition = UNCOMPOSED,
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
    k, seed, uniform_share, slots, composition
        As in :func:`draw_best`; costs lower all draws alike.

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
    means = np.ascontiguousarray(scores, dtype=np.float64)
    _check_composition(composition, k, len(means))
    return Draw(*fill_thompson(values, means, ranking, explores, _start(seed), share, composition))


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


def _check_composition(composition: Composition, k: int, n: int) -> None:
    if composition.on and composition.n != n:
        raise ValueError(f"a composition of {composition.n} candidates for {n} scores")
    if len(composition.shown):
        _check_shown(composition.shown, k, n)


def _check_shown(shown: Indices, k: int, n: int) -> None:
    named = shown[shown >= 0]
    if len(shown) < min(k, n) or (named >= n).any() or len(np.unique(named)) < len(named):
        raise ValueError(
            f"shown={shown.tolist()} in {k} slots: name for each slot one of the {n} candidates,"
            " none of them twice, or -1"
        )


def _start(seed: int) -> np.uint64:
    return np.uint64(seed & 0xFFFFFFFFFFFFFFFF)
