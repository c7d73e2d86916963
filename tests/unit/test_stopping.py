"""Whoever is asked to stop while a broker does not answer does not wait for it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import confluent_kafka as ck
import pytest

from streamer.application.services.signals import stopped_by_signals
from streamer.config import Config
from streamer.errors import Stopped, StoreUnavailable
from streamer.kafka.embedded import EmbeddedBroker
from streamer.kafka.reader import KafkaReader
from streamer.kafka.sink import KafkaSink
from streamer.kafka.source import KafkaSource
from streamer.kafka.topics import create_topics
from streamer.learner.service import LearnerService, dead_letters_to
from streamer.protocols import Source
from streamer.scorer.scorer import Scorer
from streamer.scorer.service import ScorerService
from streamer.store.memory import MemoryStore
from tests.event_log import SETTINGS, TOPIC, make_learner, messages, small_models
from tests.unit.test_learner_service import LogSource, SteppedClock

AWAY = "127.0.0.1:1"
WHERE = (TOPIC, 0)
PATIENCE_S = 600.0
"""Of the clients. Who is stopped ends long before."""


@contextlib.contextmanager
def stopped(stop: threading.Event, *, after_s: float = 0.2) -> Iterator[None]:
    """Stop from another thread while the block runs, which must end long before its patience."""
    timer = threading.Timer(after_s, stop.set)
    timer.start()
    began = time.monotonic()
    yield
    timer.join()
    assert time.monotonic() - began < PATIENCE_S / 10


@pytest.mark.parametrize(
    "ask",
    [
        lambda reader: reader.partitions(TOPIC),
        lambda reader: reader.end_offsets([WHERE]),
        lambda reader: reader.committed([WHERE]),
    ],
    ids=["partitions", "ends", "committed"],
)
@pytest.mark.parametrize("dies", [False, True], ids=["never there", "dies in between"])
def test_each_question_to_a_broker_ends(ask: Callable[[KafkaReader], object], dies: bool) -> None:
    stop = threading.Event()
    with contextlib.ExitStack() as stack:
        servers = AWAY
        if dies:
            broker = EmbeddedBroker()
            servers = stack.enter_context(broker).bootstrap_servers
        reader = KafkaReader(servers, group="g", timeout_s=PATIENCE_S, stopping=stop.is_set)
        stack.callback(reader.close)
        if dies:
            create_topics(servers, Config().topics)
            reader.partitions(TOPIC)
            broker.__exit__(None, None, None)
        with stopped(stop), pytest.raises(Stopped, match="asked to stop while"):
            ask(reader)


@pytest.mark.parametrize("group", ["g", None])
def test_a_learner_that_has_not_joined_yet_ends(group: str | None) -> None:
    stop = threading.Event()
    learner = make_learner(MemoryStore(), small_models(), SETTINGS)
    service = LearnerService(
        learner=learner,
        open_source=lambda *, on_assign, on_revoke: KafkaSource(
            AWAY,
            group,
            [TOPIC],
            on_assign=on_assign,
            on_revoke=on_revoke,
            timeout_s=PATIENCE_S,
            stopping=stop.is_set,
        ),
        sync_interval_s=0.02,
        n_max=1_000,
        clock=SteppedClock(1),
        stop=stop,
    )
    with stopped(stop):
        service.run()
    assert learner.counts.n_messages == 0


class Waiting:
    """A scorer whose start waits for the broker, and a source that is closed."""

    poll_s = 0.0
    clock = metrics = None

    def __init__(self) -> None:
        self.said: list[str] = []

    def start(self) -> None:
        raise Stopped("asked to stop while connecting to Kafka")

    def close(self) -> None:
        self.said.append("closed")


def test_a_scorer_that_has_not_started_yet_ends_in_order(caplog: pytest.LogCaptureFixture) -> None:
    parts = Waiting()
    ScorerService(cast("Scorer", parts), source=cast("Source", parts)).run()
    assert parts.said == ["closed", "closed"]
    assert "stopped_without_broker" in caplog.text


def test_a_letter_that_is_not_sent_ends_no_learner_and_its_event_is_not_committed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.learner.service._SAY_AFTER_S", 0.6)
    monkeypatch.setattr("streamer.kafka.sink._ON_ITS_WAY_S", 0.2)
    monkeypatch.setattr("streamer.kafka.sink._LOOK_S", 0.1)
    stop = threading.Event()
    sink = KafkaSink(AWAY, timeout_s=float("inf"), stopping=stop.is_set)
    store = MemoryStore()
    log = [b"rubbish"] * 3

    class OneBatch(LogSource):
        def poll(self, **_: Any) -> list[Any]:
            if self._at < 0:
                self._at = self._on_assign([0])[WHERE]
            return [messages(log, 0, 0, 3)]

    learner = make_learner(
        store, small_models(), SETTINGS, dead=dead_letters_to(sink, "dead-letters")
    )
    service = LearnerService(
        learner=learner,
        open_source=lambda *, on_assign, on_revoke: OneBatch(on_assign),
        sync_interval_s=0.02,
        n_max=1_000,
        clock=SteppedClock(1),
        stop=stop,
    )

    class StopsOnceSaid(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.msg == "dead_letters_wait":
                stop.set()

    handler = StopsOnceSaid()
    logger = logging.getLogger("streamer.learner.service")
    logger.addHandler(handler)
    try:
        service.run()
    finally:
        logger.removeHandler(handler)
    assert caplog.text.count("dead_letters_wait") == 1
    (end,) = [each for each in caplog.records if each.message == "stopped_without_broker"]
    assert "3 messages were not acknowledged" in end.__dict__["reason"]
    assert store.versions() == {}
    sink.discard()  # returns without waiting for the broker


def test_a_client_that_waits_for_a_broker_that_is_away_is_left_to_itself(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.kafka.assignment._CLOSE_S", 0.1)
    gone, given = threading.Event(), list[list[int]]()
    source = KafkaSource(
        AWAY, "g", [TOPIC], on_assign=lambda numbers: {}, on_revoke=lambda n: given.append([*n])
    )
    source._owned = [0]
    consumer = source._assignment.consumer

    class Waiting:
        def close(self) -> None:
            gone.wait(PATIENCE_S)

    source._assignment.consumer = cast("ck.Consumer", Waiting())
    source.close()
    assert given == [[0]]
    assert "client_not_closed" in caplog.text
    gone.set()
    consumer.close()


def test_a_signal_ends_a_start_and_stops_what_runs() -> None:
    stops: list[str] = []
    with stopped_by_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE_S)
        stops.append("went on")
    with stopped_by_signals() as signals:
        signals.hand_over(lambda: stops.append("stopped"))
        os.kill(os.getpid(), signal.SIGTERM)
        stops.append("in order")
    assert stops == ["stopped", "in order"]


def test_a_start_ends_though_what_the_signal_raised_was_lost() -> None:
    stops: list[str] = []
    with stopped_by_signals() as signals:
        with contextlib.suppress(BaseException):  # as a callback of a client in C does
            signal.raise_signal(signal.SIGTERM)
        signals.hand_over(lambda: stops.append("stopped"))
        stops.append("went on")
    assert stops == []


def test_an_end_of_a_start_that_fails_is_no_error_and_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def start() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            fail()

    def fail() -> None:
        raise StoreUnavailable("gone meanwhile")

    with caplog.at_level("INFO"), stopped_by_signals():
        start()
    (end,) = [each for each in caplog.records if each.message == "start_stopped"]
    assert end.__dict__["reason"] == "StoreUnavailable: gone meanwhile"
    with pytest.raises(StoreUnavailable), stopped_by_signals():
        fail()
