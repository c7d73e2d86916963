"""Drift: quiet where nothing changed, prompt where something did, and a boost that goes away."""

from __future__ import annotations

import numpy as np
import pytest

from streamer_models.evaluation.drift import Floats, RateBoost, log_losses, squared_errors
from streamer_models.river_adapter.drift import RECENT, AdwinMonitor

CLICK_RATE = 0.05


def clicks(n: int, rate: float, seed: int) -> Floats:
    return (np.random.default_rng(seed).random(n) < rate).astype(np.float64)


def settled(monitor: AdwinMonitor, n: int, *, seed: int = 0) -> None:
    assert monitor.observe(np.full(n, CLICK_RATE), clicks(n, CLICK_RATE, seed)) == []


def test_a_stream_that_does_not_change_raises_nothing() -> None:
    monitor = AdwinMonitor()
    settled(monitor, 100_000)
    assert monitor.n_observed == 100_000
    assert monitor.n_events == 0
    entropy = -CLICK_RATE * np.log(CLICK_RATE) - (1 - CLICK_RATE) * np.log(1 - CLICK_RATE)
    assert monitor.mean_loss == pytest.approx(entropy, rel=0.02)


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_click_rate_that_doubles_is_found_and_measured(seed: int) -> None:
    monitor = AdwinMonitor()
    settled(monitor, 20_000, seed=seed)
    event, *_ = monitor.observe(np.full(3_000, CLICK_RATE), clicks(3_000, 0.10, 100 + seed))
    assert 20_000 < event.n_observed < 22_000
    assert event.n_since == event.n_observed == event.n_before + event.n_after
    assert event.rose
    # 10 % clicks at a predicted 5 %: .1 * -ln .05 + .9 * -ln .95 = .346, before .199.
    assert event.before == pytest.approx(0.199, abs=0.01)
    assert event.after == pytest.approx(0.346, abs=0.12)
    assert event.n_before == pytest.approx(20_000, abs=600)


def test_a_click_rate_that_halves_makes_the_loss_fall_and_is_found_too() -> None:
    monitor = AdwinMonitor()
    settled(monitor, 20_000)
    (event,) = monitor.observe(np.full(5_000, CLICK_RATE), clicks(5_000, 0.025, 7))
    assert not event.rose
    assert event.after == pytest.approx(0.0245 + 0.125, abs=0.03)


def test_the_second_event_counts_from_the_first() -> None:
    monitor = AdwinMonitor()
    settled(monitor, 10_000)
    predicted = np.full(20_000, CLICK_RATE)
    observed = np.concatenate([clicks(10_000, 0.3, 1), clicks(10_000, 0.02, 2)])
    first, second = monitor.observe(predicted, observed)
    assert second.n_since == second.n_observed - first.n_observed
    assert second.n_observed > 20_000 > first.n_observed
    assert monitor.n_events == 2


def test_batches_find_what_single_observations_find() -> None:
    predicted = np.full(12_000, CLICK_RATE)
    observed = np.concatenate([clicks(9_000, 0.05, 3), clicks(3_000, 0.2, 4)])
    (whole,) = AdwinMonitor().observe(predicted, observed)
    one_by_one = AdwinMonitor()
    (single,) = [
        event
        for i in range(len(observed))
        for event in one_by_one.observe(predicted[i : i + 1], observed[i : i + 1])
    ]
    assert (single.n_observed, single.n_before) == (whole.n_observed, whole.n_before)
    assert (single.before, single.after) == pytest.approx((whole.before, whole.after))


def test_squared_errors_watch_rewards_that_are_more_than_clicks() -> None:
    rng = np.random.default_rng(0)
    monitor = AdwinMonitor(loss="squared", loss_max=36.0)
    predicted = np.full(5_000, 2.0)
    assert monitor.observe(predicted, 2.0 + rng.normal(0, 1, 5_000)) == []
    event, *_ = monitor.observe(predicted, 4.0 + rng.normal(0, 1, 5_000))
    assert event.n_observed < 5_500
    assert (event.before, event.after) == pytest.approx((1.0, 5.0), abs=0.6)


def test_what_is_kept_does_not_grow_with_the_stream() -> None:
    monitor = AdwinMonitor()
    for seed in range(5):
        settled(monitor, 10_000, seed=seed)
    assert len(monitor._recent) == RECENT
    assert monitor.mean_loss == pytest.approx(
        (monitor._sum_older + monitor._recent.sum()) * monitor.loss_max / 50_000
    )


@pytest.mark.parametrize(
    ("predicted", "observed", "complaint"),
    [
        (np.zeros(3), np.zeros(2), r"\(3,\) and observed of shape \(2,\)"),
        (np.zeros((2, 2)), np.zeros((2, 2)), "one number an observation"),
        (np.array([0.1, np.nan]), np.zeros(2), "not finite"),
        (np.zeros(2), np.array([0.1, np.inf]), "not finite"),
    ],
)
def test_refused_observations_change_nothing(
    predicted: Floats, observed: Floats, complaint: str
) -> None:
    monitor = AdwinMonitor()
    with pytest.raises(ValueError, match=complaint):
        monitor.observe(predicted, observed)
    assert monitor.n_observed == 0
    assert monitor.mean_loss == 0.0


@pytest.mark.parametrize(
    "options", [{"loss": "hinge"}, {"loss_max": 0.0}, {"delta": 0.0}, {"delta": 1.0}]
)
def test_a_monitor_says_what_its_options_may_be(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        AdwinMonitor(**options)  # type: ignore[arg-type]


def test_losses_are_those_of_their_definitions() -> None:
    predicted, observed = np.array([0.2, 0.2, 0.0, 1.5]), np.array([1.0, 0.0, 3.0, -1.0])
    assert log_losses(predicted, observed) == pytest.approx(
        [-np.log(0.2), -np.log(0.8), -np.log(0.001), -np.log(0.001)]
    )
    assert squared_errors(predicted, observed) == pytest.approx([0.64, 0.04, 9.0, 6.25])


# --- the boost ---------------------------------------------------------------------------------


def test_a_boost_halves_what_is_above_one_with_every_half_life() -> None:
    boost = RateBoost(boost=9.0, half_life_examples=50.0)
    factors = boost.factors(1_000, 2_000, [1_200])
    assert (factors[:200] == 1.0).all()
    assert factors[200::50][:5].tolist() == [9.0, 5.0, 3.0, 2.0, 1.5]
    assert (np.diff(factors[200:]) <= 0).all()
    assert factors[-1] == pytest.approx(1.0, abs=1e-8)


def test_a_further_drift_starts_the_boost_anew() -> None:
    boost = RateBoost(boost=3.0, half_life_examples=10.0)
    assert boost.factors(0, 41, [0, 20])[::10].tolist() == [3.0, 2.0, 3.0, 2.0, 1.5]


def test_the_last_drift_is_all_a_boost_needs_and_batches_do_not_matter() -> None:
    boost, drifts = RateBoost(boost=4.0, half_life_examples=33.0), [5, 70, 90]
    whole = boost.factors(0, 200, drifts)
    parts = [boost.factors(0, 80, drifts[:2]), boost.factors(80, 120, [70, 90])]
    assert np.array_equal(whole, np.concatenate(parts))


def test_no_drift_and_a_boost_of_one_leave_the_rate_alone() -> None:
    assert (RateBoost().factors(0, 100, []) == 1.0).all()
    assert (RateBoost(boost=1.0).factors(0, 100, [3]) == 1.0).all()
    assert len(RateBoost().factors(7, 0, [3])) == 0


@pytest.mark.parametrize("options", [{"boost": 0.5}, {"half_life_examples": 0.0}])
def test_a_boost_says_what_its_options_may_be(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        RateBoost(**options)


def test_drift_found_in_a_stream_boosts_the_examples_from_there_on() -> None:
    monitor, boost = AdwinMonitor(), RateBoost(boost=4.0, half_life_examples=500.0)
    settled(monitor, 20_000)
    first = monitor.n_observed
    events = monitor.observe(np.full(3_000, CLICK_RATE), clicks(3_000, 0.4, 1))
    # An example is observed before it is learned, so its number is that of its observation.
    factors = boost.factors(first + 1, 3_000, [e.n_observed for e in events if e.rose])
    found = events[0].n_observed - first - 1
    assert (factors[:found] == 1.0).all()
    assert factors[found] == 4.0
