"""The Faust app: events in, contributions between workers, windows in a table, features out.

Two agents. The first reads the events, partition by partition, and sends what they add to each
entity to the partition where the entity's state is. The second keeps the state in a table, whose
changelog topic any worker restores it from, and publishes features when windows end. Messages come
at least once; what is in a sum is told by offsets (:mod:`streamer.features.shard`), so sums are
exact after a crash all the same, and no transactions are needed.

An offset is committed when all that came of it is acknowledged. What goes wrong on the way stops
the worker: one that went on would have lost what it was doing.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamer.errors import BadMessage, ConfigError, KafkaError
from streamer.events import Rejected, dead_letter, encode
from streamer.features.bundles import decode_bundle
from streamer.features.categories import ItemCategories
from streamer.features.changes import change_sent
from streamer.features.engine import FeatureEngine, FeatureResult
from streamer.features.ingest import Ingest
from streamer.features.metrics import FeaturesMetrics
from streamer.features.published import message_of
from streamer.features.recovery import RecoveryWatch
from streamer.features.settings import TABLE, FeaturesSettings
from streamer.features.shard import Shard, keys_by_partition
from streamer.protocols import Clock, MessageBatch, joined_batches

try:
    import faust
    from aiokafka.errors import IllegalStateError
    from faust.auth import Credentials
    from faust.types.tuples import FutureMessage

    from streamer.features.packs import PackingTransport, unpacked
    from streamer.features.rocks_store import RocksStore
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
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_HEARTBEAT_S: Final = 2.0
_SESSION_TIMEOUT_S: Final = 10.0
"""After so long without a word a worker is taken for dead."""
_ITEMS_EVERY_S: Final = 1.0
_IDLE_LOOKS: Final = 4
"""Looks in an idle time whether a partition that had no more to give has still no more."""
_PENDING_BATCHES: Final = 4
"""Batches that may wait a partition before reading does."""
_BUFFERED_PACKS: Final = 256
"""On their way through Faust, a topic: 256 * 500 events are some 40 MB."""


Reread = Callable[[str, int, int, int], Iterator[MessageBatch]]
"""(topic, partition, first offset, end) → what was there."""


class AcknowledgedTable(faust.Table[bytes, bytes]):
    """A table that knows which of its changes the broker does not have yet.

    Parameters
    ----------
    records
        On disk, where they are not in memory: what the broker has is written there.
    """

    def __init__(self, *args: Any, records: LocalRecords | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._records = records
        self._sent: list[FutureMessage] = []

    def _new_store_by_url(self, url: Any) -> Any:
        if self._records is None:
            return super()._new_store_by_url(url)
        return RocksStore("rocksdb://", self.app, self, records=self._records, loop=self.loop)

    def send_changelog(self, *args: Any, **kwargs: Any) -> Any:
        sent = super().send_changelog(*args, **kwargs)
        self._sent.append(sent)
        return sent

    async def acknowledged(self) -> None:
        """Wait for the broker; raise what it refuses."""
        sent, self._sent = self._sent, []
        await asyncio.gather(*sent)
        if self._records is not None:
            self._records.settle([change_sent(each) for each in sent])


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


def broker_credentials(options: Mapping[str, str]) -> Credentials | None:
    """Faust's credentials for the options of librdkafka that say the same.

    Raises
    ------
    ConfigError
        For a protocol or a mechanism that Faust does not have.
    """
    protocol = options.get("security.protocol", "plaintext").upper()
    if protocol == "PLAINTEXT":
        return None
    context = None
    if protocol in ("SSL", "SASL_SSL"):
        context = ssl.create_default_context(cafile=options.get("ssl.ca.location"))
        if certificate := options.get("ssl.certificate.location"):
            key, password = options.get("ssl.key.location"), options.get("ssl.key.password")
            context.load_cert_chain(certificate, key, password)
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    mechanism = options.get("sasl.mechanism", options.get("sasl.mechanisms", "PLAIN"))
    if not protocol.startswith("SASL_") or mechanism not in _MECHANISMS:
        raise ConfigError(
            f"kafka.client: security.protocol = {protocol} with sasl.mechanism = {mechanism} is"
            f" not known to the windowed features: use SSL, or {', '.join(_MECHANISMS)}"
        )
    return faust.SASLCredentials(
        username=options.get("sasl.username"),
        password=options.get("sasl.password"),
        mechanism=mechanism,
        ssl_context=context,
    )


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
        self._reread = reread
        self._clock = clock
        self._metrics = metrics
        self._needed = FeatureEngine(settings.definitions, cells_max=0)
        n = settings.n_partitions
        self._events = app.topic(settings.events_topic, **_RAW)
        self._contributions = app.topic(
            settings.contributions_topic, internal=True, partitions=n, **_RAW
        )
        self._features = app.topic(settings.features_topic, **_RAW)
        self._dead_letters = app.topic(settings.dead_letters_topic, **_RAW)
        table = app.Table(TABLE, partitions=n, key_type=bytes, value_type=bytes, records=records)
        assert isinstance(table, AcknowledgedTable), "it is the app's kind of table"
        self._table = table
        self._pending: dict[int, list[tuple[Any, MessageBatch]]] = {}
        self._ingests: dict[int, Ingest] = {}
        self._look_s: dict[int, float] = {}
        self._given_all_ms: dict[int, int] = {}
        self._next_bundle: dict[int, int] = {}
        self._queue: asyncio.Queue[Any] | None = None
        self._changed = asyncio.Condition()
        self._shards: dict[int, Shard] = {}
        self._kept: dict[int, list[bytes]] | None = None
        self._recovery = RecoveryWatch()

    def connect(self) -> None:
        """Tell Faust what there is to do."""
        self._app.agent(self._events, name="ingest")(self._watched(self._read_events))
        self._app.agent(self._contributions, name="windows")(self._watched(self._read_bundles))
        self._app.task(self._flush_for_ever)
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
        """Forget what may be another worker's by now; it comes back from the topics."""
        self._pending.clear()
        self._ingests.clear()
        self._look_s.clear()
        self._given_all_ms.clear()
        self._shards.clear()
        self._next_bundle.clear()
        self._kept = None
        self._metrics.forget_partitions()
        async with self._changed:
            self._changed.notify_all()
        log.info("features_partitions_revoked", extra={"partitions": sorted(map(str, *revoked))})

    # --- events → contributions ------------------------------------------------------------------

    async def _read_events(self, stream: Any) -> None:
        bound = _PENDING_BATCHES * self._settings.batch_messages_max
        events = stream.noack()
        self._queue = events.channel.queue
        async for event in events.events():
            pending = self._pending.setdefault(event.message.partition, [])
            pending.append((event, unpacked(event.message)))
            if _n_messages(pending) >= self._settings.batch_messages_max:
                async with self._changed:
                    self._changed.notify_all()
                    while (
                        _n_messages(pending) >= bound
                        and self._pending.get(event.message.partition) is pending
                    ):
                        await self._changed.wait()

    async def _flush_for_ever(self) -> None:
        """Send what waits when a batch is full, else after the flush time."""
        tables: Any = self._app.tables  # its type does not name the recovery
        while not self._app.should_stop:
            async with self._changed:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), self._settings.flush_s)
            for partition in list(self._pending):
                await self._flush(partition)
            await self._say_idle()
            self._recovery.look(tables.recovery, self._now_s())

    async def _flush(self, partition: int) -> None:
        """One batch: contributions and dead letters acknowledged, then its offsets may be."""
        waiting = self._pending.get(partition, [])
        if not waiting:
            return
        n_packs, n_max = 1, self._settings.batch_messages_max
        while n_packs < len(waiting) and _n_messages(waiting[: n_packs + 1]) <= n_max:
            n_packs += 1
        taken = waiting[:n_packs]
        del waiting[:n_packs]
        async with self._changed:
            self._changed.notify_all()
        ingest = self._ingests.get(partition)
        if ingest is None:
            ingest = self._ingests[partition] = self._new_ingest(partition)
        n_before, at_ms = ingest.n_duplicates, self._clock.now_ms()
        batch = joined_batches([pack for _, pack in taken])
        for complete in self._complete(batch, ingest.next_offset):
            bundles, rejected = ingest.take(complete, at_ms=at_ms)
            await self._send_bundles(bundles)
            await self._send_dead_letters(complete, rejected)
        for event, _ in taken:
            event.ack()
        self._look_s[partition] = self._now_s() + self._settings.idle_s
        self._given_all_ms.pop(partition, None)
        self._metrics.events.inc(len(batch))
        self._metrics.duplicates.inc(ingest.n_duplicates - n_before)

    def _complete(self, batch: MessageBatch, next_offset: int | None) -> Iterator[MessageBatch]:
        """The batch, read again where offsets do not rise by one, as around a rebalance."""
        first, end = int(batch.offsets[0]), int(batch.offsets[-1]) + 1
        start = first if next_offset is None else min(first, next_offset)
        if len(batch) == end - start and (np.diff(batch.offsets) == 1).all():
            yield batch
        elif end > start:
            where = {"topic": batch.topic, "partition": batch.partition}
            log.info("features_read_again", extra={**where, "start": start, "end": end})
            yield from self._reread(batch.topic, batch.partition, start, end)

    def _new_ingest(self, partition: int) -> Ingest:
        return Ingest(
            partition,
            n_partitions=self._settings.n_partitions,
            entities=self._needed.entities,
            parents=self._needed.parents,
            categories=self._categories,
            dedup_window=self._settings.dedup_window,
            reread=functools.partial(self._reread, self._settings.events_topic),
        )

    async def _say_idle(self) -> None:
        """Partitions of ours that have no more to give hold no window open.

        One that has, and is only slow to be read, is waited for: its events would come too late.
        What was just fetched may be on its way to the queue, so that a partition had no more at one
        look is said after the next one.
        """
        if not self._app.flow_control.is_active():
            return  # partitions are changing hands
        now_s, now_ms, idle_s = self._now_s(), self._clock.now_ms(), self._settings.idle_s
        assigned = self._app.consumer.assignment()
        for tp in [tp for tp in assigned if tp.topic == self._settings.events_topic]:
            if now_s < self._look_s.setdefault(tp.partition, now_s + idle_s):
                continue
            before_ms = self._given_all_ms.pop(tp.partition, None)
            if not await self._has_given_all(tp):
                self._look_s[tp.partition] = now_s + idle_s
                continue
            self._look_s[tp.partition] = now_s + idle_s / _IDLE_LOOKS
            self._given_all_ms[tp.partition] = now_ms
            if before_ms is not None:
                ingest = self._ingests.get(tp.partition)
                if ingest is None:
                    ingest = self._ingests[tp.partition] = self._new_ingest(tp.partition)
                await self._send_bundles(ingest.idle(at_ms=before_ms))

    async def _has_given_all(self, tp: Any) -> bool:
        """Whether everything in a partition has been read and taken."""
        if self._pending.get(tp.partition) or self._queue is None or not self._queue.empty():
            return False
        try:
            end = (await self._app.consumer.highwaters(tp))[tp]
            position = await self._app.consumer.position(tp)
        except IllegalStateError:
            return False  # not ours any more
        return position is not None and position >= end and not self._pending.get(tp.partition)

    async def _send_bundles(self, bundles: Sequence[tuple[int, bytes]]) -> None:
        sent = [
            await self._contributions.send(value=payload, partition=partition)
            for partition, payload in bundles
        ]
        await asyncio.gather(*sent)

    async def _send_dead_letters(self, batch: MessageBatch, rejected: Sequence[Rejected]) -> None:
        for bad in rejected:
            offset = int(batch.offsets[bad.index])
            await self._send_dead_letter(
                bad.reason, batch.topic, batch.partition, offset, batch.values[bad.index]
            )

    async def _send_dead_letter(
        self, reason: str, topic: str, partition: int, offset: int, raw: bytes | None
    ) -> None:
        letter = dead_letter(reason, topic=topic, partition=partition, offset=offset, raw=raw)
        key = f"{topic}:{partition}:{offset}".encode()
        await (await self._dead_letters.send(key=key, value=encode(letter)))
        self._metrics.dead_letters.inc()

    # --- contributions → features ----------------------------------------------------------------

    async def _read_bundles(self, stream: Any) -> None:
        async for event in stream.noack().events():
            batch = unpacked(event.message)
            for each in self._complete(batch, self._next_bundle.get(batch.partition)):
                await self._take_bundles(each)
            after = int(batch.offsets[-1]) + 1
            self._next_bundle[batch.partition] = max(
                after, self._next_bundle.get(batch.partition, after)
            )
            event.ack()

    async def _take_bundles(self, batch: MessageBatch) -> None:
        """Count, keep and publish what bundles bring that were fetched together."""
        bundles = []
        for offset, payload in zip(batch.offsets.tolist(), batch.values, strict=True):
            try:
                bundles.append(decode_bundle(payload))
            except BadMessage as bad:
                await self._send_dead_letter(
                    str(bad), batch.topic, batch.partition, offset, payload
                )
        shard = self._shard(batch.partition)
        shard.take(*bundles)
        await self._table.acknowledged()
        await self._close(shard)

    def _shard(self, partition: int) -> Shard:
        shard = self._shards.get(partition)
        if shard is None:
            if self._kept is None:
                self._kept = keys_by_partition(self._table)
            shard = self._shards[partition] = Shard(
                partition,
                self._settings.definitions,
                n_partitions=self._settings.n_partitions,
                sources=range(self._settings.n_partitions),
                cells_max=self._settings.cells_max,
                table=self._table,
            )
            kept = self._kept.pop(partition, [])
            shard.restore(kept)
            log.info("features_restored", extra={"partition": partition, "n_records": len(kept)})
        return shard

    async def _close(self, shard: Shard) -> None:
        ended = shard.close()
        if ended.results or ended.dropped or ended.sessions:
            sent = [await self._publish(each) for each in ended.results]
            await asyncio.gather(*sent)
            shard.forget(ended)
            await self._table.acknowledged()
        self._show(shard)

    async def _publish(self, result: FeatureResult) -> Awaitable[object]:
        now_ms = self._clock.now_ms()
        key, payload = message_of(result, computed_ms=now_ms)
        if payload is not None:
            self._metrics.published.inc()
            self._metrics.staleness_s.observe((now_ms - result.window_end_ms) / 1000)
        else:
            self._metrics.left.inc()
        return await self._features.send(key=key, value=payload)

    def _show(self, shard: Shard) -> None:
        label = str(shard.partition)
        self._metrics.late.labels(label).set(shard.engine.n_late)
        self._metrics.refused.labels(label).set(shard.engine.n_refused)
        if shard.watermark_ms >= 0:
            age_s = (self._clock.now_ms() - shard.watermark_ms) / 1000
            self._metrics.watermark_age_s.labels(label).set(age_s)

    # --- the catalogue ---------------------------------------------------------------------------

    async def _follow_items(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._categories.follow)

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


def _n_messages(packs: Sequence[tuple[Any, MessageBatch]]) -> int:
    return sum(len(batch) for _, batch in packs)
