"""What a trial has kept comes to a real Kafka, and a learner there learns it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from streamer.application.local.kept_topics import KeptTopics
from streamer.application.local.move_trial import move_trial
from streamer.application.local.trial import STORE, TOPICS
from streamer.cli import app
from streamer.config import Config, load_config
from streamer.errors import ConfigError, StoreError, TopicMismatch
from streamer.kafka.configured import configured_reader, configured_sink
from streamer.kafka.log_ends import EARLIEST
from streamer.kafka.partitioner import partition_of
from streamer.kafka.sink import KafkaSink
from streamer.kafka.topics import create_topics
from streamer.protocols import MessageBatch, joined_batches
from tests.brokers import topics_apart
from tests.forked import FORK

BEGIN_MS = time.time_ns() // 1_000_000 - 3_600_000
"""An hour ago: Kafka deletes what is older than the retention."""


@pytest.fixture
def config(kafka_bootstrap: str) -> Iterator[Config]:
    with topics_apart(kafka_bootstrap) as prefix:
        flags = {"kafka.bootstrap_servers": kafka_bootstrap, "topics.prefix": prefix}
        yield load_config("/dev/null", env={}, flags=flags)


def batch(
    topic: str,
    partition: int,
    messages: Sequence[tuple[bytes | None, bytes | None]],
    *,
    begin_ms: int = BEGIN_MS,
) -> MessageBatch:
    offsets = np.arange(len(messages))
    keys, values = [key for key, _ in messages], [value for _, value in messages]
    return MessageBatch(topic, partition, values, offsets, begin_ms + offsets, keys)


def read_all(config: Config, topic: str) -> list[MessageBatch]:
    """All messages of each partition that has some."""
    with contextlib.closing(configured_reader(config)) as reader:
        partitions = reader.partitions(topic)
        ends = reader.end_offsets(partitions)
        reader.start(dict.fromkeys(partitions, EARLIEST))
        pieces: dict[int, list[MessageBatch]] = {}
        while any(reader.positions[where] < end for where, end in ends.items()):
            for piece in reader.poll(n_max=100, timeout_s=5.0):
                pieces.setdefault(piece.partition, []).append(piece)
    return [joined_batches(each) for each in pieces.values()]


def test_everything_comes_over_once_with_its_key_its_time_and_its_order(
    config: Config, tmp_path: Path
) -> None:
    users = [f"u{n}".encode() for n in range(20)]
    by_partition = [[user for user in users if partition_of(user, 4) == p] for p in range(4)]
    events, items = config.topics.topic("events"), config.topics.topic("items")
    with contextlib.closing(KeptTopics(tmp_path / TOPICS)) as kept:
        kept.keep(
            [batch(events, p, [(u, u + b"!") for u in mine]) for p, mine in enumerate(by_partition)]
        )
        kept.keep([batch(items, 3, [(b"tea", b"{}"), (None, b"no key"), (b"tea", None)])])

    reported: list[tuple[int, int]] = []
    moved = move_trial(tmp_path, config, progress=lambda *done: reported.append(done))
    assert moved == {events: 20, items: 2}
    assert reported[-1] == (23, 23)

    for found in read_all(config, events):
        mine = by_partition[found.partition]
        assert found.keys == mine
        assert found.values == [user + b"!" for user in mine]
        assert found.publish_ms.tolist() == [BEGIN_MS + n for n in range(len(mine))]
    [tea] = read_all(config, items)
    assert (tea.keys, tea.values) == ([b"tea", b"tea"], [b"{}", None])

    assert move_trial(tmp_path, config) == moved, "all is there"
    assert sum(len(found.values) for found in read_all(config, events)) == 20
    with contextlib.closing(configured_sink(config)) as sink:
        sink.send(items, key=b"cake", value=b"{}")
    with pytest.raises(TopicMismatch, match="holds other messages already: move to a Kafka where"):
        move_trial(tmp_path, config)


def kept_trial(folder: Path, config: Config) -> dict[str, int]:
    """Have a trial with two hundred events and two items; topic → messages."""
    events, items = config.topics.topic("events"), config.topics.topic("items")
    messages: list[tuple[bytes | None, bytes | None]] = [
        (b"u%d" % (n % 7), b"%d" % n) for n in range(50)
    ]
    with contextlib.closing(KeptTopics(folder / TOPICS)) as kept:
        kept.keep([batch(events, p, messages) for p in range(4)])
        kept.keep([batch(items, 0, [(b"tea", b"{}"), (b"cake", b"{}")])])
    return {events: 200, items: 2}


def move_until_killed(servers: str, prefix: str, folder: Path, n_sent: int) -> None:
    """Move, and die before one more message than so many is sent; those before are there."""
    flags = {"kafka.bootstrap_servers": servers, "topics.prefix": prefix}
    left = [n_sent]
    send = KafkaSink.send

    def send_or_die(sink: KafkaSink, *what: Any, **how: Any) -> None:
        if not left[0]:
            sink.flush(30.0)
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        send(sink, *what, **how)

    KafkaSink.send = send_or_die  # type: ignore[assignment, method-assign]
    move_trial(folder, load_config("/dev/null", env={}, flags=flags))


def test_a_move_that_is_killed_is_ended_by_the_next(config: Config, tmp_path: Path) -> None:
    n_of = kept_trial(tmp_path, config)
    where = config.kafka.bootstrap_servers, config.topics.prefix, tmp_path
    for n_sent in (0, 1, 60, 140):
        process = FORK.Process(target=move_until_killed, args=(*where, n_sent))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert move_trial(tmp_path, config) == n_of
    events = config.topics.topic("events")
    for found in read_all(config, events):
        assert found.values == [b"%d" % n for n in range(50)]
        assert found.publish_ms.tolist() == [BEGIN_MS + n for n in range(50)]
    assert sum(len(found.values) for found in read_all(config, events)) == 200


@pytest.mark.parametrize(
    "other", [(b"u0", b"0", BEGIN_MS + 1), (b"u1", b"0", BEGIN_MS), (b"u0", b"1", BEGIN_MS)]
)
def test_topics_that_others_used_since_are_not_gone_on_with(
    config: Config, tmp_path: Path, other: tuple[bytes, bytes, int]
) -> None:
    kept_trial(tmp_path, config)
    create_topics(config.kafka.bootstrap_servers, config.topics)
    events, (key, value, publish_ms) = config.topics.topic("events"), other
    with contextlib.closing(configured_sink(config)) as sink:
        sink.send(events, key=key, value=value, partition=2, publish_ms=publish_ms)
    with pytest.raises(TopicMismatch, match=f"topic {events} .* holds other messages already"):
        move_trial(tmp_path, config)
    assert sum(len(found.values) for found in read_all(config, events)) == 1


def test_what_would_be_deleted_at_once_is_not_moved(config: Config, tmp_path: Path) -> None:
    """Messages keep their times, and a partition whose newest one is too old is emptied."""
    events = config.topics.topic("events")
    old_ms = BEGIN_MS - config.topics.retention_hours * 3_600_000
    with contextlib.closing(KeptTopics(tmp_path / TOPICS)) as kept:
        kept.keep([batch(events, 0, [(b"ann", b"{}")])])
        kept.keep([batch(events, 1, [(b"bob", b"{}")], begin_ms=old_ms)])
        kept.keep([batch(config.topics.topic("items"), 0, [(b"tea", b"{}")], begin_ms=old_ms)])
    with pytest.raises(TopicMismatch, match=f"topic {events} .* 168 h, .* 169 h old: .* = 194 "):
        move_trial(tmp_path, config)
    longer = load_config(
        "/dev/null",
        env={},
        flags={
            "kafka.bootstrap_servers": config.kafka.bootstrap_servers,
            "topics.prefix": f"{config.topics.prefix}longer-",
            "topics.retention_hours": 194,
        },
    )
    with contextlib.closing(KeptTopics(tmp_path / "longer" / TOPICS)) as kept:
        for partition, begin_ms in enumerate([BEGIN_MS, old_ms]):
            messages = [(b"ann", b"{}")]
            name = longer.topics.topic("events")
            kept.keep([batch(name, partition, messages, begin_ms=begin_ms)])
    assert move_trial(tmp_path / "longer", longer) == {longer.topics.topic("events"): 2}


def test_what_is_no_trial_or_of_other_names_is_refused(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no folder of a trial"):
        move_trial(tmp_path, config)
    with contextlib.closing(KeptTopics(tmp_path / TOPICS)) as kept:
        kept.keep([batch("clicks", 0, [(b"ann", b"{}")])])
    with pytest.raises(TopicMismatch, match=r"has a topic clicks, and \[topics\] names no such"):
        move_trial(tmp_path, config)


def test_topics_that_lack_what_they_had_are_not_moved(config: Config, tmp_path: Path) -> None:
    events = config.topics.topic("events")
    with contextlib.closing(KeptTopics(tmp_path / TOPICS)) as kept:
        kept.keep([batch(events, 0, [(b"ann", b"{}")])])
    (tmp_path / TOPICS).write_bytes(b"")
    (tmp_path / STORE).touch()
    with pytest.raises(StoreError, match=r"topics\.db lacks 1 messages that were kept in it"):
        move_trial(tmp_path, config)
    (tmp_path / STORE).unlink()
    assert move_trial(tmp_path, config) == {}


def test_the_commands_move_a_trial_and_send_tombstones(config: Config, tmp_path: Path) -> None:
    topic = config.topics.topic
    events, items, users = topic("events"), topic("items"), topic("users")
    with contextlib.closing(KeptTopics(tmp_path / TOPICS)) as kept:
        kept.keep([batch(events, 0, [(b"ann", b"{}"), (b"ann", b"[]")])])
    settings = tmp_path / "streamer.toml"
    settings.write_text(
        f'[kafka]\nbootstrap_servers = "{config.kafka.bootstrap_servers}"\n'
        f'[topics]\nprefix = "{config.topics.prefix}"\n'
    )
    said = []
    for words in (["move", str(tmp_path)], ["forget", "user", "ann"], ["forget", "item", "tea"]):
        done = CliRunner().invoke(app, [*words, "--config", str(settings)])
        assert done.exit_code == 0, done.output
        said.append(" ".join(done.output.split()))
    assert f"2 messages of {events}" in said[0]
    assert f"a tombstone of ann is on topic {users}" in said[1]
    assert "other topics, which keep them for up to 168 h" in said[1]
    assert f"a tombstone of tea is on topic {items}" in said[2]
    for kept_by_key, key in ((users, b"ann"), (items, b"tea")):
        [found] = read_all(config, kept_by_key)
        assert (found.keys, found.values) == ([key], [None])
