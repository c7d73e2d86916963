"""Policies over counts: against brute force, on problems whose best arm is known, at the bounds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer_models.bandits.arm_counts import ArmCounts
from streamer_models.bandits.counted_memory import CountedMemory
from streamer_models.bandits.estimates import BetaEstimate
from streamer_models.bandits.in_memory import InMemoryBandit, published_bandit
from streamer_models.bandits.policies.ucb1 import NEVER_SHOWN
from streamer_models.state.table import Keys

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


def _keys(n: int) -> Keys:
    return np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def _log(n: int, n_arms: int, seed: int) -> tuple[Keys, Floats, Times]:
    """Outcomes of skewed arms in nearly rising time, some of them negative."""
    rng = np.random.default_rng(seed)
    arms = _keys(n_arms)[(n_arms * rng.random(n) ** 2).astype(int)]
    rewards = rng.choice([0.0, 1.0, 0.3, -0.7], n)
    ts_ms = NOW_MS + np.arange(n) * 60_000 + rng.integers(-600_000, 600_000, n)
    return arms, rewards, ts_ms


def _none(n: int) -> Floats:
    return np.zeros((n, 0))


def _learn(policy: InMemoryBandit, arms: Keys, rewards: Floats, ts_ms: Times) -> None:
    policy.update(_none(len(arms)), arms, rewards, ts_ms)


def _bounds(policy: InMemoryBandit, arms: Keys, alpha: float) -> Floats:
    estimate = policy.estimate(_none(len(arms)), arms)
    bounds: Floats = estimate.expected + alpha * estimate.deviations()
    return bounds


def ucb1(**settings: Any) -> InMemoryBandit:
    return published_bandit("ucb1", 0, **settings)


def beta(**settings: Any) -> InMemoryBandit:
    return published_bandit("beta-thompson", 0, **settings)


def _outcomes(policy: InMemoryBandit) -> ArmCounts:
    assert isinstance(policy.learned, CountedMemory)
    return policy.learned.outcomes


def _posterior(policy: InMemoryBandit, arms: Keys) -> BetaEstimate:
    estimate = policy.estimate(_none(len(arms)), arms)
    assert isinstance(estimate, BetaEstimate)
    return estimate


@pytest.mark.parametrize("policy", ["greedy", "epsilon-greedy", "plackett-luce"])
def test_a_linear_policy_over_a_constant_has_the_mean_of_each_arm(policy: str) -> None:
    arms, rewards, ts_ms = _log(2_000, 7, seed=1)
    bandit = published_bandit(policy, 1, prior_strength=3.0)
    bandit.update(np.ones((2_000, 1)), arms, rewards, ts_ms)
    expected = [rewards[arms == arm].sum() / ((arms == arm).sum() + 3) for arm in _keys(7)]
    np.testing.assert_allclose(bandit.expected(np.ones((7, 1)), _keys(7)), expected, atol=1e-6)


@pytest.mark.parametrize("order", ["in time", "shuffled"])
def test_fading_counts_equal_brute_force(order: str) -> None:
    arms, rewards, ts_ms = _log(3_000, 7, seed=2)
    at = np.random.default_rng(3).permutation(3_000) if order == "shuffled" else np.arange(3_000)
    counts = ArmCounts(arms_max=10, half_life_s=7_200)
    counts.amend(arms[at], np.full(3_000, np.nan), rewards[at], ts_ms[at])
    weights = 2.0 ** ((ts_ms - ts_ms.max()) / (2 * HOUR_MS))
    read = counts.counts(_keys(7))
    for i, arm in enumerate(_keys(7)):
        mine = weights * (arms == arm)
        assert read.n[i] == pytest.approx(mine.sum(), abs=1e-3)
        assert read.n_positive[i] == pytest.approx(mine[rewards > 0].sum(), abs=1e-3)
        assert read.rewards[i] == pytest.approx((mine * rewards).sum(), abs=1e-3)
    assert counts.total().n[0] == pytest.approx(weights.sum(), abs=1e-3)


def test_ucb1_chooses_as_published() -> None:
    """Against the algorithm written down again, play by play."""
    rng = np.random.default_rng(4)
    rates = np.array([0.2, 0.5, 0.45, 0.3])
    policy = ucb1()
    n, sums = np.zeros(4), np.zeros(4)
    for play in range(2_000):
        best = play if play < 4 else int(np.argmax(sums / n + np.sqrt(2 * math.log(play) / n)))
        chosen = policy.choose(_none(4), _keys(4), 1, seed=play)
        assert chosen.order.tolist() == [best]
        reward = float(rng.random() < rates[best])
        n[best] += 1
        sums[best] += reward
        _learn(policy, _keys(4)[[best]], np.array([reward]), np.array([NOW_MS]))


def test_fading_ucb1_is_discounted_ucb() -> None:
    arms, rewards, ts_ms = _log(3_000, 7, seed=2)
    policy = ucb1(alpha=0.7, half_life_s=7_200)
    _learn(policy, arms, rewards, ts_ms)
    weights = 2.0 ** ((ts_ms - ts_ms.max()) / (2 * HOUR_MS))
    n = np.array([weights[arms == arm].sum() for arm in _keys(7)])
    sums = np.array([(weights * rewards)[arms == arm].sum() for arm in _keys(7)])
    bounds = sums / n + 0.7 * np.sqrt(2 * math.log(weights.sum()) / n)
    np.testing.assert_allclose(_bounds(policy, _keys(7), 0.7), bounds, rtol=1e-4)


def test_ucb1_gives_new_arms_precedence_only_by_themselves() -> None:
    arms, rewards, ts_ms = _log(500, 5, seed=5)
    for pooled in (False, True):
        policy = ucb1(pooled=pooled, prior_reward=0.1)
        _learn(policy, arms, rewards, ts_ms)
        bound = _bounds(policy, _keys(6), 0.5)[5]
        made_up = (rewards.sum() + 1) / 510 + 0.5 * math.sqrt(2 * math.log(510))
        assert bound == pytest.approx(made_up if pooled else 0.5 * NEVER_SHOWN)


def test_ucb1_stays_finite_where_evidence_has_decayed() -> None:
    policy = ucb1(half_life_s=1)
    _learn(policy, _keys(2), np.ones(2), np.array([0, NOW_MS]))
    assert _bounds(policy, _keys(2), 1.0)[0] == NEVER_SHOWN
    _learn(policy, _keys(2), np.ones(2), np.array([NOW_MS + 10_000, NOW_MS + 30_000]))
    assert np.isfinite(_bounds(policy, _keys(2), 1.0)).all()


def test_the_beta_posterior_counts_successes_and_failures() -> None:
    policy = beta(prior_strength=5.0, prior_reward=0.4)
    rewards = np.array([1.0, 0.25, 0.0, -5.0, np.nan, 1.0])
    _learn(policy, _keys(3)[[0, 0, 0, 0, 0, 1]], rewards, np.full(6, NOW_MS))
    posterior = _posterior(policy, _keys(3))
    assert posterior.positive.tolist() == [4, 3, 2]
    assert posterior.negative.tolist() == [5, 3, 3]
    share = np.array([4 / 9, 1 / 2, 2 / 5])
    np.testing.assert_allclose(policy.expected(_none(3), _keys(3)), share)


def test_posterior_draws_have_the_moments_of_the_posterior() -> None:
    policy = beta()
    arms, rewards, ts_ms = _log(300, 4, seed=6)
    _learn(policy, arms, rewards, ts_ms)
    posterior = _posterior(policy, _keys(4))
    draws = posterior.sample(40_000, scale=1.0, rng=np.random.default_rng(7))
    n = posterior.positive + posterior.negative
    mean = posterior.positive / n
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.002)
    np.testing.assert_allclose(draws.var(axis=0), mean * (1 - mean) / (n + 1), rtol=0.05)
    assert abs(np.corrcoef(draws.T) - np.eye(4)).max() < 0.03


POLICIES: dict[str, dict[str, Any]] = {
    "beta-thompson": {"n_draws": 64},
    "ucb1": {"alpha": 0.5},
    "epsilon-greedy": {"uniform_share": 0.1},
    "plackett-luce": {"temperature": 0.1},
}


def made(name: str, half_life_s: float) -> InMemoryBandit:
    """Linear ones over a constant alone: they know the means of arms, as the others do."""
    return published_bandit(name, 1, half_life_s=half_life_s, **POLICIES[name])


def _play(policy: InMemoryBandit, rates: Floats, n: int, *, seed: int, start_ms: int = 0) -> Floats:
    """Expected rewards of ``n`` decisions, a second each."""
    rng = np.random.default_rng(seed)
    arms = _keys(len(rates))
    earned = np.empty(n)
    for i in range(n):
        at = policy.choose(np.ones((len(rates), 1)), arms, 1, seed=1_000_000 * seed + i).order
        reward = (rng.random(1) < rates[at]).astype(np.float64)
        policy.update(np.ones((1, 1)), arms[at], reward, np.array([start_ms + 1_000 * i]))
        earned[i] = rates[at[0]]
    return earned


@pytest.mark.parametrize("name", POLICIES)
def test_the_best_arm_is_found(name: str) -> None:
    rates = np.array([0.1, 0.2, 0.15, 0.7, 0.3])
    earned = _play(made(name, 0.0), rates, 1_500, seed=8)
    assert earned[1_000:].mean() > 0.6
    assert earned.mean() > rates.mean() + 0.2


@pytest.mark.parametrize("name", ["beta-thompson", "epsilon-greedy"])
def test_forgetting_finds_the_new_best_arm(name: str) -> None:
    before, after = np.array([0.9, 0.1, 0.5]), np.array([0.1, 0.9, 0.5])
    late = []
    for half_life_s in (0.0, 100.0):
        policy = made(name, half_life_s)
        _play(policy, before, 2_000, seed=9)
        late.append(_play(policy, after, 600, seed=10, start_ms=2_000_000)[200:].mean())
    forever, fading = late
    assert fading > 0.75
    assert fading > forever + 0.1


def test_three_learners_add_up_to_one_to_the_bit() -> None:
    arms, rewards, ts_ms = _log(3_000, 40, seed=11)
    for half_life_s in (0.0, 3_600.0):
        whole = ucb1(half_life_s=half_life_s)
        _learn(whole, arms, rewards, ts_ms)
        for order in ((0, 1, 2), (2, 0, 1)):
            merged = ucb1(half_life_s=half_life_s)
            for p in order:
                part = ucb1(half_life_s=half_life_s)
                _learn(part, arms[p::3], rewards[p::3], ts_ms[p::3])
                merged.merge(part)
            for mine, other in zip(
                _outcomes(merged).snapshot(), _outcomes(whole).snapshot(), strict=True
            ):
                np.testing.assert_array_equal(mine, other)
            assert _outcomes(merged).total().n[0] == _outcomes(whole).total().n[0]
            assert _outcomes(merged).newest_ms == _outcomes(whole).newest_ms


def test_amended_outcomes_are_as_if_they_had_always_been_so() -> None:
    arms, rewards, ts_ms = _log(1_000, 10, seed=12)
    rng = np.random.default_rng(13)
    finally_ = np.where(rng.random(1_000) < 0.3, np.nan, rng.choice([1.0, 0.1, -2.0], 1_000))
    finally_[ts_ms.argmax()] = 1  # the newest event time learned is the same
    for half_life_s in (0.0, 600.0):
        amended, direct = ucb1(half_life_s=half_life_s), ucb1(half_life_s=half_life_s)
        _learn(amended, arms, rewards, ts_ms)
        amended.amend(_none(1_000), arms, rewards, finally_, ts_ms)
        _learn(direct, arms, finally_, ts_ms)
        assert len(_outcomes(amended)) == len(_outcomes(direct))
        for mine, other in zip(
            _outcomes(amended).snapshot(), _outcomes(direct).snapshot(), strict=True
        ):
            if half_life_s == 0:
                np.testing.assert_array_equal(mine, other)
        # In cells, an epoch that holds a sum of 0 and one never written read alike.
        read, wanted = _outcomes(amended).counts(_keys(10)), _outcomes(direct).counts(_keys(10))
        np.testing.assert_array_equal(read.n, wanted.n)
        np.testing.assert_array_equal(read.rewards, wanted.rewards)


def test_the_idlest_arms_go_at_the_bound() -> None:
    policy = beta(arms_max=4)
    for i, arm in enumerate([0, 1, 2, 3, 0, 4]):  # at 4, arm 1 is the idlest
        _learn(policy, _keys(5)[[arm]], np.ones(1), np.array([NOW_MS + i]))
    assert len(_outcomes(policy)) == 4
    assert policy.expected(_none(5), _keys(5)) == pytest.approx([3 / 4, 1 / 2, 2 / 3, 2 / 3, 2 / 3])
    # What comes too late for an arm that is gone leaves it unknown, and the total amended.
    policy.amend(_none(1), _keys(5)[[1]], np.ones(1), np.zeros(1), np.array([NOW_MS + 1]))
    assert policy.expected(_none(5), _keys(5))[1] == 0.5
    assert _outcomes(policy).total().n[0] == 6


def test_arms_are_admitted_when_they_were_sighted_often_enough() -> None:
    policy = ucb1(sightings_min=3)
    for i in range(4):
        assert len(_outcomes(policy)) == (i > 2)
        _learn(policy, _keys(1), np.ones(1), np.array([NOW_MS + i]))
    assert _outcomes(policy).counts(_keys(1)).n.tolist() == [2]
    assert _outcomes(policy).total().n[0] == 4


def test_batches_may_end_anywhere_even_where_arms_are_dropped() -> None:
    arms, rewards, ts_ms = _log(2_000, 60, seed=14)
    snapshots = []
    for size in (1, 7, 2_000):
        policy = ucb1(arms_max=20)
        for start in range(0, 2_000, size):
            part = slice(start, start + size)
            _learn(policy, arms[part], rewards[part], ts_ms[part])
        assert _outcomes(policy).arms.n_expired > 50
        snapshots.append([column.tobytes() for column in _outcomes(policy).snapshot()])
    assert snapshots[0] == snapshots[1] == snapshots[2]


def test_too_many_arms_do_not_merge() -> None:
    one, other = ucb1(arms_max=3), ucb1(arms_max=3)
    _learn(one, _keys(4)[:2], np.ones(2), np.full(2, NOW_MS))
    _learn(other, _keys(4)[2:], np.ones(2), np.full(2, NOW_MS))
    with pytest.raises(ValueError, match="4 arms together, at most arms_max=3"):
        one.merge(other)
    with pytest.raises(ValueError, match="half-lives of 0 and 5000 ms"):
        one.merge(ucb1(half_life_s=5))


@pytest.mark.parametrize("reward", [np.inf, -np.inf, 1_001.0])
def test_rewards_out_of_bounds_teach_nothing(reward: float) -> None:
    policy = ucb1()
    with pytest.raises(ValueError, match="magnitude"):
        _learn(policy, _keys(2), np.array([1.0, reward]), np.full(2, NOW_MS))
    assert len(_outcomes(policy)) == _outcomes(policy).total().n[0] == 0


@pytest.mark.parametrize(
    ("policy", "settings", "named"),
    [
        ("beta-thompson", {"prior_strength": -1}, "prior_strength=-1"),
        ("beta-thompson", {"prior_reward": math.nan}, "prior_reward=nan"),
        ("ucb1", {"half_life_s": -1}, "half_life_s=-1"),
        ("ucb1", {"arms_max": 0}, "arms_max=0"),
        ("ucb1", {"sightings_min": 0}, "sightings_min=0"),
        ("ucb1", {"uniform_share": 2}, "uniform_share=2"),
        ("ucb1", {"alpha": -1}, "alpha=-1"),
        ("beta-thompson", {"n_draws": 0}, "n_draws=0"),
        ("epsilon-greedy", {"uniform_share": -1}, "uniform_share=-1"),
        ("plackett-luce", {"temperature": 0}, "temperature=0"),
        ("plackett-luce", {"explore_slots": (-1,)}, r"explore_slots=\(-1,\)"),
    ],
)
def test_settings_out_of_range_are_refused(
    policy: str, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        published_bandit(policy, 1, **settings)
