"""The source on a real broker: offsets, rebalances, losses, outages."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pytest
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)
from prometheus_client import CollectorRegistry

from deploy.kafka.node import KafkaNode
from streamer.config import load_config
from streamer.errors import KafkaError, KafkaUnavailable, TopicMismatch
from streamer.kafka.log_ends import COMMITTED, EARLIEST, LATEST
from streamer.kafka.reader import KafkaReader
from streamer.kafka.sink import KafkaSink
from streamer.kafka.source import KafkaSource
from streamer.kafka.topics import create_topics
from streamer.learner.metrics import LearnerMetrics
from streamer.protocols import MessageBatch
from streamer.scorer.metrics import ScorerMetrics
from tests.brokers import alter_topic, make_topic

N_PARTITIONS = 3  # with an even number other strategies than range would do by chance
ALL = list(range(N_PARTITIONS))
TIMEOUT_S = 120.0

Where = tuple[str, int]


class Owner:
    """What a learner is to its source: offsets of its own, and a record of what happens.

    Attributes
    ----------
    store
        Next offset by partition; owners may share one, as learners share a parameter store.
    owners
        Partition → the owner that has it now, shared likewise.
    """

    def __init__(
        self,
        servers: str,
        group: str | None,
        topics: Sequence[str],
        *,
        store: dict[Where, int] | None = None,
        owners: dict[int, Owner] | None = None,
        needed: Callable[[], Mapping[Where, int]] = dict,
        client_options: Mapping[str, str | int] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.store: dict[Where, int] = {} if store is None else store
        self.owners: dict[int, Owner] = {} if owners is None else owners
        self.assigned: list[list[int]] = []
        self.revoked: list[list[int]] = []
        self.values: list[bytes | None] = []
        self.source = KafkaSource(
            servers,
            group,
            topics,
            on_assign=self._assign,
            on_revoke=self._revoke,
            needed=needed,
            client_options=client_options,
            timeout_s=timeout_s,
        )

    @property
    def partitions(self) -> list[int]:
        return sorted(p for p, owner in self.owners.items() if owner is self)

    def _assign(self, partitions: Sequence[int]) -> Mapping[Where, int]:
        self.assigned.append(list(partitions))
        for partition in partitions:
            assert partition not in self.owners, f"partition {partition} has two owners"
            self.owners[partition] = self
        return self.store

    def _revoke(self, partitions: Sequence[int]) -> None:
        self.revoked.append(list(partitions))
        for partition in partitions:
            assert self.owners.pop(partition) is self

    def poll(self, *, n_max: int = 1_000, timeout_s: float = 0.05) -> list[MessageBatch]:
        """Poll and take: each batch must go on where the store ends, and be of an own partition."""
        batches = self.source.poll(n_max=n_max, timeout_s=timeout_s)
        assert sum(map(len, batches)) <= n_max
        for batch in batches:
            where = batch.topic, batch.partition
            assert self.owners[batch.partition] is self
            assert batch.offsets[0] == self.store.get(where, batch.offsets[0])
            assert np.all(np.diff(batch.offsets) == 1)
            self.store[where] = int(batch.offsets[-1]) + 1
            self.values += batch.values
        return batches

    def poll_until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not done():
            assert time.monotonic() < deadline, "it did not happen in time"
            self.poll()


@pytest.fixture
def topics(kafka_bootstrap: str, topic_prefix: str) -> list[str]:
    """Two topics of the same number of partitions."""
    flags = {"topics.prefix": topic_prefix, "topics.partitions": N_PARTITIONS}
    config = load_config(env={}, flags=flags)
    create_topics(kafka_bootstrap, config.topics)
    return [config.topics.topic("events"), config.topics.topic("decisions")]


@pytest.fixture
def sink(kafka_bootstrap: str) -> Iterator[KafkaSink]:
    sink = KafkaSink(kafka_bootstrap)
    yield sink
    sink.close()


def send(sink: KafkaSink, topic: str, values: Sequence[bytes], partition: int = 0) -> None:
    for value in values:
        sink.send(topic, key=None, value=value, partition=partition)
    sink.flush(TIMEOUT_S)


def numbers(n: int, *, first: int = 0) -> list[bytes]:
    return [b"%d" % i for i in range(first, first + n)]


def delete_before(servers: str, topic: str, offset: int) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    for deleted in admin.delete_records([Place(topic, 0, offset)]).values():
        deleted.result(TIMEOUT_S)


# --- messages -----------------------------------------------------------------------------------


def test_batches_are_columns_of_one_partition(
    kafka_bootstrap: str, topics: list[str], sink: KafkaSink
) -> None:
    before_ms = time.time_ns() // 1_000_000
    for topic in topics:
        for partition in ALL:
            sink.send(topic, key=None, value=None, partition=partition)
            sink.send(topic, key=b"k", value=topic.encode(), partition=partition)
    sink.flush(TIMEOUT_S)
    owner = Owner(kafka_bootstrap, f"{topics[0]}-group", topics)
    batches: list[MessageBatch] = []
    while sum(map(len, batches)) < 2 * 2 * N_PARTITIONS:
        batches += owner.poll()
    assert owner.assigned == [ALL]
    assert {(b.topic, b.partition) for b in batches} == {(t, p) for t in topics for p in ALL}
    for batch in batches:
        assert batch.offsets.dtype == batch.publish_ms.dtype == np.int64
        assert len(batch) == len(batch.offsets) == len(batch.publish_ms)
        assert np.all(batch.publish_ms >= before_ms)
        assert np.all(batch.publish_ms <= time.time_ns() // 1_000_000)
        wanted = {0: None, 1: batch.topic.encode()}
        assert batch.values == [wanted[int(offset)] for offset in batch.offsets]
    owner.source.close()


def test_a_poll_returns_when_there_is_something(
    kafka_bootstrap: str, topics: list[str], sink: KafkaSink
) -> None:
    owner = Owner(kafka_bootstrap, None, topics)
    owner.poll_until(lambda: bool(owner.partitions))
    send(sink, topics[0], [b"1"])
    began = time.monotonic()
    (batch,) = owner.poll(timeout_s=TIMEOUT_S)
    assert time.monotonic() - began < TIMEOUT_S / 2, "it waited out its time"
    assert batch.values == [b"1"]
    owner.source.close()


def test_a_poll_takes_no_more_than_asked_and_loses_nothing(
    kafka_bootstrap: str, topics: list[str], sink: KafkaSink
) -> None:
    for partition in ALL:
        send(sink, topics[0], numbers(500), partition)
    owner = Owner(kafka_bootstrap, None, topics)
    while len(owner.values) < 1_500:
        owner.poll(n_max=7)
    assert sorted(owner.values) == sorted(numbers(500) * N_PARTITIONS)  # type: ignore[type-var]
    assert all(lag == 0 for lag in owner.source.lag().values())
    owner.source.close()


def test_lag_is_what_waits(kafka_bootstrap: str, topics: list[str], sink: KafkaSink) -> None:
    send(sink, topics[0], numbers(100))
    owner = Owner(kafka_bootstrap, None, topics)
    owner.poll_until(lambda: bool(owner.values))
    waiting = 100 - len(owner.values)
    assert owner.source.lag()[topics[0], 0] == waiting
    assert owner.source.lag()[topics[1], 2] == 0
    owner.source.close()


def test_nothing_waits_behind_the_end_of_a_transaction(
    kafka_bootstrap: str, topics: list[str]
) -> None:
    """Its commit or abort takes an offset of its own, which no message will ever have."""
    options = {"bootstrap.servers": kafka_bootstrap, "transactional.id": topics[0]}
    producer = Producer(options)
    producer.init_transactions(TIMEOUT_S)
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        for value in numbers(5):
            producer.produce(topics[0], value=value, partition=0)
        producer.flush(TIMEOUT_S)  # what was not sent yet when it ends is of no transaction
        end(TIMEOUT_S)
    owner = Owner(kafka_bootstrap, None, topics)
    owner.poll_until(lambda: len(owner.values) == 5)
    owner.poll_until(lambda: owner.source.lag()[topics[0], 0] == 0)
    assert owner.source.skipped_offsets == 0
    owner.source.close()


# --- offsets ------------------------------------------------------------------------------------


def test_reading_starts_where_the_owner_says(
    kafka_bootstrap: str, topics: list[str], sink: KafkaSink
) -> None:
    send(sink, topics[0], numbers(10))
    send(sink, topics[1], numbers(10))
    store = {(topics[0], 0): 7, (topics[1], 0): LATEST}
    owner = Owner(kafka_bootstrap, f"{topics[0]}-group", topics, store=store)
    batches: list[MessageBatch] = []
    while not batches:
        batches = owner.source.poll(n_max=100, timeout_s=1.0)
    assert [(b.topic, b.values) for b in batches] == [(topics[0], numbers(3, first=7))]
    send(sink, topics[1], [b"new"])
    (batch,) = owner.source.poll(n_max=100, timeout_s=TIMEOUT_S)
    assert (batch.topic, batch.values) == (topics[1], [b"new"])
    owner.source.close()


def test_what_was_told_is_committed_and_can_be_gone_on_from(
    kafka_bootstrap: str, topics: list[str], sink: KafkaSink
) -> None:
    send(sink, topics[0], numbers(10))
    first = Owner(kafka_bootstrap, f"{topics[0]}-group", topics[:1])
    first.poll_until(lambda: len(first.values) == 10)
    first.source.tell_applied({(topics[0], 0): 6, ("another", 9): 5})
    first.source.close()
    then = Owner(
        kafka_bootstrap, f"{topics[0]}-group", topics[:1], store={(topics[0], 0): COMMITTED}
    )
    batches: list[MessageBatch] = []
    while not batches:
        batches = then.source.poll(n_max=100, timeout_s=1.0)
    assert batches[0].values == numbers(4, first=6)
    then.source.close()


def test_deleted_messages_are_said_to_be_lost(
    kafka_bootstrap: str, topics: list[str], sink: KafkaSink, caplog: pytest.LogCaptureFixture
) -> None:
    send(sink, topics[0], numbers(10))
    delete_before(kafka_bootstrap, topics[0], 4)
    where = topics[0], 0
    owner = Owner(kafka_bootstrap, None, topics)
    owner.poll_until(lambda: len(owner.values) == 6)
    assert owner.source.skipped_offsets == 0  # it asked for the earliest there is
    owner.source.close()
    metrics = LearnerMetrics(CollectorRegistry())
    late = KafkaSource(
        kafka_bootstrap,
        None,
        topics,
        on_assign=lambda _: {where: 1},
        on_revoke=lambda _: None,
        lost=metrics.lost.inc,
    )
    (batch,) = late.poll(n_max=100, timeout_s=TIMEOUT_S)
    assert batch.values == numbers(6, first=4)
    assert late.skipped_offsets == 3
    assert metrics.lost._value.get() == 3
    assert "offsets 1 to 3 were deleted before they were read (3 messages)" in caplog.text
    late.close()


def test_a_reader_without_a_group_counts_them_too_where_they_are_needed(
    kafka_bootstrap: str, topics: list[str], sink: KafkaSink, caplog: pytest.LogCaptureFixture
) -> None:
    send(sink, topics[0], numbers(10))
    delete_before(kafka_bootstrap, topics[0], 4)
    where = topics[0], 0
    metrics = ScorerMetrics(CollectorRegistry())
    reader = KafkaReader(kafka_bootstrap, lost=metrics.lost.inc, remedy="publish them again")
    with contextlib.closing(reader):
        assert reader.start({where: 1}, needed={where: 9}) == {where: 4}
        assert metrics.lost._value.get() == 0
        assert caplog.text == ""
        assert reader.start({where: 1}) == {where: 4}
    assert metrics.lost._value.get() == 3
    assert "deleted before they were read (3 messages); publish them again" in caplog.text


def test_a_log_trimmed_under_the_reader_is_said_too(
    kafka_bootstrap: str, topics: list[str], sink: KafkaSink, caplog: pytest.LogCaptureFixture
) -> None:
    big = [bytes([65 + i]) * 200_000 for i in range(20)]
    send(sink, topics[0], big)
    one_by_one = {
        "queued.min.messages": 1,
        "queued.max.messages.kbytes": 1,
        "max.partition.fetch.bytes": 250_000,
    }
    owner = Owner(kafka_bootstrap, None, topics[:1], client_options=one_by_one)
    source = owner.source
    (batch,) = source.poll(n_max=1, timeout_s=TIMEOUT_S)
    assert batch.values == big[:1]
    source.hold([(topics[0], 0)])  # what was fetched ahead is fetched again
    delete_before(kafka_bootstrap, topics[0], 18)
    source.hold([])
    rest: list[bytes | None] = []
    deadline = time.monotonic() + TIMEOUT_S
    while big[-1] not in rest and time.monotonic() < deadline:
        rest += [v for b in source.poll(n_max=1, timeout_s=1.0) for v in b.values]
    assert rest == big[18:]
    assert source.skipped_offsets == 18 - 1
    assert "messages_lost" in caplog.text
    source.close()


def test_a_store_ahead_of_its_topic_stops_the_source(
    kafka_bootstrap: str, topics: list[str], sink: KafkaSink
) -> None:
    send(sink, topics[0], numbers(10))
    stored = {(topics[0], 0): 15}
    window = {(topics[0], 0): 3}
    for owner in (
        Owner(kafka_bootstrap, None, topics, store=stored),
        Owner(kafka_bootstrap, None, topics, store=window, needed=lambda: stored),
    ):
        with pytest.raises(KafkaError, match="the store is ahead of the topic by 5 messages"):
            owner.poll(timeout_s=TIMEOUT_S)
        owner.source.close()


@pytest.mark.parametrize("set_back", [False, True], ids=["compacted", "no longer compacted"])
def test_what_compaction_deleted_is_said_to_be_lost(
    kafka_bootstrap: str,
    topics: list[str],
    sink: KafkaSink,
    set_back: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    n_sent, topic = 1_000, topics[0]
    for number in range(n_sent):
        sink.send(topic, key=b"%d" % (number % 10), value=b"%d" % number, partition=0)
    sink.flush(TIMEOUT_S)
    with compacting(kafka_bootstrap, topic):
        deadline = time.monotonic() + TIMEOUT_S
        n_left = n_sent
        while n_left > n_sent // 10:  # the last segment is kept, whatever it holds
            assert time.monotonic() < deadline, "it was not compacted"
            sink.send(topic, key=b"k", value=b"another segment", partition=0)
            sink.flush(TIMEOUT_S)
            n_sent += 1
            with contextlib.closing(KafkaReader(kafka_bootstrap, {(topic, 0): EARLIEST})) as reader:
                (end,) = reader.end_offsets().values()
                n_left = 0
                while reader.positions.get((topic, 0), 0) < end:
                    n_left += sum(map(len, reader.poll(n_max=2_000, timeout_s=0.5)))
    if set_back:
        alter_topic(kafka_bootstrap, topic, cleanup_policy="delete")
    metrics = LearnerMetrics(CollectorRegistry())
    source = KafkaSource(
        kafka_bootstrap,
        None,
        topics[:1],
        on_assign=lambda _: {(topic, 0): 0},
        on_revoke=lambda _: None,
        lost=metrics.lost.inc,
    )
    n_read = 0
    while not n_read or source.lag()[topic, 0]:
        n_read += sum(map(len, source.poll(n_max=2_000, timeout_s=1.0)))
    source.close()
    assert n_read <= n_left
    assert source.skipped_offsets == n_sent - n_read
    assert metrics.lost._value.get() == n_sent - n_read
    assert caplog.text.count("messages_lost") == 1
    assert f"{n_sent - n_read} have no message any more" in caplog.text


@contextlib.contextmanager
def compacting(servers: str, topic: str) -> Iterator[None]:
    """Have a topic compacted, and a cleaner that is quick at it while entered."""
    admin = AdminClient({"bootstrap.servers": servers})
    (broker,) = admin.list_topics(timeout=TIMEOUT_S).brokers

    def cleaner(operation: AlterConfigOpType) -> None:
        entry = ConfigEntry("log.cleaner.backoff.ms", "200", incremental_operation=operation)
        resource = ConfigResource(ResourceType.BROKER, str(broker), incremental_configs=[entry])
        for answer in admin.incremental_alter_configs([resource]).values():
            answer.result(TIMEOUT_S)

    cleaner(AlterConfigOpType.SET)
    try:
        settings = {"segment_ms": "100", "min_cleanable_dirty_ratio": "0.001"}
        settings |= {"cleanup_policy": "compact", "max_compaction_lag_ms": "1"}
        alter_topic(servers, topic, **settings)
        yield
    finally:
        cleaner(AlterConfigOpType.DELETE)


def test_a_topic_that_is_deleted_under_a_group_is_said_to_be(
    kafka_bootstrap: str, topics: list[str]
) -> None:
    owner = Owner(
        kafka_bootstrap,
        f"{topics[0]}-group",
        topics,
        client_options={"topic.metadata.refresh.interval.ms": 300},
    )
    owner.poll_until(lambda: bool(owner.partitions))
    # As the group shares them out while the other topic is away for a moment.
    with pytest.raises(TopicMismatch, match=rf"{topics[1]} was not there .* deleted and made anew"):
        owner.source._take([(topics[0], partition) for partition in ALL])
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    admin.delete_topics([topics[1]])[topics[1]].result(TIMEOUT_S)
    with pytest.raises(
        TopicMismatch, match=rf"topic {topics[1]} is gone: .*streamer store rebuild"
    ):
        owner.poll_until(lambda: False)
    owner.source.close()


@pytest.mark.parametrize("n_new", [3, 40])
def test_a_topic_made_anew_under_a_source_is_refused_or_followed(
    kafka_bootstrap: str, topics: list[str], sink: KafkaSink, n_new: int
) -> None:
    send(sink, topics[0], numbers(10))
    refusing = Owner(kafka_bootstrap, None, topics[:1])
    following = KafkaReader(kafka_bootstrap, {(topics[0], 0): EARLIEST}, anew="followed")
    followed: list[bytes | None] = []

    def follow() -> None:
        for batch in following.poll(n_max=1_000, timeout_s=0.05):
            followed.extend(batch.values)

    until = time.monotonic() + 1.0  # by then it knows which topic it reads
    while len(followed) < 10 or len(refusing.values) < 10 or time.monotonic() < until:
        refusing.poll()
        follow()
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    admin.delete_topics(topics[:1])[topics[0]].result(TIMEOUT_S)
    while topics[0] in admin.list_topics(timeout=TIMEOUT_S).topics:
        time.sleep(0.02)
    make_topic(kafka_bootstrap, topics[0], N_PARTITIONS)
    new = [b"new %d" % number for number in range(n_new)]
    send(sink, topics[0], new)
    deadline = time.monotonic() + TIMEOUT_S
    with pytest.raises(KafkaError, match="store rebuild"):  # noqa: PT012
        while time.monotonic() < deadline:
            refusing.source.poll(n_max=1_000, timeout_s=0.05)
            follow()
    while not set(new) <= set(followed):
        assert time.monotonic() < deadline, "it did not go on at the start"
        follow()
    refusing.source.close()
    following.close()


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_partitions_that_are_added_under_a_reader_of_all_are_read_from_their_starts(
    kafka_bootstrap: str,
    topics: list[str],
    sink: KafkaSink,
    is_made_anew: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    topic, n_more = topics[0], N_PARTITIONS + 2
    send(sink, topic, numbers(10))
    whole = KafkaReader(kafka_bootstrap, anew="followed")
    whole.start_whole(topic)
    some = KafkaReader(kafka_bootstrap, {(topic, 0): EARLIEST}, anew="followed")
    read: list[tuple[int, bytes | None]] = []

    def follow() -> None:
        for batch in whole.poll(n_max=1_000, timeout_s=0.05):
            read.extend((batch.partition, value) for value in batch.values)
        some.poll(n_max=1_000, timeout_s=0.0)

    until = time.monotonic() + 1.0  # by then it knows which topic it reads
    while len(read) < 10 or time.monotonic() < until:
        follow()
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    if is_made_anew:
        admin.delete_topics([topic])[topic].result(TIMEOUT_S)
        while topic in admin.list_topics(timeout=TIMEOUT_S).topics:
            time.sleep(0.02)
        make_topic(kafka_bootstrap, topic, n_more)
    else:
        admin.create_partitions([NewPartitions(topic, n_more)])[topic].result(TIMEOUT_S)
    adding = KafkaSink(kafka_bootstrap)  # which has not heard of fewer partitions
    new = [(partition, b"new %d" % partition) for partition in range(n_more)]
    for partition, value in new:
        send(adding, topic, [value], partition)
    adding.close()
    deadline = time.monotonic() + TIMEOUT_S
    while not set(new) <= set(read):
        assert time.monotonic() < deadline, "what was added was not read"
        follow()
    # What was read of a topic made anew before that is noticed is read again.
    assert is_made_anew or len(read) == 10 + n_more
    assert set(whole.positions) == {(topic, partition) for partition in range(n_more)}
    assert set(some.positions) == {(topic, 0)}
    assert f"partition_added {topic}[{n_more - 1}]" in caplog.text
    whole.close()
    some.close()


# --- rebalances ---------------------------------------------------------------------------------


def test_partitions_move_and_every_message_is_taken_once(
    kafka_bootstrap: str, topics: list[str], sink: KafkaSink
) -> None:
    store: dict[Where, int] = {}
    owners: dict[int, Owner] = {}

    def joined() -> Owner:
        return Owner(kafka_bootstrap, f"{topics[0]}-group", topics, store=store, owners=owners)

    n_sent = 0

    def run(members: Sequence[Owner], done: Callable[[], bool]) -> None:
        nonlocal n_sent
        deadline = time.monotonic() + TIMEOUT_S
        while not done():
            assert time.monotonic() < deadline, "it did not happen in time"
            for _ in range(50):
                topic, partition = topics[n_sent % 2], n_sent // 2 % N_PARTITIONS
                sink.send(topic, key=None, value=b"%d" % n_sent, partition=partition)
                n_sent += 1
            for member in members:
                member.poll(timeout_s=0.02)

    first, second = joined(), joined()
    run([first], lambda: len(first.values) > 1_000)
    assert first.partitions == ALL
    run([first, second], lambda: {len(first.partitions), len(second.partitions)} == {1, 2})
    run([first, second], lambda: len(second.values) > 1_000)
    assert first.revoked == [ALL]
    # Range assignment: the same partitions of both topics.
    assert {topic for topic, _ in second.source.lag()} == set(topics)
    assert {partition for _, partition in second.source.lag()} == set(second.partitions)
    first.source.close()
    assert len(first.revoked) == 2
    run([second], lambda: second.partitions == ALL)
    sink.flush(TIMEOUT_S)
    taken = first.values
    second.poll_until(lambda: len(taken) + len(second.values) >= n_sent)
    assert sorted(map(int, filter(None, taken + second.values))) == list(range(n_sent))
    second.source.close()
    assert owners == {}


def test_messages_from_before_a_rebalance_are_dropped_and_read_again(
    kafka_bootstrap: str, topics: list[str], sink: KafkaSink
) -> None:
    group = f"{topics[0]}-group"
    store: dict[Where, int] = {}
    owners: dict[int, Owner] = {}
    first = Owner(kafka_bootstrap, group, topics, store=store, owners=owners)
    first.poll_until(lambda: bool(first.partitions))
    for partition in ALL:
        send(sink, topics[0], numbers(100), partition)
    second = Owner(kafka_bootstrap, group, topics, store=store, owners=owners)
    # While the first does not poll, its queue fills: the messages, then the news of the rebalance.
    until = time.monotonic() + 3.0
    while time.monotonic() < until:
        second.poll()
    assert first.poll(n_max=10_000, timeout_s=0) == []
    assert first.revoked == [ALL]
    assert store == {}
    deadline = time.monotonic() + TIMEOUT_S
    while (
        len(first.values) + len(second.values) < 100 * N_PARTITIONS and time.monotonic() < deadline
    ):
        first.poll()
        second.poll()
    assert sorted(first.values + second.values) == sorted(numbers(100) * N_PARTITIONS)  # type: ignore[type-var]
    assert {len(first.partitions), len(second.partitions)} == {1, 2}
    first.source.close()
    second.source.close()


def test_what_was_held_when_it_was_given_back_is_read_by_who_takes_it_again(
    kafka_bootstrap: str, topics: list[str], sink: KafkaSink
) -> None:
    group = f"{topics[0]}-group"
    store: dict[Where, int] = {}
    owners: dict[int, Owner] = {}
    first = Owner(kafka_bootstrap, group, topics, store=store, owners=owners)
    first.poll_until(lambda: bool(first.partitions))
    everything = [(topic, partition) for topic in topics for partition in ALL]
    second = Owner(kafka_bootstrap, group, topics, store=store, owners=owners)
    deadline = time.monotonic() + TIMEOUT_S
    while {len(first.partitions), len(second.partitions)} != {1, 2}:
        assert time.monotonic() < deadline, "they do not share"
        first.source.hold([] if first.revoked else everything)
        first.poll()
        second.poll()
    first.source.hold([])
    second.source.close()
    first.poll_until(lambda: first.partitions == ALL)
    for topic in topics:
        for partition in ALL:
            send(sink, topic, numbers(10), partition)
    first.poll_until(lambda: len(first.values) == 10 * len(topics) * N_PARTITIONS)
    first.source.close()


def test_an_owner_that_fails_to_start_is_asked_again(
    kafka_bootstrap: str, topics: list[str], sink: KafkaSink
) -> None:
    send(sink, topics[0], numbers(3))
    answers: Iterator[Exception | None] = iter([ZeroDivisionError(), None])

    def on_assign(_: Sequence[int]) -> dict[Where, int]:
        if answer := next(answers):
            raise answer
        return {(topics[0], 0): 1}

    group = f"{topics[0]}-group"
    source = KafkaSource(
        kafka_bootstrap, group, topics, on_assign=on_assign, on_revoke=lambda _: None
    )
    with pytest.raises(ZeroDivisionError):
        source.poll(n_max=10, timeout_s=TIMEOUT_S)
    (batch,) = source.poll(n_max=10, timeout_s=TIMEOUT_S)
    assert batch.values == numbers(2, first=1)
    source.close()


def test_an_owner_that_fails_to_give_back_is_heard(kafka_bootstrap: str, topics: list[str]) -> None:
    def on_revoke(_: Sequence[int]) -> None:
        raise ZeroDivisionError

    group = f"{topics[0]}-group"
    source = KafkaSource(
        kafka_bootstrap, group, topics, on_assign=lambda _: {}, on_revoke=on_revoke
    )
    while not source.lag():
        source.poll(n_max=10, timeout_s=0.1)
    with pytest.raises(ZeroDivisionError):
        source.close()
    source.close()  # once more does nothing


def test_topics_of_unlike_partitions_are_refused(kafka_bootstrap: str, topics: list[str]) -> None:
    single = topics[0].removesuffix("events") + "items"
    owner = Owner(kafka_bootstrap, f"{topics[0]}-group", [topics[0], single])
    with pytest.raises(TopicMismatch, match=f"but {single} has 1 partitions"):
        owner.poll(timeout_s=TIMEOUT_S)
    owner.source.close()


# --- outages ------------------------------------------------------------------------------------


def test_a_broker_that_restarts_is_waited_for(
    kafka_broker: KafkaNode, caplog: pytest.LogCaptureFixture
) -> None:
    servers = kafka_broker.bootstrap_servers
    create_topics(servers, load_config(env={}, flags={}).topics)
    sink = KafkaSink(servers, timeout_s=60.0)
    owner = Owner(servers, "group", ["events"])
    send(sink, "events", numbers(10))
    owner.poll_until(lambda: len(owner.values) == 10)
    kafka_broker.kill()
    for i in range(10, 20):  # waits in the sink for the broker to come back
        sink.send("events", key=None, value=b"%d" % i, partition=0)
    until = time.monotonic() + 2.0
    while time.monotonic() < until:
        assert owner.poll() == []
    assert owner.source.n_transient_errors > 0
    assert caplog.text.count("_ALL_BROKERS_DOWN") <= 2  # said once, not once a try
    kafka_broker.start()
    sink.flush(TIMEOUT_S)
    owner.poll_until(lambda: len(owner.values) == 20)
    assert owner.values == numbers(20)
    owner.source.close()
    sink.close()


def test_a_broker_that_is_not_there_is_named(topic_prefix: str) -> None:
    owner = Owner("127.0.0.1:1", None, [f"{topic_prefix}events"], timeout_s=0.5)
    with pytest.raises(KafkaUnavailable, match=r"127\.0\.0\.1:1 did not answer; start the broker"):
        owner.poll()
    owner.source.close()


def test_what_comes_to_a_quiet_partition_while_no_one_reads_is_not_passed_over(
    kafka_bootstrap: str, topics: list[str], sink: KafkaSink
) -> None:
    store = {(topics[0], partition): COMMITTED for partition in range(N_PARTITIONS)}

    def source() -> KafkaSource:
        return KafkaSource(
            kafka_bootstrap,
            f"{topics[0]}-quiet",
            topics[:1],
            on_assign=lambda _: store,
            on_revoke=lambda _: None,
        )

    first = source()
    deadline = time.monotonic() + TIMEOUT_S
    while not first.lag():
        assert time.monotonic() < deadline, "no partition came"
        first.poll(n_max=1, timeout_s=0.05)
    first.close()
    for partition in range(N_PARTITIONS):
        send(sink, topics[0], numbers(2), partition)
    second, values = source(), list[bytes | None]()
    while len(values) < 2 * N_PARTITIONS and time.monotonic() < deadline:
        values += [v for b in second.poll(n_max=100, timeout_s=0.2) for v in b.values]
    second.close()
    assert sorted(value or b"" for value in values) == sorted(numbers(2) * N_PARTITIONS)
