"""What one process does of the app: two agents, and what has to be done beside them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import faust
from aiokafka.errors import KafkaError
from faust.types import TP

from streamer.errors import KafkaUnavailable
from streamer.faust_worker.acknowledged_table import AcknowledgedTable
from streamer.faust_worker.dead_letters import DeadLetters
from streamer.faust_worker.events_agent import EventsAgent
from streamer.faust_worker.metrics import FeaturesMetrics
from streamer.faust_worker.packs import PackingConsumer
from streamer.faust_worker.reading import Reading, Reread
from streamer.faust_worker.recovery import RecoveryWatch
from streamer.faust_worker.settings import TABLE, FeaturesSettings
from streamer.faust_worker.windows_agent import WindowsAgent
from streamer.protocols import Clock
from streamer.windows.categories import ItemCategories

if TYPE_CHECKING:
    from streamer.faust_worker.local_records import LocalRecords

log = logging.getLogger(__name__)

_RAW: Final[dict[str, Any]] = {
    "key_type": bytes,
    "value_type": bytes,
    "key_serializer": "raw",
    "value_serializer": "raw",
}
_ITEMS_EVERY_S: Final = 1.0


class Worker:
    """Everything runs in the app's event loop."""

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
        self._reading = Reading(
            self._consumer,
            reread,
            stopped=lambda: bool(app.should_stop),
            lost=metrics.lost.inc,
        )
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
        self._app.task(self._flush_for_ever)
        self._app.task(self._look_for_ever)
        self._app.timer(_ITEMS_EVERY_S)(self._follow_items)
        self._app.on_partitions_assigned.connect(self._assigned, weak=False)
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

    async def _assigned(self, app: Any, /, *assigned: Any, signal: Any, **_: Any) -> None:
        log.info("features_partitions_assigned", extra={"partitions": self._of_events(*assigned)})

    async def _revoked(self, app: Any, /, *revoked: Any, signal: Any, **_: Any) -> None:
        """Forget what may be another worker's by now."""
        self._reading.forget()
        self._windows.forget()
        await self._events.forget()
        log.info("features_partitions_revoked", extra={"partitions": self._of_events(*revoked)})

    def _of_events(self, tps: Iterable[TP]) -> list[int]:
        """Partitions of the events; those of the other topics go with them."""
        return sorted(tp.partition for tp in tps if tp.topic == self._settings.events_topic)

    async def _flush_for_ever(self) -> None:
        """Send what events add.

        Also while the app stops, for it waits until what agents took is done; then this is
        cancelled.
        """
        tables: Any = self._app.tables  # its type does not name the recovery
        while True:
            await self._events.flush_waiting()
            self._recovery.look(tables.recovery, asyncio.get_running_loop().time())

    async def _look_for_ever(self) -> None:
        """See to it that what is there comes, and say what has come to its end."""
        topics = self._settings.events_topic, self._settings.contributions_topic
        while True:
            await asyncio.sleep(self._settings.flush_s)
            if self._has_settled():
                assigned = list(self._app.consumer.assignment())
                of_events, of_bundles = (
                    [tp for tp in assigned if tp.topic == topic] for topic in topics
                )
                try:
                    await self._events.look(of_events)
                    await self._windows.look(of_bundles)
                except (KafkaError, KafkaUnavailable) as error:  # windows stay open for longer
                    log.warning("features_look_failed", extra={"error": str(error)})

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
