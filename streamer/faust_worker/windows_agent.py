"""Contributions in, features out: the state is kept in a table, and published when windows end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import faust
from aiokafka.errors import MessageSizeTooLargeError
from faust.types import TP

from streamer.errors import BadMessage
from streamer.faust_worker.acknowledged_table import AcknowledgedTable
from streamer.faust_worker.bundles import decode_bundle
from streamer.faust_worker.dead_letters import DeadLetters
from streamer.faust_worker.metrics import FeaturesMetrics
from streamer.faust_worker.packs import unpacked
from streamer.faust_worker.reading import Reading
from streamer.faust_worker.settings import FeaturesSettings
from streamer.faust_worker.shard import Shard, keys_by_partition
from streamer.protocols import Clock, MessageBatch
from streamer.windows.engine import FeatureResult
from streamer.windows.published import message_of

log = logging.getLogger(__name__)


class WindowsAgent:
    """Keeps the state of the partitions this worker has.

    Parameters
    ----------
    table
        Its changelog topic is where any worker restores a partition from.
    features
        Topic of the values.
    """

    def __init__(
        self,
        settings: FeaturesSettings,
        table: AcknowledgedTable,
        features: faust.TopicT,
        *,
        reading: Reading,
        dead_letters: DeadLetters,
        clock: Clock,
        metrics: FeaturesMetrics,
    ) -> None:
        self._settings = settings
        self._table = table
        self._features = features
        self._reading = reading
        self._dead_letters = dead_letters
        self._clock = clock
        self._metrics = metrics
        self._shards: dict[int, Shard] = {}
        self._kept: dict[int, list[bytes]] | None = None
        self._queue: asyncio.Queue[Any] | None = None
        self._look_s = 0.0

    def forget(self) -> None:
        """Partitions may be another worker's from now on; they come back from the table."""
        self._shards.clear()
        self._kept = None
        self._metrics.forget_partitions()

    async def read(self, stream: Any) -> None:
        """Count, keep and publish what bundles bring."""
        bundles = stream.noack()
        self._queue = bundles.channel.queue
        async for event in bundles.events():
            batch = await self._reading.take(unpacked(event.message))
            if batch is not None:
                await self._take(batch)
                self._reading.done(batch)
            event.ack()

    async def look(self, assigned: Sequence[TP]) -> None:
        """See to it that bundles that are there come."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._look_s and self._queue is not None and self._queue.empty():
            self._look_s = now_s + self._settings.idle_s
            for tp in assigned:
                await self._reading.has_come(tp)

    async def _take(self, batch: MessageBatch) -> None:
        """Bundles that were fetched together."""
        bundles = []
        n_partitions = self._settings.n_partitions
        published = batch.publish_ms.tolist()
        for i, (payload, publish_ms) in enumerate(zip(batch.values, published, strict=True)):
            try:
                bundles.append(
                    decode_bundle(payload, n_partitions=n_partitions, publish_ms=publish_ms)
                )
            except BadMessage as bad:
                await self._dead_letters.send(batch, i, str(bad))
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
                self._settings.event_types,
                n_partitions=self._settings.n_partitions,
                sources=range(self._settings.n_partitions),
                cells_max=self._settings.cells_max,
                table=self._table,
            )
            kept = self._kept.pop(partition, [])
            n_unreadable = shard.restore(kept)
            self._metrics.unreadable.inc(n_unreadable)
            log.info("features_restored", extra={"partition": partition, "n_records": len(kept)})
        return shard

    async def _close(self, shard: Shard) -> None:
        ended = shard.close()
        if ended.results or ended.dropped or ended.sessions:
            await self._publish_all(ended.results)
            shard.forget(ended)
            await self._table.acknowledged()
        self._show(shard)

    async def _publish_all(self, results: Sequence[FeatureResult]) -> None:
        """Publish values; what the topic refuses for its size is counted and said."""
        now_ms = self._clock.now_ms()
        messages = [message_of(each, computed_ms=now_ms) for each in results]
        sent = [await self._features.send(key=key, value=value) for key, value in messages]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        for result, (key, value), answer in zip(results, messages, answers, strict=True):
            if isinstance(answer, MessageSizeTooLargeError):
                # Of a batch that is too large, all messages are refused.
                if not await self._publish_alone(key, value):
                    continue
            elif isinstance(answer, BaseException):
                raise answer
            if value is not None:
                self._metrics.published.inc()
                self._metrics.staleness_s.observe((now_ms - result.window_end_ms) / 1000)
            else:
                self._metrics.left.inc()

    async def _publish_alone(self, key: bytes, value: bytes | None) -> bool:
        """Publish a value that was refused in a batch; False where it is refused by itself."""
        try:
            await (await self._features.send(key=key, value=value))
        except MessageSizeTooLargeError:
            self._metrics.too_large.inc()
            log.error(
                "feature_refused %s takes no %d bytes: raise its max.message.bytes",
                self._features.get_topic_name(),
                len(key) + len(value or b""),
                extra={"key": key.decode(errors="replace")},
            )
            return False
        return True

    def _show(self, shard: Shard) -> None:
        label = str(shard.partition)
        self._metrics.late.labels(label).set(shard.engine.n_late)
        self._metrics.refused.labels(label).set(shard.engine.n_refused)
        if shard.watermark_ms >= 0:
            age_s = (self._clock.now_ms() - shard.watermark_ms) / 1000
            self._metrics.watermark_age_s.labels(label).set(age_s)
