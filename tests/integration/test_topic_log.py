"""Topics of a real Kafka as logs: recorded, and replayed from where they are."""

from __future__ import annotations

import contextlib
import gzip
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from msgspec.structs import replace
from typer.testing import CliRunner

from streamer.application.record import record
from streamer.application.topic_log import TopicLog, open_topic
from streamer.cli import app
from streamer.config import Config, load_config
from streamer.errors import BadMessage, ConfigError
from streamer.events import Event, encode
from streamer.kafka.configured import configured_reader
from streamer.kafka.log_ends import EARLIEST
from streamer.kafka.sink import KafkaSink
from streamer.learner.topic_stream import TopicStream
from streamer_producers.datasets import open_log
from tests.unit.replay_logs import random_log

N_PARTITIONS, N_EVENTS = 3, 600


@pytest.fixture
def config(kafka_bootstrap: str) -> Config:
    return load_config(env={}, flags={"kafka.bootstrap_servers": kafka_bootstrap})


@pytest.fixture
def topic(kafka_bootstrap: str, topic_prefix: str) -> str:
    """A topic with events, and one message among them that is no JSON and one that is no event."""
    topic = f"{topic_prefix}events"
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    made = admin.create_topics([NewTopic(topic, N_PARTITIONS, 1)])
    made[topic].result(timeout=10)
    sink = KafkaSink(kafka_bootstrap)
    for at, each in enumerate(events()):
        if at == 100:
            sink.send(topic, key=b"u0", value=b"{broken")
            sink.send(topic, key=b"u0", value=b'{"user_id":\n "u0"}')
        sink.send(topic, key=each.user_id.encode(), value=encode(each))
    sink.close()
    return topic


def events() -> list[Event]:
    return list(random_log(N_EVENTS, seed=1).events())


def test_a_topic_is_read_to_its_end_in_the_order_of_time(config: Config, topic: str) -> None:
    log = open_topic(config, f"kafka:{topic}", strict=False)
    assert log.n_estimated == N_EVENTS + 2
    for _ in range(2):  # as often as is asked for
        assert list(log.events()) == events()
        assert log.n_malformed == 2
        assert all(each.file.startswith(f"{topic}[") for each in log.malformed)
    with pytest.raises(BadMessage, match="JSON"):
        list(open_topic(config, f"kafka:{topic}", strict=True).events())


def test_events_of_one_time_come_in_one_order(
    config: Config, topic_prefix: str, kafka_bootstrap: str
) -> None:
    topic = f"{topic_prefix}ties"
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    admin.create_topics([NewTopic(topic, N_PARTITIONS, 1)])[topic].result(timeout=10)
    sink = KafkaSink(kafka_bootstrap)
    for each in random_log(400, seed=2, same_times=True).events():
        sink.send(topic, key=each.user_id.encode(), value=encode(each))
    sink.close()
    log = TopicLog(config, topic)
    first = list(log.events())
    assert [list(log.events()) for _ in range(4)] == [first] * 4


def test_what_comes_after_opening_is_not_read(
    config: Config, topic: str, kafka_bootstrap: str
) -> None:
    log = TopicLog(config, topic)
    sink = KafkaSink(kafka_bootstrap)
    for each in events():
        sink.send(topic, key=each.user_id.encode(), value=encode(each))
    sink.close()
    assert list(log.events()) == events()


def test_a_start_is_an_offset_or_a_time(config: Config, topic: str) -> None:
    by_offset = TopicLog(config, topic, start="100")
    assert by_offset.n_estimated == N_EVENTS + 2 - N_PARTITIONS * 100
    assert len(list(by_offset.events())) + by_offset.n_malformed == by_offset.n_estimated
    before = TopicLog(config, topic, start="2001-01-01T00:00:00")
    assert before.n_estimated == N_EVENTS + 2
    after = TopicLog(config, topic, start=datetime.now(UTC).replace(year=2090).isoformat())
    assert after.n_estimated == 0
    assert list(after.events()) == []
    beyond = TopicLog(config, topic, start="1000000")
    assert list(beyond.events()) == []
    with pytest.raises(ConfigError, match="'yesterday'"):
        TopicLog(config, topic, start="yesterday")


def test_what_a_topic_has_deleted_is_said(
    config: Config, topic_prefix: str, kafka_bootstrap: str
) -> None:
    topic, start_ms = f"{topic_prefix}deleted", 1_700_000_000_000
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(timeout=10)
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    for at in range(200):
        timestamp = start_ms + 1_000 * at
        producer.produce(topic, b"%d" % at, partition=at % 2, timestamp=timestamp)
    producer.flush(10)
    wholes = TopicLog(config, topic)
    assert len(list(wholes.payloads())) == 200
    assert (wholes.gone, wholes.whole_since_ms) == ((), 0)
    for deleted in admin.delete_records([TopicPartition(topic, 1, 30)]).values():
        deleted.result(timeout=10)
    for start, gone in {
        "earliest": "30 messages were deleted",
        "10": "20 messages were deleted",
        "30": None,
        "2023-11-14T22:13:40": "up to 30 messages were deleted",  # of which 20 are later
        "2023-11-14T22:15:00": None,
    }.items():
        log = TopicLog(config, topic, start=start)
        n_read = len(list(log.payloads()))
        assert n_read == log.n_estimated
        if gone is None:
            assert (log.gone, log.whole_since_ms) == ((), 0)
            continue
        (said,) = log.gone
        assert said.startswith(f"kafka:{topic}: {gone} before they could be read; none is missing")
        assert said.endswith(" since 2023-11-14 22:14:21 UTC")
        assert log.whole_since_ms == start_ms + 1_000 * 61


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_a_record_is_the_topic(config: Config, topic: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"log{suffix}"
    log = TopicLog(config, topic)
    assert record(log, path) == N_EVENTS + 1
    assert log.n_malformed == 1
    recorded = open_log(path, sort=True)
    assert list(recorded.events()) == events()
    assert recorded.n_malformed == 1  # JSON on one line, but no event
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_record_has_messages_of_all_partitions_in_the_order_of_their_publication(
    config: Config, topic_prefix: str, kafka_bootstrap: str, tmp_path: Path
) -> None:
    topic, start_ms = f"{topic_prefix}published", 1_700_000_000_000
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    admin.create_topics([NewTopic(topic, N_PARTITIONS, 1)])[topic].result(timeout=10)
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    for at in range(300):
        producer.produce(topic, b"%d" % at, partition=at % N_PARTITIONS, timestamp=start_ms + at)
    producer.flush(10)
    record(TopicLog(config, topic), tmp_path / "log.jsonl")
    assert (tmp_path / "log.jsonl").read_text().split() == [str(at) for at in range(300)]


def test_a_record_that_fails_leaves_no_file(config: Config, topic: str, tmp_path: Path) -> None:
    with pytest.raises(BadMessage):
        record(TopicLog(config, topic, strict=True), tmp_path / "log.jsonl")
    with pytest.raises(ConfigError, match="format"):
        record(TopicLog(config, topic), tmp_path / "log.csv")
    with pytest.raises(ConfigError, match="can't be written"):
        record(TopicLog(config, topic), tmp_path / "nowhere" / "log.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_topic_replays_as_its_record_does(
    topic: str, kafka_bootstrap: str, tmp_path: Path
) -> None:
    broker = ["--bootstrap-servers", kafka_bootstrap]
    words = ["--positives", "value>=5", "--model", "popularity,mf-bpr"]
    lines = [
        ["record", topic, str(tmp_path / "log.jsonl.gz"), *broker],
        ["replay", f"kafka:{topic}", *words, *broker, "--json", str(tmp_path / "topic.json")],
        ["replay", str(tmp_path / "log.jsonl.gz"), *words, "--json", str(tmp_path / "file.json")],
    ]
    for line in lines:
        result = CliRunner().invoke(app, line)
        assert result.exit_code == 0, (line, result.output, result.exception)
    with gzip.open(tmp_path / "log.jsonl.gz") as file:
        assert sum(1 for _ in file) == N_EVENTS + 1
    of_topic, of_file = (
        json.loads((tmp_path / name).read_text()) for name in ("topic.json", "file.json")
    )
    assert of_topic["log"]["digest"] == of_file["log"]["digest"]
    assert of_topic["users"] == of_file["users"]
    assert of_topic["log"]["n_malformed"] == 2


def test_a_topic_that_ends_with_a_transaction_is_read_to_its_end(
    config: Config, kafka_bootstrap: str, topic_prefix: str
) -> None:
    topic = f"{topic_prefix}transacted"
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(timeout=10)
    producer = Producer({"bootstrap.servers": kafka_bootstrap, "transactional.id": topic})
    producer.init_transactions(20)
    for committed in (True, False):
        producer.begin_transaction()
        for event in events()[:3]:
            producer.produce(topic, encode(event), event.user_id)
        producer.flush(20)  # what was not sent yet when it ends is of no transaction
        (producer.commit_transaction if committed else producer.abort_transaction)(20)
    slow = replace(config, kafka=replace(config.kafka, request_timeout_s=600.0))
    began = time.monotonic()
    log = TopicLog(slow, topic)
    assert sorted(each.event_id for each in log.events()) == sorted(
        each.event_id for each in events()[:3]
    )
    where = (topic, 0)
    with contextlib.closing(configured_reader(slow, {where: EARLIEST})) as reader:
        (end,) = reader.end_offsets([where]).values()
        assert end > 3
        assert len(TopicStream(reader, *where, timeout_s=600.0).take(end)) == 3
    assert time.monotonic() - began < 300  # neither waits for a message that does not come
