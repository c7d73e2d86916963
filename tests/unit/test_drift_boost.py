"""A drift raises the learning rate for a while, and the store still is what its schedule says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from streamer.config import load_config
from streamer.errors import ConfigError
from streamer.learner.drift_boost import DriftBoost
from streamer.learner.drift_watch import DriftWatch
from streamer.learner.join.counts import Foreseen
from streamer.protocols import Schedule
from streamer.store.layout import decode_schedule, encode_schedule
from streamer.store.memory import MemoryStore
from streamer.verify.execution import LearnedWith
from streamer.verify.parameters import compare_contents, verify_store
from streamer_models.evaluation.drift import RateBoost
from streamer_models.river_adapter.drift import AdwinMonitor
from tests.event_log import (
    LogStream,
    default_rewards,
    make_learner,
    make_log,
    messages,
    small_models,
    stored,
    with_settings,
)

N_PARTITIONS = 2
SETTINGS = with_settings(n_partitions=N_PARTITIONS)
MODELS = small_models()
LOGS = [make_log(1_000, seed=80 + p) for p in range(N_PARTITIONS)]
SIZE = 50


def boosted(boost: float, half_life: float = 100.0) -> DriftBoost:
    return DriftBoost(RateBoost(boost=boost, half_life_examples=half_life), CollectorRegistry())


def learned(rate_factor: Callable[[int], float], *, drift: Callable[[], None]) -> MemoryStore:
    """Both logs in turns, with a drift after 300 events of each."""
    store = MemoryStore()
    learner = make_learner(store, MODELS, SETTINGS, rate_factor=rate_factor)
    learner.assign(range(N_PARTITIONS))
    for at in range(0, len(LOGS[0]), SIZE):
        if at == 300:
            drift()
        learner.learn([messages(LOGS[p], p, at, at + SIZE) for p in range(N_PARTITIONS)])
    return store


def factors(store: MemoryStore, partition: int) -> list[float]:
    return [entry.rate_factor for entry in store.schedule(partition)]


def problems(store: MemoryStore) -> list[str]:
    return verify_store(
        store,
        learned_with=[LearnedWith(MODELS, SETTINGS, default_rewards)],
        stream=lambda topic, p, at: LogStream(LOGS[p], p, at),
    ).problems


def differences(left: MemoryStore, right: MemoryStore) -> list[str]:
    pairs = zip(stored(left, MODELS, SETTINGS), stored(right, MODELS, SETTINGS), strict=True)
    return [found for pair in pairs for found in compare_contents(*pair)]


@pytest.fixture(scope="module")
def undisturbed() -> MemoryStore:
    return learned(lambda n_events: 1.0, drift=lambda: None)


@pytest.fixture(scope="module")
def raised_once() -> MemoryStore:
    boost = boosted(4.0)
    return learned(boost.factor, drift=boost.rise)


def test_a_learner_whose_rate_was_raised_verifies_bit_for_bit(
    undisturbed: MemoryStore, raised_once: MemoryStore
) -> None:
    for partition in range(N_PARTITIONS):
        found = factors(raised_once, partition)
        raised = [factor for factor in found if factor > 1]
        assert max(found) > 2.8
        assert raised == sorted(raised, reverse=True), "it falls back"
        assert found[0] == found[-1] == 1.0
    assert problems(raised_once) == []
    assert any("factors" in found for found in differences(raised_once, undisturbed))


def test_what_was_not_recorded_would_be_noticed(raised_once: MemoryStore) -> None:
    kept = raised_once._partition(0)
    schedules = [decode_schedule(each) for each in kept.schedule]
    at = next(i for i, each in enumerate(schedules) if each.rate_factor > 1)
    before = schedules[at]
    forgotten = Schedule(before.version, before.offsets, before.seen, before.merged)
    recorded, kept.schedule[at] = kept.schedule[at], encode_schedule(forgotten)
    try:
        found = problems(raised_once)
    finally:
        kept.schedule[at] = recorded
    assert any("table item_factors" in each for each in found)


def test_without_a_boost_a_drift_changes_nothing(undisturbed: MemoryStore) -> None:
    off = boosted(1.0)
    store = learned(off.factor, drift=off.rise)
    assert differences(store, undisturbed) == []
    for p in range(N_PARTITIONS):
        assert store._partition(p).schedule == undisturbed._partition(p).schedule


def test_a_factor_of_one_takes_no_bytes_and_others_travel_exactly() -> None:
    usual = Schedule(7, {"events": (3, 9)}, {1: 4}, {1: 5})
    assert b"rate_factor" not in encode_schedule(usual)
    raised = Schedule(7, {"events": (3, 9)}, {1: 4}, {1: 5}, 1 + 1 / 3)
    assert [decode_schedule(encode_schedule(each)) for each in (usual, raised)] == [usual, raised]


def test_the_factor_is_halved_with_the_events_and_is_one_in_the_end() -> None:
    boost = boosted(9.0, half_life=50.0)
    assert boost.factor(1_000) == 1.0
    boost.rise()
    assert [boost.factor(50) for _ in range(4)] == [9.0, 5.0, 3.0, 2.0]
    boost.rise()
    assert boost.factor(5_000) == 9.0
    assert boost.factor(1) == 1.0
    assert boost.shown._value.get() == 1.0


def test_a_loss_that_rises_raises_the_rate_and_one_that_falls_does_not() -> None:
    boost, registry = boosted(3.0), CollectorRegistry()
    watch = DriftWatch(AdwinMonitor, registry, rose=boost.rise)
    watch.load()

    def foreseen(n: int, click_rate: float) -> Foreseen:
        clicks = np.random.default_rng(n).random(n) < click_rate
        return Foreseen(np.full(n, 0.2), clicks.astype(np.float64))

    watch.take(foreseen(5_000, 0.2))
    watch.take(foreseen(3_000, 0.0))
    assert registry.get_sample_value("streamer_learner_reward_drift_total", {"loss": "fell"}) == 1
    assert boost.factor(10) == 1.0
    watch.take(foreseen(3_001, 0.6))
    assert boost.factor(10) == 3.0


def test_a_boost_without_a_watch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "streamer.toml"
    path.write_text("[bandit]\ndrift_rate_boost = 3\ndrift_delta = 0\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="nothing watches for drift"):
        load_config(path, env={})
