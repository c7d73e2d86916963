"""The watch on live rewards: it says that they are foreseen worse than before, and only says it."""

from __future__ import annotations

import logging
import sys
import threading

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from streamer.learner.drift_watch import DriftWatch, configured_watch
from streamer.learner.join.counts import Foreseen
from streamer_models.river_adapter.drift import AdwinMonitor

CLICK_RATE = 0.05


def foreseen(n: int, click_rate: float, seed: int) -> Foreseen:
    clicks = np.random.default_rng(seed).random(n) < click_rate
    return Foreseen(np.full(n, CLICK_RATE), clicks.astype(np.float64))


def n_drifts(registry: CollectorRegistry) -> tuple[float | None, ...]:
    """Times that the loss rose and that it fell."""
    name = "streamer_learner_reward_drift_total"
    return tuple(registry.get_sample_value(name, {"loss": each}) for each in ("rose", "fell"))


def test_a_change_is_logged_with_its_numbers_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = CollectorRegistry()
    watch = DriftWatch(AdwinMonitor, registry)
    watch.load()
    watch.take(foreseen(10_000, CLICK_RATE, seed=1))
    assert n_drifts(registry) == (0, 0)
    assert caplog.messages == []
    watch.take(foreseen(1_000, 0.4, seed=2))
    assert n_drifts(registry) == (1, 0)
    (record,) = caplog.records
    assert (record.message, record.levelno) == ("reward_drift", logging.WARNING)
    told = vars(record)
    assert told["loss"] == "rose"
    assert 0.1 < told["loss_before"] < 0.3 < told["loss_after"]
    assert told["n_before"] == pytest.approx(10_000, abs=100)


def test_it_is_loaded_at_the_first_outcome_beside_the_learning() -> None:
    registry = CollectorRegistry()
    watch = configured_watch(0.002, registry)
    assert watch is not None
    watch.take(foreseen(0, CLICK_RATE, seed=0))
    assert loaders() == [], "nothing to watch yet"
    watch.take(foreseen(1, CLICK_RATE, seed=0))
    for thread in loaders():
        thread.join()
    watch.take(foreseen(5_000, CLICK_RATE, seed=1))
    watch.take(foreseen(5_000, 0.0, seed=2))
    assert n_drifts(registry) == (0, 1)


def loaders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "drift-loader"]


def test_without_river_it_says_so_once_and_learning_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "river", None)  # as where it is not installed
    with caplog.at_level(logging.INFO):
        assert configured_watch(0.002, CollectorRegistry()) is None
    assert caplog.messages == ["drift_not_watched"]


def test_it_can_be_turned_off(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert configured_watch(0.0, CollectorRegistry()) is None
    assert caplog.messages == []
