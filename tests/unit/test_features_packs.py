"""Messages in packs: each comes once, and in order."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

pytest.importorskip("faust", reason="pip install '.[features]'")

import faust
from aiokafka.structs import ConsumerRecord
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP
from faust.types.tuples import ConsumerMessage, Message

from streamer.faust_worker.packs import PackingTransport, Record, packed, unpacked
from streamer.protocols import MessageBatch


def records(first: int, end: int) -> list[Record]:
    return [
        ConsumerRecord(
            topic="events",
            partition=1,
            offset=offset,
            timestamp=1_000 + offset if offset % 4 else None,
            timestamp_type=0,
            key=b"k",
            value=f"m{offset}".encode() if offset % 3 else None,
            checksum=None,
            serialized_key_size=1,
            serialized_value_size=2,
            headers=(),
        )
        for offset in range(first, end)
    ]


def as_given(record: Record) -> MessageBatch:
    """What an agent gets of it."""
    return unpacked(
        ConsumerMessage(
            record.topic, record.partition, record.offset, 0.0, 0, {}, record.key, record.value,
            None, tp=TP(record.topic, record.partition),
        )
    )  # fmt: skip


@pytest.mark.parametrize(("first", "n"), [(0, 1), (0, 2), (0, 30), (1, 30), (7, 10), (7, 11)])
def test_packs_hold_each_message_once_at_the_offset_of_their_first(first: int, n: int) -> None:
    given = records(first, first + n)
    found = packed(given, 10)
    batches = [as_given(each) for each in found]
    assert [each.offset for each in found] == [int(batch.offsets[0]) for batch in batches]
    assert [offset for batch in batches for offset in batch.offsets] == list(
        range(first, first + n)
    )
    assert [value for batch in batches for value in batch.values] == [each.value for each in given]
    assert [int(at_ms) for batch in batches for at_ms in batch.publish_ms] == [
        -1 if each.timestamp is None else each.timestamp for each in given
    ]
    assert max(map(len, batches)) <= 10
    assert len(found) == -(-n // 10)


def test_nothing_fetched_is_no_pack() -> None:
    assert packed([], 10) == []


def test_a_partition_is_sought_in_the_thread_that_hands_on_what_was_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sought = list[tuple[int, TP, int]]()

    async def scenario() -> int:
        app = faust.App("seeks", broker="aiokafka://nowhere:1", datadir=tmp_path)
        transport = PackingTransport(app, topics=["events"], n_max=2)
        app.transport = transport
        consumer: Any = transport.create_consumer(
            AsyncMock(),
            on_partitions_revoked=app.on_partitions_revoked,
            on_partitions_assigned=app.on_partitions_assigned,
        )
        client = consumer._thread
        monkeypatch.setattr(
            client, "seek", lambda *where: sought.append((threading.get_ident(), *where))
        )
        monkeypatch.setattr(client, "_create_consumer", lambda loop: AsyncMock())
        await client.start()
        try:
            await consumer.read_from(TP("events", 1), 7)
            return int(await client.call_thread(threading.get_ident))
        finally:
            await client.stop()

    client_thread = asyncio.run(scenario())
    assert sought == [(client_thread, TP("events", 1), 7)]
    assert client_thread != threading.get_ident()


def test_what_was_sought_while_older_fetches_were_handed_on_is_handed_on_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, came = TP("events", 1), list[int]()
    fetches = [{where: records(0, 10)}, {where: records(2, 12)}]

    async def scenario() -> None:
        app = faust.App("packs", broker="aiokafka://nowhere:1", datadir=tmp_path)
        transport = PackingTransport(app, topics=["events"], n_max=2)
        app.transport = transport

        async def callback(message: Message) -> None:
            came.append(message.offset)
            if len(came) == 3:  # as after a rebalance: a hole was found, and is read again
                consumer._read_offset[where] = 2
            if message.offset == 10:
                consumer._stopped.set()

        async def getmany(self: Consumer, active: object, timeout: float) -> object:
            return fetches.pop(0)

        consumer: Any = transport.create_consumer(
            callback,
            on_partitions_revoked=app.on_partitions_revoked,
            on_partitions_assigned=app.on_partitions_assigned,
        )
        monkeypatch.setattr(Consumer, "_getmany", getmany)
        monkeypatch.setattr(type(consumer), "highwater", lambda self, tp: 12)
        consumer._set_active_tps({where})
        await consumer._drain_messages(consumer)
        consumer._thread.thread_loop.close()

    asyncio.run(scenario())
    assert came == [0, 2, 4, 6, 8, 2, 4, 6, 8, 10]
