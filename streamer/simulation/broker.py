"""A broker in this process and a clock that is set by hand: for tests and for replay.

They keep the promises that services rely on: keys choose partitions as Kafka's clients do, offsets
rise by one, a partition keeps its order, readers see what is there and nothing twice.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from streamer.errors import DeliveryFailed, TopicMismatch
from streamer.kafka.log_ends import Ends, resolve_starts
from streamer.kafka.partitioner import partition_of
from streamer.protocols import Clock, MessageBatch

TopicPartition = tuple[str, int]


class ManualClock:
    """Time that passes only when somebody sleeps or says so.

    >>> clock = ManualClock(1_000)
    >>> clock.sleep(0.5)
    >>> clock.now_ms()
    1500
    """

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = float(now_ms)
        self._lock = threading.Lock()

    def now_ms(self) -> int:
        return int(self._now_ms)

    def sleep(self, seconds: float) -> None:
        """Let time pass at once."""
        with self._lock:
            self._now_ms += 1000 * seconds

    def set(self, now_ms: int) -> None:
        """Go to a time that is not before the present."""
        with self._lock:
            self._now_ms = max(self._now_ms, float(now_ms))


class Record(NamedTuple):
    """One message as the broker keeps it."""

    key: bytes | None
    value: bytes | None
    publish_ms: int


class _Log:
    """Messages of one partition from an offset on."""

    def __init__(self) -> None:
        self.start = 0
        self.records: list[Record] = []

    @property
    def end(self) -> int:
        return self.start + len(self.records)

    def read(self, offset: int, n_max: int) -> list[Record]:
        at = max(0, offset - self.start)
        return self.records[at : at + n_max]

    def trim(self, before: int) -> None:
        del self.records[: max(0, before - self.start)]
        self.start = max(self.start, before)


class MemoryBroker:
    """Topics in memory, without compaction; any thread may call any method.

    What it holds is bounded by :meth:`trim` alone.

    Attributes
    ----------
    committed
        By group: what its members told as applied.
    """

    def __init__(self, n_partitions: Mapping[str, int]) -> None:
        self.committed: dict[str, dict[TopicPartition, int]] = {}
        self._logs: dict[str, list[_Log]] = {
            topic: [_Log() for _ in range(n)] for topic, n in n_partitions.items()
        }
        self._n_keyless = 0
        self._lock = threading.Lock()

    def make(self, topic: str, n_partitions: int) -> None:
        """Make a topic that is not there yet."""
        self._logs[topic] = [_Log() for _ in range(n_partitions)]

    def append(self, topic: str, record: Record, *, partition: int | None = None) -> TopicPartition:
        """Add a message: where it is told, else where its key belongs, else in turn.

        Raises
        ------
        DeliveryFailed
            When there is no such topic or partition.
        """
        with self._lock:
            logs = self._logs.get(topic)
            if logs is None or not 0 <= (partition or 0) < len(logs):
                known = {name: len(each) for name, each in self._logs.items()}
                raise DeliveryFailed(
                    f"{topic}[{partition}] is not among the topics and their partitions {known}:"
                    " name it when the broker is made"
                )
            if partition is None and record.key is None:
                partition = self._n_keyless % len(logs)
                self._n_keyless += 1
            elif partition is None:
                partition = partition_of(record.key or b"", len(logs))
            logs[partition].records.append(record)
            return topic, partition

    def records(self, topic: str) -> list[Record]:
        """Everything in a topic, partition after partition."""
        with self._lock:
            return [record for log in self._logs[topic] for record in log.records]

    def n_partitions(self, topic: str) -> int:
        if topic not in self._logs:
            raise TopicMismatch(f"there is no topic {topic} among {', '.join(self._logs)}")
        return len(self._logs[topic])

    def end(self, where: TopicPartition) -> int:
        """Offset the next message of a partition will get."""
        return self._log(where).end

    def start(self, where: TopicPartition) -> int:
        """Offset of the oldest message of a partition."""
        return self._log(where).start

    def read(self, where: TopicPartition, offset: int, n_max: int) -> list[Record]:
        """Messages from an offset on, or from the oldest one where that is gone."""
        with self._lock:
            return self._log(where).read(offset, n_max)

    def trim(self, where: TopicPartition, before: int) -> None:
        """Forget the messages of a partition below an offset."""
        with self._lock:
            self._log(where).trim(min(before, self._log(where).end))

    def _log(self, where: TopicPartition) -> _Log:
        return self._logs[where[0]][where[1]]


class _Positions:
    """What has been read of some partitions."""

    def __init__(self, broker: MemoryBroker, clock: Clock) -> None:
        self.at: dict[TopicPartition, int] = {}
        self.held: set[TopicPartition] = set()
        self._broker = broker
        self._clock = clock
        self._n_polls = 0

    def poll(self, n_max: int, timeout_s: float) -> list[MessageBatch]:
        batches = self._read(n_max)
        if not batches and timeout_s > 0:
            self._clock.sleep(timeout_s)
            batches = self._read(n_max)
        return batches

    def _read(self, n_max: int) -> list[MessageBatch]:
        owned = sorted(self.at.keys() - self.held)
        turn = self._n_polls % max(1, len(owned))  # so that no partition starves
        self._n_polls += 1
        batches = []
        for where in owned[turn:] + owned[:turn]:
            offset = max(self.at[where], self._broker.start(where))
            records = self._broker.read(where, offset, n_max)
            if records:
                n_max -= len(records)
                self.at[where] = offset + len(records)
                batches.append(_batch(where, offset, records))
            if n_max == 0:
                break
        return sorted(batches, key=lambda batch: (batch.topic, batch.partition))

    def lag(self) -> dict[TopicPartition, int]:
        return {where: self._broker.end(where) - offset for where, offset in self.at.items()}


def _batch(where: TopicPartition, offset: int, records: Sequence[Record]) -> MessageBatch:
    return MessageBatch(
        topic=where[0],
        partition=where[1],
        values=[record.value for record in records],
        offsets=np.arange(offset, offset + len(records), dtype=np.int64),
        publish_ms=np.array([record.publish_ms for record in records], dtype=np.int64),
        keys=[record.key for record in records],
    )


class MemorySource:
    """A :class:`streamer.protocols.Source` of a group whose members are told what they own.

    Parameters
    ----------
    partitions
        Owned from the first poll on; by default all.
    on_assign
        Its answer is read as :class:`streamer.kafka.source.KafkaSource` reads it.
    clock
        Waiting for messages is sleeping by this clock.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        group: str,
        topics: Sequence[str],
        *,
        on_assign: Callable[[Sequence[int]], Mapping[TopicPartition, int]],
        on_revoke: Callable[[Sequence[int]], None],
        clock: Clock,
        partitions: Sequence[int] | None = None,
    ) -> None:
        self._broker = broker
        self._topics = topics
        self._committed = broker.committed.setdefault(group, {})
        self._on_assign = on_assign
        self._on_revoke = on_revoke
        self._owned: list[int] = []
        self._wanted: list[int] | None = list(
            range(broker.n_partitions(topics[0])) if partitions is None else partitions
        )
        self._positions = _Positions(broker, clock)

    def rebalance(self, partitions: Sequence[int]) -> None:
        """From the next poll on, own exactly these."""
        self._wanted = list(partitions)

    def poll(self, *, n_max: int, timeout_s: float) -> list[MessageBatch]:
        if self._wanted is not None:
            self._take(self._wanted)
            self._wanted = None
        return self._positions.poll(n_max, timeout_s)

    def _take(self, wanted: Sequence[int]) -> None:
        if self._owned:
            owned, self._owned, self._positions.at = self._owned, [], {}
            self._on_revoke(owned)
        starts = self._on_assign(wanted)
        ends = {
            (t, p): Ends(self._broker.start((t, p)), self._broker.end((t, p)))
            for t in self._topics
            for p in wanted
        }
        self._owned = list(wanted)
        self._positions.at, _ = resolve_starts(
            starts, needed={}, committed=self._committed, ends=ends
        )

    def hold(self, held: Collection[TopicPartition]) -> None:
        self._positions.held = set(held)

    def tell_applied(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._committed.update(offsets)

    def lag(self) -> dict[TopicPartition, int]:
        return self._positions.lag()

    def close(self) -> None:
        owned, self._owned, self._positions.at = self._owned, [], {}
        if owned:
            self._on_revoke(owned)


class MemoryReader:
    """Reads all partitions of topics from their start, in no group; its batches carry keys."""

    def __init__(self, broker: MemoryBroker, topics: Sequence[str], *, clock: Clock) -> None:
        self._broker = broker
        self._read = _Positions(broker, clock)
        self._read.at = {(t, p): 0 for t in topics for p in range(broker.n_partitions(t))}

    @property
    def positions(self) -> dict[TopicPartition, int]:
        return dict(self._read.at)

    def partitions(self, *topics: str, timeout_s: float | None = None) -> list[TopicPartition]:
        """Every partition of topics; raises TopicMismatch where there is no such topic."""
        return [(t, p) for t in topics for p in range(self._broker.n_partitions(t))]

    def start(self, starts: Mapping[TopicPartition, int]) -> None:
        """Read exactly these from now on."""
        self._read.at = dict(starts)

    def end_offsets(
        self, partitions: Sequence[TopicPartition] | None = None
    ) -> dict[TopicPartition, int]:
        """Offset behind the last message of partitions, by default of those that are read."""
        asked = self._read.at if partitions is None else partitions
        return {where: self._broker.end(where) for where in asked}

    def poll(self, *, n_max: int, timeout_s: float) -> list[MessageBatch]:
        return self._read.poll(n_max, timeout_s)

    def close(self) -> None:
        """Nothing to give back."""


class MemorySink:
    """A :class:`streamer.protocols.Sink` whose messages are there as soon as they are sent.

    Attributes
    ----------
    bytes_max
        Topic → size above which it refuses a message; any size by default.
    """

    def __init__(self, broker: MemoryBroker, *, clock: Clock) -> None:
        self.bytes_max: dict[str, int] = {}
        self._broker = broker
        self._clock = clock

    def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        on_too_large: Callable[[], None] | None = None,
    ) -> None:
        if on_too_large is not None and len(value or b"") > self.bytes_max.get(topic, sys.maxsize):
            on_too_large()
            return
        record = Record(key, value, self._clock.now_ms())
        self._broker.append(topic, record, partition=partition)

    def flush(self, timeout_s: float) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing to give back."""
