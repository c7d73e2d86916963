"""The windowed features, put together from a configuration."""

from __future__ import annotations

import contextlib
import importlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from streamer.application.committed import committed_version
from streamer.application.services.processes import PUBLISH_ITEMS_AGAIN
from streamer.application.starting import await_broker
from streamer.clock import SystemClock
from streamer.config import Config, FeatureDefinition, feature_definitions
from streamer.errors import ConfigError, KafkaUnavailable
from streamer.events import FeatureEntity
from streamer.faust_worker.metrics import FeaturesMetrics
from streamer.faust_worker.settings import FeaturesSettings, features_settings
from streamer.faust_worker.worker_folder import worker_folder
from streamer.kafka.configured import configured_reader
from streamer.kafka.log_ends import EARLIEST
from streamer.kafka.topic_ids import topic_id
from streamer.kafka.topics import check_topics, create_internal_topics
from streamer.protocols import MessageBatch
from streamer.telemetry import serve_metrics
from streamer.windows.categories import ItemCategories
from streamer.windows.latest import KnownFeature, LatestFeatures
from streamer_models.state.ids.id_table import keys_of

if TYPE_CHECKING:
    from streamer.faust_worker.local_records import LocalRecords

log = logging.getLogger(__name__)

_N_REREAD = 20_000


def run_features(config: Config) -> None:
    """Compute windowed features until SIGTERM or SIGINT; start more to share the work.

    Raises
    ------
    ConfigError
        Where Faust is not installed, or RocksDB where it is wanted, with the extra that brings it.
    """
    settings = features_settings(config)
    try:
        from streamer.faust_worker.app import build_app, run_app
        from streamer.faust_worker.credentials import broker_credentials
        from streamer.faust_worker.stopping import end_process

        if settings.store_folder is not None:
            importlib.import_module("streamer.faust_worker.local_records")
    except ImportError as error:
        raise ConfigError(str(error)) from error
    await_broker(config)
    check_topics(
        config.kafka.bootstrap_servers,
        config.topics,
        client_options=config.kafka.client,
        timeout_s=config.kafka.request_timeout_s,
    )
    # Faust passes over a topic that it has asked for and that is not there yet.
    create_internal_topics(
        config.kafka.bootstrap_servers,
        {settings.contributions_topic: "delete", settings.changelog_topic: "compact"},
        config.topics,
        client_options=config.kafka.client,
        timeout_s=config.kafka.request_timeout_s,
    )
    registry = CollectorRegistry()
    with contextlib.ExitStack() as stack:
        metrics = FeaturesMetrics(registry)
        reader = configured_reader(
            config, lost=metrics.lost.inc, remedy=PUBLISH_ITEMS_AGAIN, anew="followed"
        )
        stack.callback(reader.close)
        reader.start_whole(config.topics.topic("items"))
        categories = ItemCategories(reader)
        categories.load()
        stack.enter_context(serve_metrics(registry, config.metrics.port, host=config.metrics.host))
        folder, records = _folder_and_records(config, settings, stack)
        app = build_app(
            settings,
            categories=categories,
            reread=_reread(config),
            clock=SystemClock(),
            metrics=metrics,
            folder=folder,
            records=records,
            credentials=broker_credentials(config.kafka.client),
        )
        log.info("features_ready", extra={"n_features": len(settings.definitions)})
        in_order = run_app(app)
        log.info("features_stopped")
    if not in_order:
        end_process()


def _folder_and_records(
    config: Config, settings: FeaturesSettings, stack: contextlib.ExitStack
) -> tuple[Path, LocalRecords | None]:
    """A folder that is this worker's alone, and what it has in it of the changelog topic.

    Another topic has another folder, also one that was deleted and made again by the same name.
    """
    if settings.store_folder is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamer-"))), None
    from streamer.faust_worker.local_records import LocalRecords

    changelog_id = topic_id(
        config.kafka.bootstrap_servers,
        settings.changelog_topic,
        client_options=config.kafka.client,
        timeout_s=config.kafka.request_timeout_s,
    )
    base = settings.store_folder / f"{settings.app_id}-{changelog_id}"
    folder = stack.enter_context(worker_folder(base))
    records = LocalRecords(folder, clock=SystemClock())
    stack.callback(records.close)
    log.info("features_on_disk", extra={"folder": str(folder)})
    return folder, records


def known_features(
    config: Config, entity: FeatureEntity, entity_id: str
) -> tuple[list[KnownFeature], list[tuple[FeatureDefinition, float]], list[str]]:
    """What is known of an entity now: by the features topic, by the learner's store, and the names
    of the features of which nothing is known.

    Raises
    ------
    ConfigError
        Where no feature of this kind of entity is defined.
    """
    definitions = [each for each in feature_definitions(config) if each.entity == entity]
    if not definitions:
        kinds = sorted({each.entity for each in feature_definitions(config)})
        raise ConfigError(
            f"no feature of entity {entity!r} is defined; there are some of"
            f" {', '.join(kinds) or 'none'}: add a table [features.NAME] with entity = {entity!r}"
        )
    now_ms = SystemClock().now_ms()
    windowed = [each for each in definitions if each.held_by == "windows"]
    known = (
        published_features(config, windowed).about(entity, entity_id, now_ms) if windowed else []
    )
    asked = [each for each in definitions if each.held_by == "learner"]
    held = _held(config, entity, entity_id, asked, now_ms) if asked else []
    said = {each.name for each in known} | {each.name for each, _ in held}
    return known, held, sorted({each.name for each in definitions} - said)


def _held(
    config: Config,
    entity: FeatureEntity,
    entity_id: str,
    asked: list[FeatureDefinition],
    at_ms: int,
) -> list[tuple[FeatureDefinition, float]]:
    """What the learner has committed, as far as there is something."""
    version = committed_version(config)
    if version is None:
        return []
    names = [each.name for each in asked]
    (values,) = version.decayed.values(entity, keys_of([entity_id]), names, at_ms).tolist()
    return [(each, value) for each, value in zip(asked, values, strict=True) if value == value]


def published_features(config: Config, definitions: list[FeatureDefinition]) -> LatestFeatures:
    """What the features topic says now."""
    await_broker(config)
    latest = LatestFeatures(definitions)
    reader = configured_reader(config)
    try:
        topic = config.topics.topic("features")
        reader.start(dict.fromkeys(reader.partitions(topic), EARLIEST))
        latest.load(reader)
    finally:
        reader.close()
    return latest


def _reread(config: Config) -> Callable[[str, int, int, int], Iterator[MessageBatch]]:
    """Reads a stretch of a topic again, as far as it is still there."""
    timeout_s = config.kafka.request_timeout_s

    def reread(topic: str, partition: int, start: int, end: int) -> Iterator[MessageBatch]:
        reader = configured_reader(config)
        deadline = time.monotonic() + timeout_s
        try:
            # Whoever reads again does without what is gone, and has counted it where it is a loss.
            reader.start({(topic, partition): start}, needed={(topic, partition): end})
            while (at := reader.positions.get((topic, partition), start)) < end:
                for batch in reader.poll(n_max=min(_N_REREAD, end - at), timeout_s=0.5):
                    deadline = time.monotonic() + timeout_s
                    n_before = int((batch.offsets < end).sum())
                    if n_before:
                        yield batch.slice(0, n_before)
                if time.monotonic() > deadline:
                    raise KafkaUnavailable(
                        f"{topic}[{partition}] gave nothing from offset {at} on within"
                        f" {timeout_s:.0f} s; trying again later may help"
                    )
        finally:
            reader.close()

    return reread
