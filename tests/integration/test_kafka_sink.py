"""The sink on a real broker: delivery, order, bounds, failures."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from streamer.config import load_config
from streamer.errors import DeliveryFailed
from streamer.kafka.acknowledged import AcknowledgedSink
from streamer.kafka.log_ends import EARLIEST
from streamer.kafka.partitioner import partition_of
from streamer.kafka.reader import KafkaReader
from streamer.kafka.sink import KafkaSink
from streamer.kafka.topics import create_topics
from streamer.protocols import DeliveredAt
from tests.timing import shortest_s


@pytest.fixture
def topic(kafka_bootstrap: str, topic_prefix: str) -> str:
    config = load_config(env={}, flags={"topics.prefix": topic_prefix})
    create_topics(kafka_bootstrap, config.topics)
    return config.topics.topic("events")


def read_all(servers: str, topic: str) -> dict[int, list[bytes | None]]:
    """Values by partition."""
    reader = KafkaReader(servers)
    reader.start(dict.fromkeys(reader.partitions(topic), EARLIEST))
    ends = reader.end_offsets()
    values: dict[int, list[bytes | None]] = {}
    while reader.positions != ends:
        for batch in reader.poll(n_max=10_000, timeout_s=10.0):
            values.setdefault(batch.partition, []).extend(batch.values)
    reader.close()
    return values


def test_messages_arrive_in_order_where_their_key_says(kafka_bootstrap: str, topic: str) -> None:
    sink = KafkaSink(kafka_bootstrap)
    for i in range(3_000):
        sink.send(topic, key=b"user-%d" % (i % 10), value=b"%d" % i)
    sink.flush(20.0)
    assert (sink.n_delivered, sink.n_failed, sink.n_queued) == (3_000, 0, 0)
    found = read_all(kafka_bootstrap, topic)
    assert sum(map(len, found.values())) == 3_000
    for partition, values in found.items():
        sent = [i for i in range(3_000) if partition_of(b"user-%d" % (i % 10), 4) == partition]
        assert values == [b"%d" % i for i in sent]
    sink.close()


def test_a_full_buffer_makes_the_sender_wait_and_loses_nothing(
    kafka_bootstrap: str, topic: str
) -> None:
    sink = KafkaSink(kafka_bootstrap, client_options={"queue.buffering.max.messages": 10})
    n_queued_max = 0
    for i in range(2_000):
        sink.send(topic, key=None, value=b"%d" % i, partition=1)
        n_queued_max = max(n_queued_max, sink.n_queued)
    sink.close()
    assert n_queued_max <= 10
    assert read_all(kafka_bootstrap, topic) == {1: [b"%d" % i for i in range(2_000)]}


def test_a_buffer_that_stays_full_is_an_error() -> None:
    options = {"queue.buffering.max.messages": 5, "message.timeout.ms": 60_000}
    sink = KafkaSink("127.0.0.1:1", timeout_s=0.3, client_options=options)
    for _ in range(5):
        sink.send("events", key=None, value=b"")

    def send() -> None:
        with pytest.raises(
            DeliveryFailed, match=r"buffer of 5 messages stayed full.*127\.0\.0\.1:1"
        ):
            sink.send("events", key=None, value=b"")

    assert 0.3 <= shortest_s(send) < 3
    with pytest.raises(DeliveryFailed, match="5 messages are not acknowledged"):
        sink.close()
    with pytest.raises(DeliveryFailed, match="closed"):
        sink.send("events", key=None, value=b"")


def test_what_is_not_acknowledged_in_time_is_an_error_said_once() -> None:
    sink = KafkaSink("127.0.0.1:1", timeout_s=0.2)
    sink.send("events", key=None, value=b"")
    with pytest.raises(DeliveryFailed, match="a message was not delivered: sending to events"):
        sink.flush(10.0)
    sink.flush(0.0)
    assert (sink.n_delivered, sink.n_failed) == (0, 1)


def test_a_message_that_is_too_large_is_refused_at_once(kafka_bootstrap: str, topic: str) -> None:
    sink = KafkaSink(kafka_bootstrap)
    with pytest.raises(DeliveryFailed, match=f"refused: sending to {topic}: MSG_SIZE_TOO_LARGE"):
        sink.send(topic, key=None, value=b"x" * 2_000_000)
    sink.send(topic, key=None, value=b"small")
    sink.close()


def test_only_what_is_too_large_itself_is_refused_by_a_topic(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    name = f"{topic_prefix}small"
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    new = NewTopic(name, num_partitions=1, config={"max.message.bytes": "5000"})
    admin.create_topics([new])[name].result(20)
    sink = KafkaSink(kafka_bootstrap, linger_s=0.05)
    refused: list[int] = []

    def too_large() -> None:
        refused.append(0)
        sink.send(name, key=b"k", value=b"instead")

    # Together they are one batch of 13 kB, which the broker refuses as a whole.
    for i in range(20):
        sink.send(name, key=b"k", value=b"%02d" % i + b"x" * 198, on_too_large=too_large)
    sink.send(name, key=b"k", value=b"y" * 9_000, on_too_large=too_large)
    sink.flush(20.0)
    assert (len(refused), sink.n_delivered, sink.n_failed, sink.n_queued) == (1, 21, 1, 0)
    values = [value or b"" for value in read_all(kafka_bootstrap, name)[0]]
    assert sorted(value[:2] for value in values) == [b"%02d" % i for i in range(20)] + [b"in"]
    sink.send(name, key=b"k", value=b"y" * 9_000)
    with pytest.raises(DeliveryFailed, match=r"MSG_SIZE_TOO_LARGE.*raise max.message.bytes"):
        sink.flush(20.0)
    sink.send(name, key=b"k", value=b"after")
    sink.close()


def test_a_missing_topic_is_an_error_that_names_the_remedy(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    sink = KafkaSink(kafka_bootstrap)
    sink.send(f"{topic_prefix}absent", key=None, value=b"")
    with pytest.raises(DeliveryFailed, match="streamer topics create"):
        sink.flush(20.0)


def test_threads_share_a_sink(kafka_bootstrap: str, topic: str) -> None:
    sink = KafkaSink(kafka_bootstrap)

    def send(me: int) -> None:
        for i in range(1_000):
            sink.send(topic, key=None, value=b"%d" % (1_000 * me + i), partition=me)

    threads = [threading.Thread(target=send, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.close()
    assert sink.n_delivered == 4_000
    expected = {me: [b"%d" % (1_000 * me + i) for i in range(1_000)] for me in range(4)}
    assert read_all(kafka_bootstrap, topic) == expected


def test_who_waits_for_an_acknowledgement_learns_the_place(
    kafka_bootstrap: str, topic: str
) -> None:
    sink = AcknowledgedSink(kafka_bootstrap)
    sent = [(b"user-%d" % i, sink.send(topic, key=b"user-%d" % i, value=b"x")) for i in range(50)]
    n_before = dict.fromkeys(range(4), 0)
    for key, future in sent:
        partition = partition_of(key, 4)
        assert future.result(20.0) == DeliveredAt(topic, partition, n_before[partition])
        n_before[partition] += 1
    assert min(n_before.values()) > 0
    sink.close()
