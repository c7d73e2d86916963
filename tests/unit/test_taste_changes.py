"""Items of a taste that has changed since count less."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamer_models.counters.taste_changes import lasting_shares
from streamer_models.counters.token_counts import EVENTS
from streamer_models.state.items.item_tokens import NO_TOKEN, NUMBERS, TOKENS, TOKENS_MAX, UNITS

N_KINDS = 10
COUNTS = np.zeros((TOKENS + 1, 1), dtype=np.int64)
COUNTS[:N_KINDS] = 100 * UNITS
COUNTS[EVENTS] = N_KINDS * 100 * UNITS


def shares(oldest_first: Sequence[Sequence[int]], changes: float = 0.005) -> NDArray[np.float64]:
    """Shares of items of these words, the oldest first."""
    tokens = np.full((len(oldest_first), TOKENS_MAX), NO_TOKEN, dtype=np.int32)
    weights = np.zeros((len(oldest_first), TOKENS_MAX), dtype=np.float32)
    for row, words in enumerate(reversed(oldest_first)):
        tokens[row, : len(words)] = words
        weights[row, : len(words)] = 1 / max(len(words), 1)
    found: NDArray[np.float64] = lasting_shares(tokens, weights, COUNTS, changes)[::-1]
    return found


def by_all_ways_to_divide(oldest_first: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """The same from every way to divide the items into tastes."""
    n = len(oldest_first)
    evidence, lasts = 0.0, np.zeros(n)
    for changes in itertools.product([False, True], repeat=n - 1):
        likely, counts, n_of_taste, start = 1.0, np.zeros(N_KINDS), 0.0, 0
        for t, words in enumerate(oldest_first):
            if t:
                likely *= 0.005 if changes[t - 1] else 0.995
            if t and changes[t - 1]:
                counts[:], n_of_taste, start = 0, 0.0, t
            ratios = [(counts[word] + 2 * 0.1) / (n_of_taste + 2) / 0.1 for word in words]
            likely *= math.prod(ratios) ** (1 / len(words))
            counts[list(words)] += 1 / len(words)
            n_of_taste += 1
        evidence += likely
        lasts[start:] += likely
    found: NDArray[np.float64] = lasts / evidence
    return found


def test_shares_are_those_of_all_ways_to_divide_the_items() -> None:
    rng = np.random.default_rng(3)
    for n in (2, 5, 9):
        items = [rng.choice(N_KINDS, rng.integers(1, 4), replace=False).tolist() for _ in range(n)]
        np.testing.assert_allclose(shares(items), by_all_ways_to_divide(items), rtol=1e-6)
    turned = [[0], [0], [1], [0], [1], [1], [7], [7], [7]]
    np.testing.assert_allclose(shares(turned), by_all_ways_to_divide(turned), rtol=1e-6)


def test_three_items_of_another_kind_are_another_taste_and_one_is_not() -> None:
    before = [[0], [1]] * 12
    assert shares(before).min() > 0.9
    assert shares([*before, [7]])[:24].min() > 0.85
    after = shares([*before, [7], [7], [7]])
    assert after[:24].max() < 0.3
    assert after[24:].min() > 0.8
    assert shares([*before, [7], [0], [1], [0]])[:24].min() > 0.85


def test_where_tastes_never_change_all_items_count() -> None:
    assert (shares([[0], [1]] * 12 + [[7], [7], [7]], changes=0.0) == 1).all()


def test_what_is_older_than_what_is_watched_is_of_the_first_taste_there() -> None:
    found = shares([[0], [1]] * 30)
    assert (found[:28] == found[28]).all()
    assert found[28] > 0.9
    turned = shares([[0], [1]] * 10 + [[7]] * 40)
    assert (turned[:19] == turned[18]).all()


def test_an_item_without_words_says_nothing_of_a_change() -> None:
    assert (shares([]) == 1).all()
    assert (shares([[0]]) == 1).all()
    numbers = [NUMBERS + 1]
    assert (shares([numbers, [], numbers]) == 1).all()
    turned = [[0], [1]] * 12 + [[7], [7], [7]]
    mixed = [[0], [1]] * 12 + [[7], numbers, [7], [], [7]]
    found = shares(mixed)
    np.testing.assert_array_equal(np.delete(found, [25, 27]), shares(turned))
    assert (found[25], found[27]) == (found[26], found[28])
