"""The Faust app: events in, contributions between workers, windows in a table, features out.

Two agents. The first reads the events, partition by partition, and sends what they add to each
entity to the partition where the entity's state is. The second keeps the state in a table, whose
changelog topic any worker restores it from, and publishes features when windows end. Messages come
at least once and in order (:mod:`streamer.features.reading`); what is in a sum is told by offsets
(:mod:`streamer.features.shard`), so sums are exact after a crash all the same, and no transactions
are needed.

An offset is committed when all that came of it is acknowledged. What goes wrong on the way stops
the worker: one that went on would have lost what it was doing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from streamer.errors import KafkaError
from streamer.features.categories import ItemCategories
from streamer.features.metrics import FeaturesMetrics
from streamer.features.recovery import RecoveryWatch
from streamer.features.settings import TABLE, FeaturesSettings
from streamer.protocols import Clock

try:
    import faust
    from faust.auth import Credentials

    from streamer.features.acknowledged_table import AcknowledgedTable
    from streamer.features.dead_letters import DeadLetters
    from streamer.features.events_agent import EventsAgent
    from streamer.features.packs import PackingConsumer, PackingTransport
    from streamer.features.reading import Reading, Reread
    from streamer.features.windows_agent import WindowsAgent
except ImportError as error:
    raise ImportError(
        "the windowed features run on Faust, which is not installed: pip install"
        " 'streamer[features]'"
    ) from error

if TYPE_CHECKING:
    from streamer.features.local_records import LocalRecords

log = logging.getLogger(__name__)

_RAW: Final[dict[str, Any]] = {
    "key_type": bytes,
    "value_type": bytes,
    "key_serializer": "raw",
    "value_serializer": "raw",
}
_HEARTBEAT_S: Final = 2.0
_SESSION_TIMEOUT_S: Final = 10.0
"""After so long without a word a worker is taken for dead."""
_ITEMS_EVERY_S: Final = 1.0
_BUFFERED_PACKS: Final = 256
"""On their way through Faust, a topic: 256 * 500 events are some 40 MB."""


def build_app(
    settings: FeaturesSettings,
    *,
    categories: ItemCategories,
    reread: Reread,
    clock: Clock,
    metrics: FeaturesMetrics,
    folder: Path,
    records: LocalRecords | None = None,
    credentials: Credentials | None = None,
) -> faust.App:
    """The app, not started yet.

    Parameters
    ----------
    categories
        Followed while the app runs.
    reread
        Reads topics again: to know what repeats, and what was passed over.
    folder
        Where Faust makes folders of its own, which stay empty.
    records
        Where the state is kept on disk; it is in memory without.
    credentials
        Of Faust, for a broker that wants them.
    """
    app = faust.App(
        settings.app_id,
        broker=[f"aiokafka://{each}" for each in settings.bootstrap_servers.split(",")],
        broker_credentials=credentials,
        broker_commit_interval=settings.commit_interval_s,
        broker_heartbeat_interval=_HEARTBEAT_S,
        broker_session_timeout=_SESSION_TIMEOUT_S,
        consumer_auto_offset_reset="earliest",
        datadir=folder,
        producer_max_request_size=1_048_576,
        key_serializer="raw",
        value_serializer="raw",
        store="memory://",
        stream_wait_empty=True,  # what is under way is finished before partitions go
        table_standby_replicas=0,
        topic_disable_leader=True,
        topic_partitions=settings.n_partitions,
        topic_replication_factor=settings.replication_factor,
        stream_buffer_maxsize=_BUFFERED_PACKS,
        web_enabled=False,
        Table=AcknowledgedTable,
    )
    app.transport = PackingTransport(
        app,
        topics=(settings.events_topic, settings.contributions_topic),
        n_max=settings.batch_messages_max,
    )
    Worker(app, settings, categories, reread, clock, metrics, records).connect()
    return app


def run_app(app: faust.App) -> None:
    """Run until SIGTERM or SIGINT.

    Raises
    ------
    KafkaError
        Where the app stopped by itself.
    """
    for chatty in ("faust", "mode", "aiokafka"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    worker = faust.Worker(app, override_logging=False, redirect_stdouts=False, quiet=True)
    try:
        worker.execute_from_commandline()
    except SystemExit as ended:
        if ended.code:
            raise KafkaError(
                f"the worker of the windowed features stopped with status {ended.code}; its log"
                " says why. Start it again: it goes on where it stopped"
            ) from ended


class Worker:
    """What one process does of the app; everything runs in its event loop."""

    def __init__(
        self,
        app: faust.App,
        settings: FeaturesSettings,
        categories: ItemCategories,
        reread: Reread,
        clock: Clock,
        metrics: FeaturesMetrics,
        records: LocalRecords | None,
    ) -> None:
        self._app = app
        self._settings = settings
        self._categories = categories
        n = settings.n_partitions
        self._events_topic = app.topic(settings.events_topic, **_RAW)
        self._contributions_topic = app.topic(
            settings.contributions_topic, internal=True, partitions=n, **_RAW
        )
        table = app.Table(TABLE, partitions=n, key_type=bytes, value_type=bytes, records=records)
        assert isinstance(table, AcknowledgedTable), "it is the app's kind of table"
        dead_letters = DeadLetters(app.topic(settings.dead_letters_topic, **_RAW), metrics)
        self._reading = Reading(self._consumer, reread)
        self._events = EventsAgent(
            settings,
            self._contributions_topic,
            reading=self._reading,
            reread=reread,
            categories=categories,
            dead_letters=dead_letters,
            clock=clock,
            metrics=metrics,
        )
        self._windows = WindowsAgent(
            settings,
            table,
            app.topic(settings.features_topic, **_RAW),
            reading=self._reading,
            dead_letters=dead_letters,
            clock=clock,
            metrics=metrics,
        )
        self._recovery = RecoveryWatch()

    def connect(self) -> None:
        """Tell Faust what there is to do."""
        self._app.agent(self._events_topic, name="ingest")(self._watched(self._events.read))
        self._app.agent(self._contributions_topic, name="windows")(
            self._watched(self._windows.read)
        )
        self._app.task(self._work)
        self._app.timer(_ITEMS_EVERY_S)(self._follow_items)
        self._app.on_partitions_revoked.connect(self._revoked, weak=False)

    def _watched(self, agent: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        """An agent whose failure stops the worker."""

        async def run(stream: Any) -> None:
            try:
                await agent(stream)
            except Exception as error:
                log.exception("features_failed")
                await self._app.crash(error)
                raise

        return run

    async def _revoked(self, app: Any, /, *revoked: Any, signal: Any, **_: Any) -> None:
        """Forget what may be another worker's by now."""
        self._reading.forget()
        self._windows.forget()
        await self._events.forget()
        log.info("features_partitions_revoked", extra={"partitions": sorted(map(str, *revoked))})

    async def _work(self) -> None:
        """What is to be done all the time, beside what agents are given.

        Also while the app stops, for it waits until what agents took is done; then this is
        cancelled.
        """
        tables: Any = self._app.tables  # its type does not name the recovery
        while True:
            await self._events.flush_waiting()
            if self._has_settled():
                assigned = list(self._app.consumer.assignment())
                topics = self._settings.events_topic, self._settings.contributions_topic
                of_events, of_bundles = (
                    [tp for tp in assigned if tp.topic == topic] for topic in topics
                )
                await self._events.look(of_events)
                await self._windows.look(of_bundles)
            self._recovery.look(tables.recovery, asyncio.get_running_loop().time())

    def _consumer(self) -> PackingConsumer:
        consumer = self._app.consumer
        assert isinstance(consumer, PackingConsumer), "it is the transport's kind of consumer"
        return consumer

    def _has_settled(self) -> bool:
        """Whether partitions are ours, and not about to change hands."""
        app: Any = self._app
        changing = app.should_stop or app.rebalancing or app.in_recovery
        return app.flow_control.is_active() and not changing

    async def _follow_items(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._categories.follow)
