"""Messages of each partition in order and without holes, whatever Faust passes over.

Around a rebalance Faust may hand on what it fetched before it sought back, drop what it had fetched
already, or leave a partition out of what it reads. It would go on behind the hole. But sums say by
an offset what is in them (:mod:`streamer.faust_worker.shard`), so what was passed over could never
be counted later. Here a partition is taken up where the group stopped, messages that come again are
left out, and those behind a hole are sent back: reading begins again at the hole.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import numpy as np
from faust.types import TP

from streamer.protocols import MessageBatch
from streamer.telemetry import report_lost

log = logging.getLogger(__name__)

Reread = Callable[[str, int, int, int], Iterator[MessageBatch]]
"""(topic, partition, first offset, end) → what was there."""

_NOWHERE: Final = -1


class SeekableConsumer(Protocol):
    """What is needed of :class:`streamer.faust_worker.packs.PackingConsumer`."""

    done: dict[TP, int]

    async def committed_offset(self, tp: TP) -> int | None: ...

    async def earliest_offset(self, tp: TP) -> int: ...

    async def end_offset(self, tp: TP) -> int: ...

    async def read_from(self, tp: TP, offset: int) -> None: ...


class Reading:
    """How far partitions have come and are done; everything runs in one event loop.

    Parameters
    ----------
    consumer
        Asked for each time, for it exists only when the app runs.
    reread
        Reads topics beside the consumer, to tell a hole from offsets that hold no message.
    stopped
        Whether nothing may be taken any more. Faust can hand messages on while a worker stops
        that had been asked to in a rebalance, and by then they may be another worker's.
    lost
        Told how many messages were deleted before they came, when that is noticed.
    """

    def __init__(
        self,
        consumer: Callable[[], SeekableConsumer],
        reread: Reread,
        *,
        stopped: Callable[[], bool] = lambda: False,
        lost: Callable[[int], None] = lambda n: None,
    ) -> None:
        self._consumer = consumer
        self._reread = reread
        self._stopped = stopped
        self._lost = lost
        self._next: dict[TP, int] = {}
        self._sought: dict[TP, int] = {}
        self._seen: dict[TP, int] = {}
        self._n_forgotten = 0

    def forget(self) -> None:
        """Partitions may be another worker's from now on."""
        self._n_forgotten += 1
        for each in (self._next, self._sought, self._seen, self._consumer().done):
            each.clear()

    async def take(self, batch: MessageBatch) -> MessageBatch | None:
        """What is to be handled now of messages that came; None: nothing."""
        if self._stopped():
            return None
        tp, n_forgotten = TP(batch.topic, batch.partition), self._n_forgotten
        due = await self._due(tp)
        first, end = int(batch.offsets[0]), int(batch.offsets[-1]) + 1
        if first > due:
            # A backlog fetched before goes by here: a question to the broker for each pack of it,
            # half a second while a fetch waits for messages, would take minutes.
            if self._sought.get(tp, _NOWHERE) == due:
                return None  # what was asked for is on its way, or has_come asks again
            due = await self._kept_from(tp, due)
            if first > due and await self._is_hole(tp, due, first):
                await self._seek(tp, due)
                return None
        if self._n_forgotten != n_forgotten or self._stopped() or end <= due:
            return None
        self._sought.pop(tp, None)
        self._next[tp] = end
        return batch.slice(int(np.searchsorted(batch.offsets, due)), len(batch))

    def done(self, batch: MessageBatch) -> None:
        """Everything up to the end of what :meth:`take` gave is done, so it may be committed."""
        self._consumer().done[TP(batch.topic, batch.partition)] = int(batch.offsets[-1]) + 1

    async def has_come(self, tp: TP) -> bool:
        """Whether all messages that a partition has have come.

        To be asked from time to time, while none is waiting to be taken: of a partition that has
        more, and that nothing came of since it was asked last, reading begins again.
        """
        n_forgotten = self._n_forgotten
        end, due = await self._consumer().end_offset(tp), await self._due(tp)
        if due >= end:
            return True
        if self._seen.get(tp, _NOWHERE) != due:
            self._seen[tp] = due
            return False
        due = await self._kept_from(tp, due)
        if await self._is_hole(tp, due, end):
            await self._seek(tp, due)
        elif self._n_forgotten == n_forgotten and self._next[tp] == due:
            self._next[tp] = end
            return True
        return False

    async def _due(self, tp: TP) -> int:
        """The first offset that has not come yet."""
        while tp not in self._next:
            n_forgotten = self._n_forgotten
            committed = await self._consumer().committed_offset(tp)
            low = await self._consumer().earliest_offset(tp)
            if self._n_forgotten == n_forgotten and tp not in self._next:
                self._next[tp] = low if committed is None else committed
                self._pass_deleted(tp, low)
        return self._next[tp]

    async def _kept_from(self, tp: TP, due: int) -> int:
        """The first offset from ``due`` on that the topic may still hold."""
        n_forgotten = self._n_forgotten
        low = await self._consumer().earliest_offset(tp)
        if self._n_forgotten == n_forgotten and self._next[tp] == due:
            self._pass_deleted(tp, low)
        return max(due, low)

    def _pass_deleted(self, tp: TP, low: int) -> None:
        """Go on with the oldest message kept, and count what was deleted before it came."""
        due = self._next[tp]
        if low > due:
            report_lost(tp.topic, tp.partition, wanted=due, low=low)
            self._lost(low - due)
            self._next[tp] = low

    async def _is_hole(self, tp: TP, start: int, end: int) -> bool:
        """Whether there are messages from ``start`` to ``end``: compaction and the ends of
        transactions leave offsets without any."""
        found = self._reread(tp.topic, tp.partition, start, end)
        return await asyncio.to_thread(next, found, None) is not None

    async def _seek(self, tp: TP, offset: int) -> None:
        log.warning(
            "features_read_again",
            extra={"topic": tp.topic, "partition": tp.partition, "offset": offset},
        )
        self._sought[tp] = offset
        await self._consumer().read_from(tp, offset)
