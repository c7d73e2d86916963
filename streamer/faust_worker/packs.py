"""Messages of a topic come to Faust's agents in packs: each costs Faust time, however small it is.

Faust hands messages on one at a time, through a task or four, a queue and a stream, which is ten
times the work of counting an event. So what a fetch brings of one partition is packed into few
messages before Faust sees it, each at the offset of its first; under load the packs grow by
themselves.

Faust takes what is missing between two offsets for compacted away, and commits across it. Of topics
in packs it commits what their agents say is done, and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
from aiokafka.errors import IllegalStateError
from aiokafka.structs import ConsumerRecord
from faust import App
from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types import TP
from faust.types.tuples import Message

from streamer.faust_worker.patience import PatientProducer
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
    """Faust's consumer, with the messages of some topics in packs.

    Attributes
    ----------
    done
        By partition of those topics, the offset before which everything is done.
    """

    transport: PackingTransport

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.done: dict[TP, int] = {}

    async def committed_offset(self, tp: TP) -> int | None:
        """Where the group goes on with a partition, by what the broker says; None: not known."""
        thread = self._thread
        committed: int | None = await thread.call_thread(thread._ensure_consumer().committed, tp)
        return committed

    async def earliest_offset(self, tp: TP) -> int:
        """The offset of the oldest message that a partition keeps."""
        return (await self.earliest_offsets(tp))[tp]

    async def end_offset(self, tp: TP) -> int:
        """The offset that the next message of a partition will get."""
        return (await self.highwaters(tp))[tp]

    async def read_from(self, tp: TP, offset: int) -> None:
        """Begin again at an offset, though reading of the partition had been suspended."""
        with contextlib.suppress(IllegalStateError):  # it is not ours any more
            await self.seek(tp, offset)
            self.resume_partitions({tp})

    async def _seek(self, partition: TP, offset: int) -> None:
        # Faust seeks in this thread, and so takes what was fetched from under the client's, which
        # may be handing it on.
        async def seek() -> None:
            self._thread.seek(partition, offset)

        await self._thread.call_thread(seek)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        fetched = await super()._getmany(active_partitions, timeout)
        topics, n_max = self.transport.topics, self.transport.n_max
        for tp in fetched:
            if tp.topic in topics:
                # Faust drops what is before the last message it handed on: after a seek, which it
                # may have handed older fetches on behind, that is what was sought. Its reader tells
                # repetitions itself.
                self._read_offset[tp] = None
        return {
            tp: packed(records, n_max) if tp.topic in topics else records
            for tp, records in fetched.items()
        }

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        if tp.topic not in self.transport.topics:
            await super()._add_gap(tp, offset_from, offset_to)

    def _new_offset(self, tp: TP) -> int | None:
        if tp.topic not in self.transport.topics:
            return super()._new_offset(tp)
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self.done.get(tp)


class PackingTransport(Transport):
    """Faust's transport for an app whose agents read ``topics`` by :func:`unpacked`.

    Parameters
    ----------
    n_max
        Most messages of a pack.
    """

    Consumer = PackingConsumer
    Producer = PatientProducer

    def __init__(self, app: App, *, topics: Collection[str], n_max: int) -> None:
        super().__init__(app.conf.broker_consumer, app)
        self.topics = frozenset(topics)
        self.n_max = n_max


def packed(records: Sequence[Record], n_max: int) -> list[Record]:
    """What was fetched of one partition, in packs."""
    return [_pack(records[start : start + n_max]) for start in range(0, len(records), n_max)]


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
