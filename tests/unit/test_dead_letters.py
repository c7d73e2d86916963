"""Letters for messages that can't be used, on topics of any size."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from streamer.dead_letters import letters_of, send_letter
from streamer.events import decode_dead_letter
from streamer.protocols import MessageBatch
from streamer.simulation.broker import ManualClock, MemoryBroker, MemorySink

TOPIC = "dead-letters"


def batch_of(value: bytes | None) -> MessageBatch:
    return MessageBatch(
        topic="events",
        partition=1,
        values=[value],
        offsets=np.array([7]),
        publish_ms=np.array([0]),
        keys=[b"k"],
    )


def test_letters_shrink_to_the_coordinates_and_the_start_of_the_reason() -> None:
    letters = [letter for _, letter in letters_of(batch_of(b"x" * 600_000), 0, "r" * 3_000)]
    first, last = decode_dead_letter(letters[0]), decode_dead_letter(letters[-1])
    assert first.raw == b"x" * 524_288
    assert first.reason == "r" * 3_000
    assert last.raw == b""
    assert last.reason == "r" * 200
    assert (last.topic, last.partition, last.offset, last.n_bytes) == ("events", 1, 7, 600_000)
    assert len(letters[-1]) < 500
    assert sorted(map(len, letters), reverse=True) == list(map(len, letters))


@pytest.mark.parametrize("value", [None, b"", b"{"])
def test_a_small_message_has_a_letter_as_it_is(value: bytes | None) -> None:
    assert decode_dead_letter(next(letters_of(batch_of(value), 0, "why"))[1]).raw == value


@pytest.mark.parametrize("bytes_max", [100_000, 5_000, 600])
def test_a_topic_of_any_size_takes_a_letter(bytes_max: int) -> None:
    broker = MemoryBroker({TOPIC: 1})
    sink = MemorySink(broker, clock=ManualClock())
    sink.bytes_max[TOPIC] = bytes_max
    send_letter(sink, TOPIC, batch_of(b"x" * 60_000), 0, "why")
    (record,) = broker.records(TOPIC)
    assert record.key == b"events:1:7"
    assert record.value is not None
    assert len(record.value) <= bytes_max
    assert decode_dead_letter(record.value).n_bytes == 60_000


def test_a_topic_that_takes_no_letter_is_said_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = MemorySink(MemoryBroker({TOPIC: 1}), clock=ManualClock())
    sink.bytes_max[TOPIC] = 10
    with caplog.at_level(logging.ERROR):
        send_letter(sink, TOPIC, batch_of(b"x" * 60_000), 0, "why")
    assert [record.message.split(":")[0] for record in caplog.records] == ["dead_letter_refused"]


class SmallTopic:
    """A topic of Faust that refuses what is over its bound, as the broker does."""

    def __init__(self, bytes_max: int) -> None:
        self.taken: list[bytes] = []
        self._bytes_max = bytes_max

    def get_topic_name(self) -> str:
        return TOPIC

    async def send(self, *, key: bytes, value: bytes) -> Any:
        from aiokafka.errors import MessageSizeTooLargeError

        future = asyncio.get_running_loop().create_future()
        if len(value) > self._bytes_max:
            future.set_exception(MessageSizeTooLargeError())
        else:
            self.taken.append(value)
            future.set_result(None)
        return future


@pytest.mark.parametrize(("bytes_max", "n_taken"), [(5_000, 1), (10, 0)])
def test_the_worker_of_the_features_sends_what_its_topic_takes(
    bytes_max: int, n_taken: int
) -> None:
    pytest.importorskip("faust")
    from streamer.faust_worker.dead_letters import DeadLetters
    from streamer.faust_worker.metrics import FeaturesMetrics

    topic = SmallTopic(bytes_max)
    letters = DeadLetters(cast("Any", topic), FeaturesMetrics(CollectorRegistry()))
    asyncio.run(letters.send(batch_of(b"x" * 60_000), 0, "why"))
    assert len(topic.taken) == n_taken
