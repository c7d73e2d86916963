"""Metrics can be read where they are said to be."""

from __future__ import annotations

import socket
import urllib.request

import pytest
from prometheus_client import CollectorRegistry

from streamer.errors import ConfigError
from streamer.telemetry import LearnerMetrics, ScorerMetrics, serve_metrics, show_lag


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_metrics_are_served_while_entered_and_the_port_is_free_afterwards() -> None:
    registry = CollectorRegistry()
    LearnerMetrics(registry).events.inc(3)
    port = free_port()
    with serve_metrics(registry, port) as served:
        assert served == port
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    assert "streamer_learner_events_total 3.0" in text.splitlines()
    with serve_metrics(registry, port):
        pass


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"metrics.port = {port}.*choose a free one"):
            serve_metrics(CollectorRegistry(), port).__enter__()


def test_port_zero_serves_nothing() -> None:
    with serve_metrics(CollectorRegistry(), 0) as port:
        assert port == 0


def test_lag_is_shown_of_the_partitions_owned_now() -> None:
    registry = CollectorRegistry()
    metrics = LearnerMetrics(registry)
    show_lag(metrics.lag, {("events", 0): 5, ("events", 1): 7})
    show_lag(metrics.lag, {("events", 1): 2})
    shown = [
        registry.get_sample_value(
            "streamer_learner_lag", {"topic": "events", "partition": partition}
        )
        for partition in "01"
    ]
    assert shown == [None, 2]


def test_learner_and_scorer_share_a_registry_without_a_clash() -> None:
    registry = CollectorRegistry()
    LearnerMetrics(registry).dead_letters.inc()
    ScorerMetrics(registry).dead_letters.inc(2)
    assert registry.get_sample_value("streamer_learner_dead_letters_total") == 1
    assert registry.get_sample_value("streamer_scorer_dead_letters_total") == 2
