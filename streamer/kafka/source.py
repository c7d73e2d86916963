"""Messages from Kafka as a member of a consumer group, from offsets that the owner names."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import confluent_kafka as ck

from streamer.errors import KafkaError, TopicMismatch
from streamer.kafka.batches import good_messages, to_batches
from streamer.kafka.connection import (
    REQUEST_TIMEOUT_S,
    Options,
    Outages,
    client_log,
    connection_options,
    translated,
)
from streamer.kafka.log_ends import (
    COMMITTED,
    LATEST,
    Ends,
    TopicPartition,
    log_ends,
    resolve_starts,
)
from streamer.kafka.topics import partition_counts
from streamer.protocols import MessageBatch

log = logging.getLogger(__name__)

_WAIT_S: Final = 0.1
"""Longest wait inside the client: what a rebalance left to do is done after it."""

CONSUMER_OPTIONS: Final[dict[str, str | int | float | bool]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    # Offsets come from the owner. One that the log no longer has is reported, not passed over.
    "auto.offset.reset": "error",
    # The fetch queue: 16 MB and 50,000 messages a partition bound its memory (a queued message
    # takes some 400 B more than its payload), yet hold 0.1 s at 500,000 messages/s. By default
    # fetching pauses for a whole second whenever the queue is full, and the reader idles.
    "queued.max.messages.kbytes": 16_384,
    "queued.min.messages": 50_000,
    "fetch.queue.backoff.ms": 5,
}

_GROUP_OPTIONS: Final[dict[str, str | int | float | bool]] = {
    "partition.assignment.strategy": "range",
    # A killed member's partitions move after ten seconds, not after 45.
    "session.timeout.ms": 10_000,
    "heartbeat.interval.ms": 1_000,
}

Assigned = Callable[[Sequence[int]], Mapping[TopicPartition, int]]
Revoked = Callable[[Sequence[int]], None]


class KafkaSource:
    """A :class:`streamer.protocols.Source` over a consumer group and co-partitioned topics.

    Nothing happens before the first :meth:`poll`: it joins the group. A rebalance takes all
    partitions away and gives others; both callbacks run inside :meth:`poll`. Messages fetched
    before a rebalance are dropped and, where their partition comes back, read again from the
    offsets that ``on_assign`` gives then. Not for use by several threads.

    Parameters
    ----------
    group
        Consumer group. ``None``: no group, all partitions of the topics are this source's own.
    topics
        Names; partition *p* of each is owned together.
    on_assign
        Called with the sorted numbers of the partitions owned from now on (all of them, maybe
        none). Returns the offset to start from by (topic, partition), or ``EARLIEST``, ``LATEST``,
        ``COMMITTED``; absent: ``EARLIEST``. When it raises, :meth:`poll` raises the same, and the
        next one calls it again.
    on_revoke
        Called with the numbers of the partitions no longer owned, before another gets them.
    needed
        Asked after ``on_assign`` for the first offsets that must still be in the log, where
        ``on_assign`` starts earlier than it must (to rebuild a window). Absent ones: the start.
    client_options
        Raw librdkafka options, added to ours.
    timeout_s
        How long the broker may take to answer.

    Attributes
    ----------
    skipped_offsets
        Messages that were deleted before they were read: data lost, each time said in the log.
    outages
        Errors the client got over by itself, counted.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        group: str | None,
        topics: Sequence[str],
        *,
        on_assign: Assigned,
        on_revoke: Revoked,
        needed: Callable[[], Mapping[TopicPartition, int]] = dict,
        client_options: Options | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self.skipped_offsets = 0
        self.outages = Outages(bootstrap_servers)
        self._bootstrap_servers = bootstrap_servers
        self._group = group
        self._topics = tuple(topics)
        self._on_assign = on_assign
        self._on_revoke = on_revoke
        self._needed = needed
        self._timeout_s = timeout_s
        self._joined = False
        self._closed = False
        self._generation = 0
        self._to_take: list[TopicPartition] | None = None
        self._owned: list[int] = []
        self._failure: Exception | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._high: dict[TopicPartition, int] = {}
        own = CONSUMER_OPTIONS | {"group.id": group or "streamer-without-group"}
        if group is not None:
            own |= _GROUP_OPTIONS
        options = connection_options(bootstrap_servers, own, client_options or {})
        self._consumer = ck.Consumer({**options, "error_cb": self.outages.note}, logger=client_log)

    # --- messages --------------------------------------------------------------------------------

    def poll(self, *, n_max: int, timeout_s: float) -> list[MessageBatch]:
        """Up to ``n_max`` messages: all that are here, else the first to come in ``timeout_s``.

        Raises
        ------
        KafkaError
            Of a kind that waiting does not mend, or when a start lies beyond the end of the log.
        KafkaUnavailable
            When the offsets of newly assigned partitions could not be asked for; may be repeated.
        TopicMismatch
            When the topics don't have the same partitions.
        """
        if n_max < 1:
            raise ValueError(f"n_max must be at least 1, not {n_max}")
        self._join()
        deadline = time.monotonic() + timeout_s
        while True:
            if self._to_take is not None:
                self._take(self._to_take)
            wait_s = min(_WAIT_S, max(0.0, deadline - time.monotonic()))
            if messages := self._fetch(n_max, wait_s):
                return self._batches(messages)
            if time.monotonic() >= deadline and self._to_take is None:
                return []

    def _fetch(self, n_max: int, wait_s: float) -> list[ck.Message]:
        generation = self._generation
        try:
            messages = self._consumer.consume(n_max, 0)
            if not messages and wait_s > 0:
                messages = self._consumer.consume(1, wait_s)
                if messages and n_max > 1:
                    messages += self._consumer.consume(n_max - 1, 0)
        except ck.KafkaException as error:
            raise self._translated(error, "consuming") from error
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        self.outages.check()
        # Those from before a rebalance belong to partitions that have been given back.
        return messages if self._generation == generation else []

    def _batches(self, messages: list[ck.Message]) -> list[MessageBatch]:
        messages, errors = good_messages(messages)
        batches = to_batches(messages)
        for batch in batches:
            where = batch.topic, batch.partition
            if batch.offsets[0] < self._positions[where]:
                raise KafkaError(
                    f"{batch.topic}[{batch.partition}]: offset {batch.offsets[0]} came after "
                    f"{self._positions[where] - 1}; was the topic recreated? Restart to read on"
                )
            self._positions[where] = int(batch.offsets[-1]) + 1
        if batches:
            self.outages.over()
        for message in errors:
            self._note(message)
        return batches

    def _note(self, message: ck.Message) -> None:
        error = message.error()
        assert error is not None
        if error.code() == ck.KafkaError._AUTO_OFFSET_RESET:
            self._pass_over_the_deleted()
        else:
            self.outages.note(error)
            self.outages.check()

    def _pass_over_the_deleted(self) -> None:
        """Go on at the oldest message kept, wherever the log was trimmed past the position."""
        ends = self._ends(sorted(self._positions))
        self._positions, n_skipped = resolve_starts(
            self._positions, needed={}, committed={}, ends=ends
        )
        self.skipped_offsets += n_skipped
        self._assign()

    # --- partitions come and go ------------------------------------------------------------------

    def _join(self) -> None:
        if self._joined:
            return
        if self._group is None:
            counts = partition_counts(
                self._consumer,
                self._topics,
                timeout_s=self._timeout_s,
                bootstrap_servers=self._bootstrap_servers,
            )
            self._to_take = [(t, p) for t in self._topics for p in range(counts[t])]
        else:
            self._consumer.subscribe(
                list(self._topics), on_assign=self._assigned, on_revoke=self._revoked
            )
        self._joined = True

    def _assigned(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        # Inside the client. It must hear of an assignment now, but starting needs the owner's
        # offsets, which may take long or fail: so it gets none, until poll has asked for them.
        consumer.assign([])
        self._generation += 1
        self._to_take = [(each.topic, each.partition) for each in partitions]

    def _revoked(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        self._generation += 1
        taken, self._owned, self._to_take = self._owned, [], None
        self._positions = {}
        try:
            if taken:
                self._on_revoke(taken)
        except Exception as error:  # noqa: BLE001 - poll raises it, out of the client's callback
            self._failure = error
        consumer.unassign()

    def _take(self, partitions: list[TopicPartition]) -> None:
        """Start the partitions the group gave; on an error they remain to be taken."""
        numbers = sorted({partition for _, partition in partitions})
        missing = {(t, p) for t in self._topics for p in numbers} - set(partitions)
        if missing:
            topic, partition = min(missing)
            raise TopicMismatch(
                f"of topics {', '.join(self._topics)} this source was given partition {partition}, "
                f"but not that of {topic}: they must have the same number of partitions; see "
                "`streamer topics create`"
            )
        starts = self._on_assign(numbers)
        self._owned = numbers
        committed = self._committed([w for w, start in starts.items() if start == COMMITTED])
        self._positions, n_skipped = resolve_starts(
            starts, needed=self._needed(), committed=committed, ends=self._ends(partitions)
        )
        self.skipped_offsets += n_skipped
        self._assign()
        self._to_take = None
        log.info("partitions_taken", extra={"partitions": numbers, "starts": self._positions})

    def _assign(self) -> None:
        assignment = [ck.TopicPartition(t, p, at) for (t, p), at in self._positions.items()]
        try:
            self._consumer.assign(assignment)
        except ck.KafkaException as error:
            raise self._translated(error, "taking partitions") from error

    def _ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Ends]:
        ends = log_ends(
            self._consumer,
            partitions,
            timeout_s=self._timeout_s,
            bootstrap_servers=self._bootstrap_servers,
        )
        self._high = {where: each.high for where, each in ends.items()}
        return ends

    def _committed(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        try:
            told = self._consumer.committed(
                [ck.TopicPartition(*each) for each in partitions], timeout=self._timeout_s
            )
        except ck.KafkaException as error:
            raise self._translated(error, "asking for committed offsets") from error
        return {
            (each.topic, each.partition): each.offset if each.offset >= 0 else LATEST
            for each in told
        }

    # --- the rest --------------------------------------------------------------------------------

    def tell_applied(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit the next offsets in the background; of partitions no longer owned: nothing."""
        if self._group is None:
            return
        told = [
            ck.TopicPartition(topic, partition, offset)
            for (topic, partition), offset in offsets.items()
            if (topic, partition) in self._positions
        ]
        # Lag tools can wait for the next one, so an error here is none.
        with contextlib.suppress(ck.KafkaException):
            if told:
                self._consumer.commit(offsets=told, asynchronous=True)

    def lag(self) -> dict[TopicPartition, int]:
        """Messages known to be waiting at the broker or in the fetch queue."""
        lag = {}
        for (topic, partition), position in self._positions.items():
            ends = self._consumer.get_watermark_offsets(
                ck.TopicPartition(topic, partition), cached=True
            )
            # Unknown (negative) until the first fetch: then what was asked for at the start.
            high = max(self._high[topic, partition], ends[1])
            lag[topic, partition] = max(0, high - position)
        return lag

    def close(self) -> None:
        """Leave the group, so that others take over at once. ``on_revoke`` is called."""
        if self._closed:
            return
        self._closed = True
        owned = self._owned
        if owned and self._group is None:
            self._on_revoke(owned)
        self._consumer.close()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _translated(self, error: Exception, doing: str) -> Exception:
        return translated(error, doing=doing, bootstrap_servers=self._bootstrap_servers)
