"""What lies on the topics, read from their starts to their ends of now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

from streamer.config import Config
from streamer.config.settings import TopicRole
from streamer.kafka.configured import configured_reader
from streamer.kafka.log_ends import EARLIEST

Place = tuple[str, int, int]
"""Topic, partition, offset."""


class Found(NamedTuple):
    """A message where it lies."""

    place: Place
    publish_ms: int
    key: bytes | None
    value: bytes | None


def messages_of(config: Config, role: TopicRole) -> Iterator[Found]:
    """Yield all messages of a topic, those of a partition in their order."""
    with closing(configured_reader(config)) as reader:
        partitions = reader.partitions(config.topics.topic(role))
        reader.start(dict.fromkeys(partitions, EARLIEST))
        ends = reader.end_offsets()
        while any(reader.positions[where] < end for where, end in ends.items()):
            for batch in reader.poll(n_max=10_000, timeout_s=1.0):
                for place in range(len(batch)):
                    yield Found(
                        (batch.topic, batch.partition, int(batch.offsets[place])),
                        int(batch.publish_ms[place]),
                        batch.keys[place],
                        batch.values[place],
                    )
