"""Slates: every stated propensity against the frequency over 40,000 draws, and what they are
for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer_models.bandits.slates import Draw, draw_best, draw_plackett_luce, draw_thompson
from tests.chi_square import assert_frequencies

N_DRAWS = 40_000
SCORES = np.array([0.3, 1.0, -0.5, 0.9, 0.9])
SAMPLES = SCORES + np.random.default_rng(1).normal(scale=0.6, size=(16, 5))

Scores = NDArray[np.float64]
Drawer = Callable[[int, int, Sequence[int]], Draw]


def _thompson(k: int, seed: int, slots: Sequence[int], share: float = 0.2) -> Draw:
    return draw_thompson(SAMPLES, k, seed, scores=SCORES, uniform_share=share, slots=slots)


DRAWERS: dict[str, Drawer] = {
    "greedy": lambda k, seed, slots: draw_best(SCORES, k, seed, uniform_share=0.2, slots=slots),
    "uniform": lambda k, seed, slots: draw_best(SCORES, k, seed, uniform_share=1, slots=slots),
    "plackett_luce": lambda k, seed, slots: draw_plackett_luce(
        SCORES, k, seed, temperature=0.7, slots=slots
    ),
    "plackett_luce_mixed": lambda k, seed, slots: draw_plackett_luce(
        SCORES, k, seed, temperature=0.2, uniform_share=0.3, slots=slots
    ),
    "thompson": _thompson,
}

every_drawer = pytest.mark.parametrize("draw", DRAWERS.values(), ids=list(DRAWERS))


def _draws(draw: Drawer, k: int, slots: Sequence[int]) -> tuple[NDArray[np.intp], Scores]:
    orders = np.empty((N_DRAWS, k), dtype=np.intp)
    propensities = np.empty((N_DRAWS, k))
    for seed in range(N_DRAWS):
        drawn = draw(k, seed, slots)
        orders[seed], propensities[seed] = drawn.order, drawn.propensities
    return orders, propensities


@every_drawer
@pytest.mark.parametrize("slots", [(), (1,), (0, 2)], ids=["everywhere", "one slot", "two slots"])
def test_propensities_are_frequencies(draw: Drawer, slots: Sequence[int]) -> None:
    """Slot by slot, given the slots before."""
    orders, propensities = _draws(draw, 3, slots)
    assert ((propensities > 0) & (propensities <= 1)).all()
    assert (np.sort(orders, axis=1)[:, 1:] > np.sort(orders, axis=1)[:, :-1]).all()
    for slot in range(3):
        if slots and slot not in slots:
            assert (propensities[:, slot] == 1).all()
    assert_frequencies(orders, propensities)


def test_the_comparison_notices_a_wrong_propensity() -> None:
    orders, propensities = _draws(DRAWERS["greedy"], 1, ())
    off = np.where(orders == 1, propensities - 0.012, propensities + 0.003)
    with pytest.raises(AssertionError):
        assert_frequencies(orders, off)


def test_all_slates_together_have_probability_1() -> None:
    """The product over the slots is the probability of the slate, whichever slate it is."""
    seen: dict[tuple[int, ...], float] = {}
    for seed in range(20_000):
        drawn = DRAWERS["plackett_luce"](5, seed, ())
        seen[tuple(drawn.order.tolist())] = float(np.prod(drawn.propensities))
    assert set(seen) == set(permutations(range(5)))
    assert sum(seen.values()) == pytest.approx(1, abs=1e-12)


def test_plackett_luce_is_the_softmax_over_what_remains() -> None:
    drawn = draw_plackett_luce(SCORES, 5, 11, temperature=0.7)
    remaining = list(range(5))
    for item, propensity in zip(drawn.order.tolist(), drawn.propensities, strict=True):
        weights = np.exp(SCORES[remaining] / 0.7)
        assert propensity == pytest.approx(np.exp(SCORES[item] / 0.7) / weights.sum(), rel=1e-12)
        remaining.remove(item)


def test_many_posterior_draws_give_thompson_sampling() -> None:
    """Against a slot's own fresh draw of the posterior, slate by slot: the propensities given m
    draws come close to the probabilities that some item is best."""
    rng = np.random.default_rng(5)
    scale = np.array([0.3, 0.8, 0.1, 0.5, 0.5])
    many = SCORES + scale * rng.normal(size=(40_000, 5))
    fresh = SCORES + scale * rng.normal(size=(N_DRAWS, 5))
    shares = np.bincount(fresh.argmax(axis=1), minlength=5) / N_DRAWS
    stated = np.zeros(5)
    for seed in range(300):
        drawn = draw_thompson(many, 2, seed, scores=SCORES, uniform_share=0)
        first, second = drawn.order.tolist()
        stated[first] = drawn.propensities[0]
        without = np.delete(fresh, first, axis=1).argmax(axis=1)
        at = second - (second > first)
        assert drawn.propensities[1] == pytest.approx(np.mean(without == at), abs=0.015)
    # 0.015 is 5 standard deviations of a share of 40,000 (0.0025) and more.
    np.testing.assert_allclose(stated, shares, atol=0.015)


def test_weighting_by_propensities_is_unbiased() -> None:
    """The value of another policy, estimated from what Thompson sampling chose: within 4 standard
    errors of the truth, though each decision had other posterior draws."""
    rng = np.random.default_rng(6)
    rewards = np.array([0.1, 0.5, 0.3, 0.8, 0.2])
    target = np.array([0.4, 0.1, 0.3, 0.1, 0.1])  # of the first slot
    estimates = np.empty(40_000)
    naive = np.empty_like(estimates)
    for seed in range(len(estimates)):
        samples = SCORES + rng.normal(scale=0.6, size=(8, 5))
        drawn = draw_thompson(samples, 1, seed, scores=SCORES, uniform_share=0.2)
        item = drawn.order[0]
        reward = float(rng.random() < rewards[item])
        estimates[seed] = reward * target[item] / drawn.propensities[0]
        naive[seed] = reward
    error = estimates.std() / len(estimates) ** 0.5
    assert abs(estimates.mean() - rewards @ target) < 4 * error
    assert abs(naive.mean() - rewards @ target) > 20 * error


def test_second_slots_are_unbiased_with_the_propensity_of_the_slate() -> None:
    rng = np.random.default_rng(7)
    rewards = rng.random((5, 5))  # of the ordered pair
    estimates = np.empty(40_000)
    for seed in range(len(estimates)):
        drawn = DRAWERS["plackett_luce_mixed"](2, seed, ())
        first, second = drawn.order
        estimates[seed] = rewards[first, second] / np.prod(drawn.propensities) / 20
    truth = (rewards.sum() - np.trace(rewards)) / 20  # of a uniform slate of two
    assert abs(estimates.mean() - truth) < 4 * estimates.std() / len(estimates) ** 0.5


@every_drawer
def test_a_draw_is_a_function_of_its_arguments(draw: Drawer) -> None:
    before = SCORES.copy(), SAMPLES.copy()
    for seed in (0, 1, -1, 2**64 + 5):
        first, second = draw(3, seed, ()), draw(3, seed, ())
        np.testing.assert_array_equal(first.order, second.order)
        np.testing.assert_array_equal(first.propensities, second.propensities)
        np.testing.assert_array_equal(first.explored, second.explored)
    np.testing.assert_array_equal(SCORES, before[0])
    np.testing.assert_array_equal(SAMPLES, before[1])


def test_draws_are_fixed_for_good() -> None:
    """A decision logged by another version must draw the same slate today."""
    drawn = [DRAWERS[name](4, 2024, ()).order.tolist() for name in DRAWERS]
    assert drawn == [[1, 3, 4, 0], [2, 1, 0, 4], [0, 1, 4, 2], [4, 1, 3, 0], [0, 3, 1, 4]]


@every_drawer
def test_explored_says_where_the_best_remaining_was_passed_over(draw: Drawer) -> None:
    n_explored = 0
    for seed in range(500):
        drawn = draw(4, seed, (1, 2, 3))
        remaining = list(range(5))
        for item, explored in zip(drawn.order.tolist(), drawn.explored, strict=True):
            best = max(remaining, key=lambda i: (SCORES[i], -i))
            assert explored == (item != best)
            remaining.remove(item)
        assert not drawn.explored[0]
        n_explored += int(drawn.explored.sum())
    assert 100 < n_explored < 1_500


@every_drawer
def test_fewer_candidates_than_slots_are_all_drawn(draw: Drawer) -> None:
    drawn = draw(50, 3, (2, 49))
    assert sorted(drawn.order.tolist()) == [0, 1, 2, 3, 4]
    assert drawn.propensities[4] == 1


def test_no_candidates_give_an_empty_slate() -> None:
    none = np.zeros(0)
    for drawn in (
        draw_best(none, 3, 1, uniform_share=0.5),
        draw_plackett_luce(none, 3, 1, temperature=1),
        draw_thompson(np.zeros((4, 0)), 3, 1, scores=none, uniform_share=0.5),
        draw_best(SCORES, 0, 1, uniform_share=0.5),
    ):
        assert drawn.order.shape == drawn.propensities.shape == drawn.explored.shape == (0,)
        assert drawn.order.dtype == np.intp


def test_equal_scores_rank_the_first_candidate_first() -> None:
    equal = np.zeros(4)
    assert draw_best(equal, 4, 0, uniform_share=0).order.tolist() == [0, 1, 2, 3]
    samples = np.zeros((8, 4))
    drawn = draw_thompson(samples, 4, 0, scores=equal, uniform_share=0)
    assert drawn.order.tolist() == [0, 1, 2, 3]
    assert drawn.propensities.tolist() == [1, 1, 1, 1]


def test_scores_far_apart_keep_their_propensities_positive() -> None:
    """Where the softmax leaves a candidate nothing, it comes last, and then with certainty."""
    scores = np.array([0.0, -1e6, 1e6, -1e308, 1e308])
    for seed in range(100):
        drawn = draw_plackett_luce(scores, 5, seed, temperature=1e-3)
        assert drawn.order.tolist() == [4, 2, 0, 1, 3]
        assert drawn.propensities.tolist() == [1] * 5
        mixed = draw_plackett_luce(scores, 5, seed, temperature=1e-3, uniform_share=0.5)
        assert (mixed.propensities >= 0.1).all()


def test_large_slates_are_drawn_without_repetition() -> None:
    rng = np.random.default_rng(8)
    scores = rng.normal(size=10_000)
    samples = scores + rng.normal(size=(16, 10_000))
    for drawn in (
        draw_best(scores, 500, 1, uniform_share=0.2),
        draw_plackett_luce(scores, 500, 1, temperature=0.5),
        draw_thompson(samples, 500, 1, scores=scores, uniform_share=0.2),
    ):
        assert len(set(drawn.order.tolist())) == 500
        assert ((drawn.propensities > 0) & (drawn.propensities <= 1)).all()


@pytest.mark.parametrize(
    ("refused", "named"),
    [
        (lambda: draw_best(np.array([0, np.nan]), 1, 0, uniform_share=0), r"scores\[1\] is nan"),
        (
            lambda: draw_plackett_luce(np.array([np.inf]), 1, 0, temperature=1),
            r"scores\[0\] is inf",
        ),
        (
            lambda: draw_thompson(
                np.array([[1, -np.inf]]), 1, 0, scores=np.zeros(2), uniform_share=0
            ),
            r"samples\[0, 1\] is -inf",
        ),
        (
            lambda: draw_thompson(np.zeros((2, 3)), 1, 0, scores=np.zeros(2), uniform_share=0),
            r"samples of shape \(2, 3\)",
        ),
        (
            lambda: draw_thompson(np.zeros((0, 2)), 1, 0, scores=np.zeros(2), uniform_share=0),
            r"samples of shape \(0, 2\)",
        ),
        (lambda: draw_best(np.zeros((2, 2)), 1, 0, uniform_share=0), r"scores of shape \(2, 2\)"),
        (lambda: draw_best(SCORES, -1, 0, uniform_share=0), "k=-1"),
        (lambda: draw_best(SCORES, 1, 0, uniform_share=1.5), "uniform_share=1.5"),
        (lambda: draw_best(SCORES, 1, 0, uniform_share=np.nan), "uniform_share=nan"),
        (lambda: draw_best(SCORES, 1, 0, uniform_share=0, slots=(-1,)), r"slots=\[-1\]"),
        (lambda: draw_plackett_luce(SCORES, 1, 0, temperature=0), "temperature=0"),
    ],
)
def test_arguments_out_of_range_are_refused(refused: Callable[[], Draw], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        refused()
