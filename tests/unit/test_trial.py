"""A trial on the embedded broker goes on where it was: topics, offsets, times and store."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from streamer.application.local.kept_topics import KeptMessage, KeptTopics
from streamer.application.local.topics_keeper import TopicsKeeper
from streamer.application.local.trial import STORE, TOPICS, Trial, trial_in
from streamer.client import Publisher
from streamer.config import Config, load_config
from streamer.errors import ConfigError, StoreError, StreamerError
from streamer.events import Event
from streamer.kafka.configured import configured_reader, configured_source
from streamer.kafka.embedded import EmbeddedBroker
from streamer.kafka.log_ends import EARLIEST
from streamer.kafka.topics import create_topics
from streamer.protocols import MessageBatch
from streamer.store import open_store
from tests.contract.store_world import LAYOUT, World
from tests.learner_processes import wait_until

N_EVENTS = 20_000
EVENTS = [
    Event(
        event_id=f"e{n}",
        type="click",
        user_id="ann",
        item_id="tea",
        ts=1_700_000_000_000 + n,
        context={"page": "x" * 400},  # together twice of what the broker keeps of a partition
    )
    for n in range(N_EVENTS)
]


@contextlib.contextmanager
def begun(config: Config) -> Iterator[Config]:
    """The configuration of a broker that has just begun."""
    with EmbeddedBroker() as broker:
        kafka = msgspec.structs.replace(config.kafka, bootstrap_servers=broker.bootstrap_servers)
        create_topics(broker.bootstrap_servers, config.topics)
        yield msgspec.structs.replace(config, kafka=kafka)


@contextlib.contextmanager
def learning(config: Config) -> Iterator[list[int]]:
    """Read events as a learner does; the offsets of those that were read."""
    read: list[int] = []
    ended = threading.Event()
    source = configured_source(
        config,
        "learner",
        ["events"],
        on_assign=lambda partitions: {("events", p): EARLIEST for p in partitions},
        on_revoke=lambda partitions: None,
        alone=True,
    )

    def learn() -> None:
        while not ended.is_set():
            for batch in source.poll(n_max=1_000, timeout_s=0.1):
                read.extend(batch.offsets.tolist())
                source.tell_applied({("events", batch.partition): read[-1] + 1})

    thread = threading.Thread(target=learn)
    thread.start()
    try:
        yield read
    finally:
        ended.set()
        thread.join()
        source.close()


def kept(folder: Path) -> list[KeptMessage]:
    with contextlib.closing(KeptTopics(folder / "topics.db")) as topics:
        return list(topics.messages())


@contextlib.contextmanager
def running(folder: Path) -> Iterator[tuple[Config, Trial, list[int]]]:
    with trial_in(folder, load_config("/dev/null", env={})) as trial, begun(trial.config) as config:
        trial.bring_back(config)
        with learning(config) as read:
            trial.go_on(config)
            try:
                yield config, trial, read
            finally:
                trial.close()


def test_messages_come_back_to_their_offsets_with_their_times(tmp_path: Path) -> None:
    with running(tmp_path) as (config, _, _), Publisher(config=config) as publisher:
        publisher.publish_many(EVENTS[:100])
        publisher.publish_item("tea", title="Tea")
        publisher.delete_item("cake")
    first = kept(tmp_path)
    assert {(each.topic, each.value is None) for each in first} == {
        ("events", False),
        ("items", False),
        ("items", True),
    }
    with running(tmp_path) as (config, trial, _), Publisher(config=config) as publisher:
        assert trial.n_kept == 102
        publisher.publish_many(EVENTS[100:110])
    again = kept(tmp_path)
    assert again[:102] == first
    assert [each.offset for each in again[102:]] == list(range(100, 110))


def test_what_is_not_learned_waits_for_the_learner(tmp_path: Path) -> None:
    """More than the broker keeps is read whole by a learner that has lost its store."""
    with running(tmp_path) as (config, _, read), Publisher(config=config) as publisher:
        publisher.publish_many(EVENTS)
    assert len(kept(tmp_path)) == N_EVENTS
    with running(tmp_path) as (config, _, read):
        with contextlib.closing(configured_reader(config)) as reader:
            ends = reader.ends([("events", 2)])
        assert ends["events", 2].low > 0, "the broker has dropped what came first"
        wait_until(lambda: len(read) == N_EVENTS, "all is read")
    assert read == list(range(N_EVENTS))


def learned(folder: Path) -> int:
    """Have a store in the folder that has learned some of partition 2; how many messages."""
    with contextlib.closing(open_store(f"sqlite:{folder / STORE}")) as store:
        store.ensure_layout(LAYOUT)
        store.acquire(2, "a")
        world = World(2)
        store.commit(world.next_entry(), owner="a")
        return sum(world.offsets.values())


def kept_and_learned(folder: Path) -> None:
    """Have a trial that ended in order, with all kept that was learned."""
    learned(folder)
    with contextlib.closing(KeptTopics(folder / TOPICS)) as topics:
        topics.keep([batch("events", range(100)), batch("decisions", range(100))])
        topics.end()


def batch(topic: str, offsets: range) -> MessageBatch:
    values: list[bytes | None] = [b"%s %d" % (topic.encode(), offset) for offset in offsets]
    return MessageBatch(topic, 2, values, np.array(offsets), np.array(offsets), values)


def asked(folder: Path) -> contextlib.AbstractContextManager[Trial]:
    return trial_in(folder, load_config("/dev/null", env={}))


def refused(folder: Path, *said: str) -> None:
    """Whether the trial is refused in these words, and its store left as it is."""
    store = (folder / STORE).read_bytes()
    with pytest.raises(StoreError) as caught, asked(folder):
        pass
    for words in said:
        assert words in str(caught.value)
    assert (folder / STORE).read_bytes() == store


def test_a_store_that_is_ahead_of_the_topics_of_a_killed_run_is_set_aside(tmp_path: Path) -> None:
    """As after a kill between a commit of the learner and what the topics' file was given."""
    with running(tmp_path) as (config, _, _), Publisher(config=config) as publisher:
        publisher.publish_many(EVENTS[:100])
    with contextlib.closing(KeptTopics(tmp_path / TOPICS)) as topics:
        topics.begin()
    n_decisions = learned(tmp_path) - World(2).next_entry().n_events
    store = (tmp_path / STORE).read_bytes()
    with running(tmp_path) as (_, trial, read):
        assert trial.n_unkept == n_decisions > 0
        assert trial.set_aside is not None
        assert trial.set_aside.read_bytes() == store
        assert not (tmp_path / STORE).exists()
        wait_until(lambda: len(read) == 100, "all that was kept is read")


def test_a_store_that_is_ahead_after_an_end_in_order_is_of_another_trial(tmp_path: Path) -> None:
    with running(tmp_path) as (config, _, _), Publisher(config=config) as publisher:
        publisher.publish_many(EVENTS[:100])
    learned(tmp_path)
    refused(tmp_path, STORE, TOPICS, "the last run was not killed", "away")
    (tmp_path / "topics.ends").unlink()
    refused(tmp_path, "the last run was not killed")
    (tmp_path / STORE).rename(tmp_path / "away")
    with asked(tmp_path) as trial:
        assert trial.n_kept == 100


@pytest.mark.parametrize("how", ["missing", "empty", "older"])
def test_topics_that_are_gone_are_named_and_take_no_store_with_them(
    tmp_path: Path, how: str
) -> None:
    kept_and_learned(tmp_path)
    with asked(tmp_path) as trial:
        assert (trial.n_kept, trial.n_unkept) == (200, 0)
    topics = tmp_path / TOPICS
    topics.rename(tmp_path / "copy")
    if how == "empty":
        topics.touch()
    if how == "older":
        with contextlib.closing(KeptTopics(tmp_path / "older.db")) as older:
            older.keep([batch("events", range(100)), batch("decisions", range(40))])
        (tmp_path / "older.db").rename(topics)
    lacks = {"older": 60}.get(how, 200)
    refused(tmp_path, f"{topics} lacks {lacks} messages", "put that file back", STORE)
    (tmp_path / "copy").rename(topics)
    with asked(tmp_path) as trial:
        assert (trial.n_kept, trial.n_unkept) == (200, 0)
    topics.unlink()
    (tmp_path / STORE).rename(tmp_path / "away")
    with asked(tmp_path) as trial:
        assert (trial.n_kept, trial.n_unkept) == (0, 0)


@pytest.mark.parametrize("how", ["gone", "halved", "flipped"])
def test_a_log_that_was_damaged_after_a_kill_is_told_from_the_kill(
    tmp_path: Path, how: str
) -> None:
    """The files as a kill leaves them: all that was kept is still in the write-ahead log."""
    folder = tmp_path / "killed"
    with contextlib.closing(KeptTopics(tmp_path / TOPICS)) as topics:
        learned(tmp_path)
        for at in range(0, 100, 10):
            some = range(at, at + 10)
            topics.keep([batch("events", some), batch("decisions", some)])
        shutil.copytree(tmp_path, folder)
    log = folder / f"{TOPICS}-wal"
    data = bytearray(log.read_bytes())
    with asked(shutil.copytree(folder, tmp_path / "whole")) as trial:
        assert (trial.n_kept, trial.n_unkept) == (200, 0)
    if how == "gone":
        log.unlink()
    else:
        data[len(data) // 2] ^= 1
        log.write_bytes(data if how == "flipped" else data[: len(data) // 2])
    refused(folder, f"{folder / TOPICS} lacks", f"with {TOPICS}-wal", STORE)


def ends_and_messages(path: Path) -> None:
    with contextlib.closing(KeptTopics(path)) as topics:
        topics.ends()
        list(topics.messages())


@pytest.mark.parametrize(
    "damage",
    [
        'DELETE FROM messages WHERE "offset" = 7',
        'DELETE FROM messages WHERE "offset" = 0',
        'UPDATE messages SET "offset" = \'x\' WHERE "offset" = 99',
        'UPDATE messages SET "offset" = -1 WHERE "offset" = 7',
        "UPDATE messages SET value = 'x' WHERE \"offset\" = 7",
        "UPDATE messages SET publish_ms = 'now' WHERE \"offset\" = 7",
        "DROP TABLE messages",
        "ALTER TABLE messages ADD COLUMN more",
        None,
    ],
)
def test_what_is_damaged_in_the_topics_is_said_to_be_the_topics(
    tmp_path: Path, damage: str | None
) -> None:
    kept_and_learned(tmp_path)
    path = tmp_path / TOPICS
    if damage is None:
        data = bytearray(path.read_bytes())
        data[4096:] = b"\xff" * (len(data) - 4096)
        path.write_bytes(data)
    else:
        with contextlib.closing(sqlite3.connect(path)) as file, file:
            file.execute(damage)
    with pytest.raises(StoreError, match=r"topics\.db .* holds the topics themselves.*put back"):
        ends_and_messages(path)


def test_a_damaged_store_of_a_trial_says_how_to_begin_anew(tmp_path: Path) -> None:
    kept_and_learned(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / STORE)) as file, file:
        file.execute("UPDATE entries SET entry = x'00'")
    refused(tmp_path, f"move {tmp_path / STORE} away, and what {TOPICS} has is learned anew")


def test_what_was_gone_before_it_was_kept_is_said(tmp_path: Path) -> None:
    with begun(load_config("/dev/null", env={})) as config:
        with learning(config), Publisher(config=config) as publisher:
            publisher.publish_many(EVENTS)
        with contextlib.closing(KeptTopics(tmp_path / "topics.db")) as topics:
            keeper = TopicsKeeper(config, topics, {})
            with pytest.raises(StreamerError, match=r"[\d,]+ messages were gone .* before they"):
                keeper.close()


def test_a_folder_is_of_one_trial_and_has_the_only_store(tmp_path: Path) -> None:
    config = load_config("/dev/null", env={})
    with (
        trial_in(tmp_path, config),
        pytest.raises(ConfigError, match="another `streamer up` is at work in"),
        trial_in(tmp_path, config),
    ):
        pass
    for flag, value, said in (
        ("store.url", "sqlite:mine.db", "has a store of its own"),
        ("kafka.bootstrap_servers", "kafka:9092", "Kafka at kafka:9092 keeps its own"),
    ):
        asked = load_config("/dev/null", env={}, flags={flag: value})
        with pytest.raises(ConfigError, match=said), trial_in(tmp_path, asked):
            pass
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigError, match="name a folder that you may write"):
        trial_in(file, config).__enter__()
