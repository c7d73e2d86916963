"""The learner as a process, put together from a configuration, and what the scorer shares."""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import os
import socket
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from prometheus_client import CollectorRegistry

from streamer.application.services.signals import Signals, stopped_by_signals
from streamer.application.services.warm_up import warm_up
from streamer.application.starting import await_broker, configured_store
from streamer.clock import SystemClock
from streamer.config import Config
from streamer.errors import TopicMismatch
from streamer.kafka.configured import configured_reader, configured_sink, configured_source
from streamer.kafka.connection import Stopping, never
from streamer.kafka.reader import KafkaReader
from streamer.kafka.topic_ids import topic_ids
from streamer.kafka.topics import check_topics
from streamer.learner.catalogue import LearnedCatalogue
from streamer.learner.configured import learner_settings, reward_function
from streamer.learner.drift_boost import DriftBoost
from streamer.learner.drift_watch import DriftWatch, configured_watch
from streamer.learner.learner import Learner
from streamer.learner.match_watch import MatchWatch
from streamer.learner.metrics import JoinMetrics, LearnerMetrics
from streamer.learner.practice.budget import PracticeBudget
from streamer.learner.practice.practice import Practice
from streamer.learner.service import Assigned, LearnerService, OpenSource, Revoked, dead_letters_to
from streamer.learner.settings import LearnerSettings
from streamer.learner.topic_stream import TopicStream
from streamer.learner.users import FollowedUsers
from streamer.model_set import build_models, store_layout
from streamer.protocols import Entry, Layout, ParameterStore, Source
from streamer.store.agreement import agree
from streamer.store.of_models import StoreOfModels, TableNames
from streamer.store.open import check_records
from streamer.telemetry import serve_metrics, show_lag
from streamer.verify.checkpoints import verify_from_checkpoints
from streamer.verify.execution import learned_with
from streamer.verify.parameters import Verification, verify_store
from streamer.verify.topics import LogEnds
from streamer_models.evaluation.drift import RateBoost
from streamer_models.state.model import Model

log = logging.getLogger(__name__)

PIPELINE_DEPTH = 4
"""Commits under way while the next batch is learned: as many as partitions in a usual round."""
PUBLISH_ITEMS_AGAIN = "publish those items again: a compacted topic deletes none by itself"
"""Remedy where items are deleted before they are read."""
SELDOM_READ_MS = 250
"""How long items and features may lie at an embedded broker: no request waits for the latest."""
_LEARNED_MS = 100
"""How long events may lie at an embedded broker, whatever the interval of commits."""


def collect_garbage_rarely() -> None:
    """Let Python look for cycles once in 100,000 new objects, not once in 700.

    Messages hold none and live as long as their batch, so every look is in vain: it took 8 % of a
    learner's time.
    """
    gc.set_threshold(100_000, 20, 100)


def run_learner(config: Config, *, alone: bool = False) -> None:
    """Learn until SIGTERM or SIGINT.

    Parameters
    ----------
    alone
        Own all partitions without a consumer group: starts at once, but there may be one only.
    """
    with stopped_by_signals() as signals:
        _run_learner(config, signals, alone=alone)


def _run_learner(config: Config, signals: Signals, *, alone: bool) -> None:
    await_broker(config)
    collect_garbage_rarely()
    models = build_models(config)
    check_configured_topics(config)
    warm_up(config)
    stop = threading.Event()
    observed = _Observed.configured(config)
    with contextlib.ExitStack() as stack:
        store = StoreOfModels(
            opened_store(config, stack), asked_layout(config, models), learns=True
        )
        settings = learner_settings(config, generation=store.generation, entities=store.entities)
        learner = _opened_learner(config, models, store, settings, observed, stack, stop)
        service = LearnerService(
            learner=learner,
            open_source=_source_opener(
                config, settings.topics, learner, observed, stop, alone=alone
            ),
            sync_interval_s=config.learner.sync_interval_ms / 1000,
            n_max=config.learner.batch_messages_max,
            clock=SystemClock(),
            stop=stop,
            on_round=partial(observed.show, learner),
        )
        signals.hand_over(service.stop)
        log.info("learner_ready")
        service.run()
        log.info("learner_stopped")


@dataclass(frozen=True, slots=True)
class _Observed:
    """What a learner's process tells of it, and what follows from what it finds.

    Attributes
    ----------
    boost, watch
        The rate of learning after a drift, and what finds one; None: nothing does.
    matches
        Says when feedback answers no decision.
    budget
        Of practice.
    """

    registry: CollectorRegistry
    metrics: LearnerMetrics
    join_metrics: JoinMetrics
    boost: DriftBoost
    matches: MatchWatch
    budget: PracticeBudget
    watch: DriftWatch | None

    @classmethod
    def configured(cls, config: Config) -> Self:
        """Return the one of a configuration, with metrics of its own."""
        registry, bandit, practice = CollectorRegistry(), config.bandit, config.practice
        metrics, join_metrics = LearnerMetrics(registry), JoinMetrics(registry)
        half_life_examples = float(bandit.drift_boost_events)
        rates = RateBoost(boost=bandit.drift_rate_boost, half_life_examples=half_life_examples)
        boost = DriftBoost(rates, registry)
        matches = MatchWatch(config.funnel.ranker)
        budget = PracticeBudget(practice.share, practice.time_share, registry)
        watch = configured_watch(bandit.drift_delta, registry, rose=boost.rise)
        return cls(registry, metrics, join_metrics, boost, matches, budget, watch)

    def show(self, learner: Learner, lag: Mapping[tuple[str, int], int]) -> None:
        """Show what a round came to."""
        self.metrics.show(learner.counts)
        joins = learner.counts.join
        self.join_metrics.show(joins, n_open=learner.n_open, n_waiting=learner.n_early)
        foreseen = joins.take_foreseen()
        if self.watch is not None:
            self.watch.take(foreseen)
        self.matches.take(joins)
        show_lag(self.metrics.lag, lag)


def _opened_learner(
    config: Config,
    models: Sequence[Model],
    store: StoreOfModels,
    settings: LearnerSettings,
    observed: _Observed,
    stack: contextlib.ExitStack,
    stop: threading.Event,
) -> Learner:
    """Return a learner that owns nothing yet, its metrics served and all it uses closed with
    ``stack``."""
    # A letter is waited for before what stands behind it is committed: what the sink still has at
    # the end is of messages that are read again.
    sink = configured_sink(config, timeout_s=math.inf, stopping=stop.is_set)
    stack.callback(sink.discard)
    stack.enter_context(
        serve_metrics(observed.registry, config.metrics.port, host=config.metrics.host)
    )
    catalogue = LearnedCatalogue(
        config.catalogue, items_reader(config, stack, lost=observed.metrics.lost.inc)
    )
    catalogue.load()
    budget = observed.budget if config.practice.time_share < 1 else None
    return Learner(
        store=store,
        models=models,
        settings=settings,
        rewards=reward_function(config),
        practice=Practice(config, budget=budget),
        catalogue=catalogue,
        users=FollowedUsers(
            users_reader(config, stack, stop.is_set), settings.users, settings.topic
        ),
        owner=f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}",
        clock=SystemClock(),
        dead_letter=dead_letters_to(sink, config.topics.topic("dead_letters")),
        committed=observed.metrics.committed,
        rate_factor=observed.boost.factor,
        pipeline_depth=PIPELINE_DEPTH,
    )


def _source_opener(
    config: Config,
    topics: Sequence[str],
    learner: Learner,
    observed: _Observed,
    stop: threading.Event,
    *,
    alone: bool,
) -> OpenSource:
    """Return what opens the topics that a learner learns from."""

    def open_source(*, on_assign: Assigned, on_revoke: Revoked) -> Source:
        return configured_source(
            config,
            "learner",
            topics,
            on_assign=on_assign,
            on_revoke=on_revoke,
            alone=alone,
            needed=lambda: learner.offsets,
            lost=observed.metrics.lost.inc,
            embedded_wait_ms=min(config.learner.sync_interval_ms, _LEARNED_MS),
            stopping=stop.is_set,
        )

    return open_source


def items_reader(
    config: Config,
    stack: contextlib.ExitStack,
    *,
    lost: Callable[[int], None],
    service: str | None = None,
    stopping: Stopping = never,
) -> KafkaReader:
    """Return a reader of the whole items topic, closed with ``stack``."""
    reader = configured_reader(
        config,
        lost=lost,
        remedy=PUBLISH_ITEMS_AGAIN,
        embedded_wait_ms=SELDOM_READ_MS,
        service=service,
        stopping=stopping,
        anew="followed",
    )
    stack.callback(reader.close)
    reader.start_whole(config.topics.topic("items"))
    return reader


def users_reader(config: Config, stack: contextlib.ExitStack, stopping: Stopping) -> KafkaReader:
    """Return a reader of partitions of the users topic, closed with ``stack``."""
    reader = configured_reader(
        config,
        remedy="send what those users say of themselves again",
        embedded_wait_ms=SELDOM_READ_MS,
        stopping=stopping,
        anew="refused",
    )
    stack.callback(reader.close)
    return reader


def verify_configured(
    config: Config,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    executed: Callable[[Entry], None] = lambda entry: None,
    from_checkpoints: bool = False,
) -> Verification:
    """Execute the configured store's schedule again over the topics; see :func:`verify_store`.

    Each commit is executed under the settings recorded for it. ``executed`` is told of those tables
    that the models of the configuration have, by their own names.

    Parameters
    ----------
    from_checkpoints
        Execute what was committed since the last checkpoints alone, of which ``executed`` is not
        told; see :func:`verify_from_checkpoints`.
    """
    await_broker(config)
    with contextlib.ExitStack() as stack:
        store = opened_store(config, stack)
        asked = asked_layout(config, build_models(config))
        layout = agree(store, asked, may_change=False)
        check_records(store)
        names = TableNames.of(layout, layout.newest, asked)
        items, users = config.topics.topic("items"), config.topics.topic("users")
        generations = learned_with(layout, items=items, users=users)
        topics = dict.fromkeys(topic for each in generations for topic in each.settings.topics)
        looking = configured_reader(config)
        stack.callback(looking.close)
        partitions = looking.partitions(*topics, items)
        with contextlib.suppress(TopicMismatch):  # it may be missing
            partitions += looking.partitions(users)
        begun = looking.ends(partitions)

        def ends() -> LogEnds:
            return looking.ends(partitions)

        def stream(topic: str, partition: int, offset: int) -> TopicStream:
            low = begun[topic, partition].low if (topic, partition) in begun else 0
            at = max(offset, low)
            reader = configured_reader(config, {(topic, partition): at})
            stack.callback(reader.close)
            timeout_s = config.kafka.request_timeout_s
            return TopicStream(reader, topic, partition, timeout_s=timeout_s)

        if from_checkpoints:
            return verify_from_checkpoints(
                store, learned_with=generations, stream=stream, ends=ends, progress=progress
            )
        result = verify_store(
            store,
            learned_with=generations,
            stream=stream,
            ends=ends,
            progress=progress,
            executed=lambda entry: executed(names.own_entry(entry)),
            schedule_entries_max=config.store.schedule_entries_max,
        )
        tables = {spec.name for spec in asked.generations[-1].stored_tables}
        result.alike = {
            generation
            for generation in range(len(layout.generations))
            if tables == names.stored.keys()
            and TableNames.of(layout, generation, asked).stored == names.stored
        }
        return result


def asked_layout(config: Config, models: Sequence[Model]) -> Layout:
    """Return the layout that a learner asks for, with the ids that its topics have."""
    ids = topic_ids(
        config.kafka.bootstrap_servers,
        learner_settings(config).inputs,
        client_options=config.kafka.client,
        timeout_s=config.kafka.request_timeout_s,
    )
    return replace(store_layout(config, models), topic_ids=ids)


def opened_store(config: Config, stack: contextlib.ExitStack) -> ParameterStore:
    """Return the configured store, closed with ``stack``."""
    store = configured_store(config)
    stack.callback(store.close)
    return store


def check_configured_topics(config: Config) -> None:
    """Refuse topics that are missing or have other partition counts."""
    check_topics(
        config.kafka.bootstrap_servers,
        config.topics,
        optional=["features", "users"],
        client_options=config.kafka.client,
        timeout_s=config.kafka.request_timeout_s,
    )
