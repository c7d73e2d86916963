"""Draws of linear Thompson sampling against the posteriors they come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamer_models.bandits.estimates import IndependentEstimate, SharedEstimate
from streamer_models.bandits.in_memory import InMemoryBandit, published_bandit
from streamer_models.bandits.policies.linear_thompson import LinearThompsonSettings
from tests.unit.linear_examples import Floats, first_outcomes, ridge

D = 4
N_DRAWS = 40_000
FORMS: dict[str, dict[str, Any]] = {
    "shared": {"form": "shared"},
    "decaying": {"form": "shared", "half_life_s": 30_000.0},
    "disjoint": {"form": "disjoint"},
    "pooled": {"form": "disjoint", "pooled": True},
}


def thompson(**settings: Any) -> InMemoryBandit:
    return published_bandit("linear-thompson", D, **settings)


def noise(policy: InMemoryBandit) -> float:
    """The standard deviation of rewards that it estimates."""
    estimate = policy.estimate(np.ones((1, D)), np.ones(1, dtype=np.uint64))
    if isinstance(estimate, SharedEstimate):
        return estimate.posterior.noise
    assert isinstance(estimate, IndependentEstimate)
    return estimate.noise


def _draws(
    policy: InMemoryBandit, contexts: Floats, *, scale: float = 1.0, seed: int = 5
) -> Floats:
    arms = np.arange(1, 1 + len(contexts), dtype=np.uint64)
    rng = np.random.default_rng(seed)
    return policy.estimate(contexts, arms).sample(N_DRAWS, scale=scale, rng=rng)


@pytest.mark.parametrize("name", FORMS)
def test_draws_spread_as_the_bounds_of_linucb_say(name: str) -> None:
    """Arms 1 to 5 are known, 6 to 8 are not."""
    policy = thompson(**FORMS[name])
    policy.amend(*first_outcomes(200, D))
    contexts = first_outcomes(8, D, seed=9).contexts
    arms = np.arange(1, 9, dtype=np.uint64)
    draws = _draws(policy, contexts, scale=0.5)
    means = policy.expected(contexts, arms)
    deviations = 0.5 * noise(policy) * policy.estimate(contexts, arms).deviations()
    assert (np.abs(draws.mean(axis=0) - means) < 4.5 * deviations / N_DRAWS**0.5).all()
    np.testing.assert_allclose(draws.std(axis=0), deviations, rtol=0.02)


def test_shared_parameters_are_drawn_once_for_all_actions() -> None:
    policy = thompson(form="shared")
    examples = first_outcomes(50, D)
    policy.amend(*examples)
    a, _ = ridge(examples)
    variance = (0.5 * noise(policy)) ** 2
    covariance = np.cov(_draws(policy, np.eye(D), scale=0.5).T)
    np.testing.assert_allclose(covariance, variance * np.linalg.inv(a), atol=3e-4)


def test_noise_is_the_spread_of_rewards_around_the_model() -> None:
    rng = np.random.default_rng(7)
    n = 5_000
    x = rng.normal(size=(n, D))
    r = x @ np.arange(D) / 10 + 0.3 * rng.normal(size=n)
    for settings in FORMS.values():
        policy = thompson(**{**settings, "half_life_s": 0.0})
        policy.update(x, rng.integers(1, 4, n).astype(np.uint64), r, np.zeros(n, dtype=np.int64))
        assert noise(policy) == pytest.approx(0.3, rel=0.05)


def test_arms_of_their_own_are_drawn_independently() -> None:
    policy = thompson(form="disjoint")
    policy.amend(*first_outcomes(50, D))
    contexts = np.ones((5, D))
    correlations = np.corrcoef(_draws(policy, contexts).T) - np.eye(5)
    assert np.abs(correlations).max() < 4.5 / N_DRAWS**0.5


def test_without_noise_it_is_greedy() -> None:
    policy = thompson(form="shared", noise_scale=0.0, n_draws=3)
    policy.amend(*first_outcomes(50, D))
    asked = first_outcomes(20, D, seed=9)
    draw = policy.choose(asked.contexts, asked.arms, 5, seed=1)
    best = np.argsort(-policy.expected(asked.contexts, asked.arms), kind="stable")
    np.testing.assert_array_equal(draw.order, best[:5])
    np.testing.assert_array_equal(draw.propensities, np.ones(5))


def test_a_slate_can_be_drawn_again_from_its_seed() -> None:
    policy = thompson(form="shared", uniform_share=0.1, n_draws=64)
    policy.amend(*first_outcomes(50, D))
    asked = first_outcomes(20, D, seed=9)
    slates = [policy.choose(asked.contexts, asked.arms, 5, seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(slates[0].order, slates[1].order)
    np.testing.assert_array_equal(slates[0].propensities, slates[1].propensities)
    assert slates[0].order.tolist() != slates[2].order.tolist()
    assert (slates[0].propensities >= 0.1 / 20).all()


def test_settings_out_of_range_are_refused() -> None:
    for refused in ({"noise_scale": -1.0}, {"n_draws": 0}):
        (name,) = refused
        with pytest.raises(ValueError, match=f"{name}=.* must be at least"):
            LinearThompsonSettings(**refused)
