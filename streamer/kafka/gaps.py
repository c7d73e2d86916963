"""Offsets without a message, and which of them had one that compaction deleted unread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import confluent_kafka as ck

from streamer.errors import StreamerError
from streamer.kafka.connection import Options, Outages, connection_options, new_client
from streamer.kafka.log_ends import TopicPartition
from streamer.kafka.topics import altering, cleanup_policy
from streamer.protocols import MessageBatch

log = logging.getLogger(__name__)

CREDIT_FIRST: Final = 100
"""Ends of transactions that may follow one another where a reader begins."""
CREDIT_MAX: Final = 1_000
_POLICY_S: Final = 60.0
"""How long a topic's ``cleanup.policy`` is taken for known."""
_ANSWER_S: Final = 2.0
_LOOK_S: Final = 10.0
_LOOK_MESSAGES: Final = 1_000


class LooksAtLogs(Protocol):
    """What can be asked of a broker about offsets without a message; it never raises."""

    def is_compacted(self, topic: str) -> bool | None:
        """Whether compaction deletes messages of a topic now; None: unknown."""

    def n_visible(self, where: TopicPartition, start: int, end: int, *, enough: int) -> int | None:
        """Messages from ``start`` to ``end``, those of aborted transactions too, counted up to
        ``enough``; None: unknown."""


@dataclass(slots=True)
class _Stretch:
    """What was read of a partition since an offset."""

    start: int
    credit: int = CREDIT_FIRST


class Gaps:
    """Tells what compaction deleted of the partitions that one client reads.

    A transaction leaves an offset without a message at its end, and one that was aborted those of
    its messages. So a gap is a loss where the topic is compacted now, and else where the log holds
    fewer messages, aborted ones included, than it lacks: each transaction has at least one. Such a
    log was compacted before; it shows where more than half of its messages are gone.

    Parameters
    ----------
    lost
        Told how many messages are gone.
    """

    def __init__(self, logs: LooksAtLogs, *, lost: Callable[[int], None]) -> None:
        self._logs = logs
        self._lost = lost
        self._from: dict[TopicPartition, int] = {}
        self._stretches: dict[TopicPartition, _Stretch] = {}
        self._said: set[TopicPartition] = set()

    def begin(self, positions: Mapping[TopicPartition, int]) -> None:
        """Look at what is read of these partitions from these offsets on."""
        self._from = dict(positions)
        self._stretches = {where: _Stretch(at) for where, at in positions.items()}

    def take(self, batch: MessageBatch, position: int) -> None:
        """Look at a batch that was expected to begin at ``position``."""
        where, n = (batch.topic, batch.partition), len(batch)
        end = int(batch.offsets[-1]) + 1
        stretch = self._stretches[where]
        if end - position == n:
            stretch.credit += n
        else:
            self._take_gaps(where, batch, position)
        if stretch.credit >= CREDIT_MAX:
            stretch.credit, stretch.start = CREDIT_MAX, end

    def _take_gaps(self, where: TopicPartition, batch: MessageBatch, position: int) -> None:
        stretch, end = self._stretches[where], int(batch.offsets[-1]) + 1
        start = max(position, self._from[where])
        n = int((batch.offsets >= start).sum())
        n_missing = max(0, end - start) - n
        if n_missing <= 0:
            return
        if self._logs.is_compacted(where[0]):
            self._report(where, start, end, n_missing)
            stretch.start = end
            return
        stretch.credit += n - n_missing
        if stretch.credit >= 0:
            return
        start = max(stretch.start, self._from[where])
        stretch.start, stretch.credit = end, CREDIT_FIRST
        n_offsets = end - start
        n_visible = self._logs.n_visible(where, start, end, enough=n_offsets // 2 + 1)
        if n_visible is None:
            return
        n_missing = n_offsets - n_visible
        if n_missing > n_visible + (0 if where in self._said else CREDIT_FIRST):
            self._report(where, start, end, n_missing)
            stretch.credit = 0

    def _report(self, where: TopicPartition, start: int, end: int, n: int) -> None:
        self._lost(n)
        if where in self._said:
            return
        self._said.add(where)
        topic = where[0]
        log.error(
            "messages_lost %s[%d]: of offsets %d to %d, %d have no message any more: the topic is"
            " or was compacted, which deletes all of a key but the last; set its cleanup.policy to"
            " delete (%s) and publish again what is gone. More of this partition is counted alone",
            *where,
            start,
            end - 1,
            n,
            altering(topic, "cleanup.policy", "delete"),
            extra={"topic": topic, "partition": where[1], "wanted": start},
        )


class BrokerLogs:
    """Asks a broker about its logs, with clients of its own."""

    def __init__(self, bootstrap_servers: str, given: Options) -> None:
        self._servers = bootstrap_servers
        self._given = given
        self._known: dict[str, tuple[float, bool | None]] = {}

    def is_compacted(self, topic: str) -> bool | None:
        known = self._known.get(topic)
        if known is None or time.monotonic() - known[0] > _POLICY_S:
            found = None
            with suppress(StreamerError):
                found = "compact" in cleanup_policy(
                    self._servers, topic, client_options=self._given, timeout_s=_ANSWER_S
                )
            known = self._known[topic] = time.monotonic(), found
        return known[1]

    def n_visible(self, where: TopicPartition, start: int, end: int, *, enough: int) -> int | None:
        own: Options = {
            "group.id": "streamer-without-group",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
        }
        options = connection_options(self._servers, own, self._given)
        options = {**options, "isolation.level": "read_uncommitted"}
        consumer = new_client(ck.Consumer, options, Outages(self._servers))
        try:
            consumer.assign([ck.TopicPartition(*where, start)])
            return _n_until(consumer, end, enough)
        except ck.KafkaException:
            return None
        finally:
            consumer.close()


def _n_until(consumer: ck.Consumer, end: int, enough: int) -> int | None:
    n, deadline = 0, time.monotonic() + _LOOK_S
    while n < enough:
        if time.monotonic() > deadline:
            return None
        for message in consumer.consume(_LOOK_MESSAGES, 0.1):
            offset, error = message.offset(), message.error()
            if error is not None and error.code() != ck.KafkaError._PARTITION_EOF:
                return None
            if error is not None or offset is None or offset >= end:
                return n
            n += 1
    return n
