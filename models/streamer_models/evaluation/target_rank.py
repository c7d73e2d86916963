"""Where a target stands among candidates, and the best of them, from their scores."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.evaluation.ranking_metrics import NOT_RANKED
from streamer_models.state.seeding import random_bits, scaled_below

NOT_A_NUMBER = -2
"""Returned in place of a rank where a score is NaN."""


@numba.njit(cache=True, nogil=True)
def place(
    scores: NDArray[np.number],
    excluded: NDArray[np.uint8],
    target: int,
    start: np.uint64,
    against: bool,
    top: NDArray[np.int32],
    top_scores: NDArray[np.float64],
) -> int:
    """Rank of the target from 0; fills ``top`` with the best candidates, in order.

    Candidates of one score are put in a random order, the same for the rank and for ``top``: it is
    a function of ``start`` and of their rows alone. O(n + k ln(n / k) k).

    Parameters
    ----------
    scores
        ``(n,)``; -inf: not recommended, and so not ranked.
    excluded
        ``(n,)`` or longer; nonzero: no candidate.
    target
        Its row; -1: none of the items.
    start
        Of the random order, see :func:`streamer_models.state.seeding.stream`.
    against
        Put the target behind all candidates of its score.
    top
        ``(k,)``, overwritten: rows, -1 behind the last candidate.
    top_scores
        ``(k,)`` scratch.

    Returns
    -------
    The rank; ``NOT_RANKED`` (-1) without a target among the candidates; ``NOT_A_NUMBER`` (-2).
    """
    ranked = target >= 0 and excluded[target] == 0 and scores[target] > -math.inf
    wanted = scores[target] if ranked else scores.dtype.type(0)
    n_above, n_level, n_nan = 0, 0, 0
    # Without a branch, so that the compiler uses vector instructions.
    for row in range(len(scores)):
        score, candidate = scores[row], excluded[row] == 0
        n_above += candidate & (score > wanted)
        n_level += candidate & (score == wanted)
        n_nan += candidate & (score != score)
    if n_nan > 0:
        return NOT_A_NUMBER
    _fill(top, top_scores, scores, excluded, target, start, against)
    if not ranked:
        return NOT_RANKED
    if n_level == 1:
        return n_above
    rank, wanted_key = n_above, _key(start, target, target, against)
    for row in range(len(scores)):
        if scores[row] == wanted and row != target and excluded[row] == 0:
            rank += 1 if _key(start, row, target, against) > wanted_key else 0
    return rank


@numba.njit(cache=True, nogil=True)
def share_below(scores: NDArray[np.number], excluded: NDArray[np.uint8], target: int) -> float:
    """Share of the other candidates that the target stands above, half of those of its score.

    The area under the ROC curve of one query with one relevant item: the share of pairs (target,
    other) in the right order (Rendle et al. 2009, section 4.1.1), where a tie counts half (Hanley &
    McNeil 1982). Items that are not recommended are candidates too, all level and below all that
    are. O(n).

    Parameters
    ----------
    scores, excluded, target
        As of :func:`place`, no score NaN.

    Returns
    -------
    In [0, 1]; NaN without a target among the candidates, or without another one.
    """
    if target < 0 or excluded[target] != 0:
        return math.nan
    wanted = scores[target]
    n_candidates, n_below, n_level = 0, 0, 0
    for row in range(len(scores)):
        score, candidate = scores[row], excluded[row] == 0
        n_candidates += candidate
        n_below += candidate & (score < wanted)
        n_level += candidate & (score == wanted)
    if n_candidates < 2:
        return math.nan
    return (n_below + 0.5 * (n_level - 1)) / (n_candidates - 1)


@numba.njit(cache=True, nogil=True)
def choice_loss(logits: NDArray[np.floating], excluded: NDArray[np.uint8], target: int) -> float:
    """``-ln softmax(logits)[target]`` over the candidates, in nats.

    The negative log-likelihood of a choice among candidates (McFadden 1974), which is what a
    listwise softmax is trained by (Cao et al. 2007). O(n).

    Parameters
    ----------
    logits
        ``(n,)``; -inf: no candidate.
    excluded, target
        As of :func:`place`.

    Returns
    -------
    At least 0; NaN without the target among the candidates: its share is 0 then.
    """
    if target < 0 or excluded[target] != 0 or logits[target] == -math.inf:
        return math.nan
    highest = -math.inf
    for row in range(len(logits)):
        if excluded[row] == 0:
            highest = max(highest, float(logits[row]))
    total = 0.0
    for row in range(len(logits)):
        if excluded[row] == 0:
            total += math.exp(float(logits[row]) - highest)
    return math.log(total) - (float(logits[target]) - highest)


@numba.njit(cache=True, nogil=True)
def _fill(
    top: NDArray[np.int32],
    top_scores: NDArray[np.float64],
    scores: NDArray[np.number],
    excluded: NDArray[np.uint8],
    target: int,
    start: np.uint64,
    against: bool,
) -> None:
    k = len(top)
    top[:] = -1
    n_top = 0
    lowest = -math.inf if k else math.inf  # beneath it nothing enters the list
    for row in range(len(scores)):
        score = float(scores[row])
        if score < lowest or score == -math.inf or excluded[row]:
            continue
        at = n_top
        while at > 0 and (
            score > top_scores[at - 1]
            or (
                score == top_scores[at - 1]
                and _key(start, row, target, against) > _key(start, top[at - 1], target, against)
            )
        ):
            at -= 1
        if at == k:
            continue
        n_top = min(n_top + 1, k)
        for moved in range(n_top - 1, at, -1):
            top[moved] = top[moved - 1]
            top_scores[moved] = top_scores[moved - 1]
        top[at] = row
        top_scores[at] = score
        if n_top == k:
            lowest = top_scores[k - 1]


@numba.njit(cache=True, nogil=True)
def _key(start: np.uint64, row: int, target: int, against: bool) -> np.uint64:
    if against and row == target:
        return np.uint64(0)
    return random_bits(start, np.uint64(row))


@numba.njit(cache=True, nogil=True)
def exclude_all_but_sample(
    excluded: NDArray[np.uint8], n_items: int, target: int, n_sampled: int, start: np.uint64
) -> None:
    """Exclude all candidates but the target and ``n_sampled`` others, each set as likely.

    Parameters
    ----------
    excluded
        ``(n_items,)`` or longer, changed in place.
    """
    candidates = np.empty(n_items, dtype=np.int32)
    n = 0
    for row in range(n_items):
        if excluded[row] == 0 and row != target:
            candidates[n] = row
            n += 1
    # The first of a shuffle: what is drawn changes places with the last not drawn yet.
    n_left = n
    for draw in range(min(n_sampled, n)):
        at = scaled_below(random_bits(start, np.uint64(draw)), n_left)
        n_left -= 1
        candidates[at], candidates[n_left] = candidates[n_left], candidates[at]
    for i in range(n_left):
        excluded[candidates[i]] = 1
