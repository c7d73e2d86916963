"""A features topic that is not there when its reader is made."""

from __future__ import annotations

import logging

import pytest

from streamer.errors import KafkaError, KafkaUnavailable, TopicMismatch
from streamer.scorer.awaited_features import LOOK_EVERY_S, AwaitedFeatures
from streamer.simulation.broker import ManualClock, MemoryBroker, MemoryReader, MemorySink
from streamer.windows.latest import FeaturesReader

TOPIC = "t.features"


class Cluster:
    """A broker on which the topic is not yet, and what whoever looks for it is told.

    Attributes
    ----------
    refusal
        What a look raises; None: the topic is there.
    n_looks
        How often somebody looked.
    """

    def __init__(self) -> None:
        self.refusal: KafkaError | None = TopicMismatch(f"there is no topic {TOPIC}")
        self.n_looks = 0
        self.now_s = 100.0
        clock = ManualClock()
        broker = MemoryBroker({TOPIC: 2})
        self.sink = MemorySink(broker, clock=clock)
        self._reader = MemoryReader(broker, [TOPIC], clock=clock)
        self.features = AwaitedFeatures(self._open, now_s=lambda: self.now_s)

    def _open(self) -> FeaturesReader:
        self.n_looks += 1
        if self.refusal is not None:
            raise self.refusal
        return self._reader

    def poll_for(self, seconds: int) -> int:
        """Poll four times a second; the number of messages."""
        n = 0
        for _ in range(4 * seconds):
            self.now_s += 0.25
            n += sum(map(len, self.features.poll(n_max=100, timeout_s=0.0)))
        return n


def test_it_is_looked_for_now_and_then_and_nothing_is_in_it() -> None:
    cluster = Cluster()
    assert cluster.poll_for(60) == 0
    assert cluster.n_looks == 60 / LOOK_EVERY_S
    assert (cluster.features.positions, cluster.features.end_offsets()) == ({}, {})


def test_once_it_is_there_all_of_it_is_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cluster = Cluster()
    cluster.poll_for(7)
    cluster.sink.send(TOPIC, key=b"a", value=b"1", partition=0)
    cluster.sink.send(TOPIC, key=b"b", value=b"2", partition=1)
    cluster.refusal = None
    assert cluster.poll_for(5) == 2
    cluster.sink.send(TOPIC, key=b"a", value=b"3", partition=0)
    assert cluster.features.end_offsets() == {(TOPIC, 0): 2, (TOPIC, 1): 1}
    assert cluster.poll_for(60) == 1
    assert cluster.features.positions == {(TOPIC, 0): 2, (TOPIC, 1): 1}
    assert cluster.n_looks == 2
    assert [record.message for record in caplog.records] == ["features_found"]


def test_while_the_broker_is_away_it_is_looked_for_later() -> None:
    cluster = Cluster()
    cluster.refusal = KafkaUnavailable("did not answer")
    assert cluster.poll_for(20) == 0
    assert cluster.n_looks == 4
    cluster.sink.send(TOPIC, key=b"a", value=b"1")
    cluster.refusal = None
    assert cluster.poll_for(5) == 1


def test_what_waiting_does_not_mend_is_raised() -> None:
    cluster = Cluster()
    cluster.refusal = KafkaError("TOPIC_AUTHORIZATION_FAILED")
    with pytest.raises(KafkaError, match="AUTHORIZATION"):
        cluster.poll_for(6)
