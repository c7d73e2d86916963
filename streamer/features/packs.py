"""Messages of a topic come to Faust's agents in packs: each costs Faust time, however small it is.

Faust hands messages on one at a time, through a task or four, a queue and a stream, which is ten
times the work of counting an event. So what a fetch brings of one partition is packed into few
messages before Faust sees it; under load the packs grow by themselves.

A pack stands at the offset of its first message, and the last message of a run follows in a pack of
its own. To Faust the offsets between are a gap, as compaction leaves them, and it commits across a
gap once both its ends are acknowledged: agents acknowledge packs in order, when all in them is
done.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
from aiokafka.structs import ConsumerRecord
from faust import App
from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types.tuples import Message

from streamer.protocols import MessageBatch

Record: TypeAlias = ConsumerRecord[bytes, bytes]


class _Pack(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """``published_ms``: -1 where it is not known."""

    offsets: list[int]
    published_ms: list[int]
    values: list[bytes | None]


_encoder = msgspec.msgpack.Encoder()
_decode: Final = msgspec.msgpack.Decoder(_Pack).decode


class PackingConsumer(Consumer):
    """Faust's consumer, with the messages of some topics in packs."""

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        fetched = await super()._getmany(active_partitions, timeout)
        transport = self.transport
        assert isinstance(transport, PackingTransport), "it is what makes this consumer"
        return {
            tp: packed(records, transport.n_max) if tp.topic in transport.topics else records
            for tp, records in fetched.items()
        }


class PackingTransport(Transport):
    """Faust's transport for an app whose agents read ``topics`` by :func:`unpacked`.

    Parameters
    ----------
    n_max
        Most messages of a pack.
    """

    Consumer = PackingConsumer

    def __init__(self, app: App, *, topics: Collection[str], n_max: int) -> None:
        super().__init__(app.conf.broker_consumer, app)
        self.topics = frozenset(topics)
        self.n_max = n_max


def packed(records: Sequence[Record], n_max: int) -> list[Record]:
    """What was fetched of one partition, in packs.

    Faust knows of no gap behind offset 0, so that one is alone.
    """
    packs = []
    start = 0
    while start < len(records):
        n_run = 1 if records[start].offset == 0 else n_max
        run = records[start : start + n_run]
        packs += [_pack(each) for each in (run[:-1], run[-1:]) if each]
        start += n_run
    return packs


def _pack(records: Sequence[Record]) -> Record:
    value = _encoder.encode(
        _Pack(
            [each.offset for each in records],
            [-1 if each.timestamp is None else each.timestamp for each in records],
            [each.value for each in records],
        )
    )
    return replace(records[0], key=None, value=value, serialized_value_size=len(value))


def unpacked(message: Message) -> MessageBatch:
    """The messages of a pack, as Faust hands it to an agent."""
    pack = _decode(message.value or b"")
    return MessageBatch(
        message.topic,
        message.partition,
        pack.values,
        np.array(pack.offsets, np.int64),
        np.array(pack.published_ms, np.int64),
    )
