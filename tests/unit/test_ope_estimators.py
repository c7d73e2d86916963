"""Off-policy estimators: the figures of obp, and what each promises."""

from __future__ import annotations

import numpy as np
import pytest

from streamer_models.evaluation.ope import (
    DM,
    DR,
    IPS,
    SNIPS,
    CrossFittedRidge,
    Estimator,
    Interval,
    ReplayMatching,
    SwitchDR,
    WeighedLog,
    paired_difference,
)
from streamer_models.evaluation.ope.intervals import Method
from tests.unit.ope_log import synthetic_log


# Printed by tests/compare_with_obp.py, which says how to run it: obp 0.4.1 on the same log.
@pytest.mark.parametrize(
    ("estimator", "value"),
    [
        (ReplayMatching(), 0.480056980057),
        (IPS(), 0.466646491971),
        (IPS(clip=5.0), 0.409818726833),
        (SNIPS(), 0.487249314071),
        (DM(), 0.436708644183),
        (DR(), 0.467867217141),
        (SwitchDR(threshold=2.0), 0.439501532461),
    ],
    ids=lambda each: each.name if isinstance(each, Estimator) else "",
)
def test_estimators_equal_those_of_obp(estimator: Estimator, value: float) -> None:
    assert estimator.estimate(synthetic_log().weighed()).value == pytest.approx(value, abs=1e-11)


@pytest.mark.parametrize("estimator", [IPS(), SNIPS(), DM(), DR(), SwitchDR()])
def test_a_log_of_the_policy_itself_gives_its_mean_reward(estimator: Estimator) -> None:
    rewards = np.array([1.0, 0.0, 0.5, 0.0])
    shares = np.array([0.5, 0.25, 0.1, 1.0])
    log = WeighedLog(rewards, shares, shares, model_logged=rewards, model_target=rewards)
    found = estimator.estimate(log)
    assert found.value == pytest.approx(rewards.mean())
    assert found.effective_sample_size == pytest.approx(4.0)
    assert found.clipped_share == 0.0


def test_clipping_reports_how_many_weights_it_cut() -> None:
    log = WeighedLog(np.ones(4), np.array([0.1, 0.2, 0.5, 1.0]), np.ones(4))
    clipped = IPS(clip=2.0).estimate(log)
    assert clipped.value == pytest.approx((2 + 2 + 2 + 1) / 4)
    assert clipped.clipped_share == 0.5
    assert clipped.effective_sample_size == pytest.approx(7**2 / 13)


@pytest.mark.parametrize("tiny", [1e-300, 5e-324])
@pytest.mark.parametrize("method", ["bootstrap", "normal"])
def test_a_propensity_next_to_nothing_makes_no_number_infinite(tiny: float, method: Method) -> None:
    n = 40
    propensities = np.full(n, 0.5)
    propensities[3] = tiny
    log = WeighedLog(
        np.tile([0.0, 1.0], n // 2),
        propensities,
        np.full(n, 0.5),
        model_logged=np.full(n, 0.25),
        model_target=np.full(n, 0.25),
    )
    for estimator in (IPS(), SNIPS(), DR(), SwitchDR(), IPS(clip=10.0)):
        found = estimator.estimate(log, Interval(method, 0.95, 100, 1))
        assert np.isfinite([found.value, found.low, found.high, found.standard_error]).all()
        assert 0 < found.effective_sample_size <= n
    assert IPS().terms(log).effective_sample_size == pytest.approx(1.0)


def test_switch_dr_leaves_large_weights_to_the_model() -> None:
    log = WeighedLog(
        np.array([1.0, 0.0]),
        np.array([0.1, 0.5]),
        np.ones(2),
        model_logged=np.array([0.4, 0.2]),
        model_target=np.array([0.3, 0.3]),
    )
    found = SwitchDR(threshold=5.0).estimate(log)
    assert found.value == pytest.approx((0.3 + (0.3 - 2 * 0.2)) / 2)
    assert found.clipped_share == 0.5


def test_doubly_robust_survives_a_wrong_model_and_dm_does_not() -> None:
    rng = np.random.default_rng(0)
    n, chances = 40_000, np.array([0.2, 0.6])
    actions = (rng.random(n) < 0.3).astype(int)
    log = WeighedLog(
        rewards=(rng.random(n) < chances[actions]).astype(float),
        propensities=np.where(actions == 1, 0.3, 0.7),
        target=np.where(actions == 1, 0.9, 0.1),
        model_logged=np.full(n, 0.9),
        model_target=np.full(n, 0.9),
    )
    true = 0.9 * 0.6 + 0.1 * 0.2
    found = DR().estimate(log, Interval("normal", level=0.999))
    assert found.low < true < found.high
    assert abs(found.value - true) < 0.02
    assert DM().estimate(log).value == pytest.approx(0.9)


@pytest.mark.parametrize("method", ["normal", "t", "bootstrap"])
def test_intervals_contain_the_truth_as_often_as_they_say(method: str) -> None:
    contained = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        actions = (rng.random(300) < 0.4).astype(int)
        log = WeighedLog(
            rewards=(rng.random(300) < np.array([0.3, 0.6])[actions]).astype(float),
            propensities=np.where(actions == 1, 0.4, 0.6),
            target=np.where(actions == 1, 0.8, 0.2),
        )
        interval = Interval(method, level=0.9, n_resamples=200, seed=seed)  # type: ignore[arg-type]
        found = SNIPS().estimate(log, interval)
        contained += found.low < 0.8 * 0.6 + 0.2 * 0.3 < found.high
    # 200 intervals at 90 %: 180 ± 3 standard deviations of 4.2.
    assert 167 <= contained <= 193


def test_rows_of_one_request_are_resampled_together() -> None:
    rewards = np.repeat([0.0, 1.0] * 50, 4)
    requests = np.repeat(np.arange(100), 4)
    apart = WeighedLog(rewards, np.ones(400), np.ones(400))
    together = WeighedLog(rewards, np.ones(400), np.ones(400), requests=requests)
    for interval in (Interval(), Interval("bootstrap", n_resamples=2_000)):
        narrow, wide = IPS().estimate(apart, interval), IPS().estimate(together, interval)
        assert wide.value == narrow.value
        assert (wide.n, wide.n_requests, narrow.n_requests) == (400, 100, 400)
        # Four equal rows say what one says: twice the spread.
        ratio = (wide.high - wide.low) / (narrow.high - narrow.low)
        assert ratio == pytest.approx(2.0, rel=0.1)


def test_a_difference_over_the_same_rows_is_as_wide_as_it_has_to_be() -> None:
    """Two rows a user, who likes all or little: over 300 logs the interval holds at its level."""
    contained, widths = 0, []
    users = np.repeat(np.arange(150), 2)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        likes = np.repeat(rng.uniform(-0.3, 0.3, 150), 2)
        actions = (rng.random(300) < 0.4).astype(int)
        rewards = (rng.random(300) < likes + np.array([0.4, 0.6])[actions]).astype(float)
        shares = np.where(actions == 1, 0.4, 0.6)
        log = WeighedLog(rewards, shares, np.where(actions == 1, 0.8, 0.2))
        served = IPS().terms(WeighedLog(rewards, shares, shares))
        value, low, high = paired_difference(SNIPS().terms(log), served, users, level=0.9)
        assert value == pytest.approx(SNIPS().estimate(log).value - rewards.mean())
        contained += low < (0.8 - 0.4) * 0.2 < high
        alone = SNIPS().estimate(log, Interval(level=0.9))
        widths.append((high - low) / (alone.high - alone.low))
    # 300 intervals at 90 %: 270 ± 3 standard deviations of 5.2.
    assert 254 <= contained <= 286
    assert np.mean(widths) < 0.9


def test_the_difference_of_a_policy_to_itself_is_none() -> None:
    rewards, shares = np.array([1.0, 0.0, 0.5, 0.0]), np.array([0.5, 0.25, 0.1, 1.0])
    terms = [SNIPS().terms(WeighedLog(rewards, shares, each)) for each in (shares, shares)]
    first, second = terms
    assert paired_difference(first, second, np.arange(4), level=0.95) == (0.0, 0.0, 0.0)
    assert np.isnan(paired_difference(first, second, np.zeros(4, int), level=0.95)[1:]).all()
    nothing = SNIPS().terms(WeighedLog(rewards, shares, np.zeros(4)))
    assert np.isnan(paired_difference(nothing, second, np.arange(4), level=0.95)).all()


def test_the_bootstrap_is_a_function_of_its_seed() -> None:
    log = synthetic_log().weighed()
    first, again, other = (
        IPS().estimate(log, Interval("bootstrap", n_resamples=50, seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.low != other.low


def test_what_rows_cannot_tell_is_nan() -> None:
    log = WeighedLog(np.ones(3), np.ones(3), np.zeros(3), matched=np.zeros(3, dtype=bool))
    for interval in (Interval(), Interval("bootstrap", n_resamples=10)):
        unmatched = ReplayMatching().estimate(log, interval)
        assert np.isnan([unmatched.value, unmatched.low, unmatched.high]).all()
    assert np.isnan(SNIPS().estimate(log).value)
    single = IPS().estimate(WeighedLog(np.ones(1), np.ones(1), np.ones(1)))
    assert single.value == 1.0
    assert np.isnan(single.low)


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("propensities", 0.0, r"propensities\[1\]=0.0 must be in \(0, 1\]"),
        ("propensities", 1.5, r"propensities\[1\]=1.5 must be in \(0, 1\]"),
        ("propensities", np.nan, "must be in"),
        ("target", -0.1, r"target\[1\]=-0.1 must be in \[0, 1\]"),
        ("rewards", np.inf, "rewards.*must be finite"),
    ],
)
def test_a_log_out_of_bounds_is_refused(column: str, value: float, complaint: str) -> None:
    columns = {name: np.full(2, 0.5) for name in ("rewards", "propensities", "target")}
    columns[column][1] = value
    with pytest.raises(ValueError, match=complaint):
        WeighedLog(**columns)


@pytest.mark.parametrize("estimator", [ReplayMatching(), DM(), DR(), SwitchDR()])
def test_an_estimator_says_which_column_it_lacks(estimator: Estimator) -> None:
    with pytest.raises(ValueError, match="needs"):
        estimator.estimate(WeighedLog(np.ones(2), np.ones(2), np.ones(2)))


def test_bounds_of_weights_and_intervals_are_checked() -> None:
    with pytest.raises(ValueError, match="clip=0"):
        IPS(clip=0)
    with pytest.raises(ValueError, match="level=95"):
        Interval(level=95)
    with pytest.raises(ValueError, match="n_resamples=1"):
        Interval("bootstrap", n_resamples=1)


# --- the reward model ---------------------------------------------------------------------------


def test_the_reward_model_is_ridge_regression_over_the_other_folds() -> None:
    rng = np.random.default_rng(3)
    n, n_actions, n_features, n_slots = 120, 5, 3, 2
    actions, slots = rng.integers(n_actions, size=n), rng.integers(n_slots, size=n)
    folds = np.arange(n) % 4
    features, rewards = rng.normal(size=(n, n_features)), rng.normal(size=n)
    model = CrossFittedRidge(n_actions, n_features, n_slots, n_folds=4, regularization=0.7)
    model.add(folds[:50], actions[:50], slots[:50], features[:50], rewards[:50])
    model.add(folds[50:], actions[50:], slots[50:], features[50:], rewards[50:])
    model.fit()

    inputs = np.hstack(
        [np.ones((n, 1)), np.eye(n_slots)[slots], features, np.eye(n_actions)[actions]]
    )
    penalty = np.diag([1e-9, *[0.7] * (inputs.shape[1] - 1)])
    for fold in range(4):
        others = folds != fold
        weights = np.linalg.solve(
            inputs[others].T @ inputs[others] + penalty, inputs[others].T @ rewards[others]
        )
        for row in np.flatnonzero(~others)[:5]:
            expected = model.predict(
                fold, actions[row : row + 1], slots[row], features[row : row + 1]
            )
            assert expected[0] == pytest.approx(inputs[row] @ weights, abs=1e-9)


def test_the_reward_model_never_sees_the_outcome_it_predicts() -> None:
    def predicted(reward: float) -> float:
        model = CrossFittedRidge(2, 0, 1, n_folds=2)
        rows, zeros = np.arange(4), np.zeros(4, dtype=np.intp)
        model.add(rows % 2, rows // 2, zeros, np.empty((4, 0)), np.array([reward, 1.0, 0.0, 2.0]))
        model.fit()
        return float(model.predict(0, np.array([0]), 0, np.empty((1, 0)))[0])

    assert predicted(0.0) == predicted(100.0)
