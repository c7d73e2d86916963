"""Keys land where other Kafka clients put them."""

from __future__ import annotations

import confluent_kafka as ck
import pytest

from streamer.kafka.embedded import N_PARTITIONS, EmbeddedBroker
from streamer.kafka.partitioner import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "signed_hash"),
    [  # from the tests of Kafka's own Java client
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_that_of_java(key: bytes, signed_hash: int) -> None:
    assert murmur2(key) == signed_hash % 2**32


def test_partitions_are_those_of_librdkafka() -> None:
    keys = [f"ключ-{'x' * (i % 7)}{i}".encode() for i in range(200)]
    landed: dict[bytes, int] = {}

    def note(error: ck.KafkaError | None, message: ck.Message) -> None:
        key, partition = message.key(), message.partition()
        assert error is None
        assert key is not None
        assert partition is not None
        landed[key] = partition

    with EmbeddedBroker() as broker:
        options = {"bootstrap.servers": broker.bootstrap_servers, "partitioner": "murmur2_random"}
        producer = ck.Producer(options)
        for key in keys:
            producer.produce("events", b"", key, on_delivery=note)
        assert producer.flush(10) == 0
    assert landed == {key: partition_of(key, N_PARTITIONS) for key in keys}
