"""Online logistic regression against the batch solution and against known click rates."""

from __future__ import annotations

import numpy as np
import pytest

from streamer_models.bandits.laplace import mode_step, sigmoid
from streamer_models.bandits.linear_thompson import LinearThompson
from streamer_models.bandits.linucb import LinUCB
from streamer_models.bandits.logistic import LogisticRegression
from tests.unit.linear_examples import NOW_MS, Columns, Floats, first_outcomes

D = 4
DAY_S = 86_400.0


def _clicks(n: int, weights: Floats, *, seed: int = 0) -> Columns:
    examples = first_outcomes(n, D, seed=seed)
    rates = 1 / (1 + np.exp(-examples.contexts @ weights))
    clicks = np.random.default_rng(seed + 1).random(n) < rates
    return examples._replace(after=clicks.astype(np.float64))


def _mode(examples: Columns, *, prior_strength: float) -> Floats:
    """The mode of the posterior, by Newton's method over all examples."""
    w = np.zeros(D)
    x, y = examples.contexts, examples.after
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ w))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + prior_strength * np.eye(D)
        w = w - np.linalg.solve(hessian, x.T @ (p - y) + prior_strength * w)
    return w


@pytest.mark.parametrize(("logit", "square", "y", "weight"), [
    (0.0, 1.0, 1.0, 1.0),
    (-9.0, 50.0, 1.0, 1.0),
    (30.0, 900.0, 0.0, 0.3),
    (2.0, 0.0, 0.25, 1.0),
    (-800.0, 4_000.0, 1.0, 1.0),
])  # fmt: skip
def test_a_step_goes_to_the_mode(logit: float, square: float, y: float, weight: float) -> None:
    c = mode_step(logit, square, y, weight)
    assert c == pytest.approx(weight * (y - sigmoid(logit + c * square)), abs=1e-9)


def test_weights_come_close_to_the_batch_mode_and_to_the_truth() -> None:
    truth = np.array([-1.0, 0.5, 0.0, 1.0])
    examples = _clicks(20_000, truth)
    policy = LinUCB(LogisticRegression(D))
    policy.amend(*examples)
    unit = np.eye(D)
    arms = np.zeros(D, dtype=np.uint64)
    rates = policy.expected(unit, arms)
    learned = np.log(rates / (1 - rates))
    np.testing.assert_allclose(learned, _mode(examples, prior_strength=1.0), atol=0.1)
    np.testing.assert_allclose(learned, truth, atol=0.1)


def test_the_mean_is_calibrated() -> None:
    policy = LinUCB(LogisticRegression(D))
    weights = np.array([-2.0, 0.5, 0.0, 1.0])
    policy.amend(*_clicks(20_000, weights))
    fresh = _clicks(20_000, weights, seed=7)
    expected = policy.expected(fresh.contexts, fresh.arms)
    for low, high in ((0.0, 0.05), (0.05, 0.2), (0.2, 0.5), (0.5, 1.0)):
        inside = (expected >= low) & (expected < high)
        assert inside.sum() > 300
        error = fresh.after[inside].mean() - expected[inside].mean()
        assert abs(error) < 0.02 + 4.0 * (0.25 / inside.sum()) ** 0.5


@pytest.mark.parametrize("per_arm", [False, True])
def test_uncertainty_is_drawn_from_and_bounded(per_arm: bool) -> None:
    policy = LinearThompson(LogisticRegression(D, per_arm=per_arm), noise_scale=0.7)
    policy.amend(*_clicks(300, np.zeros(D)))
    contexts, arms = first_outcomes(6, D, seed=3).contexts, np.arange(1, 7, dtype=np.uint64)
    rng = np.random.default_rng(4)
    draws = policy.scores(contexts, arms, n_draws=40_000, rng=rng)
    bounds = LinUCB(policy.model, alpha=0.7).scores(contexts, arms, n_draws=1, rng=rng)[0]
    # The bound is one deviation up in the logit: 84.1 % of draws are below it, errors of 0.2 %.
    np.testing.assert_allclose((draws < bounds).mean(axis=0), 0.8413, atol=0.008)
    assert ((draws > 0) & (draws < 1)).all()


def test_clicks_that_all_arrive_late_are_followed() -> None:
    """A hundred outcomes at a time are taken as 0 first, then the clicks among them come in."""
    examples = _clicks(4_000, np.array([-1.0, 0.5, 0.0, 1.0]))
    late, direct = (LinUCB(LogisticRegression(D)) for _ in range(2))
    for start in range(0, 4_000, 100):
        part = examples.at(slice(start, start + 100))
        direct.amend(*part)
        late.amend(*part._replace(after=np.zeros(100)))
        clicks = part.at(part.after > 0)
        late.amend(*clicks._replace(before=np.zeros(len(clicks.after))))
    asked = first_outcomes(50, D, seed=9)
    rates = [policy.expected(asked.contexts, asked.arms) for policy in (late, direct)]
    np.testing.assert_allclose(rates[0], rates[1], atol=0.03)


def test_an_outcome_taken_back_at_once_leaves_little() -> None:
    policy = LinUCB(LogisticRegression(D))
    policy.amend(*_clicks(500, np.zeros(D)))
    asked = first_outcomes(50, D, seed=9)
    before = policy.expected(asked.contexts, asked.arms)
    one = first_outcomes(1, D, seed=4)._replace(after=np.ones(1))
    policy.amend(*one)
    moved = np.abs(policy.expected(asked.contexts, asked.arms) - before).max()
    policy.amend(*one._replace(before=one.after, after=one.before))
    left = np.abs(policy.expected(asked.contexts, asked.arms) - before).max()
    assert left < 0.1 * moved


@pytest.mark.parametrize("per_arm", [False, True])
def test_faded_evidence_leaves_the_prior(per_arm: bool) -> None:
    policy = LinUCB(LogisticRegression(D, half_life_s=DAY_S, per_arm=per_arm), alpha=0.0)
    policy.amend(*_clicks(2_000, np.array([-3.0, 0.0, 0.0, 0.0])))
    unit, one = np.eye(D)[:1], np.array([1], dtype=np.uint64)
    assert policy.expected(unit, one)[0] < 0.1
    x, arm = np.eye(D)[1:2], np.array([2], dtype=np.uint64)
    policy.update(x, arm, np.ones(1), np.array([NOW_MS + int(40 * DAY_S) * 1_000]))
    assert policy.expected(unit, one)[0] == pytest.approx(0.5, abs=1e-6)


def test_beliefs_of_three_learners_multiply() -> None:
    examples = _clicks(6_000, np.array([-1.0, 0.5, 0.0, 1.0]))
    for half_life_s in (0.0, 5 * DAY_S):
        for per_arm in (False, True):
            parts = [
                LinUCB(LogisticRegression(D, half_life_s=half_life_s, per_arm=per_arm))
                for _ in range(4)
            ]
            parts[3].amend(*examples)
            for i in range(3):
                parts[i].amend(*examples.at(slice(i, None, 3)))
            parts[0].merge(parts[1])
            parts[0].merge(parts[2])
            asked = first_outcomes(50, D, seed=9)
            rates = [parts[i].expected(asked.contexts, asked.arms) for i in (0, 3, 1)]
            assert np.abs(rates[0] - rates[1]).max() < 0.12
            assert np.abs(rates[0] - rates[1]).mean() < np.abs(rates[2] - rates[1]).mean()


def test_rewards_that_are_no_probability_are_refused() -> None:
    policy = LinUCB(LogisticRegression(D))
    with pytest.raises(ValueError, match=r"reward 1.5 is outside"):
        policy.amend(*first_outcomes(1, D)._replace(after=np.array([1.5])))
    for prior_strength, half_life_s in ((0.0, 0.0), (1.0, -1.0)):
        with pytest.raises(ValueError, match="must be"):
            LogisticRegression(D, prior_strength=prior_strength, half_life_s=half_life_s)
