"""Metrics can be read where they are said to be."""

from __future__ import annotations

import ast
import re
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from streamer.errors import ConfigError
from streamer.http.metrics import HttpMetrics
from streamer.learner.drift_watch import DriftWatch
from streamer.learner.join.join import Join
from streamer.learner.metrics import JoinMetrics, LearnerMetrics
from streamer.learner.practice.budget import PracticeBudget
from streamer.learner.settings import LearnerCounts
from streamer.scorer.metrics import KnownFeatureMetrics, ScorerMetrics
from streamer.store.memory import MemoryStore
from streamer.telemetry import serve_metrics, show_lag
from streamer_models.river_adapter.drift import AdwinMonitor
from streamer_models.state.table import ARM
from tests import decision_log
from tests.event_log import TOPIC, make_learner
from tests.imports import sources
from tests.joins import SETTINGS, START_MS, Answer, answers_at, decided, decisions_at


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
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
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


def test_metrics_are_for_this_machine_alone_unless_another_address_is_named() -> None:
    port = free_port()
    other = f"http://127.0.0.2:{port}/metrics"  # an address that the listener is not bound to
    with serve_metrics(CollectorRegistry(), port), pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(other, timeout=60)
    everywhere = serve_metrics(CollectorRegistry(), port, host="0.0.0.0")
    with everywhere, urllib.request.urlopen(other, timeout=60) as answer:
        assert answer.status == 200
    with pytest.raises(ConfigError, match=r"metrics\.host = 192\.0\.2\.1 "):
        serve_metrics(CollectorRegistry(), port, host="192.0.2.1").__enter__()


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


def test_wrong_times_and_clipped_values_are_counted() -> None:
    registry, counts = CollectorRegistry(), LearnerCounts()
    metrics = LearnerMetrics(registry)
    for n_ahead, n_clipped in ((3, {"rating": 2}), (4, {"rating": 1, "watch": 5})):
        counts.n_ahead += n_ahead
        counts.n_clipped.update(n_clipped)
        metrics.show(counts)
    assert registry.get_sample_value("streamer_learner_ahead_total") == 7
    shown = [
        registry.get_sample_value("streamer_learner_clipped_total", {"type": name})
        for name in ("rating", "watch", "click")
    ]
    assert shown == [3, 5, None]


def test_arms_that_were_dropped_are_counted_by_themselves() -> None:
    registry, counts = CollectorRegistry(), LearnerCounts()
    metrics = LearnerMetrics(registry)
    counts.n_evicted[ARM] = 4
    metrics.show(counts)
    counts.n_evicted[ARM] = 7
    metrics.show(counts)
    for entity, n in (("arm", 7), ("item", 0), ("user", 0)):
        assert registry.get_sample_value("streamer_learner_evicted_total", {"entity": entity}) == n


DECISIONS = [
    decided("r1", START_MS, expected=[0.3, 0.15, 0.04]),
    decided("r2", START_MS + 20_000),  # by then the window of the first has passed
]
ANSWERS = [
    Answer(START_MS + 300, "r1", item_id="b", reward=1.0),
    Answer(START_MS + 400, "r9"),
    Answer(START_MS - 40, "r2", item_id="z"),
    Answer(START_MS + 30_000, "r1", item_id="a", reward=2.0),
    Answer(START_MS + 30_100, "r1", item_id="b", reward=-1.0),
]


class Shown:
    """What a registry shows of a join's metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = JoinMetrics(self.registry)

    def show(self, join: Join) -> None:
        self.metrics.show(join.counts, n_open=join.n_open, n_waiting=join.n_early)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"streamer_learner_{name}", labels)

    def bins(self, name: str) -> dict[str, float]:
        return {
            sample.labels["below"]: sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == f"streamer_learner_calibration_{name}" and sample.value
        }


def test_the_feedback_loop_is_shown_as_it_was_counted() -> None:
    shown, join = Shown(), Join(SETTINGS)
    join.take(decisions_at(DECISIONS, 0, 1), answers_at(ANSWERS, 0, 2))
    join.take(decisions_at(DECISIONS, 1, 2), answers_at(ANSWERS, 2, 3))
    shown.show(join)
    assert shown.value("decisions_total", fate="joined") == 2
    assert shown.value("feedback_total", fate="matched") == 1
    assert shown.value("feedback_total", fate="unmatched") == 2
    assert (shown.value("decisions_open"), shown.value("feedback_waiting")) == (2, 0)
    assert shown.value("join_delay_seconds_sum") == pytest.approx(0.3)
    assert shown.value("join_delay_seconds_bucket", le="0.2") == 0
    assert shown.value("join_delay_seconds_bucket", le="0.5") == 1
    known = [shown.value(name) for name in ("outcomes", "positives", "reward", "amended_total")]
    assert known == [3, 1, 1, 0]
    assert shown.bins("outcomes") == {"0.05": 1, "0.2": 1, "0.5": 1}
    assert shown.bins("expected") == pytest.approx({"0.05": 0.04, "0.2": 0.15, "0.5": 0.3})
    assert shown.bins("observed") == {"0.2": 1}


def test_what_is_amended_changes_sums_and_nothing_is_shown_twice() -> None:
    shown, join = Shown(), Join(SETTINGS)
    join.take(decisions_at(DECISIONS, 0, 2), answers_at(ANSWERS, 0, 1))
    for _ in range(2):
        shown.show(join)
        assert shown.value("decisions_total", fate="joined") == 2
        assert shown.value("join_delay_seconds_count") == 1
        assert shown.value("positives") == 1
    join.take(None, answers_at(ANSWERS, 3, 5))
    shown.show(join)
    assert shown.value("amended_total") == 2
    # The click on b is made up for by a dislike, a was taken late, the second is closed by now.
    assert (shown.value("outcomes"), shown.value("positives"), shown.value("reward")) == (6, 1, 2)
    assert shown.bins("observed") == {"0.5": 2}


def test_a_learner_says_what_waits_in_the_partitions_it_owns() -> None:
    logs, settings = [decision_log.make_topics(200, seed=1)], decision_log.SETTINGS
    learner = make_learner(MemoryStore(), decision_log.models_with_bandit(), settings)
    at = learner.assign([0])
    assert (learner.n_open, learner.n_early) == (0, 0)
    for _ in range(5):
        decision_log.read_on(learner, logs, at, {TOPIC: 80, decision_log.DECISIONS: 10})
    assert learner.n_open == learner.counts.join.n_decisions > 10
    assert learner.n_early > 0
    learner.release()
    assert (learner.n_open, learner.n_early) == (0, 0)


MAKERS = {
    "prometheus_client": {"Counter", "Gauge", "Histogram", "Summary"},
    "streamer.telemetry": {"NamedMetrics"},
}
"""By module, what makes metrics."""


def test_metrics_are_in_one_file_of_their_room() -> None:
    makers = {
        module
        for module, text in sources("streamer").items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom)
        if {alias.name for alias in node.names} & MAKERS.get(node.module or "", set())
    }
    assert {each for each in makers if not each.endswith(".metrics")} == {"streamer.telemetry"}
    assert {"streamer.learner.metrics", "streamer.scorer.metrics"} <= makers


def test_every_metric_is_explained_and_none_that_is_not_there() -> None:
    registry = CollectorRegistry()
    LearnerMetrics(registry)
    JoinMetrics(registry)
    DriftWatch(AdwinMonitor, registry)
    PracticeBudget(1.0, 0.25, registry)
    ScorerMetrics(registry).replica.show_freshness(lambda: 0.0, lambda: 0.0)
    KnownFeatureMetrics(registry)
    HttpMetrics(registry)
    text = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()
    explained = {
        name
        for line in text.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(streamer_\w+)`", line.split("|")[1])
    }
    assert explained == {family.name for family in registry.collect()}
