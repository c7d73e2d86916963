"""Draws of linear Thompson sampling against the posteriors they come from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from streamer_models.bandits.disjoint_linear import DisjointLinear
from streamer_models.bandits.hybrid_linear import HybridLinear
from streamer_models.bandits.linear_model import LinearModel
from streamer_models.bandits.linear_thompson import LinearThompson
from streamer_models.bandits.linucb import LinUCB
from streamer_models.bandits.shared_linear import SharedLinear
from tests.unit.linear_examples import Floats, first_outcomes, ridge

D = 4
N_DRAWS = 40_000
Factory = Callable[[], LinearModel]
FACTORIES: dict[str, Factory] = {
    "shared": lambda: SharedLinear(D),
    "fading": lambda: SharedLinear(D, half_life_s=30_000.0),
    "disjoint": lambda: DisjointLinear(D),
    "shrunk": lambda: DisjointLinear(D, shrink_to_shared=True),
    "hybrid": lambda: HybridLinear(D, n_shared_features=2),
}


def _draws(policy: LinearThompson, contexts: Floats, *, seed: int = 5) -> Floats:
    arms = np.arange(1, 1 + len(contexts), dtype=np.uint64)
    rng = np.random.default_rng(seed)
    return policy.scores(contexts, arms, n_draws=N_DRAWS, rng=rng)


@pytest.mark.parametrize("name", FACTORIES)
def test_draws_spread_as_the_bounds_of_linucb_say(name: str) -> None:
    """Arms 1 to 5 are known, 6 to 8 are not."""
    policy = LinearThompson(FACTORIES[name](), noise_scale=0.5)
    policy.amend(*first_outcomes(200, D))
    contexts = first_outcomes(8, D, seed=9).contexts
    arms = np.arange(1, 9, dtype=np.uint64)
    draws = _draws(policy, contexts)
    means = policy.expected(contexts, arms)
    one_up = LinUCB(policy.model, alpha=0.5)
    deviations = one_up.scores(contexts, arms, n_draws=1, rng=np.random.default_rng(0))[0] - means
    assert (np.abs(draws.mean(axis=0) - means) < 4.5 * deviations / N_DRAWS**0.5).all()
    np.testing.assert_allclose(draws.std(axis=0), deviations, rtol=0.02)


def test_shared_parameters_are_drawn_once_for_all_actions() -> None:
    policy = LinearThompson(SharedLinear(D), noise_scale=0.5)
    examples = first_outcomes(50, D)
    policy.amend(*examples)
    a, _ = ridge(examples)
    covariance = np.cov(_draws(policy, np.eye(D)).T)
    np.testing.assert_allclose(covariance, 0.25 * np.linalg.inv(a), atol=3e-4)


def test_arms_of_their_own_are_drawn_independently() -> None:
    policy = LinearThompson(DisjointLinear(D))
    policy.amend(*first_outcomes(50, D))
    contexts = np.ones((5, D))
    correlations = np.corrcoef(_draws(policy, contexts).T) - np.eye(5)
    assert np.abs(correlations).max() < 4.5 / N_DRAWS**0.5
    hybrid = LinearThompson(HybridLinear(D, n_shared_features=2))
    draws = _draws(hybrid, contexts)
    assert np.mean(draws[:, 0] * draws[:, 1]) == pytest.approx(2.0, abs=0.1)  # of β alone
    assert np.mean(draws[:, 0] ** 2) == pytest.approx(4.0, abs=0.15)


def test_without_noise_it_is_greedy() -> None:
    policy = LinearThompson(SharedLinear(D), noise_scale=0.0, n_draws=3)
    policy.amend(*first_outcomes(50, D))
    asked = first_outcomes(20, D, seed=9)
    draw = policy.choose(asked.contexts, asked.arms, 5, seed=1)
    best = np.argsort(-policy.expected(asked.contexts, asked.arms), kind="stable")
    np.testing.assert_array_equal(draw.order, best[:5])
    np.testing.assert_array_equal(draw.propensities, np.ones(5))


def test_a_slate_can_be_drawn_again_from_its_seed() -> None:
    policy = LinearThompson(SharedLinear(D), uniform_share=0.1)
    policy.amend(*first_outcomes(50, D))
    asked = first_outcomes(20, D, seed=9)
    slates = [policy.choose(asked.contexts, asked.arms, 5, seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(slates[0].order, slates[1].order)
    np.testing.assert_array_equal(slates[0].propensities, slates[1].propensities)
    assert slates[0].order.tolist() != slates[2].order.tolist()
    assert (slates[0].propensities >= 0.1 / 20).all()


def test_settings_out_of_range_are_refused() -> None:
    for noise_scale, n_draws in ((-1.0, 1), (1.0, 0)):
        with pytest.raises(ValueError, match="noise_scale="):
            LinearThompson(SharedLinear(D), noise_scale=noise_scale, n_draws=n_draws)
