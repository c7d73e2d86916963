"""Policies over counts: against brute force, on problems whose best arm is known, at the bounds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer_models.bandits.arm_counts import ArmCounts
from streamer_models.bandits.beta_bernoulli import BetaBernoulli, BetaPriors
from streamer_models.bandits.counting import MeanReward, generator
from streamer_models.bandits.epsilon_greedy import EpsilonGreedy
from streamer_models.bandits.plackett_luce import PlackettLuce
from streamer_models.bandits.policy import Policy
from streamer_models.bandits.ucb1 import NEVER_SHOWN, UCB1
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


def _learn(policy: Policy, arms: Keys, rewards: Floats, ts_ms: Times) -> None:
    policy.update(_none(len(arms)), arms, rewards, ts_ms)


def _scores(policy: Policy, arms: Keys) -> Floats:
    rng = np.random.default_rng(0)
    scores: Floats = policy.scores(_none(len(arms)), arms, n_draws=1, rng=rng)[0]
    return scores


def test_means_equal_brute_force() -> None:
    arms, rewards, ts_ms = _log(2_000, 7, seed=1)
    policy = MeanReward(prior_mean=0.2, prior_strength=3)
    _learn(policy, arms, rewards, ts_ms)
    expected = [(rewards[arms == arm].sum() + 0.6) / ((arms == arm).sum() + 3) for arm in _keys(7)]
    np.testing.assert_allclose(policy.expected(_none(7), _keys(7)), expected, atol=1e-6)


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
    assert counts.n_total() == pytest.approx(weights.sum(), abs=1e-3)


def test_ucb1_chooses_as_published() -> None:
    """Against the algorithm written down again, play by play."""
    rng = np.random.default_rng(4)
    rates = np.array([0.2, 0.5, 0.45, 0.3])
    policy = UCB1()
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
    policy = UCB1(alpha=0.7, half_life_s=7_200)
    _learn(policy, arms, rewards, ts_ms)
    weights = 2.0 ** ((ts_ms - ts_ms.max()) / (2 * HOUR_MS))
    n = np.array([weights[arms == arm].sum() for arm in _keys(7)])
    sums = np.array([(weights * rewards)[arms == arm].sum() for arm in _keys(7)])
    bounds = sums / n + 0.7 * np.sqrt(2 * math.log(weights.sum()) / n)
    np.testing.assert_allclose(_scores(policy, _keys(7)), bounds, rtol=1e-4)


def test_ucb1_gives_new_arms_precedence_only_without_a_prior() -> None:
    arms, rewards, ts_ms = _log(500, 5, seed=5)
    for strength in (0.0, 2.0):
        policy = UCB1(alpha=0.5, prior_mean=0.1, prior_strength=strength)
        _learn(policy, arms, rewards, ts_ms)
        score = _scores(policy, _keys(6))[5]
        bound = 0.1 + 0.5 * math.sqrt(math.log(500))
        assert score == (NEVER_SHOWN if strength == 0 else pytest.approx(bound))


def test_ucb1_stays_finite_where_evidence_has_faded_away() -> None:
    policy = UCB1(half_life_s=1)
    _learn(policy, _keys(2), np.ones(2), np.array([0, NOW_MS]))
    assert _scores(policy, _keys(2))[0] == NEVER_SHOWN
    _learn(policy, _keys(2), np.ones(2), np.array([NOW_MS + 10_000, NOW_MS + 30_000]))
    assert np.isfinite(_scores(policy, _keys(2))).all()


def test_the_beta_posterior_counts_successes_and_failures() -> None:
    priors = BetaPriors(_keys(3)[1:2], np.array([30.0]), np.array([70.0]))
    policy = BetaBernoulli(alpha=2, beta=3, priors=priors)
    rewards = np.array([1.0, 0.25, 0.0, -5.0, np.nan, 1.0])
    _learn(policy, _keys(3)[[0, 0, 0, 0, 0, 1]], rewards, np.full(6, NOW_MS))
    alpha, beta = policy.posterior(_keys(3))
    assert alpha.tolist() == [4, 31, 2]
    assert beta.tolist() == [5, 70, 3]
    np.testing.assert_allclose(policy.expected(_none(3), _keys(3)), alpha / (alpha + beta))


def test_posterior_draws_have_the_moments_of_the_posterior() -> None:
    policy = BetaBernoulli()
    arms, rewards, ts_ms = _log(300, 4, seed=6)
    _learn(policy, arms, rewards, ts_ms)
    draws = policy.scores(_none(4), _keys(4), n_draws=40_000, rng=generator(7))
    alpha, beta = policy.posterior(_keys(4))
    mean, n = alpha / (alpha + beta), alpha + beta
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.002)
    np.testing.assert_allclose(draws.var(axis=0), mean * (1 - mean) / (n + 1), rtol=0.05)
    assert abs(np.corrcoef(draws.T) - np.eye(4)).max() < 0.03


POLICIES: dict[str, Callable[[float], Policy]] = {
    "beta-thompson": lambda half_life_s: BetaBernoulli(half_life_s=half_life_s),
    "ucb1": lambda half_life_s: UCB1(alpha=0.5, half_life_s=half_life_s),
    "epsilon-greedy": lambda half_life_s: EpsilonGreedy(
        MeanReward(half_life_s=half_life_s), uniform_share=0.1
    ),
    "plackett-luce": lambda half_life_s: PlackettLuce(
        MeanReward(half_life_s=half_life_s), temperature=0.1
    ),
}


def _play(policy: Policy, rates: Floats, n: int, *, seed: int, start_ms: int = 0) -> Floats:
    """Expected rewards of ``n`` decisions, a second each."""
    rng = np.random.default_rng(seed)
    arms = _keys(len(rates))
    earned = np.empty(n)
    for i in range(n):
        at = policy.choose(_none(len(rates)), arms, 1, seed=1_000_000 * seed + i).order
        reward = (rng.random(1) < rates[at]).astype(np.float64)
        _learn(policy, arms[at], reward, np.array([start_ms + 1_000 * i]))
        earned[i] = rates[at[0]]
    return earned


@pytest.mark.parametrize("name", POLICIES)
def test_the_best_arm_is_found(name: str) -> None:
    rates = np.array([0.1, 0.2, 0.15, 0.7, 0.3])
    earned = _play(POLICIES[name](0.0), rates, 1_500, seed=8)
    assert earned[1_000:].mean() > 0.6
    assert earned.mean() > rates.mean() + 0.2


@pytest.mark.parametrize("name", ["beta-thompson", "epsilon-greedy"])
def test_forgetting_finds_the_new_best_arm(name: str) -> None:
    before, after = np.array([0.9, 0.1, 0.5]), np.array([0.1, 0.9, 0.5])
    late = []
    for half_life_s in (0.0, 100.0):
        policy = POLICIES[name](half_life_s)
        _play(policy, before, 4_000, seed=9)
        late.append(_play(policy, after, 600, seed=10, start_ms=4_000_000)[200:].mean())
    forever, fading = late
    assert fading > 0.75
    assert fading > forever + 0.1


def test_three_learners_add_up_to_one_to_the_bit() -> None:
    arms, rewards, ts_ms = _log(3_000, 40, seed=11)
    for half_life_s in (0.0, 3_600.0):
        whole = MeanReward(half_life_s=half_life_s)
        _learn(whole, arms, rewards, ts_ms)
        for order in ((0, 1, 2), (2, 0, 1)):
            merged = MeanReward(half_life_s=half_life_s)
            for p in order:
                part = MeanReward(half_life_s=half_life_s)
                _learn(part, arms[p::3], rewards[p::3], ts_ms[p::3])
                merged.merge(part)
            for mine, other in zip(
                merged.outcomes.snapshot(), whole.outcomes.snapshot(), strict=True
            ):
                np.testing.assert_array_equal(mine, other)
            assert merged.outcomes.n_total() == whole.outcomes.n_total()
            assert merged.outcomes.newest_ms == whole.outcomes.newest_ms


def test_amended_outcomes_are_as_if_they_had_always_been_so() -> None:
    arms, rewards, ts_ms = _log(1_000, 10, seed=12)
    rng = np.random.default_rng(13)
    finally_ = np.where(rng.random(1_000) < 0.3, np.nan, rng.choice([1.0, 0.1, -2.0], 1_000))
    finally_[ts_ms.argmax()] = 1  # the newest event time learned is the same
    for half_life_s in (0.0, 600.0):
        amended, direct = MeanReward(half_life_s=half_life_s), MeanReward(half_life_s=half_life_s)
        _learn(amended, arms, rewards, ts_ms)
        amended.amend(_none(1_000), arms, rewards, finally_, ts_ms)
        _learn(direct, arms, finally_, ts_ms)
        assert len(amended.outcomes) == len(direct.outcomes)
        for mine, other in zip(
            amended.outcomes.snapshot(), direct.outcomes.snapshot(), strict=True
        ):
            if half_life_s == 0:
                np.testing.assert_array_equal(mine, other)
        # In cells, an epoch that holds a sum of 0 and one never written read alike.
        read, wanted = amended.outcomes.counts(_keys(10)), direct.outcomes.counts(_keys(10))
        np.testing.assert_array_equal(read.n, wanted.n)
        np.testing.assert_array_equal(read.rewards, wanted.rewards)


def test_the_idlest_arms_go_at_the_bound() -> None:
    policy = MeanReward(arms_max=4, prior_mean=0.5)
    for i, arm in enumerate([0, 1, 2, 3, 0, 4]):  # at 4, arm 1 is the idlest
        _learn(policy, _keys(5)[[arm]], np.ones(1), np.array([NOW_MS + i]))
    assert len(policy.outcomes) == 4
    assert policy.expected(_none(5), _keys(5)).tolist() == [1, 0.5, 1, 1, 1]
    # What comes too late for an arm that is gone leaves it unknown, and the total amended.
    policy.amend(_none(1), _keys(5)[[1]], np.ones(1), np.zeros(1), np.array([NOW_MS + 1]))
    assert policy.expected(_none(5), _keys(5))[1] == 0.5
    assert policy.outcomes.n_total() == 6


def test_arms_are_admitted_when_they_were_sighted_often_enough() -> None:
    policy = MeanReward(sightings_min=3)
    for i in range(4):
        assert len(policy.outcomes) == (i > 2)
        _learn(policy, _keys(1), np.ones(1), np.array([NOW_MS + i]))
    assert policy.outcomes.counts(_keys(1)).n.tolist() == [2]
    assert policy.outcomes.n_total() == 4


def test_batches_may_end_anywhere_even_where_arms_are_dropped() -> None:
    arms, rewards, ts_ms = _log(2_000, 60, seed=14)
    snapshots = []
    for size in (1, 7, 2_000):
        policy = MeanReward(arms_max=20)
        for start in range(0, 2_000, size):
            part = slice(start, start + size)
            _learn(policy, arms[part], rewards[part], ts_ms[part])
        assert policy.outcomes.arms.n_expired > 50
        snapshots.append([column.tobytes() for column in policy.outcomes.snapshot()])
    assert snapshots[0] == snapshots[1] == snapshots[2]


def test_too_many_arms_do_not_merge() -> None:
    one, other = MeanReward(arms_max=3), MeanReward(arms_max=3)
    _learn(one, _keys(4)[:2], np.ones(2), np.full(2, NOW_MS))
    _learn(other, _keys(4)[2:], np.ones(2), np.full(2, NOW_MS))
    with pytest.raises(ValueError, match="4 arms together, at most arms_max=3"):
        one.merge(other)
    with pytest.raises(ValueError, match="half-lives of 0 and 5000 ms"):
        one.merge(MeanReward(half_life_s=5))


@pytest.mark.parametrize("reward", [np.inf, -np.inf, 1_001.0])
def test_rewards_out_of_bounds_teach_nothing(reward: float) -> None:
    policy = MeanReward()
    with pytest.raises(ValueError, match="magnitude"):
        _learn(policy, _keys(2), np.array([1.0, reward]), np.full(2, NOW_MS))
    assert len(policy.outcomes) == policy.outcomes.n_total() == 0


@pytest.mark.parametrize(
    ("refused", "named"),
    [
        (lambda: MeanReward(prior_strength=-1), "prior_strength=-1"),
        (lambda: MeanReward(prior_mean=math.nan), "prior_mean=nan"),
        (lambda: MeanReward(half_life_s=-1), "half_life_s=-1"),
        (lambda: MeanReward(arms_max=0), "arms_max=0"),
        (lambda: MeanReward(sightings_min=0), "sightings_min=0"),
        (lambda: MeanReward(uniform_share=2), "uniform_share=2"),
        (lambda: UCB1(alpha=-1), "alpha=-1"),
        (lambda: BetaBernoulli(beta=0), "beta=0"),
        (lambda: BetaBernoulli(n_draws=0), "n_draws=0"),
        (lambda: EpsilonGreedy(MeanReward(), uniform_share=-1), "uniform_share=-1"),
        (lambda: PlackettLuce(MeanReward(), temperature=0), "temperature=0"),
        (lambda: BetaPriors(_keys(2), np.ones(2), np.ones(1)), "2 arms, 2 alpha and 1 beta"),
        (lambda: BetaPriors(_keys(2)[[0, 0]], np.ones(2), np.ones(2)), "more than one prior"),
        (lambda: BetaPriors(_keys(1), np.ones(1), np.zeros(1)), "prior's beta"),
    ],
)
def test_settings_out_of_range_are_refused(refused: Callable[[], object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        refused()
