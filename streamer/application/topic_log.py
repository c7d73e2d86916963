"""A topic as a log: from an offset or a time to where it ends now."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter

import msgspec

from streamer.application.starting import await_broker
from streamer.config import Config
from streamer.errors import BadMessage, ConfigError, KafkaUnavailable
from streamer.events import Event, Item, User, decode_event
from streamer.kafka.configured import configured_reader
from streamer.kafka.log_ends import EARLIEST, TopicPartition
from streamer.kafka.reader import KafkaReader
from streamer.protocols import MessageBatch
from streamer_producers.log import MALFORMED_KEPT, Malformed
from streamer_producers.ordering import sorted_by_time

PREFIX = "kafka:"
_MESSAGES_MAX = 5_000
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Gone:
    """Messages that a partition no longer had when it was to be read.

    Attributes
    ----------
    n
        How many.
    whole_since_ms
        None is missing that was published later.
    """

    n: int
    whole_since_ms: int


class TopicLog:
    """Messages of all partitions of a topic, from a start up to the end at the time of opening.

    Reading it again gives the same messages, as long as the broker keeps them. What it no longer
    had is known once it was read: see :attr:`gone` and :attr:`whole_since_ms`.

    Parameters
    ----------
    config
        Of the broker.
    topic
        Its full name.
    start
        ``earliest``, an offset (of every partition), or a time in ISO 8601, UTC where it has no
        zone.
    strict
        Raise BadMessage at the first message that is no event.

    Raises
    ------
    ConfigError
        When no broker is configured or the start is none of these.
    KafkaError
        When the broker does not answer or has no such topic.
    """

    def __init__(
        self, config: Config, topic: str, *, start: str = "earliest", strict: bool = False
    ) -> None:
        await_broker(config)
        self.name = f"{PREFIX}{topic}"
        self.n_malformed = 0
        self.malformed: list[Malformed] = []
        self._config = config
        self._strict = strict
        self._is_of_time = start != "earliest" and not start.isdecimal()
        reader = configured_reader(config)
        try:
            partitions = reader.partitions(topic)
            ends = reader.ends(partitions)
            starts = _starts(reader, partitions, start)
        finally:
            reader.close()
        self._ends = {where: end.high for where, end in ends.items()}
        # An offset beyond the end of a partition means nothing of it, not an error.
        self._starts = {
            where: min(max(at, ends[where].low), ends[where].high) for where, at in starts.items()
        }
        # Any of the deleted ones may be later than a time that the oldest message kept is not
        # before.
        self._deleted = {
            where: max(0, ends[where].low - (0 if self._is_of_time else max(at, 0)))
            for where, at in starts.items()
            if at <= ends[where].low
        }
        now_ms = time.time_ns() // 1_000_000
        self._gone = {where: Gone(n, now_ms) for where, n in self._deleted.items() if n}

    @property
    def n_estimated(self) -> int:
        """Offsets from the start to the end."""
        return sum(self._ends[where] - at for where, at in self._starts.items())

    @property
    def gone(self) -> Sequence[str]:
        """What the topic no longer had of what was to be read, in a sentence; none: it had all."""
        if not self._gone:
            return ()
        n = sum(each.n for each in self._gone.values())
        whole_since = datetime.fromtimestamp(-(-self.whole_since_ms // 1_000), UTC)
        up_to = "up to " if self._is_of_time else ""
        said = f"{self.name}: {up_to}{n:,} messages were deleted before they could be read"
        return (f"{said}; none is missing since {whole_since:%Y-%m-%d %H:%M:%S} UTC",)

    @property
    def whole_since_ms(self) -> int:
        """When the first message was published from which on none is missing; 0: none is."""
        return max((each.whole_since_ms for each in self._gone.values()), default=0)

    def batches(self) -> Iterator[MessageBatch]:
        """All messages, partition after partition: the same order every time.

        Raises
        ------
        KafkaUnavailable
            When none comes for as long as a request may take.
        """
        reader = configured_reader(self._config)
        try:
            for where, start in sorted(self._starts.items()):
                if start < self._ends[where]:
                    yield from self._to_end(reader, where)
        finally:
            reader.close()

    def _to_end(self, reader: KafkaReader, where: TopicPartition) -> Iterator[MessageBatch]:
        end, timeout_s = self._ends[where], self._config.kafka.request_timeout_s
        n_before, n_gone = reader.skipped_offsets - self._deleted.get(where, 0), 0
        reader.start({where: self._starts[where]})
        deadline = time.monotonic() + timeout_s
        while reader.positions[where] < end:
            # A topic may end with offsets that hold no message, where a transaction ended: only the
            # position says that they are passed.
            found = reader.poll(n_max=_MESSAGES_MAX, timeout_s=min(timeout_s, _LOOK_S))
            if found:
                deadline = time.monotonic() + timeout_s
            elif time.monotonic() > deadline and reader.positions[where] < end:
                raise KafkaUnavailable(
                    f"{where[0]}[{where[1]}]: no message for {timeout_s} s at offset"
                    f" {reader.positions[where]} of {end}; is the broker up, and is the topic kept"
                    " for long enough?"
                )
            for batch in found:
                if reader.skipped_offsets - n_before > n_gone:
                    n_gone = reader.skipped_offsets - n_before
                    self._gone[where] = Gone(n_gone, int(batch.publish_ms[0]))
                yield batch.slice(0, int((batch.offsets < end).sum()))

    def events(self) -> Iterator[Event]:
        """All events by time; what is none is counted."""
        self.n_malformed = 0
        self.malformed = []
        return sorted_by_time(self._in_offset_order())

    def items(self) -> Iterator[Item]:
        """None: the catalogue has a topic of its own."""
        return iter(())

    def users(self) -> Iterator[User]:
        """None: they have a topic of their own."""
        return iter(())

    def payloads(self) -> Iterator[bytes]:
        """Each message as a line of JSON, as :meth:`published` has them."""
        return (line for _, line in self.published())

    def published(self) -> Iterator[tuple[int, bytes]]:
        """When each message was published, by who did, and it as a line of JSON, without its end;
        what is no JSON is counted.

        In the order in which they were published, as somebody who reads all partitions gets them:
        where messages answer each other, partition after partition would be far out of order. Those
        of a partition stay in its order.
        """
        self.n_malformed = 0
        self.malformed = []
        with contextlib.ExitStack() as stack:
            partitions = [self._published(stack, where) for where in sorted(self._starts)]
            for _, batch, i in heapq.merge(*partitions, key=itemgetter(0)):
                try:
                    # Message or not, it becomes one line.
                    line = msgspec.json.format(batch.values[i] or b"", indent=-1)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    self._add(batch, int(batch.offsets[i]), BadMessage(f"not JSON ({error})"))
                else:
                    yield int(batch.publish_ms[i]), line

    def _published(
        self, stack: contextlib.ExitStack, where: TopicPartition
    ) -> Iterator[tuple[int, MessageBatch, int]]:
        """Messages of a partition: by when published, never falling, their batch, place in it."""
        start, at_ms = self._starts[where], 0
        if start >= self._ends[where]:
            return
        reader = configured_reader(self._config)
        stack.callback(reader.close)
        for batch in self._to_end(reader, where):
            for i, publish_ms in enumerate(batch.publish_ms.tolist()):
                at_ms = max(at_ms, publish_ms)
                yield at_ms, batch, i

    def _in_offset_order(self) -> Iterator[Event]:
        types = self._config.event_types
        for batch in self.batches():
            columns = batch.offsets.tolist(), batch.values, batch.publish_ms.tolist()
            for offset, value, publish_ms in zip(*columns, strict=True):
                try:
                    yield decode_event(value, types, publish_ms=publish_ms)
                except BadMessage as error:
                    self._add(batch, offset, error)

    def _add(self, batch: MessageBatch, offset: int, error: BadMessage) -> None:
        found = Malformed(f"{batch.topic}[{batch.partition}]", offset, str(error))
        if self._strict:
            raise BadMessage(f"{found}; read without strict to leave it out") from error
        self.n_malformed += 1
        if len(self.malformed) < MALFORMED_KEPT:
            self.malformed.append(found)


def open_topic(config: Config, text: str, *, strict: bool) -> TopicLog:
    """The topic of ``kafka:TOPIC@START``, by default from its beginning; errors as above."""
    topic, _, start = text.removeprefix(PREFIX).partition("@")
    return TopicLog(config, topic, start=start or "earliest", strict=strict)


def _starts(
    reader: KafkaReader, partitions: list[TopicPartition], start: str
) -> dict[TopicPartition, int]:
    if start == "earliest":
        return dict.fromkeys(partitions, EARLIEST)
    if start.isdecimal():
        return dict.fromkeys(partitions, int(start))
    try:
        when = datetime.fromisoformat(start)
    except ValueError:
        raise ConfigError(
            f"start {start!r} is neither earliest, nor an offset, nor a time as 2026-01-31T08:00:00"
        ) from None
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return reader.offsets_at(partitions, int(aware.timestamp() * 1_000))
