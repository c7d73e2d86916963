"""The partitions one client reads: their positions, messages, ends and losses."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Literal, NoReturn

import confluent_kafka as ck

from streamer.errors import KafkaError, TopicMismatch
from streamer.kafka.batches import good_messages, to_batches
from streamer.kafka.connection import (
    Options,
    Outages,
    Stopping,
    asked,
    cluster,
    connection_options,
    is_embedded,
    never,
    new_client,
    translated,
)
from streamer.kafka.gaps import BrokerLogs, Gaps
from streamer.kafka.log_ends import (
    EARLIEST,
    OF_GROUP,
    RECENT,
    Ends,
    TopicPartition,
    log_ends,
    resolve_starts,
)
from streamer.kafka.recent import recent_starts
from streamer.kafka.topic_watch import TopicWatch
from streamer.kafka.topics import partition_counts
from streamer.protocols import MessageBatch
from streamer.telemetry import RAISE_RETENTION

log = logging.getLogger(__name__)

_CLOSE_S: Final = 5.0
_OPTIONS: Final[dict[str, str | int | float | bool]] = {
    "group.id": "streamer-without-group",  # the client wants one, even where none is joined
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    # Offsets come from the owner. One that the log no longer has is reported, not passed over.
    "auto.offset.reset": "error",
    # Where transactions end there are offsets without a message: only this says they are passed.
    "enable.partition.eof": True,
}
Anew = Literal["followed", "refused", "ignored"]
"""A topic that is deleted and made anew while it is read is read from its start; or it is an error,
for who keeps what it says by offset; or it is not looked at, by who reads for a short while."""

FETCH_OPTIONS: Final[dict[str, str | int | float | bool]] = {
    # The fetch queue: 16 MB and 50,000 messages a partition bound its memory (a queued message
    # takes some 400 B more than its payload), yet hold 0.1 s at 500,000 messages/s. By default
    # fetching pauses for a whole second whenever the queue is full, and the reader idles: 90,000
    # messages/s in batches of 20,000, against 400,000 with this pause.
    "queued.max.messages.kbytes": 16_384,
    "queued.min.messages": 50_000,
    "fetch.queue.backoff.ms": 1,
}

EMBEDDED_WAIT_MS: Final = 10
"""Wait of a fetch from the embedded broker, which answers at once, or when the wait is over, never
in between: so long may a message lie, and so often are client and broker woken where none comes.
200 times a second takes 1 to 2 % of a core."""


class Assignment:
    """A consumer of explicit partitions; whoever assigns them says where each starts.

    Parameters
    ----------
    lost
        Told how many messages were deleted before they were read.
    anew
        What becomes of a topic that is deleted and made anew while it is read.
    keeps_all
        Whether the topics are to keep all messages of a key: then ``lost`` is told what compaction
        deleted, too.
    recent_s
        How old a message may be at which ``RECENT`` starts.
    passed_over
        Told how many messages were older.

    Attributes
    ----------
    consumer
        The client itself, for what groups need.
    positions
        Next offset of each partition that is read.
    skipped_offsets
        Messages that were deleted before they were read.
    is_embedded
        Whether the broker is librdkafka's mock; False until it is reached.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        own: Options,
        given: Options | None,
        timeout_s: float,
        keep_keys: bool = False,
        lost: Callable[[int], None] = lambda n: None,
        remedy: str = RAISE_RETENTION,
        embedded_wait_ms: int = EMBEDDED_WAIT_MS,
        stopping: Stopping = never,
        anew: Anew = "ignored",
        keeps_all: bool = False,
        recent_s: float = 0.0,
        passed_over: Callable[[int], None] = lambda n: None,
    ) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.outages = Outages(bootstrap_servers)
        self.skipped_offsets = 0
        self.is_embedded = False
        self.positions: dict[TopicPartition, int] = {}
        self._high: dict[TopicPartition, int] = {}
        self._held: set[TopicPartition] = set()
        self._timeout_s = timeout_s
        self._keep_keys = keep_keys
        self._lost = lost
        self._remedy = remedy
        self._embedded_wait_ms = embedded_wait_ms
        self._stopping = stopping
        self._given = given or {}
        self._gaps: Gaps | None = None
        if keeps_all:
            self._gaps = Gaps(BrokerLogs(bootstrap_servers, self._given), lost=self._count_lost)
        self._recent_s = recent_s
        self._passed_over = passed_over
        self._trimmed = False
        self._anew = anew
        self._made_anew: set[str] = set()  # topics to be begun again
        self._begins: dict[TopicPartition, int] = {}  # where, once their topics are made anew
        self._whole: frozenset[str] = frozenset()  # topics of which every partition is read
        self._watch = TopicWatch(bootstrap_servers, self._given)
        self._closed = False
        self._own = {**_OPTIONS, **FETCH_OPTIONS, **own}
        self._connected = False
        self.consumer = self._client({})

    def connect(self) -> None:
        """Reach the broker, the first time it is needed, and suit the client to its kind.

        Raises
        ------
        KafkaUnavailable
        """
        if self._connected:
            return
        try:
            found = cluster(
                self.consumer, self.outages, timeout_s=self._timeout_s, stopping=self._stopping
            )
        except ck.KafkaException as error:
            self._raise(error, f"connecting within {self._timeout_s:.0f} s")
        self.is_embedded = is_embedded(found.cluster_id)
        if self.is_embedded:
            self.consumer.close()
            self.consumer = self._client({"fetch.wait.max.ms": self._embedded_wait_ms})
        self._connected = True

    def _client(self, options: Options) -> ck.Consumer:
        options = connection_options(self.bootstrap_servers, {**self._own, **options}, self._given)
        return new_client(ck.Consumer, options, self.outages)

    def start(
        self,
        partitions: Sequence[TopicPartition],
        starts: Mapping[TopicPartition, int],
        *,
        needed: Mapping[TopicPartition, int],
        whole: Collection[str] = (),
    ) -> None:
        """Read exactly ``partitions`` from now on; see :func:`resolve_starts` for the offsets.

        Asks the broker for the ends of the logs, so that a start at an end means the end now. Of
        the topics ``whole``, whose partitions are given, those that are added later are read too,
        from their starts.
        """
        self._whole = frozenset(whole)
        self._begins = {
            where: RECENT if starts.get(where) == RECENT else EARLIEST for where in partitions
        }
        topics = {topic for topic, _ in partitions}
        self._watch.begin(topics)
        if self._anew == "followed":
            # Without offsets of its own, or with those of a group, which has none of another topic:
            # only offsets kept elsewhere are of the topic that was known before.
            self._watch.forget(topics)
        self._made_anew = set()
        self._start(partitions, starts, needed=needed)

    def _start(
        self,
        partitions: Sequence[TopicPartition],
        starts: Mapping[TopicPartition, int],
        *,
        needed: Mapping[TopicPartition, int],
        committed: Mapping[TopicPartition, int] | None = None,
    ) -> None:
        if committed is None:
            of_group = [where for where in partitions if starts.get(where) in OF_GROUP]
            committed = self.committed(of_group)
        ends = self.ends(partitions)
        recent: Mapping[TopicPartition, int] = {}
        if not self.is_embedded:  # which knows no times: it forgets, and begins with what there is
            recent = recent_starts(
                [where for where in partitions if starts.get(where) == RECENT],
                committed=committed,
                ends=ends,
                offsets_at=self.offsets_at,
                recent_s=self._recent_s,
                passed_over=self._passed_over,
            )
        self.positions, n_skipped = resolve_starts(
            starts,
            needed=needed,
            committed=committed,
            ends=ends,
            recent=recent,
            remedy=self._remedy,
        )
        self._count_lost(n_skipped)
        if self._gaps is not None:
            self._gaps.begin(
                {where: max(at, needed.get(where, at)) for where, at in self.positions.items()}
            )
        self._assign()

    def _count_lost(self, n: int) -> None:
        self.skipped_offsets += n
        self._lost(n)

    def fetch(self, n_max: int, wait_s: float) -> list[ck.Message]:
        """All messages that are here, else the first to come and what came with it.

        Raises
        ------
        TopicMismatch
            When a topic was made anew, where that is refused.
        """
        if self._anew != "ignored" and not self.is_embedded and self.positions:
            self._note_anew()
        if self._made_anew or self._trimmed or self._grown():
            self._go_on()
        try:
            messages = self.consumer.consume(n_max, 0)
            if not messages and wait_s > 0:
                messages = self.consumer.consume(1, wait_s)
                if messages and n_max > 1:
                    messages += self.consumer.consume(n_max - 1, 0)
        except ck.KafkaException as error:
            # What the client handed out before it failed has reached nobody: read it again.
            self._assign()
            self._raise(error, "consuming")
        self.outages.check()
        return messages

    def _note_anew(self) -> None:
        for topic, (former, now) in self._watch.made_anew().items():
            if self._anew == "refused":
                raise TopicMismatch(
                    f"topic {topic} was deleted and made anew while it was read (its id was"
                    f" {former}, now it is {now}): what was learned from the former one can't go on"
                    " with this one; forget it with `streamer store rebuild`"
                )
            self._made_anew.add(topic)

    def _grown(self) -> set[str]:
        """Topics that are read whole and have other partitions than are read, by the last look."""
        if not self._whole:
            return set()
        n_read = Counter(topic for topic, _ in self.positions)
        n_there = self._watch.n_partitions
        return {each for each in self._whole if n_there.get(each, n_read[each]) != n_read[each]}

    def _go_on(self) -> None:
        """Read on: past a position, at the oldest message kept; of a topic made anew, its start.

        Partitions that were added are read from their starts.
        """
        starts = dict(self.positions)
        if (grown := self._grown()) and (there := set(self.all_partitions(grown))):
            # One that a topic made anew has no longer has no end to ask for.
            starts = {at: to for at, to in starts.items() if at[0] not in grown or at in there}
            for where in sorted(there - starts.keys()):
                log.warning(
                    "partition_added %s[%d]: it was added while the topic was read, and is read"
                    " from its start",
                    *where,
                )
                starts[where] = self._begins[where] = EARLIEST
        if self._anew == "followed":
            ends = self.ends(list(starts))
            self._made_anew |= {where[0] for where, at in starts.items() if at > ends[where].high}
        for where in starts:
            if where[0] in self._made_anew and where in self.positions:
                log.warning(
                    "topic_made_anew %s[%d]: it was read up to offset %d when it was deleted and"
                    " made anew; it is followed from its start. What was known of the former one"
                    " stays known until the next start",
                    *where,
                    starts[where],
                )
                starts[where] = self._begins[where]
        self._start(list(starts), starts, needed={}, committed={})
        self._watch.forget(self._made_anew)
        for topic in grown:  # what the watch was told and what was found may differ for a moment
            self._watch.n_partitions.pop(topic, None)
        self._made_anew = set()
        self._trimmed = False

    def hold(self, held: Collection[TopicPartition]) -> None:
        """Pause these and go on with the others; what was fetched of them is fetched again."""
        held = {where for where in held if where in self.positions}
        try:
            if paused := held - self._held:
                self.consumer.pause([ck.TopicPartition(*where) for where in paused])
            if resumed := (self._held - held) & self.positions.keys():
                self.consumer.resume([ck.TopicPartition(*where) for where in resumed])
        except ck.KafkaException as error:
            self._raise(error, "pausing partitions")
        self._held = held

    def let_go(self) -> None:
        """Read no partition any more, until some are started."""
        self._resume()
        self.positions = {}

    def batches(self, messages: list[ck.Message]) -> list[MessageBatch]:
        """Columns of what was fetched; moves the positions."""
        messages, errors = good_messages(messages)
        batches = to_batches(messages, keep_keys=self._keep_keys)
        for batch in batches:
            where = batch.topic, batch.partition
            if batch.offsets[0] < self.positions[where]:
                raise KafkaError(
                    f"{batch.topic}[{batch.partition}]: offset {batch.offsets[0]} came after "
                    f"{self.positions[where] - 1}; was the topic recreated? Restart to read on"
                )
            if self._gaps is not None:
                self._gaps.take(batch, self.positions[where])
            self.positions[where] = int(batch.offsets[-1]) + 1
        if batches:
            self.outages.over()
        codes = {error.code(): error for each in errors if (error := each.error())}
        if codes.pop(ck.KafkaError._PARTITION_EOF, None) is not None:
            self._reach_ends(errors)
        # Mended before the next fetch, for that may fail, and these batches must not be lost then.
        self._trimmed |= codes.pop(ck.KafkaError._AUTO_OFFSET_RESET, None) is not None
        for error in codes.values():
            self.outages.note(error)
        return batches

    def _reach_ends(self, errors: list[ck.Message]) -> None:
        """Move positions to the ends of logs that were read to their ends."""
        for each in errors:
            error, end = each.error(), each.offset()
            topic, partition = each.topic(), each.partition()
            assert error is not None
            assert topic is not None
            assert partition is not None
            if error.code() == ck.KafkaError._PARTITION_EOF and end is not None:
                at = self.positions.get((topic, partition))
                if at is not None:
                    self.positions[topic, partition] = max(at, end)

    def ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Ends]:
        """Oldest and next offset of each log, asked for now."""
        self.connect()
        ends = log_ends(
            self.consumer,
            partitions,
            timeout_s=self._timeout_s,
            bootstrap_servers=self.bootstrap_servers,
            stopping=self._stopping,
        )
        self._high |= {where: each.high for where, each in ends.items()}
        return ends

    def all_partitions(
        self, topics: Iterable[str], *, timeout_s: float | None = None
    ) -> list[TopicPartition]:
        """Every partition of the topics, asked for now."""
        self.connect()
        counts = partition_counts(
            self.consumer,
            list(topics),
            timeout_s=self._timeout_s if timeout_s is None else timeout_s,
            bootstrap_servers=self.bootstrap_servers,
            stopping=self._stopping,
        )
        return [(topic, partition) for topic, n in counts.items() for partition in range(n)]

    def n_partitions(self, topic: str) -> int | None:
        """How many partitions a topic has now; None: it is not there.

        Raises
        ------
        KafkaUnavailable
        """
        try:
            return len(self.all_partitions([topic]))
        except TopicMismatch:
            return None

    def offsets_at(
        self, partitions: Sequence[TopicPartition], ts_ms: int
    ) -> dict[TopicPartition, int]:
        """First offset of each whose message was published at ``ts_ms`` or later, else the end."""
        self.connect()
        of = [ck.TopicPartition(*where, ts_ms) for where in partitions]
        doing = "asking for offsets at a time"
        try:
            found = asked(
                lambda left_s: self.consumer.offsets_for_times(of, timeout=left_s),
                doing=doing,
                timeout_s=self._timeout_s,
                stopping=self._stopping,
            )
        except ck.KafkaException as error:
            self._raise(error, doing)
        return {(each.topic, each.partition): each.offset for each in found}

    def lag(self) -> dict[TopicPartition, int]:
        """Messages known to wait at the broker or in the fetch queue, by partition."""
        lag = {}
        for where, position in self.positions.items():
            _, high = self.consumer.get_watermark_offsets(ck.TopicPartition(*where), cached=True)
            # Negative (unknown) until the first fetch: then what was asked for at the start.
            lag[where] = max(0, max(self._high[where], high) - position)
        return lag

    def close(self) -> None:
        """End the client, once.

        A member leaves its group, and the client waits for what it has asked a broker that is away
        for minutes: it is left to itself after :data:`_CLOSE_S`, and the group notices too.
        """
        if self._closed:
            return
        self._closed = True
        closing = threading.Thread(target=self.consumer.close, name="closing", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)
        if closing.is_alive():
            log.warning(
                "client_not_closed: Kafka at %s has not answered within %.0f s; it is not waited"
                " for, and others take over when the group misses this member",
                self.bootstrap_servers,
                _CLOSE_S,
            )

    def _assign(self) -> None:
        assignment = [ck.TopicPartition(*where, at) for where, at in self.positions.items()]
        self._resume()
        try:
            self.consumer.assign(assignment)
        except ck.KafkaException as error:
            self._raise(error, "taking partitions")

    def _resume(self) -> None:
        """End all pauses. The client keeps them over any assignment: a partition that is given back
        while it is paused, and taken again, would never be read."""
        held, self._held = self._held, set()
        if held:
            try:
                self.consumer.resume([ck.TopicPartition(*where) for where in held])
            except ck.KafkaException as error:
                self._raise(error, "resuming partitions")

    def committed(
        self, partitions: Sequence[TopicPartition], *, timeout_s: float | None = None
    ) -> dict[TopicPartition, int]:
        """Offsets that the client's group has committed; absent: none."""
        if not partitions:
            return {}
        of = [ck.TopicPartition(*where) for where in partitions]
        doing = "asking for committed offsets"
        try:
            told = asked(
                lambda left_s: self.consumer.committed(of, timeout=left_s),
                doing=doing,
                timeout_s=self._timeout_s if timeout_s is None else timeout_s,
                stopping=self._stopping,
            )
        except ck.KafkaException as error:
            self._raise(error, doing)
        return {(each.topic, each.partition): each.offset for each in told if each.offset >= 0}

    def commit(self, offsets: Mapping[TopicPartition, int], *, wait: bool) -> None:
        """Commit next offsets for the client's group; ``wait`` until the broker has them."""
        told = [ck.TopicPartition(*where, offset) for where, offset in offsets.items()]
        try:
            if wait:
                self.consumer.commit(offsets=told, asynchronous=False)
            else:
                self.consumer.commit(offsets=told, asynchronous=True)
        except ck.KafkaException as error:
            self._raise(error, "committing offsets")

    def _raise(self, error: Exception, doing: str) -> NoReturn:
        raise translated(error, doing=doing, bootstrap_servers=self.bootstrap_servers) from error
