"""From a trial on the embedded broker to a Kafka of one's own."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, get_args

from streamer.application.local.kept_topics import KeptTopics
from streamer.application.local.trial import STORE, TOPICS, check_whole, locked, send
from streamer.application.starting import await_broker
from streamer.config import Config, TopicRole
from streamer.errors import ConfigError, TopicMismatch
from streamer.kafka.configured import configured_reader, configured_sink
from streamer.kafka.embedded import N_PARTITIONS
from streamer.kafka.topics import create_topics

_BY_KEY: Final[tuple[TopicRole, ...]] = ("items", "users", "features")
_REPORT_EVERY: Final = 1_000


def move_trial(
    folder: Path, config: Config, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, int]:
    """Publish what a trial has kept to the configured Kafka; return topic → messages.

    The topics are made where they are missing, and must be empty. Messages keep their keys, values,
    times and order; a learner there learns them all again. The folder stays as it is. What has no
    key stays there where the topic is kept by key: nothing can use it, and it has its dead letter.

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
        When a topic holds messages already, or the trial had one of another name.
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
        _check_empty(config, known)
        # Where a topic has other partitions, keys choose them anew: those of a key stay in order.
        as_they_were = {each.name for each in made if each.n_partitions == N_PARTITIONS}
        by_key = {config.topics.topic(role) for role in _BY_KEY}
        moved: Counter[str] = Counter()
        total = sum(ends.values())
        with contextlib.closing(configured_sink(config)) as sink:
            for n_done, message in enumerate(kept.messages(), 1):
                if message.key is None and message.topic in by_key:
                    continue
                where = message.partition if message.topic in as_they_were else None
                send(sink, message, partition=where)
                moved[message.topic] += 1
                if n_done % _REPORT_EVERY == 0:
                    progress(n_done, total)
        progress(total, total)
    return dict(moved)


def _check_empty(config: Config, topics: set[str]) -> None:
    with contextlib.closing(configured_reader(config)) as reader:
        ends = reader.end_offsets(reader.partitions(*sorted(topics)))
    for (topic, _), end in ends.items():
        if end:
            raise TopicMismatch(
                f"topic {topic} at {config.kafka.bootstrap_servers} holds messages already: move to"
                " a Kafka where it is new, or set topics.prefix in the trial and here alike; where"
                " an earlier `streamer move` was cut short, delete its topics and move again"
            )
