"""Publishers wait for the learner on the embedded broker, and lose nothing."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator

import pytest

from streamer.client import Publisher
from streamer.client.embedded_room import EmbeddedRoom
from streamer.config import Config, load_config
from streamer.errors import DeliveryFailed
from streamer.events import Event, encode
from streamer.kafka.configured import (
    configured_acknowledged,
    configured_reader,
    configured_source,
)
from streamer.kafka.embedded import EmbeddedBroker
from streamer.kafka.log_ends import EARLIEST

N_EVENTS = 20_000
CONTEXT: dict[str, str | int | float | bool] = {"page": "x" * 400}
"""Of each event: all go to one partition, twice of what the broker keeps of it."""


@pytest.fixture
def config() -> Iterator[Config]:
    with EmbeddedBroker() as broker:
        yield load_config(
            "/dev/null", env={}, flags={"kafka.bootstrap_servers": broker.bootstrap_servers}
        )


def test_a_log_that_is_published_at_full_speed_is_read_whole(config: Config) -> None:
    topic = config.topics.topic("events")
    published = threading.Event()
    read: list[int] = []
    source = configured_source(
        config,
        "learner",
        [topic],
        on_assign=lambda partitions: {(topic, p): EARLIEST for p in partitions},
        on_revoke=lambda partitions: None,
        alone=True,
    )

    def learn() -> None:
        while len(read) < N_EVENTS and not (published.is_set() and source.skipped_offsets):
            for batch in source.poll(n_max=1_000, timeout_s=0.1):
                read.extend(batch.offsets.tolist())
                source.tell_applied({(topic, batch.partition): read[-1] + 1})

    learning = threading.Thread(target=learn)
    with Publisher(config=config) as publisher:
        # Nobody reads until the publisher waits, however fast this machine is.
        waiting = threading.Timer(1.0, learning.start)
        waiting.start()
        for _ in range(N_EVENTS):
            publisher.publish(type="click", user_id="ann", item_id="tea", context=CONTEXT)
    published.set()
    waiting.join()
    learning.join()
    source.close()
    assert source.skipped_offsets == 0
    assert read == list(range(N_EVENTS))


def test_who_can_not_wait_is_told_that_the_learner_must_read_first(config: Config) -> None:
    topic = config.topics.topic("events")
    event = Event(event_id="e", type="click", user_id="ann", item_id="tea", ts=1, context=CONTEXT)
    value = encode(event)
    room = EmbeddedRoom(config, topic)
    with (
        contextlib.closing(configured_acknowledged(config)) as sink,
        contextlib.closing(room),
        contextlib.closing(configured_reader(config, service="learner")) as reader,
    ):
        n_sent = 0
        while not room.is_full():
            sent = [sink.send(topic, key=b"ann", value=value) for _ in range(500)]
            for future in sent:
                room.note(len(value))
                future.result(30)
            n_sent += 500
            assert n_sent * len(value) < 4_000_000, "the broker would drop the first soon"
        assert room.is_full()  # as long as nothing is read
        reader.commit(reader.end_offsets(reader.partitions(topic)), wait=True)
        assert not room.is_full()
        assert not room.is_due


def test_who_waits_for_a_learner_that_reads_nothing_is_told(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.client.embedded_room.STUCK_S", 0.2)
    event = Event(event_id="e", type="click", user_id="ann", item_id="tea", ts=1, context=CONTEXT)
    with Publisher(config=config) as publisher:
        with pytest.raises(DeliveryFailed, match=r"has read none of the [\d,]+ messages that wait"):
            publisher.publish_many(itertools.repeat(event, N_EVENTS))
        assert publisher.n_delivered < N_EVENTS
