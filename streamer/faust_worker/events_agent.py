"""Events in, contributions out: what an event adds goes to where each of its entities is kept."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Sequence
from typing import Any, Final

import faust
from faust.types import TP

from streamer.events import Rejected
from streamer.faust_worker.dead_letters import DeadLetters
from streamer.faust_worker.ingest import Ingest
from streamer.faust_worker.metrics import FeaturesMetrics
from streamer.faust_worker.packs import unpacked
from streamer.faust_worker.reading import Reading, Reread
from streamer.faust_worker.settings import FeaturesSettings
from streamer.protocols import Clock, MessageBatch, joined_batches
from streamer.windows.categories import ItemCategories
from streamer.windows.engine import FeatureEngine

_IDLE_LOOKS: Final = 4
"""Looks in an idle time whether a partition that had no more to give has still no more."""
_PENDING_BATCHES: Final = 4
"""Batches that may wait a partition before reading does."""


class EventsAgent:
    """Reads events and sends bundles of contributions; a batch is done when the broker has them.

    Parameters
    ----------
    contributions
        Topic of the bundles.
    reread
        Reads topics again, to know what repeats.
    """

    def __init__(
        self,
        settings: FeaturesSettings,
        contributions: faust.TopicT,
        *,
        reading: Reading,
        reread: Reread,
        categories: ItemCategories,
        dead_letters: DeadLetters,
        clock: Clock,
        metrics: FeaturesMetrics,
    ) -> None:
        self._settings = settings
        self._contributions = contributions
        self._reading = reading
        self._reread = reread
        self._categories = categories
        self._dead_letters = dead_letters
        self._clock = clock
        self._metrics = metrics
        self._needed = FeatureEngine(settings.definitions, settings.event_types, cells_max=0)
        self._pending: dict[int, list[tuple[Any, MessageBatch]]] = {}
        self._ingests: dict[int, Ingest] = {}
        self._look_s: dict[int, float] = {}
        self._given_all_ms: dict[int, int] = {}
        self._flushed: int | None = None
        self._queue: asyncio.Queue[Any] | None = None
        self._changed = asyncio.Condition()

    async def forget(self) -> None:
        """Partitions may be another worker's from now on; it all comes back from the topics."""
        for each in (self._pending, self._ingests, self._look_s, self._given_all_ms):
            each.clear()
        async with self._changed:
            self._changed.notify_all()

    async def read(self, stream: Any) -> None:
        """Let events wait for :meth:`flush_waiting`; as many of a partition as may."""
        n_max = self._settings.batch_messages_max
        events = stream.noack()
        self._queue = events.channel.queue
        async for event in events.events():
            batch = await self._reading.take(unpacked(event.message))
            if batch is None:
                event.ack()
                continue
            pending = self._pending.setdefault(batch.partition, [])
            pending.append((event, batch))
            if _n_messages(pending) >= n_max:
                async with self._changed:
                    self._changed.notify_all()
                    while (
                        _n_messages(pending) >= _PENDING_BATCHES * n_max
                        and self._pending.get(batch.partition) is pending
                    ):
                        await self._changed.wait()

    async def flush_waiting(self) -> None:
        """Send what waits: when there is a full batch, else after the flush time."""
        async with self._changed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._settings.flush_s)
        for partition in list(self._pending):
            self._flushed = partition
            await self._flush(partition)
        self._flushed = None

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
        ingest = self._ingest(partition)
        n_before = ingest.n_duplicates
        batch = joined_batches([pack for _, pack in taken])
        bundles, rejected = ingest.take(batch, at_ms=self._clock.now_ms())
        await self._send(bundles)
        await self._send_dead_letters(batch, rejected)
        self._reading.done(batch)
        for event, _ in taken:
            event.ack()
        self._look_s[partition] = _now_s() + self._settings.idle_s
        self._given_all_ms.pop(partition, None)
        self._metrics.events.inc(len(batch))
        self._metrics.duplicates.inc(ingest.n_duplicates - n_before)

    def _ingest(self, partition: int) -> Ingest:
        found = self._ingests.get(partition)
        if found is None:
            found = self._ingests[partition] = Ingest(
                partition,
                types=self._settings.event_types,
                n_partitions=self._settings.n_partitions,
                entities=self._needed.entities,
                parents=self._needed.parents,
                categories=self._categories,
                dedup_window=self._settings.dedup_window,
                reread=functools.partial(self._reread, self._settings.events_topic),
            )
        return found

    async def look(self, assigned: Sequence[TP]) -> None:
        """Say which partitions have no more to give: they hold no window open.

        One that has, and is only slow to be read, is waited for: its events would come too late.
        That a partition had no more at one look is said after the next one: what was published by
        then to others may have been read of them.
        """
        now_s, now_ms, idle_s = _now_s(), self._clock.now_ms(), self._settings.idle_s
        for tp in assigned:
            if now_s < self._look_s.setdefault(tp.partition, now_s + idle_s):
                continue
            before_ms = self._given_all_ms.pop(tp.partition, None)
            if not await self._has_given_all(tp):
                self._look_s[tp.partition] = now_s + idle_s
                continue
            self._look_s[tp.partition] = now_s + idle_s / _IDLE_LOOKS
            self._given_all_ms[tp.partition] = now_ms
            if before_ms is not None:
                await self._send(self._ingest(tp.partition).idle(at_ms=before_ms))

    async def _has_given_all(self, tp: TP) -> bool:
        """Whether everything in a partition has been read and sent on."""
        if self._waits(tp.partition) or self._queue is None or not self._queue.empty():
            return False
        return await self._reading.has_come(tp) and not self._waits(tp.partition)

    def _waits(self, partition: int) -> bool:
        """Whether there is something of a partition that is not sent yet."""
        return partition == self._flushed or bool(self._pending.get(partition))

    async def _send(self, bundles: Sequence[tuple[int, bytes]]) -> None:
        sent = [
            await self._contributions.send(value=payload, partition=partition)
            for partition, payload in bundles
        ]
        await asyncio.gather(*sent)

    async def _send_dead_letters(self, batch: MessageBatch, rejected: Sequence[Rejected]) -> None:
        for bad in rejected:
            await self._dead_letters.send(batch, bad.index, bad.reason)


def _n_messages(packs: Sequence[tuple[Any, MessageBatch]]) -> int:
    return sum(len(batch) for _, batch in packs)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
