"""Topics and readers on a real broker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError as KafkaRefusal
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from streamer.config import load_config
from streamer.config.settings import TopicRole, TopicsConfig
from streamer.errors import KafkaError, KafkaUnavailable, TopicMismatch
from streamer.kafka.log_ends import EARLIEST, LATEST
from streamer.kafka.reader import KafkaReader
from streamer.kafka.sink import KafkaSink
from streamer.kafka.topics import (
    INTERNAL_BYTES,
    TopicReport,
    check_topics,
    create_internal_topics,
    create_topics,
)
from tests.brokers import alter_topic, topic_settings_at

TIMEOUT_S = 120.0


@pytest.fixture
def topics(topic_prefix: str) -> TopicsConfig:
    flags = {"topics.prefix": topic_prefix, "topics.partitions": 3, "topics.retention_hours": 5}
    return load_config(env={}, flags=flags).topics


def make(servers: str, name: str, n_partitions: int, **settings: str) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    topic = NewTopic(name, num_partitions=n_partitions, replication_factor=1, config=settings)
    admin.create_topics([topic])[name].result(TIMEOUT_S)
    while name not in admin.list_topics(timeout=TIMEOUT_S).topics:
        time.sleep(0.02)  # made, but not yet known to the broker that was asked


def refusing(
    monkeypatch: pytest.MonkeyPatch, n_times: int, reason: str
) -> list[Sequence[NewTopic]]:
    """Have the broker refuse so often to make topics; returns what it is asked for."""
    make, asked = AdminClient.create_topics, list[Sequence[NewTopic]]()

    def create(client: AdminClient, new: list[NewTopic], **given: Any) -> dict[str, Future[None]]:
        asked.append(new)
        if len(asked) > n_times:
            return make(client, new, **given)
        answers: dict[str, Future[None]] = {}
        for topic in new:
            answers[topic.topic] = Future()
            error = KafkaRefusal(KafkaRefusal.INVALID_REPLICATION_FACTOR, reason)
            answers[topic.topic].set_exception(KafkaException(error))
        return answers

    monkeypatch.setattr(AdminClient, "create_topics", create)
    return asked


def test_a_broker_that_is_fenced_off_for_a_moment_is_asked_again(
    kafka_bootstrap: str, topics: TopicsConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = refusing(monkeypatch, 2, "All brokers are currently fenced.")
    reports = create_topics(kafka_bootstrap, topics, timeout_s=TIMEOUT_S)
    assert all(report.created for report in reports)
    assert [len(new) for new in asked] == [8, 8, 8]


def test_copies_that_no_broker_can_hold_are_refused_at_once(
    kafka_bootstrap: str, topics: TopicsConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "The target replication factor of 3 cannot be reached because only 1 broker(s) are"
    asked = refusing(monkeypatch, 2, reason)
    with pytest.raises(KafkaError, match=r"making topic .* replication factor of 3"):
        create_topics(kafka_bootstrap, topics, timeout_s=TIMEOUT_S)
    assert len(asked) == 1


def test_topics_are_made_as_streamer_needs_them(kafka_bootstrap: str, topics: TopicsConfig) -> None:
    reports = create_topics(kafka_bootstrap, topics)
    prefix = topics.prefix
    assert reports == [
        TopicReport(f"{prefix}events", 3, created=True),
        TopicReport(f"{prefix}requests", 3, created=True),
        TopicReport(f"{prefix}recommendations", 3, created=True),
        TopicReport(f"{prefix}decisions", 3, created=True),
        TopicReport(f"{prefix}items", 1, created=True),
        TopicReport(f"{prefix}users", 3, created=True),
        TopicReport(f"{prefix}features", 3, created=True),
        TopicReport(f"{prefix}dead-letters", 1, created=True),
    ]
    assert topic_settings_at(kafka_bootstrap, f"{prefix}items")["cleanup.policy"] == "compact"
    events = topic_settings_at(kafka_bootstrap, f"{prefix}events")
    assert (events["cleanup.policy"], events["retention.ms"]) == ("delete", "18000000")
    assert events["compression.type"] == "zstd"
    users = topic_settings_at(kafka_bootstrap, f"{prefix}users")
    assert (users["cleanup.policy"], users["delete.retention.ms"]) == ("compact", "18000000")
    check_topics(kafka_bootstrap, topics)
    again = create_topics(kafka_bootstrap, topics)
    assert [each.created for each in again] == [False] * 8


def test_only_what_is_missing_is_made(kafka_bootstrap: str, topics: TopicsConfig) -> None:
    make(kafka_bootstrap, topics.topic("requests"), 3)
    reports = create_topics(kafka_bootstrap, topics)
    assert [each.name for each in reports if not each.created] == [topics.topic("requests")]


def test_another_number_of_partitions_is_refused_before_anything_is_made(
    kafka_bootstrap: str, topics: TopicsConfig
) -> None:
    make(kafka_bootstrap, topics.topic("decisions"), 2)
    wanted = r"decisions has 2 partitions, topics\.partitions wants 3; set topics\.partitions"
    with pytest.raises(TopicMismatch, match=wanted):
        create_topics(kafka_bootstrap, topics)
    with pytest.raises(TopicMismatch, match=r"events is missing.*streamer topics create"):
        check_topics(kafka_bootstrap, topics)


@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
def test_items_that_would_expire_are_refused(
    kafka_bootstrap: str, topics: TopicsConfig, policy: str
) -> None:
    make(kafka_bootstrap, topics.topic("items"), 1, **{"cleanup.policy": policy})
    with pytest.raises(TopicMismatch, match=rf"cleanup\.policy={policy}, .*wanted is compact: "):
        create_topics(kafka_bootstrap, topics)


@pytest.mark.parametrize(
    "role", ["events", "requests", "recommendations", "decisions", "dead_letters"]
)
@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_messages_that_compaction_would_delete_unread_are_refused(
    kafka_bootstrap: str, topics: TopicsConfig, role: TopicRole, policy: str
) -> None:
    create_topics(kafka_bootstrap, topics)
    name = topics.topic(role)
    alter_topic(kafka_bootstrap, name, cleanup_policy=policy)
    said = rf"{name} has cleanup\.policy={policy}, .*add-config cleanup\.policy=delete\. "
    for function in (create_topics, check_topics):
        with pytest.raises(TopicMismatch, match=said):
            function(kafka_bootstrap, topics)
    alter_topic(kafka_bootstrap, name, cleanup_policy="delete")
    check_topics(kafka_bootstrap, topics)


def test_topics_of_a_service_itself_take_what_it_tells_itself(
    kafka_bootstrap: str, topics: TopicsConfig
) -> None:
    made, small = f"{topics.prefix}made", f"{topics.prefix}small"
    create_internal_topics(kafka_bootstrap, {made: "compact"}, topics)
    assert topic_settings_at(kafka_bootstrap, made)["max.message.bytes"] == str(INTERNAL_BYTES)
    make(kafka_bootstrap, small, topics.partitions, **{"max.message.bytes": "5000"})
    with pytest.raises(TopicMismatch, match=r"made has cleanup\.policy=compact, .*unread"):
        create_internal_topics(kafka_bootstrap, {made: "delete"}, topics)
    with pytest.raises(
        TopicMismatch,
        match=rf"small has max\.message\.bytes=5000, .*max\.message\.bytes={INTERNAL_BYTES}$",
    ):
        create_internal_topics(kafka_bootstrap, {made: "compact", small: "delete"}, topics)


def test_what_the_broker_refuses_comes_with_its_reason(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    flags = {"topics.prefix": topic_prefix, "topics.replication_factor": 9}
    config = load_config(env={}, flags=flags)
    with pytest.raises(KafkaError, match="INVALID_REPLICATION_FACTOR"):
        create_topics(kafka_bootstrap, config.topics)


@pytest.mark.parametrize("function", [create_topics, check_topics])
def test_a_broker_that_is_not_there_is_named(function: object) -> None:
    assert callable(function)
    with pytest.raises(KafkaUnavailable, match=r"127\.0\.0\.1:1 did not answer"):
        function("127.0.0.1:1", TopicsConfig(), timeout_s=0.5)


# --- the reader ---------------------------------------------------------------------------------


@pytest.fixture
def filled(kafka_bootstrap: str, topics: TopicsConfig) -> str:
    """A topic with 10 messages on partition 0 and 5 on partition 2."""
    create_topics(kafka_bootstrap, topics)
    name = topics.topic("events")
    sink = KafkaSink(kafka_bootstrap)
    for partition, n in ((0, 10), (2, 5)):
        for i in range(n):
            sink.send(name, key=None, value=b"%d" % i, partition=partition)
    sink.close()
    return name


def test_a_reader_reads_the_partitions_it_was_given(kafka_bootstrap: str, filled: str) -> None:
    reader = KafkaReader(kafka_bootstrap, {(filled, 0): 7, (filled, 2): EARLIEST})
    assert reader.end_offsets() == {(filled, 0): 10, (filled, 2): 5}
    found: dict[int, list[bytes | None]] = {0: [], 2: []}
    while reader.positions != {(filled, 0): 10, (filled, 2): 5}:
        for batch in reader.poll(n_max=2, timeout_s=TIMEOUT_S):
            assert len(batch) <= 2
            found[batch.partition] += batch.values
    assert found == {0: [b"7", b"8", b"9"], 2: [b"0", b"1", b"2", b"3", b"4"]}
    assert reader.poll(n_max=10, timeout_s=0.0) == []
    reader.close()
    reader.close()


def test_the_latest_is_where_the_log_ends_when_the_reader_starts(
    kafka_bootstrap: str, filled: str
) -> None:
    reader = KafkaReader(kafka_bootstrap)
    assert reader.partitions(filled) == [(filled, 0), (filled, 1), (filled, 2)]
    starts = reader.start(dict.fromkeys(reader.partitions(filled), LATEST))
    assert starts == {(filled, 0): 10, (filled, 1): 0, (filled, 2): 5}
    sink = KafkaSink(kafka_bootstrap)
    sink.send(filled, key=None, value=b"new", partition=1)
    sink.close()
    (batch,) = reader.poll(n_max=10, timeout_s=TIMEOUT_S)
    assert (batch.partition, batch.values) == (1, [b"new"])
    reader.close()


def test_a_time_is_turned_into_offsets(kafka_bootstrap: str, filled: str) -> None:
    time.sleep(0.01)
    middle_ms = time.time_ns() // 1_000_000
    sink = KafkaSink(kafka_bootstrap)
    sink.send(filled, key=None, value=b"new", partition=2)
    sink.close()
    reader = KafkaReader(kafka_bootstrap)
    partitions = reader.partitions(filled)
    assert list(reader.offsets_at(partitions, 0).values()) == [0, 0, 0]
    assert list(reader.offsets_at(partitions, middle_ms).values()) == [10, 0, 5]
    assert list(reader.offsets_at(partitions, middle_ms + 3_600_000).values()) == [10, 0, 6]
    reader.close()


def test_a_reader_of_a_missing_topic_says_so(kafka_bootstrap: str, topic_prefix: str) -> None:
    reader = KafkaReader(kafka_bootstrap)
    with pytest.raises(TopicMismatch, match="streamer topics create"):
        reader.partitions(f"{topic_prefix}absent")
    with pytest.raises(TopicMismatch, match="streamer topics create"):
        reader.start({(f"{topic_prefix}absent", 0): 0})
    reader.close()
