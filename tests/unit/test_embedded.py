"""The broker inside this process serves other processes as a real one does."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

import pytest

from deploy.kafka.node import free_port
from streamer.config import load_config
from streamer.config.settings import TopicsConfig
from streamer.errors import ConfigError, KafkaError, KafkaUnavailable, TopicMismatch
from streamer.kafka.assignment import Assignment
from streamer.kafka.embedded import N_PARTITIONS, EmbeddedBroker
from streamer.kafka.log_ends import EARLIEST
from streamer.kafka.reader import KafkaReader
from streamer.kafka.sink import KafkaSink
from streamer.kafka.source import KafkaSource
from streamer.kafka.topic_ids import topic_ids
from streamer.kafka.topics import check_topics, create_internal_topics, create_topics
from tests.learner_processes import wait_until

# What another process does: publish, join a group, read, commit.
PUBLISH = """
import sys
from streamer.kafka.sink import KafkaSink
sink = KafkaSink(sys.argv[1])
for i in range(100):
    sink.send("events", key=b"user-%d" % i, value=b"%d" % i)
sink.close()
"""
CONSUME = """
import sys
from streamer.kafka.source import KafkaSource
source = KafkaSource(
    sys.argv[1], "group", ["events"], on_assign=lambda _: {}, on_revoke=lambda _: None
)
values, offsets = [], {}
while len(values) < 100:
    for batch in source.poll(n_max=1_000, timeout_s=1.0):
        values += batch.values
        offsets[batch.topic, batch.partition] = int(batch.offsets[-1]) + 1
        assert (batch.publish_ms > 1_600_000_000_000).all()
assert sorted(map(int, values)) == list(range(100))
source.tell_applied(offsets)
source.close()
"""


@pytest.fixture
def broker() -> Iterator[str]:
    with EmbeddedBroker() as embedded:
        yield embedded.bootstrap_servers


def run_apart(program: str, broker: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program, broker], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def fill(broker: str, values: Sequence[bytes], partition: int = 0) -> None:
    sink = KafkaSink(broker)
    for value in values:
        sink.send("events", key=None, value=value, partition=partition)
    sink.close()


def test_other_processes_publish_and_consume(broker: str) -> None:
    create_topics(broker, TopicsConfig())
    run_apart(PUBLISH, broker)
    run_apart(CONSUME, broker)


def test_a_client_finds_each_broker_that_has_its_port() -> None:
    port = free_port()
    sink = KafkaSink(f"127.0.0.1:{port}")  # one client, of each broker that comes
    for _ in range(2):
        with EmbeddedBroker(port=port) as broker:
            assert broker.bootstrap_servers == f"127.0.0.1:{port}"
            with pytest.raises(ConfigError, match=f"embedded_port = {port} can't be opened on 127"):
                EmbeddedBroker(port=port).__enter__()
            create_topics(broker.bootstrap_servers, TopicsConfig())
            sink.send("events", key=None, value=b"x", partition=0)
            sink.flush(60)
            with contextlib.closing(KafkaReader(broker.bootstrap_servers)) as reader:
                assert reader.end_offsets([("events", 0)]) == {("events", 0): 1}
    sink.close()


def test_two_sources_share_a_group(broker: str) -> None:
    create_topics(broker, TopicsConfig())
    owned: list[list[int]] = [[], []]

    def source(me: int) -> KafkaSource:
        def on_assign(partitions: Sequence[int]) -> Mapping[tuple[str, int], int]:
            owned[me] = list(partitions)
            return {}

        topics = ["events", "decisions"]
        return KafkaSource(
            broker, "group", topics, on_assign=on_assign, on_revoke=lambda _: owned[me].clear()
        )

    sources = [source(0), source(1)]

    def have_half_each() -> bool:
        for each in sources:
            each.poll(n_max=10, timeout_s=0.05)
        return [len(each) for each in owned] == [2, 2]

    # On a busy machine one joins more than 3 s after the other: the first has all by then, and this
    # broker takes up to two session timeouts, 20 s, to hand half of them on.
    wait_until(have_half_each, "two sources share four partitions")
    assert sorted(owned[0] + owned[1]) == list(range(N_PARTITIONS))
    for each in sources:
        each.close()


def test_a_source_without_a_group_starts_at_once_with_all(broker: str) -> None:
    create_topics(broker, TopicsConfig())
    for partition in range(N_PARTITIONS):
        fill(broker, [b"1"], partition)
    calls: list[tuple[str, list[int]]] = []

    def on_assign(partitions: Sequence[int]) -> Mapping[tuple[str, int], int]:
        calls.append(("assign", list(partitions)))
        return {}

    source = KafkaSource(
        broker,
        None,
        ["events"],
        on_assign=on_assign,
        on_revoke=lambda partitions: calls.append(("revoke", list(partitions))),
    )
    read: list[int] = []

    def have_read_all() -> bool:
        read.extend(b.partition for b in source.poll(n_max=10, timeout_s=0.05))
        return len(read) >= N_PARTITIONS

    wait_until(have_read_all, "a source without a group reads all partitions")
    assert sorted(read) == list(range(N_PARTITIONS))
    source.close()
    everything = list(range(N_PARTITIONS))
    assert calls == [("assign", everything), ("revoke", everything)]


def test_what_was_held_is_read_once_it_is_taken_again(broker: str) -> None:
    create_topics(broker, TopicsConfig())
    fill(broker, [b"1", b"2"])
    where = ("events", 0)
    reads = Assignment(broker, own={}, given={}, timeout_s=10.0)

    def have_read_both() -> bool:
        reads.batches(reads.fetch(10, 0.05))
        return reads.positions[where] == 2

    reads.start([where], {where: 0}, needed={})
    wait_until(have_read_both, "both are read")
    reads.hold([where])
    reads.start([where], {where: 0}, needed={})  # as where its log was trimmed
    wait_until(have_read_both, "both are read again")
    reads.hold([where])
    reads.let_go()
    reads.hold([])
    reads.consumer.unassign()
    reads.start([where], {where: 0}, needed={})
    wait_until(have_read_both, "both are read by who has given them back")
    reads.close()


def test_topics_are_made_by_use_and_made_once(broker: str) -> None:
    made = create_topics(broker, TopicsConfig())
    assert {each.name for each in made} == {
        "events",
        "items",
        "users",
        "requests",
        "recommendations",
        "decisions",
        "features",
        "dead-letters",
    }
    assert {each.created for each in made} == {True}
    assert {each.n_partitions for each in made} == {N_PARTITIONS}
    assert {each.created for each in create_topics(broker, TopicsConfig())} == {False}


def test_checking_makes_them_too(broker: str) -> None:
    check_topics(broker, TopicsConfig())
    reader = KafkaReader(broker)
    assert reader.partitions("items") == [("items", p) for p in range(N_PARTITIONS)]
    reader.close()


def test_another_number_of_partitions_is_refused(broker: str) -> None:
    config = load_config(env={}, flags={"topics.partitions": 8})
    with pytest.raises(TopicMismatch, match=r"events has 4 .* wants 8; the embedded broker knows"):
        create_topics(broker, config.topics)


def test_about_five_megabytes_a_partition_are_kept(broker: str) -> None:
    create_topics(broker, TopicsConfig())
    fill(broker, [b"x" * 100_000] * 100)
    reader = KafkaReader(broker, {("events", 0): 0})
    kept: list[bytes | None] = []
    while len(kept) < 100 - reader.skipped_offsets:
        kept += [v for b in reader.poll(n_max=100, timeout_s=5.0) for v in b.values]
    assert 40 <= len(kept) <= 60
    assert len(kept) + reader.skipped_offsets == 100
    reader.close()


def test_a_broker_is_gone_after_its_block() -> None:
    with EmbeddedBroker() as embedded:
        address = embedded.bootstrap_servers
    with pytest.raises(KafkaError, match="before it is entered"):
        embedded.bootstrap_servers  # noqa: B018
    reader = KafkaReader(address, {("events", 0): EARLIEST}, timeout_s=0.5)
    with pytest.raises(KafkaUnavailable):
        reader.poll(n_max=1, timeout_s=0.0)
    reader.close()


def test_its_topics_have_no_ids_and_that_is_found_at_once(broker: str) -> None:
    create_topics(broker, TopicsConfig())
    began = time.monotonic()
    assert topic_ids(broker, ["events", "decisions"], timeout_s=60.0) == {}
    assert time.monotonic() - began < 30.0


def test_topics_of_a_service_are_refused_at_once(broker: str) -> None:
    create_topics(broker, TopicsConfig())
    with pytest.raises(KafkaError, match="start a real Kafka") as caught:
        create_internal_topics(broker, {"app-changelog": "compact"}, TopicsConfig(), timeout_s=30.0)
    assert broker in str(caught.value)
    assert "app-changelog" in str(caught.value)
