"""How much of what a user met still says what they like: whether their taste has changed since."""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.counters.token_counts import EVENTS
from streamer_models.state.items.item_tokens import NUMBERS, TOKENS, Tokens, Weights

Floats = NDArray[np.float64]

_PRIOR: Final = 2.0
"""Items that everybody's taste is worth where a new one begins."""
_WATCHED: Final = 32
"""Newest items between which a change is looked for."""


@numba.njit(cache=True, nogil=True)
def lasting_shares(
    met: Tokens, met_weights: Weights, counts: NDArray[np.int64], changes: float
) -> Floats:
    """``(length,)`` how likely each of the user's items is of the taste that the newest is of.

    Bayesian online changepoint detection (Adams & MacKay 2007, arXiv:0710.3742, equations 3 and 4)
    over words: within a taste, an item is as likely as the geometric mean of
    ``(c + m p) / (n + m) / p`` over its words, against everybody's; p is the share of a word among
    all events, c what it weighs among the n items of the taste before, and m the prior.

    Parameters
    ----------
    met, met_weights
        ``(length, TOKENS_MAX)`` of the user's items, the newest first.
    counts
        ``(TOKENS + 1, 1)`` of :class:`streamer_models.counters.token_counts.TokenCounts`.
    changes
        How likely a taste changes between two items; 0: never, so that all shares are 1.
    """
    shares = np.ones(len(met))
    places = np.empty(len(met), dtype=np.int64)
    n = 0
    for i in range(len(met)):
        if 0 <= met[i, 0] < NUMBERS:
            places[n] = i
            n += 1
    n_watched = min(n, _WATCHED)
    if n_watched < 2 or changes == 0 or counts[EVENTS, 0] == 0:
        return shares
    likely = _likely_by_start(met, met_weights, places[:n], n_watched, counts)
    begun = np.zeros(n_watched)
    begun[0] = 1.0
    for t in range(1, n_watched):
        total = 0.0
        for s in range(t):
            begun[s] *= (1 - changes) * np.exp(likely[s, t])
            total += begun[s]
        begun[t] = changes
        total += changes
        for s in range(t + 1):
            begun[s] /= total
    share, at = 1.0, 0
    for i in range(len(met)):
        if at < n and places[at] == i:
            t = n_watched - 1 - at
            if t >= 0:
                share = 0.0
                for s in range(t + 1):
                    share += begun[s]
            else:
                share = begun[0]
            at += 1
        shares[i] = share
    return shares


@numba.njit(cache=True, nogil=True)
def _likely_by_start(
    met: Tokens,
    met_weights: Weights,
    places: NDArray[np.int64],
    n_watched: int,
    counts: NDArray[np.int64],
) -> Floats:
    """``(n_watched, n_watched)`` how likely, as a logarithm against everybody's taste, the t-th of
    the items that are watched is for a taste that began with the s-th, the oldest first.

    The first taste has all items before them, too.
    """
    likely = np.zeros((n_watched, n_watched))
    weighed = np.zeros(TOKENS)
    for s in range(n_watched):
        n = 0.0
        if s == 0:
            for place in places[n_watched:]:
                _add(weighed, met[place], met_weights[place])
                n += 1
        for t in range(s, n_watched):
            place = places[n_watched - 1 - t]
            total, score = 0.0, 0.0
            for at in range(met.shape[1]):
                token = met[place, at]
                if token < 0:
                    break
                p = counts[token, 0] / counts[EVENTS, 0]
                if token < NUMBERS and p > 0:
                    ratio = (weighed[token] + _PRIOR * p) / ((n + _PRIOR) * p)
                    score += met_weights[place, at] * np.log(ratio)
                    total += met_weights[place, at]
            if total > 0:
                likely[s, t] = score / total
            _add(weighed, met[place], met_weights[place])
            n += 1
        for place in places:
            for at in range(met.shape[1]):
                if met[place, at] < 0:
                    break
                weighed[met[place, at]] = 0.0
    return likely


@numba.njit(cache=True, nogil=True)
def _add(weighed: Floats, tokens: NDArray[np.int32], weights: NDArray[np.float32]) -> None:
    for at in range(len(tokens)):
        if tokens[at] < 0:
            break
        weighed[tokens[at]] += weights[at]
