"""What session factors share among items: vectors of the tokens that a catalogue says of them."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.factorization.mf_step import SQUARE_BITS, squared_units
from streamer_models.state.fixed_point import UNIT, as_floats, stepped
from streamer_models.state.ids.key_map import find_slot
from streamer_models.state.items.item_tokens import TOKENS, TOKENS_MAX, ItemTokens, Tokens, Weights
from streamer_models.state.table import Keys, Slots

_SQUARE_UNIT: Final = 2.0**-SQUARE_BITS
SQUARE_START: Final = 0.01
BIAS_SQUARE_START: Final = 0.1
"""What AdaGrad's accumulators of vectors and of biases begin from, of items as of tokens."""
_UNKNOWN: Final = -1
_NOT_LOOKED_UP: Final = -2

Floats = NDArray[np.float32]


class TokenArrays(NamedTuple):
    """Tokens of a step's items, and what is known of tokens, for kernels.

    Attributes
    ----------
    known
        ``(n_rows,)`` for each row of the items where its tokens stand below, -1 where it has none;
        ``(0,)`` where no item has any.
    tokens, weights
        ``(n, TOKENS_MAX)``, of :class:`ItemTokens`.
    vectors
        ``(TOKENS, 2 k + 1)`` fixed point: shares in q, v and the bias of items.
    squares
        ``(TOKENS, 3)`` their AdaGrad accumulators, fixed point.
    """

    known: Slots
    tokens: Tokens
    weights: Weights
    vectors: NDArray[np.int32]
    squares: NDArray[np.int64]


class TokenSteps(NamedTuple):
    """Scratch of a kernel: what an event says of each token that its items have.

    Attributes
    ----------
    place
        ``(TOKENS,)`` where a token stands in the others, -1: not yet.
    met
        Tokens.
    slopes
        Of q and of the bias: weights times slopes of candidates.
    shares
        Of v: weights times shares of last items.
    """

    place: NDArray[np.int32]
    met: NDArray[np.int32]
    slopes: Floats
    shares: Floats


def known_tokens(
    of_items: ItemTokens, candidates: Slots, recent: Slots, keys: Keys
) -> tuple[Slots, Slots]:
    """Look up the tokens of a step's items.

    Parameters
    ----------
    candidates, recent
        Rows of items, -1 where there is none.
    keys
        ``(n_rows,)`` keys of rows.

    Returns
    -------
    known
        As in :class:`TokenArrays`.
    tokens
        ``(n,)`` tokens that they have.
    """
    if not len(of_items) or not len(candidates):
        return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32)
    known = np.full(len(keys), _NOT_LOOKED_UP, dtype=np.int32)
    flags = np.zeros(TOKENS, dtype=np.bool_)
    rows_of = of_items.rows.map
    for rows in (candidates, recent):
        _look_up(
            rows.reshape(-1), keys, rows_of.buckets, rows_of.slots, of_items.tokens, known, flags
        )
    return known, np.flatnonzero(flags).astype(np.int32)


@numba.njit(cache=True, nogil=True)
def _look_up(
    rows: Slots,
    keys: Keys,
    buckets: Keys,
    slots: Slots,
    tokens: Tokens,
    known: Slots,
    flags: NDArray[np.bool_],
) -> None:
    for row in rows:
        if row < 0 or known[row] != _NOT_LOOKED_UP:
            continue
        known[row] = find_slot(buckets, slots, keys[row])
        if known[row] >= 0:
            for token in tokens[known[row]]:
                if token < 0:
                    break
                flags[token] = True


@numba.njit(cache=True, nogil=True)
def no_steps(n_items: int) -> TokenSteps:
    """Return scratch for the tokens of so many items."""
    n = n_items * TOKENS_MAX
    return TokenSteps(
        np.full(TOKENS, -1, np.int32),
        np.empty(n, np.int32),
        np.empty(n, np.float32),
        np.empty(n, np.float32),
    )


@numba.njit(cache=True, nogil=True)
def known_at(of: TokenArrays, row: int) -> int:
    """Where the tokens of an item stand, -1 where it has none."""
    return int(of.known[row]) if len(of.known) else _UNKNOWN


@numba.njit(cache=True, nogil=True)
def add_vectors(of: TokenArrays, at: int, first: int, n: int, factor: float, out: Floats) -> None:
    """Add ``factor`` times the tokens' numbers ``[first, first + n)`` to ``out``."""
    for t in range(TOKENS_MAX):
        token = of.tokens[at, t]
        if token < 0:
            return
        weight = np.float32(factor * of.weights[at, t])
        for f in range(n):
            out[f] += weight * (np.float32(of.vectors[token, first + f]) * UNIT)


@numba.njit(cache=True, nogil=True)
def meet(
    of: TokenArrays, at: int, slope: float, share: float, steps: TokenSteps, n_met: int
) -> int:
    """Take note of what an item says of its tokens; return how many were met."""
    for t in range(TOKENS_MAX):
        token = of.tokens[at, t]
        if token < 0:
            return n_met
        place = steps.place[token]
        if place < 0:
            place = np.int32(n_met)
            steps.place[token], steps.met[place] = place, token
            steps.slopes[place] = steps.shares[place] = np.float32(0)
            n_met += 1
        steps.slopes[place] += np.float32(slope * of.weights[at, t])
        steps.shares[place] += np.float32(share * of.weights[at, t])
    return n_met


@numba.njit(cache=True, nogil=True)
def step_tokens(
    of: TokenArrays,
    steps: TokenSteps,
    n_met: int,
    c: Floats,
    c_square: float,
    pull: Floats,
    pull_square: float,
    learning_rate: float,
) -> None:
    """One AdaGrad step for each token met, by the sum of what the event's items say of it; the
    scratch is free again."""
    k = (of.vectors.shape[1] - 1) // 2
    for place in range(n_met):
        token = steps.met[place]
        steps.place[token] = -1
        vector, square = of.vectors[token], of.squares[token]
        slope, share = steps.slopes[place], steps.shares[place]
        if slope != 0:
            square[0] += squared_units(slope * slope * c_square)
            square[2] += squared_units(slope * slope)
            rate = adagrad_rate(square[0], SQUARE_START, learning_rate)
            for f in range(k):
                vector[f] = stepped(vector[f], rate * (slope * c[f]))
            rate = adagrad_rate(square[2], BIAS_SQUARE_START, learning_rate)
            vector[2 * k] = stepped(vector[2 * k], rate * slope)
        if share != 0:
            square[1] += squared_units(share * share * pull_square)
            rate = adagrad_rate(square[1], SQUARE_START, learning_rate)
            for f in range(k):
                vector[k + f] = stepped(vector[k + f], rate * (share * pull[f]))


@numba.njit(cache=True, nogil=True)
def adagrad_rate(square: np.int64, start: float, learning_rate: float) -> np.float32:
    """Rate of a row whose accumulator, in fixed point, has come to ``square``."""
    return np.float32(learning_rate / math.sqrt(square * _SQUARE_UNIT + start))


def different_tokens(tokens: Tokens) -> tuple[Tokens, Slots]:
    """Return the ``(n,)`` different tokens among ``(n_items, TOKENS_MAX)``, and where each of these
    stands in them (-1 for none)."""
    met, places = _different(tokens)
    return met, places


@numba.njit(cache=True, nogil=True)
def _different(tokens: Tokens) -> tuple[Tokens, Slots]:
    place = np.full(TOKENS, -1, np.int32)
    met = np.empty(min(tokens.size, TOKENS), np.int32)
    places = np.full(tokens.shape, -1, np.int32)
    n = 0
    for i in range(len(tokens)):
        for t in range(tokens.shape[1]):
            token = tokens[i, t]
            if token < 0:
                break
            if place[token] < 0:
                place[token], met[n] = n, token
                n += 1
            places[i, t] = place[token]
    return met[:n], places


def with_tokens(
    items: NDArray[np.int32], places: Slots, weights: Weights, vectors: NDArray[np.int32]
) -> Floats:
    """Return ``(n, 2 k + 1)`` items with the shares of their tokens.

    Parameters
    ----------
    items
        ``(n, 2 k + 1)`` own rows, fixed point.
    places, weights
        ``(n, TOKENS_MAX)`` rows of ``vectors``, -1 for none.
    vectors
        ``(n_tokens, 2 k + 1)`` fixed point.
    """
    found = as_floats(items)
    if len(vectors):
        _add(found, places, weights, vectors)
    return found


@numba.njit(cache=True, nogil=True)
def _add(found: Floats, places: Slots, weights: Weights, vectors: NDArray[np.int32]) -> None:
    for i in range(len(found)):
        for t in range(places.shape[1]):
            at = places[i, t]
            if at < 0:
                break
            for f in range(found.shape[1]):
                found[i, f] += weights[i, t] * (np.float32(vectors[at, f]) * UNIT)
