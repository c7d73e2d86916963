"""The scorer as a process, put together from a configuration."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry

from streamer.application.services.letter_duty import GroupDuty
from streamer.application.services.processes import (
    SELDOM_READ_MS,
    check_configured_topics,
    items_reader,
    opened_store,
)
from streamer.application.services.signals import stopped_by_signals
from streamer.application.services.warm_up import warm_up
from streamer.application.starting import await_broker
from streamer.clock import SystemClock
from streamer.config import Config
from streamer.errors import Stopped, TopicMismatch
from streamer.events.messages import TIMEOUT_MS_MAX
from streamer.kafka.configured import configured_reader, configured_sink, configured_source
from streamer.kafka.connection import Stopping
from streamer.kafka.log_ends import RECENT
from streamer.kafka.sink import KafkaSink
from streamer.model_set import build_models, store_layout
from streamer.ranking.columns import followed_definitions
from streamer.scorer.awaited_features import AwaitedFeatures
from streamer.scorer.metrics import KnownFeatureMetrics, ScorerMetrics
from streamer.scorer.scorer import Scorer
from streamer.scorer.service import ScorerService
from streamer.store.of_models import StoreOfModels
from streamer.telemetry import serve_metrics
from streamer.windows.latest import FeaturesReader

log = logging.getLogger(__name__)

_LOOK_TIMEOUT_S: Final = 1.0
"""For a look in passing: a broker that is away must not hold up a scorer's following or its end."""


def run_scorer(config: Config, *, alone: bool = False) -> None:
    """Answer requests until SIGTERM or SIGINT.

    Parameters
    ----------
    alone
        Read all partitions without a consumer group: starts at once, but there may be one only.
    """
    registry = CollectorRegistry()
    with (
        stopped_by_signals() as signals,
        scorer_service(config, registry, alone=alone) as service,
    ):
        signals.hand_over(service.stop)
        service.run()
        log.info("scorer_stopped")


@contextlib.contextmanager
def scorer_service(
    config: Config, registry: CollectorRegistry, *, alone: bool
) -> Iterator[ScorerService]:
    """Yield a service of the requests topic whose clients are open, its metrics served.

    Leaving waits until the broker has all that the scorer sent.
    """
    await_broker(config)
    models = build_models(config)
    check_configured_topics(config)
    warm_up(config)
    requests = config.topics.topic("requests")
    stop = threading.Event()
    metrics = ScorerMetrics(registry)
    with contextlib.ExitStack() as stack:
        store = opened_store(config, stack)
        sink = configured_sink(config, linger_s=0.0, stopping=stop.is_set)
        stack.callback(_close, sink)
        stack.enter_context(serve_metrics(registry, config.metrics.port, host=config.metrics.host))
        items = items_reader(
            config, stack, lost=metrics.lost.inc, service="letters", stopping=stop.is_set
        )
        duty = GroupDuty(items)
        features = stack.enter_context(
            _features_reader(config, lost=metrics.lost.inc, stopping=stop.is_set)
        )

        def on_assign(partitions: Sequence[int]) -> Mapping[tuple[str, int], int]:
            duty.take(partitions)
            return dict.fromkeys([(requests, p) for p in partitions], RECENT)

        source = configured_source(
            config,
            "scorer",
            [requests],
            on_assign=on_assign,
            on_revoke=lambda partitions: duty.take(()),
            alone=alone,
            lost=metrics.lost.inc,
            stopping=stop.is_set,
            anew="followed",
            recent_s=TIMEOUT_MS_MAX / 1000,
            passed_over=metrics.stale.inc,
        )
        scorer = Scorer(
            config,
            models=models,
            store=StoreOfModels(store, store_layout(config, models), learns=False),
            items=items,
            sink=sink,
            clock=SystemClock(),
            metrics=metrics,
            features=features,
            feature_metrics=KnownFeatureMetrics(registry),
            duty=duty,
            stop=stop,
        )
        yield ScorerService(scorer, source=source)


def _close(sink: KafkaSink) -> None:
    """Close a sink whose messages are sent again after the next start, where the broker is away."""
    try:
        sink.close()
    except Stopped as error:
        sink.discard()
        log.warning("answers_discarded", extra={"reason": str(error)})


@contextlib.contextmanager
def _features_reader(
    config: Config, *, lost: Callable[[int], None], stopping: Stopping
) -> Iterator[FeaturesReader | None]:
    """Of the whole features topic, which may come later; None where nothing of it is needed."""
    if not followed_definitions(config):
        yield None
        return
    remedy = "their entities lack those features until the next of their windows ends"
    opening = configured_reader(
        config,
        lost=lost,
        remedy=remedy,
        embedded_wait_ms=SELDOM_READ_MS,
        stopping=stopping,
        anew="followed",
    )
    with contextlib.closing(opening) as reader:
        topic = config.topics.topic("features")

        def opened(timeout_s: float | None = None) -> FeaturesReader:
            reader.start_whole(topic, timeout_s=timeout_s)
            return reader

        def looked() -> FeaturesReader:
            reader.poll(n_max=1, timeout_s=0.0)  # what its client has to say would pile up
            return opened(_LOOK_TIMEOUT_S)

        features: FeaturesReader
        try:
            features = opened()
        except TopicMismatch as error:
            log.warning("features_missing", extra={"reason": str(error)})
            features = AwaitedFeatures(looked)
        yield features
