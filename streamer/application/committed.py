"""What is committed, and what is on the topics, read once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from prometheus_client import CollectorRegistry

from streamer.application.starting import configured_store
from streamer.catalogue.catalogue import Catalogue
from streamer.catalogue.metrics import CatalogueMetrics
from streamer.clock import SystemClock
from streamer.config import Config, TopicRole
from streamer.errors import BadMessage
from streamer.kafka.configured import configured_reader
from streamer.kafka.log_ends import EARLIEST, TopicPartition
from streamer.learner.topic_stream import TopicStream
from streamer.model_set import build_models, store_layout
from streamer.protocols import MessageBatch, ParameterStore
from streamer.replica.metrics import ReplicaMetrics
from streamer.replica.replica import Replica
from streamer.replica.version import Version
from streamer.store.of_models import StoreOfModels


def committed_version(config: Config) -> Version | None:
    """Return the parameters of the configured store as they are; None where no learner ever
    began."""
    models = build_models(config)
    with contextlib.closing(configured_store(config)) as store:
        if store.layout() is None:
            return None
        replica = Replica(
            store=StoreOfModels(store, store_layout(config, models), learns=False),
            models=models,
            n_partitions=config.topics.partitions,
            clock=SystemClock(),
            metrics=ReplicaMetrics(CollectorRegistry()),
        )
        replica.load()
    return replica.current()


def learned_offsets(store: ParameterStore) -> dict[TopicPartition, int]:
    """(topic, partition) → first offset that is not learned and committed."""
    found: dict[TopicPartition, int] = {}
    for partition, version in store.versions().items():
        entries = store.follow({partition: version - 1}, timeout_s=0)
        offsets = (
            {topic: to for topic, (_, to) in entries[-1].schedule.offsets.items()}
            if entries
            else store.load(partition).offsets
        )
        found |= {(topic, partition): offset for topic, offset in offsets.items()}
    return found


def present_messages(config: Config, role: TopicRole) -> Iterator[MessageBatch]:
    """All that is on a topic now, a partition a batch."""
    with contextlib.closing(configured_reader(config)) as reader:
        ends = reader.end_offsets(reader.partitions(config.topics.topic(role)))
    for where, end in ends.items():
        if not end:
            continue
        with contextlib.closing(configured_reader(config, {where: EARLIEST})) as reader:
            timeout_s = config.kafka.request_timeout_s
            yield TopicStream(reader, *where, timeout_s=timeout_s).take(end)


def present_catalogue(config: Config) -> Catalogue:
    """Return what the items topic says; bad messages on it are passed over."""
    catalogue = Catalogue(metrics=CatalogueMetrics(CollectorRegistry()), config=config.catalogue)
    for batch in present_messages(config, "items"):
        for key, value in zip(batch.keys, batch.values, strict=True):
            with contextlib.suppress(BadMessage):
                catalogue.apply(key, value)
    return catalogue
