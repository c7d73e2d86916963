"""From a trial on the embedded broker to a Kafka of one's own."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Final, get_args

import msgspec

from streamer.application.local.kept_topics import KeptMessage, KeptTopics
from streamer.application.local.trial import STORE, TOPICS, check_whole, locked, send
from streamer.application.starting import await_broker
from streamer.application.topic_log import TopicLog
from streamer.config import Config, TopicRole
from streamer.errors import ConfigError, TopicMismatch
from streamer.kafka.configured import configured_sink
from streamer.kafka.embedded import N_PARTITIONS
from streamer.kafka.log_ends import TopicPartition
from streamer.kafka.partitioner import partition_of
from streamer.kafka.topics import MS_PER_HOUR, altering, create_topics, topic_states

_BY_KEY: Final[tuple[TopicRole, ...]] = ("items", "users", "features")
_REPORT_EVERY: Final = 1_000
_ANY: Final = -1
"""Partition of a message without a key, where the broker's partitions are others."""


def move_trial(
    folder: Path, config: Config, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, int]:
    """Publish what a trial has kept to the configured Kafka; return topic → messages.

    The topics are made where they are missing. They must be empty, or have the first of these
    messages and no others, as after a move that was cut short: this one goes on behind them.
    Messages keep their keys, values, times and order; a learner there learns them all again. The
    folder stays as it is. What has no key stays there where the topic is kept by key: nothing can
    use it, and it has its dead letter.

    Parameters
    ----------
    progress
        Told now and then how many of how many are published.

    Raises
    ------
    ConfigError
        When nothing was kept there, a trial is at work there, or no broker is configured.
    StoreError
        When the file of the topics is damaged, or lacks what it had.
    TopicMismatch
        When a topic holds other messages, or would not keep what is so old, or the trial had one of
        another name.
    KafkaError
        When the broker does not take something. It may have taken what came before.
    """
    path = folder / TOPICS
    if not path.exists():
        raise ConfigError(f"{folder} is no folder of a trial: name that of `streamer up --data`")
    await_broker(config)
    with locked(folder), contextlib.closing(KeptTopics(path)) as kept:
        ends = kept.ends()
        if (folder / STORE).exists():
            check_whole(kept, folder)
        known = {config.topics.topic(role) for role in get_args(TopicRole)}
        if unknown := {topic for topic, _ in ends} - known:
            raise TopicMismatch(
                f"the trial in {folder} has a topic {min(unknown)}, and [topics] names no such one:"
                " use the names, and the prefix, that it had"
            )
        made = create_topics(
            config.kafka.bootstrap_servers, config.topics, client_options=config.kafka.client
        )
        by_key = {config.topics.topic(role) for role in _BY_KEY}
        to_move = _ToMove(kept, {each.name: each.n_partitions for each in made}, by_key)
        there = _first_messages(config, known)
        _check_first(there, to_move, config)
        _check_kept(to_move, config)
        moved: Counter[str] = Counter()
        n_there = Counter({where: each.n for where, each in there.items()})
        total = sum(ends.values())
        with contextlib.closing(configured_sink(config)) as sink:
            for n_done, (message, where) in enumerate(to_move, 1):
                moved[message.topic] += 1
                if n_done % _REPORT_EVERY == 0:
                    progress(n_done, total)
                if n_there[message.topic, where]:
                    n_there[message.topic, where] -= 1
                else:
                    send(sink, message, partition=None if where == _ANY else where)
        progress(total, total)
    return dict(moved)


class _ToMove:
    """What a trial has kept and can be used, each message with the partition that it comes to."""

    def __init__(
        self, kept: KeptTopics, n_partitions: Mapping[str, int], by_key: Collection[str]
    ) -> None:
        self._kept = kept
        self._n_partitions = n_partitions
        self._by_key = by_key

    def __iter__(self) -> Iterator[tuple[KeptMessage, int]]:
        for message in self._kept.messages():
            n_partitions = self._n_partitions[message.topic]
            if n_partitions == N_PARTITIONS:
                where = message.partition
            else:  # keys choose anew: those of a key stay in order
                where = _ANY if message.key is None else partition_of(message.key, n_partitions)
            if message.key is not None or message.topic not in self._by_key:
                yield message, where


class _Messages:
    """How many messages there are of a partition, and what they are, in 64 bytes."""

    def __init__(self) -> None:
        self.n = 0
        self._digest = blake2b()

    def add(self, key: bytes | None, value: bytes | None, publish_ms: int) -> None:
        self.n += 1
        self._digest.update(msgspec.msgpack.encode((key, value, publish_ms)))

    def is_as(self, other: _Messages) -> bool:
        return self.n == other.n and self._digest.digest() == other._digest.digest()


def _first_messages(config: Config, topics: Collection[str]) -> dict[TopicPartition, _Messages]:
    """Read what topics have; partition → messages, of those that have any."""
    found: dict[TopicPartition, _Messages] = defaultdict(_Messages)
    for topic in sorted(topics):
        for batch in TopicLog(config, topic).batches():
            for each in zip(batch.keys, batch.values, batch.publish_ms.tolist(), strict=True):
                found[topic, batch.partition].add(*each)
    return dict(found)


def _check_first(
    there: Mapping[TopicPartition, _Messages], to_move: _ToMove, config: Config
) -> None:
    """Raise TopicMismatch unless topics have the first messages of those to move, and no others."""
    ours = {where: _Messages() for where in there}
    for message, partition in to_move if there else ():
        where = message.topic, partition
        if where in ours and ours[where].n < there[where].n:
            ours[where].add(message.key, message.value, message.publish_ms)
    for (topic, partition), found in there.items():
        if not ours[topic, partition].is_as(found):
            raise TopicMismatch(
                f"topic {topic} at {config.kafka.bootstrap_servers} holds other messages already:"
                " move to a Kafka where it is new, or set topics.prefix in the trial and here"
                " alike; where an earlier `streamer move` was cut short and the topics were used"
                " since, delete them and move again"
            )


def _check_kept(to_move: _ToMove, config: Config) -> None:
    """Raise TopicMismatch where Kafka would delete what comes to a partition as soon as it looks:
    messages keep their times, and all of them are older than the topic's retention."""
    newest_ms: dict[TopicPartition, int] = {}
    for message, partition in to_move:
        where = message.topic, partition
        newest_ms[where] = max(newest_ms.get(where, 0), message.publish_ms)
    states = topic_states(
        config.kafka.bootstrap_servers, config.topics, client_options=config.kafka.client
    )
    kept_hours = {each.name: each.retention_hours for each in states}
    now_ms = time.time_ns() // 1_000_000
    for topic, kept in kept_hours.items():
        ages = [(now_ms - each) / MS_PER_HOUR for (of, _), each in newest_ms.items() if of == topic]
        if kept is not None and (age := max(ages, default=0.0)) > kept:
            hours = math.ceil(age) + 24
            raise TopicMismatch(
                f"topic {topic} at {config.kafka.bootstrap_servers} keeps messages for {kept:g} h,"
                f" and the newest of a partition is {age:.0f} h old: Kafka would delete it before"
                f" it is learned; {altering(topic, 'retention.ms', hours * MS_PER_HOUR)}, or delete"
                f" the topics, set topics.retention_hours = {hours} and move again"
            )
