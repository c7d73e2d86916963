"""Place by place: which candidates are possible, and what each costs."""

from __future__ import annotations

from typing import Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.composition import Composition
from streamer_models.bandits.likeness import FULL, likeness_to

Indices = NDArray[np.intp]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_SMOOTHING: Final = 0.01
"""α of Steck 2018, equation 6."""
ALL, GROUPED, PINNED = 0, 1, 2
_GROUPS_OF_ONE: Final = 8
"""Groups of a candidate up to which what it changes of the divergence is remembered."""


class Placed(NamedTuple):
    """What is known of a slate that is being drawn.

    Attributes
    ----------
    choices
        ``(n,)``: the candidates possible at the place, the best first; behind them nothing.
    costs, adjusted
        ``(n,)`` in units of the scores, and the scores less these; of ``choices`` alone.
    nearest
        ``(n,)`` greatest likeness to an item placed.
    taken, shares
        ``(n_groups,)`` items placed that have each group, and the sum of its shares of them.
    wanted, wanted_at
        Groups of which the user has a share, and ``(n_groups,)`` where each is in these, or -1.
    terms
        ``(n_wanted, 9)`` what a candidate of so many groups changes of the divergence by each of
        them, at one place; NaN where it was not asked for.
    n
        Items placed, those of them that have groups in the first field, and those that are pinned.
    """

    choices: Indices
    costs: Floats
    adjusted: Floats
    nearest: Floats
    taken: NDArray[np.int64]
    shares: Floats
    wanted: Indices
    wanted_at: Indices
    terms: Floats
    n: NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
def nothing_placed(composition: Composition, n: int) -> Placed:
    """Return the state before the first place."""
    size = n if composition.on else 0
    n_groups = len(composition.wanted)
    wanted = np.flatnonzero(composition.wanted > 0)
    wanted_at = np.full(n_groups, -1, dtype=np.intp)
    wanted_at[wanted] = np.arange(len(wanted))
    return Placed(
        np.empty(size, dtype=np.intp),
        np.zeros(size),
        np.empty(size),
        np.zeros(size),
        np.zeros(n_groups, dtype=np.int64),
        np.zeros(n_groups),
        wanted,
        wanted_at,
        np.empty((len(wanted), _GROUPS_OF_ONE + 1)),
        np.zeros(3, dtype=np.int64),
    )


@numba.njit(cache=True, nogil=True)
def choose_from(
    composition: Composition,
    placed: Placed,
    remaining: Indices,
    n: int,
    scores: Floats,
) -> int:
    """Fill ``placed`` with the choices of the next free place, their costs and their scores less
    the costs.

    Costs are in standard deviations of the choices' scores (1 where all are equal), so what they
    weigh is independent of the scale of the scores.

    Parameters
    ----------
    remaining
        Its first ``n`` are the candidates left, the best score first.

    Returns
    -------
    How many choices there are; the first is the best by its score less its cost, the others stand
    in the order of ``remaining``.
    """
    m = _find_choices(composition, placed, remaining, n)
    choices, costs, adjusted = placed.choices, placed.costs, placed.adjusted
    unit = _deviation(scores, choices, m)
    best = 0
    for j in range(m):
        item = choices[j]
        costs[item] *= unit
        adjusted[item] = scores[item] - costs[item]
        if adjusted[item] > adjusted[choices[best]]:
            best = j
    first = choices[best]
    for j in range(best, 0, -1):
        choices[j] = choices[j - 1]
    choices[0] = first
    return m


@numba.njit(cache=True, nogil=True)
def place_item(
    composition: Composition, placed: Placed, item: int, remaining: Indices, n: int
) -> None:
    """Put an item at the next place; the first ``n`` of ``remaining`` are those left without it.

    Candidates are numbered from 0, pinned items from their number on.
    """
    starts, groups, taken = composition.starts, composition.groups, placed.taken
    for field in range(len(starts)):
        for i in range(starts[field, item], starts[field, item + 1]):
            taken[groups[i]] += 1
    if len(starts) > 0:
        begin, end = starts[0, item], starts[0, item + 1]
        if end > begin:
            placed.n[GROUPED] += 1
        for i in range(begin, end):
            placed.shares[groups[i]] += 1.0 / (end - begin)
    if composition.diversity > 0.0:
        if composition.by_groups:
            _bring_near_by_groups(composition, placed, item, remaining, n)
        else:
            _bring_near_by_vectors(composition, placed, item, remaining, n)
    placed.n[ALL] += 1


@numba.njit(cache=True, nogil=True)
def pass_over(placed: Placed) -> None:
    """Leave the next place to something that is neither a candidate nor pinned."""
    placed.n[ALL] += 1


@numba.njit(cache=True, nogil=True)
def places_of(composition: Composition, order: Indices, n: int) -> tuple[Flags, Floats]:
    """Return ``(k, n)`` what was possible at each place of a slate, and costs in deviations."""
    k = len(order)
    possible = np.zeros((k, n), dtype=np.bool_)
    costs = np.zeros((k, n))
    remaining = np.arange(n)
    placed = nothing_placed(composition, n)
    for slot in range(k):
        m = _find_choices(composition, placed, remaining, n - slot)
        for j in range(m):
            item = placed.choices[j]
            possible[slot, item] = True
            costs[slot, item] = placed.costs[item]
        left = n - slot - 1
        remove(remaining, order[slot], n - slot)
        place_item(composition, placed, order[slot], remaining, left)
    return possible, costs


@numba.njit(cache=True, nogil=True)
def remove(remaining: Indices, item: int, n: int) -> None:
    """Take an item out of the first ``n`` of ``remaining``, which holds it; order stays."""
    at = 0
    while remaining[at] != item:
        at += 1
    for j in range(at, n - 1):
        remaining[j] = remaining[j + 1]


@numba.njit(cache=True, nogil=True)
def _find_choices(composition: Composition, placed: Placed, remaining: Indices, n: int) -> int:
    """Place what is pinned before the next free place; then fill the choices of this, and their
    costs in deviations."""
    pinned_at = composition.pinned_at
    while placed.n[PINNED] < len(pinned_at) and pinned_at[placed.n[PINNED]] <= placed.n[ALL]:
        item = len(placed.nearest) + placed.n[PINNED]
        placed.n[PINNED] += 1
        place_item(composition, placed, item, remaining, n)
    m = _possible(composition, placed, remaining, n)
    _find_costs(composition, placed, m)
    return m


@numba.njit(cache=True, nogil=True)
def _possible(composition: Composition, placed: Placed, remaining: Indices, n: int) -> int:
    """Fill ``choices`` with what keeps the caps at a place.

    They are taken in their order, each choosing among what those before it leave; one that nothing
    left keeps gives way.
    """
    choices, m = placed.choices, n
    choices[:n] = remaining[:n]
    for field, most, depth in composition.caps:
        if placed.n[ALL] >= depth:
            continue
        n_keeping = 0
        for j in range(m):
            item = choices[j]
            if not _is_full(composition, placed, field, most, item):
                choices[n_keeping] = item
                n_keeping += 1
        if n_keeping > 0:  # else nothing was moved
            m = n_keeping
    return m


@numba.njit(cache=True, nogil=True)
def _is_full(composition: Composition, placed: Placed, field: int, most: int, item: int) -> bool:
    """Whether a group of an item in a field has as many items above as it may have."""
    starts, groups = composition.starts, composition.groups
    for i in range(starts[field, item], starts[field, item + 1]):
        if placed.taken[groups[i]] >= most:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def _find_costs(composition: Composition, placed: Placed, m: int) -> None:
    """Fill the costs of the first ``m`` choices, in deviations."""
    costs = placed.costs
    for j in range(m):
        item = placed.choices[j]
        costs[item] = composition.diversity * placed.nearest[item]
        if len(composition.known) > 0:
            costs[item] += composition.known[item]
    if composition.calibration > 0.0 and len(placed.wanted) > 0:
        _add_divergence(composition, placed, m)


@numba.njit(cache=True, nogil=True)
def _add_divergence(composition: Composition, placed: Placed, m: int) -> None:
    """Add what the divergence of the slate would be with each choice (Steck 2018, equation 5).

    All groups but those of a candidate come to the same whichever it is, so they are summed once;
    what its own change is remembered by their number.
    """
    starts, groups, terms = composition.starts, composition.groups, placed.terms
    n_before = placed.n[GROUPED]
    with_one, without = 0.0, 0.0
    for group in placed.wanted:
        share = placed.shares[group]
        with_one += _term(composition.wanted[group], share / (n_before + 1))
        without += _term(composition.wanted[group], share / max(n_before, 1))
    terms[:] = np.nan
    for j in range(m):
        item = placed.choices[j]
        begin, end = starts[0, item], starts[0, item + 1]
        divergence = with_one if end > begin else without
        for i in range(begin, end):
            at = placed.wanted_at[groups[i]]
            if at < 0:
                continue
            n_own = min(end - begin, _GROUPS_OF_ONE)
            if np.isnan(terms[at, n_own]) or end - begin > _GROUPS_OF_ONE:
                wanted, share = composition.wanted[groups[i]], placed.shares[groups[i]]
                after = _term(wanted, (share + 1.0 / (end - begin)) / (n_before + 1))
                terms[at, n_own] = after - _term(wanted, share / (n_before + 1))
            divergence += terms[at, n_own]
        placed.costs[item] += composition.calibration * divergence


@numba.njit(cache=True, nogil=True)
def _term(wanted: float, share: float) -> float:
    """``p ln(p / q~)``, ``q~ = (1 - α) q + α p``."""
    return float(wanted * np.log(wanted / ((1.0 - _SMOOTHING) * share + _SMOOTHING * wanted)))


@numba.njit(cache=True, nogil=True)
def _bring_near_by_groups(
    composition: Composition, placed: Placed, item: int, remaining: Indices, n: int
) -> None:
    """Raise ``nearest`` to Jaccard's similarity of groups in the first field with an item."""
    starts, groups = composition.starts[0], composition.groups
    of_item = np.zeros(len(composition.wanted), dtype=np.bool_)
    for i in range(starts[item], starts[item + 1]):
        of_item[groups[i]] = True
    n_item = starts[item + 1] - starts[item]
    for j in range(n):
        other, n_both = remaining[j], 0
        for i in range(starts[other], starts[other + 1]):
            n_both += of_item[groups[i]]
        if n_both:
            n_any = n_item + starts[other + 1] - starts[other] - n_both
            placed.nearest[other] = max(placed.nearest[other], n_both / n_any)


@numba.njit(cache=True, nogil=True)
def _bring_near_by_vectors(
    composition: Composition, placed: Placed, item: int, remaining: Indices, n: int
) -> None:
    """Raise ``nearest`` to the cosine with an item, as the decision logged it or logs it."""
    if len(composition.vectors) > 0:
        alike = likeness_to(composition.vectors, item, len(placed.nearest))
    elif placed.n[ALL] < len(composition.alike):
        alike = composition.alike[placed.n[ALL]]
    else:  # the last place, which nothing follows
        return
    for j in range(n):
        other = remaining[j]
        placed.nearest[other] = max(placed.nearest[other], alike[other] / FULL)


@numba.njit(cache=True, nogil=True)
def _deviation(scores: Floats, choices: Indices, m: int) -> float:
    mean, low, high = 0.0, scores[choices[0]], scores[choices[0]]
    for j in range(m):
        score = scores[choices[j]]
        mean += score / m
        low, high = min(low, score), max(high, score)
    if low == high:
        return 1.0
    squares = 0.0
    for j in range(m):
        squares += (scores[choices[j]] - mean) ** 2 / m
    return float(np.sqrt(squares))
