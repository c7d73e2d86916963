"""Messages of a partition are handled in order and once each, whatever the consumer does with them.

The consumer here is as unreliable as Faust's around a rebalance: it loses what it had fetched,
hands on what it fetched before it sought back, repeats, and stops reading altogether.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("faust", reason="pip install '.[features]'")

from faust.types import TP

from streamer.faust_worker.reading import Reading
from streamer.protocols import MessageBatch

WHERE = TP("events", 1)


class Log:
    """A partition; some offsets hold no message, as where transactions ended."""

    def __init__(self, end: int, *, without: frozenset[int] = frozenset()) -> None:
        self.end = end
        self.low = 0
        self.offsets = [each for each in range(end) if each not in without]

    def trim(self, low: int) -> None:
        """Delete what is older, as retention does."""
        self.low = low
        self.offsets = [each for each in self.offsets if each >= low]

    def batch(self, first: int, n: int) -> MessageBatch | None:
        offsets = [each for each in self.offsets if each >= first][:n]
        if not offsets:
            return None
        values: list[bytes | None] = [f"m{each}".encode() for each in offsets]
        return MessageBatch(
            WHERE.topic, WHERE.partition, values, np.array(offsets), np.array(offsets)
        )

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[MessageBatch]:
        assert (topic, partition) == WHERE
        batch = self.batch(start, sum(start <= each < end for each in self.offsets))
        if batch is not None:
            yield batch


class Consumer:
    """Hands out batches; what it is to do wrong is said by a test."""

    def __init__(self, log: Log, *, first: int = 0) -> None:
        self.log = log
        self.done: dict[TP, int] = {}
        self.first = first
        self.at = first
        self.reads = True
        self.sought: list[int] = []
        self.n_asked = 0

    async def committed_offset(self, tp: TP) -> int | None:
        return max(self.first, self.done.get(tp, 0)) or None

    async def earliest_offset(self, tp: TP) -> int:
        self.n_asked += 1
        return self.log.low

    async def end_offset(self, tp: TP) -> int:
        return self.log.end

    async def read_from(self, tp: TP, offset: int) -> None:
        self.at, self.reads = offset, True
        self.sought.append(offset)

    def fetch(self, n: int) -> MessageBatch | None:
        batch = self.log.batch(self.at, n) if self.reads else None
        if batch is not None:
            self.at = int(batch.offsets[-1]) + 1
        return batch


def offsets_of(batch: MessageBatch | None) -> list[int]:
    if batch is None:
        return []
    assert batch.values == [f"m{each}".encode() for each in batch.offsets.tolist()]
    assert len(batch.publish_ms) == len(batch)
    return [int(each) for each in batch.offsets]


def test_messages_behind_a_hole_are_sent_back_until_the_hole_came() -> None:
    async def scenario() -> None:
        consumer = Consumer(Log(100), first=10)
        reading = Reading(lambda: consumer, consumer.log.read)
        first = await reading.take(consumer.log.batch(10, 5))  # type: ignore[arg-type]
        assert offsets_of(first) == [10, 11, 12, 13, 14]
        for at in (20, 25, 30):  # 15 to 19 were lost; the others had been fetched by then
            assert await reading.take(consumer.log.batch(at, 5)) is None  # type: ignore[arg-type]
        assert consumer.sought == [15]
        found = await reading.take(consumer.log.batch(15, 20))  # type: ignore[arg-type]
        assert offsets_of(found) == list(range(15, 35))
        assert consumer.sought == [15]

    asyncio.run(scenario())


def test_a_backlog_behind_a_hole_goes_by_without_a_question_to_the_broker() -> None:
    async def scenario() -> None:
        consumer = Consumer(Log(2_000), first=10)
        reading = Reading(lambda: consumer, consumer.log.read)
        assert await reading.take(consumer.log.batch(20, 5)) is None  # type: ignore[arg-type]
        n_asked = consumer.n_asked
        for at in range(25, 1_500, 5):
            assert await reading.take(consumer.log.batch(at, 5)) is None  # type: ignore[arg-type]
        assert consumer.n_asked == n_asked
        assert offsets_of(await reading.take(consumer.log.batch(10, 3))) == [10, 11, 12]  # type: ignore[arg-type]

    asyncio.run(scenario())


def test_reading_begins_where_the_group_stopped_not_where_messages_happen_to_come_from() -> None:
    async def scenario() -> None:
        consumer = Consumer(Log(100), first=40)
        reading = Reading(lambda: consumer, consumer.log.read)
        assert await reading.take(consumer.log.batch(60, 5)) is None  # type: ignore[arg-type]
        assert consumer.sought == [40]
        assert offsets_of(await reading.take(consumer.log.batch(38, 5))) == [40, 41, 42]  # type: ignore[arg-type]

    asyncio.run(scenario())


def test_what_came_before_is_left_out_and_nothing_is_done_before_it_is_said() -> None:
    async def scenario() -> None:
        consumer = Consumer(Log(30))
        reading = Reading(lambda: consumer, consumer.log.read)
        taken = await reading.take(consumer.log.batch(0, 20))  # type: ignore[arg-type]
        assert taken is not None
        assert await reading.take(consumer.log.batch(5, 10)) is None  # type: ignore[arg-type]
        assert offsets_of(await reading.take(consumer.log.batch(15, 10))) == [20, 21, 22, 23, 24]  # type: ignore[arg-type]
        assert consumer.done == {}
        reading.done(taken)
        assert consumer.done == {WHERE: 20}
        reading.forget()
        assert consumer.done == {}

    asyncio.run(scenario())


def test_offsets_without_a_message_are_no_hole() -> None:
    async def scenario() -> None:
        consumer = Consumer(Log(12, without=frozenset({0, 4, 5, 10, 11})))
        reading = Reading(lambda: consumer, consumer.log.read)
        assert offsets_of(await reading.take(consumer.log.batch(1, 3))) == [1, 2, 3]  # type: ignore[arg-type]
        assert offsets_of(await reading.take(consumer.log.batch(6, 4))) == [6, 7, 8, 9]  # type: ignore[arg-type]
        assert [await reading.has_come(WHERE) for _ in range(2)] == [False, True]
        assert consumer.sought == []

    asyncio.run(scenario())


def test_a_partition_that_is_not_read_any_more_is_read_again() -> None:
    async def scenario() -> None:
        consumer = Consumer(Log(20))
        reading = Reading(lambda: consumer, consumer.log.read)
        await reading.take(consumer.fetch(15))  # type: ignore[arg-type]
        consumer.reads = False
        assert not await reading.has_come(WHERE)
        assert consumer.sought == []  # it may be slow
        assert not await reading.has_come(WHERE)
        assert consumer.sought == [15]
        assert offsets_of(await reading.take(consumer.fetch(15))) == [15, 16, 17, 18, 19]  # type: ignore[arg-type]
        assert await reading.has_come(WHERE)

    asyncio.run(scenario())


def test_what_was_deleted_while_no_worker_ran_is_counted_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        consumer, lost = Consumer(Log(100), first=10), list[int]()
        consumer.log.trim(40)
        reading = Reading(lambda: consumer, consumer.log.read, lost=lost.append)
        assert offsets_of(await reading.take(consumer.log.batch(40, 3))) == [40, 41, 42]  # type: ignore[arg-type]
        assert lost == [30]
        assert "events[1]: offsets 10 to 39 were deleted before they were read" in caplog.text
        assert "raise topics.retention_hours" in caplog.text

    asyncio.run(scenario())


def test_a_group_that_never_read_has_lost_nothing() -> None:
    async def scenario() -> None:
        consumer, lost = Consumer(Log(100)), list[int]()
        consumer.log.trim(40)
        reading = Reading(lambda: consumer, consumer.log.read, lost=lost.append)
        assert offsets_of(await reading.take(consumer.log.batch(40, 3))) == [40, 41, 42]  # type: ignore[arg-type]
        assert lost == []

    asyncio.run(scenario())


def test_a_hole_that_is_deleted_before_it_comes_is_counted_and_passed() -> None:
    async def scenario() -> None:
        consumer, lost = Consumer(Log(100)), list[int]()
        reading = Reading(lambda: consumer, consumer.log.read, lost=lost.append)
        await reading.take(consumer.log.batch(0, 10))  # type: ignore[arg-type]
        assert await reading.take(consumer.log.batch(20, 5)) is None  # type: ignore[arg-type]
        assert consumer.sought == [10]
        consumer.log.trim(30)
        assert await reading.take(consumer.log.batch(30, 5)) is None  # type: ignore[arg-type]
        assert [await reading.has_come(WHERE) for _ in range(2)] == [False, False]
        assert consumer.sought == [10, 30]
        assert offsets_of(await reading.take(consumer.log.batch(30, 5))) == list(range(30, 35))  # type: ignore[arg-type]
        assert lost == [20]
        consumer.log.trim(100)  # all of it
        assert [await reading.has_come(WHERE) for _ in range(2)] == [False, True]
        assert lost == [20, 65]

    asyncio.run(scenario())


def test_nothing_is_taken_once_it_is_over() -> None:
    async def scenario() -> None:
        consumer = Consumer(Log(30))
        over: list[bool] = []
        reading = Reading(lambda: consumer, consumer.log.read, stopped=lambda: bool(over))
        assert offsets_of(await reading.take(consumer.log.batch(0, 2))) == [0, 1]  # type: ignore[arg-type]
        over.append(True)
        assert await reading.take(consumer.log.batch(2, 2)) is None  # type: ignore[arg-type]

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", range(30))
def test_everything_is_handled_once_and_in_order(seed: int) -> None:
    """Losses, late arrivals, repetitions, standstills and rebalances in any order."""
    rng = random.Random(seed)

    async def scenario() -> None:
        without = frozenset(rng.sample(range(300), 20))
        consumer = Consumer(Log(300, without=without))
        reading = Reading(lambda: consumer, consumer.log.read)
        handled: list[int] = []
        waiting: list[MessageBatch] = []
        trouble = 400
        while not await reading.has_come(WHERE) or waiting:
            trouble -= 1
            what = rng.choice(["lose", "rewind", "skip", "stop", "rebalance", "none", "none"])
            if trouble < 0:
                what = "none"
            batch = consumer.fetch(rng.randint(1, 12))
            if batch is not None:
                waiting.append(batch)
            if what == "lose":
                waiting = waiting[:-1]
            elif what == "rewind":
                consumer.at = rng.randint(0, consumer.at)
            elif what == "skip":
                consumer.at = min(300, consumer.at + rng.randint(0, 30))
            elif what == "stop":
                consumer.reads = False
            elif what == "rebalance":
                consumer.first = max(consumer.first, consumer.done.get(WHERE, 0))
                reading.forget()
                consumer.at, consumer.reads = rng.randint(0, 300), True
                handled = [each for each in handled if each < consumer.first]
            for each in waiting[:-1] if rng.random() < 0.5 else waiting:
                waiting = waiting[1:]
                taken = await reading.take(each)
                handled += offsets_of(taken)
                if taken is not None and rng.random() < 0.7:
                    reading.done(taken)
        assert handled == consumer.log.offsets

    asyncio.run(scenario())
