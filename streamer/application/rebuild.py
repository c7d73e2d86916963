"""Forget what a store has learned of partitions, so that it is learned again from the topics."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from streamer.application.services.processes import asked_layout
from streamer.application.starting import await_broker, configured_store
from streamer.config import Config
from streamer.errors import ConfigError
from streamer.kafka.configured import configured_reader
from streamer.learner.configured import learner_settings
from streamer.model_set import build_models
from streamer.store.rebuild import forget_all, forget_partition


@dataclass(frozen=True, slots=True)
class ToForget:
    """One partition before it is forgotten.

    Attributes
    ----------
    version
        Of its last commit.
    starts
        Topic → first offset that is there: what came before was deleted, and is lost to learning.
    """

    partition: int
    version: int
    starts: dict[str, int]

    def __str__(self) -> str:
        topics = [
            f"{topic} from offset {start} on"
            + (f" ({start:,} messages before it were deleted and are lost)" if start else "")
            for topic, start in self.starts.items()
        ]
        return (
            f"partition {self.partition}: what {self.version:,} commits learned is forgotten; to"
            f" learn from there is {', '.join(topics)}"
        )


def to_forget(config: Config, partition: int | None) -> Sequence[ToForget]:
    """Look what a rebuild of one partition, or of all, would forget and what it would learn from.

    Raises
    ------
    ConfigError
        Where there is no such partition.
    KafkaError, StoreError
        When the broker or the store does not answer, or a topic is missing.
    """
    await_broker(config)
    partitions = range(config.topics.partitions)
    if partition is not None and partition not in partitions:
        raise ConfigError(
            f"there is no partition {partition}: with topics.partitions = {len(partitions)} they"
            f" are 0 to {len(partitions) - 1}"
        )
    asked = partitions if partition is None else [partition]
    topics = learner_settings(config).topics
    with contextlib.closing(configured_reader(config)) as reader:
        reader.partitions(*topics)  # says which topic is missing
        ends = reader.ends([(topic, p) for topic in topics for p in asked])
    with contextlib.closing(configured_store(config)) as store:
        versions = store.versions()
    return [
        ToForget(p, versions.get(p, 0), {topic: ends[topic, p].low for topic in topics})
        for p in asked
    ]


def rebuild(config: Config, partition: int | None) -> None:
    """Forget one partition, or all of them; see :mod:`streamer.store.rebuild`."""
    await_broker(config)
    asked = asked_layout(config, build_models(config))
    owner = f"rebuild-{uuid.uuid4().hex[:8]}"
    with contextlib.closing(configured_store(config)) as store:
        if partition is None:
            forget_all(store, asked, owner=owner)
        else:
            forget_partition(store, partition, asked, owner=owner)
