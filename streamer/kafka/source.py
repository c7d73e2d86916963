"""Messages from Kafka as a member of a consumer group, from offsets that the owner names."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import confluent_kafka as ck

from streamer.errors import TopicMismatch
from streamer.kafka.assignment import EMBEDDED_WAIT_MS, Anew, Assignment
from streamer.kafka.connection import REQUEST_TIMEOUT_S, Options, Stopping, never
from streamer.kafka.log_ends import OF_GROUP, TopicPartition
from streamer.protocols import MessageBatch

log = logging.getLogger(__name__)

_WAIT_S: Final = 0.1
"""Longest wait inside the client of a group: what a rebalance left to do is done after it."""

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
    alone
        Take all partitions without joining the group, which keeps the offsets told alone.
    topics
        Names; partition *p* of each is owned together.
    on_assign
        Called with the sorted numbers of the partitions owned from now on (all of them, maybe
        none). Returns the offset to start from by (topic, partition), or ``EARLIEST``, ``LATEST``,
        ``COMMITTED``, ``CONTINUED``, ``RECENT``; absent: ``EARLIEST``. When it raises, :meth:`poll`
        raises the same, and the next one calls it again.
    on_revoke
        Called with the numbers of the partitions no longer owned, before another gets them.
    keep_keys
        Whether batches have the messages' keys.
    needed
        Asked after ``on_assign`` for the first offsets that must still be in the log, where
        ``on_assign`` starts earlier than it must (to rebuild a window). Absent ones: the start.
    client_options
        Raw librdkafka options, added to ours.
    timeout_s
        How long the broker may take to answer.
    lost
        Told how many messages were deleted before they were read, when that is noticed.
    embedded_wait_ms
        How long a message may lie at an embedded broker; other brokers hand it over at once.
    stopping
        Whether to stop waiting for answers of the broker, and raise Stopped.
    anew
        What becomes of a topic that is deleted and made anew while it is read.
    keeps_all
        Whether the topics are to keep all messages of a key, so that what compaction deleted is
        lost.
    recent_s
        How old a message may be at which ``RECENT`` starts.
    passed_over
        Told how many messages were older.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        group: str | None,
        topics: Sequence[str],
        *,
        on_assign: Assigned,
        on_revoke: Revoked,
        alone: bool = False,
        keep_keys: bool = False,
        needed: Callable[[], Mapping[TopicPartition, int]] = dict,
        client_options: Options | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
        lost: Callable[[int], None] = lambda n: None,
        embedded_wait_ms: int = EMBEDDED_WAIT_MS,
        stopping: Stopping = never,
        anew: Anew = "refused",
        keeps_all: bool = True,
        recent_s: float = 0.0,
        passed_over: Callable[[int], None] = lambda n: None,
    ) -> None:
        self._group = group
        self._member = group is not None and not alone
        self._topics = tuple(topics)
        self._on_assign = on_assign
        self._on_revoke = on_revoke
        self._needed = needed
        self._joined = False
        self._generation = 0
        self._to_take: list[TopicPartition] | None = None
        self._owned: list[int] | None = None
        self._failure: Exception | None = None
        self._assignment = Assignment(
            bootstrap_servers,
            own={} if group is None else {"group.id": group, **_GROUP_OPTIONS},
            given=client_options,
            timeout_s=timeout_s,
            keep_keys=keep_keys,
            lost=lost,
            embedded_wait_ms=embedded_wait_ms,
            stopping=stopping,
            anew=anew,
            keeps_all=keeps_all,
            recent_s=recent_s,
            passed_over=passed_over,
        )

    @property
    def skipped_offsets(self) -> int:
        """Messages deleted before they were read: data lost, each time said in the log."""
        return self._assignment.skipped_offsets

    @property
    def n_transient_errors(self) -> int:
        """Errors the client got over, or still tries to."""
        return self._assignment.outages.n_transient

    def poll(self, *, n_max: int, timeout_s: float) -> list[MessageBatch]:
        """Up to ``n_max`` messages: all that are here, else the first to come in ``timeout_s``.

        Raises
        ------
        KafkaError
            Of a kind that waiting does not mend, or when a start lies beyond the end of the log.
        KafkaUnavailable
            When the broker did not answer at the start, or when partitions were assigned; may be
            repeated. Later outages are waited for.
        TopicMismatch
            When the topics don't have the same partitions, or one was made anew.
        """
        if n_max < 1:
            raise ValueError(f"n_max must be at least 1, not {n_max}")
        self._join()
        deadline = time.monotonic() + timeout_s
        while True:
            if self._to_take is not None:
                self._take(self._to_take)
            wait_s = max(0.0, deadline - time.monotonic())
            if self._member:
                wait_s = min(_WAIT_S, wait_s)
            generation = self._generation
            messages = self._assignment.fetch(n_max, wait_s)
            self._raise_failure()
            # Those from before a rebalance are of partitions that have been given back.
            if (
                messages
                and generation == self._generation
                and (batches := self._assignment.batches(messages))
            ):
                return batches
            if time.monotonic() >= deadline and self._to_take is None:
                return []

    def hold(self, held: Collection[TopicPartition]) -> None:
        """Fetch nothing of these until called again without them; of those not owned: nothing."""
        self._assignment.hold(held)

    def tell_applied(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit the next offsets in the background; of partitions no longer owned: nothing."""
        told = [
            ck.TopicPartition(*where, offset)
            for where, offset in offsets.items()
            if where in self._assignment.positions
        ]
        if told and self._group is not None:
            # They are for lag tools, which can wait for the next: an error here is none.
            with contextlib.suppress(ck.KafkaException):
                self._assignment.consumer.commit(offsets=told, asynchronous=True)

    def lag(self) -> dict[TopicPartition, int]:
        """Messages known to wait at the broker or in the fetch queue, by partition."""
        return self._assignment.lag()

    def close(self) -> None:
        """Leave the group, so that others take over at once; ``on_revoke`` is called."""
        try:
            self._give_back()  # here, since the client ends in a thread of its own
        except Exception as error:  # noqa: BLE001 - raised below, when the client has ended
            self._failure = error
        self._assignment.close()
        self._raise_failure()

    # --- partitions come and go ------------------------------------------------------------------

    def _join(self) -> None:
        if self._joined:
            return
        if self._member:
            self._assignment.connect()
            self._assignment.consumer.subscribe(
                list(self._topics), on_assign=self._assigned, on_revoke=self._revoked
            )
        else:
            self._to_take = self._assignment.all_partitions(self._topics)
        self._joined = True

    def _assigned(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        # Inside the client. It must hear of an assignment now, but starting needs the owner's
        # offsets, which may take long or fail: so it gets none, until poll has asked for them.
        consumer.assign([])
        self._generation += 1
        self._to_take = [(each.topic, each.partition) for each in partitions]

    def _revoked(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        self._generation += 1
        try:
            self._give_back()
        except Exception as error:  # noqa: BLE001 - poll raises it, outside the client
            self._failure = error
        consumer.unassign()

    def _give_back(self) -> None:
        owned, self._owned, self._to_take = self._owned, None, None
        self._assignment.let_go()
        if owned is not None:
            self._on_revoke(owned)

    def _take(self, partitions: list[TopicPartition]) -> None:
        """Start the partitions the group gave; on an error they remain to be taken."""
        numbers = sorted({partition for _, partition in partitions})
        missing = {(t, p) for t in self._topics for p in numbers} - set(partitions)
        if missing:
            raise self._not_given(*min(missing))
        starts = self._on_assign(numbers)
        self._owned = numbers
        self._assignment.start(partitions, starts, needed=self._needed())
        self._to_take = None
        # A partition that nothing came of has no committed offset, and would begin at its end again
        # after a restart: what came meanwhile would be passed over.
        positions = self._assignment.positions
        self.tell_applied(
            {each: positions[each] for each in partitions if starts.get(each) in OF_GROUP}
        )
        log.info(
            "partitions_taken",
            extra={"partitions": numbers, "positions": self._assignment.positions},
        )

    def _not_given(self, topic: str, partition: int) -> TopicMismatch:
        """Return why the group gives a partition of other topics and not that of this one.

        Raises
        ------
        KafkaUnavailable
        """
        n_partitions = self._assignment.n_partitions(topic)
        forget = (
            "; what was learned of the former one can't go on with the new one: forget it with"
            " `streamer store rebuild`"
        )
        if n_partitions is None:
            return TopicMismatch(
                f"topic {topic} is gone: it was deleted. Make it again with `streamer topics"
                f" create`{forget}"
            )
        if n_partitions > partition:
            return TopicMismatch(
                f"topic {topic} was not there when its partitions were shared out, and is there"
                f" now: it was deleted and made anew{forget}"
            )
        return TopicMismatch(
            f"of topics {', '.join(self._topics)} this source was given partition {partition}, but"
            f" {topic} has {n_partitions} partitions: they must have the same number of them; see"
            " `streamer topics create`"
        )

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
