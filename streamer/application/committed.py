"""What is committed, and what the catalogue says, read once."""

from __future__ import annotations

import contextlib

from prometheus_client import CollectorRegistry

from streamer.application.starting import configured_store
from streamer.catalogue.catalogue import Catalogue
from streamer.catalogue.metrics import CatalogueMetrics
from streamer.clock import SystemClock
from streamer.config import Config
from streamer.kafka.configured import configured_reader
from streamer.kafka.log_ends import EARLIEST
from streamer.model_set import build_models, store_layout
from streamer.replica.metrics import ReplicaMetrics
from streamer.replica.replica import Replica
from streamer.replica.version import Version
from streamer.store.of_models import StoreOfModels

_N_AT_ONCE = 10_000
_WAIT_S = 0.5


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


def present_catalogue(config: Config) -> Catalogue:
    """Return what the items topic says; bad messages on it are passed over."""
    catalogue = Catalogue(
        metrics=CatalogueMetrics(CollectorRegistry()), token_fields=config.catalogue.fields
    )
    with contextlib.closing(configured_reader(config)) as reader:
        topic = config.topics.topic("items")
        reader.start(dict.fromkeys(reader.partitions(topic), EARLIEST))
        ends = reader.end_offsets()
        while any(reader.positions.get(where, 0) < end for where, end in ends.items()):
            catalogue.follow(
                reader, n_max=_N_AT_ONCE, timeout_s=_WAIT_S, reject=lambda batch, place, why: None
            )
    return catalogue
