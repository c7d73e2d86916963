"""A trial on the embedded broker goes on where it was: topics, offsets, times and store."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from streamer.application.local.kept_topics import KeptMessage, KeptTopics
from streamer.application.local.topics_keeper import TopicsKeeper
from streamer.application.local.trial import STORE, Trial, trial_in
from streamer.client import Publisher
from streamer.config import Config, load_config
from streamer.errors import ConfigError, StreamerError
from streamer.events import Event
from streamer.kafka.configured import configured_reader, configured_source
from streamer.kafka.embedded import EmbeddedBroker
from streamer.kafka.log_ends import EARLIEST
from streamer.kafka.topics import create_topics
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


def test_a_store_that_is_ahead_of_the_topics_is_learned_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between a commit of the learner and what the topics' file was given."""
    with running(tmp_path) as (config, _, _), Publisher(config=config) as publisher:
        publisher.publish_many(EVENTS[:100])
    with contextlib.closing(sqlite3.connect(tmp_path / STORE)) as store:
        store.execute("CREATE TABLE of_the_last_run (n INTEGER)")
    offsets = [{("events", 2): 103}, {}]
    monkeypatch.setattr(
        "streamer.application.local.trial.learned_offsets", lambda store: offsets.pop(0)
    )
    with running(tmp_path) as (_, trial, read):
        assert trial.n_unkept == 3
        with contextlib.closing(sqlite3.connect(tmp_path / STORE)) as store:
            assert "of_the_last_run" not in str(
                store.execute("SELECT * FROM sqlite_master").fetchall()
            )
        wait_until(lambda: len(read) == 100, "all that was kept is read")


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
