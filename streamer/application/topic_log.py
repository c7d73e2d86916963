"""A topic as a log: from an offset or a time to where it ends now."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections.abc import Iterator
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


class TopicLog:
    """Messages of all partitions of a topic, from a start up to the end at the time of opening.

    Reading it again gives the same messages, as long as the broker keeps them.

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
        reader = configured_reader(config)
        try:
            partitions = reader.partitions(topic)
            self._ends = reader.end_offsets(partitions)
            starts = _starts(reader, partitions, start)
            # An offset beyond the end of a partition means nothing of it, not an error.
            self._starts = {each: min(at, self._ends[each]) for each, at in starts.items()}
            # Where the log begins: what was deleted is not there to be read.
            self._starts = reader.start(self._starts)
        finally:
            reader.close()

    @property
    def n_estimated(self) -> int:
        """Offsets from the start to the end."""
        return sum(self._ends[where] - at for where, at in self._starts.items())

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
                    reader.start({where: start})
                    yield from self._to_end(reader, where)
        finally:
            reader.close()

    def _to_end(self, reader: KafkaReader, where: TopicPartition) -> Iterator[MessageBatch]:
        end, timeout_s = self._ends[where], self._config.kafka.request_timeout_s
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
        """Each message as a line of JSON, without its end; what is no JSON is counted.

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
                    yield msgspec.json.format(batch.values[i] or b"", indent=-1)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    self._add(batch, int(batch.offsets[i]), BadMessage(f"not JSON ({error})"))

    def _published(
        self, stack: contextlib.ExitStack, where: TopicPartition
    ) -> Iterator[tuple[int, MessageBatch, int]]:
        """Messages of a partition: by when published, never falling, their batch, place in it."""
        start, at_ms = self._starts[where], 0
        if start >= self._ends[where]:
            return
        reader = configured_reader(self._config)
        stack.callback(reader.close)
        reader.start({where: start})
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
