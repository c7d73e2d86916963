"""The topics of one partition, handed on so that none runs far ahead of another."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from streamer.protocols import MessageBatch, joined_batches

WAITING_BYTES_MAX = 1_000_000
"""Of a topic of which this much waits no more is read. To hold a topic makes the client drop what
it has fetched and fetch it again, so that is not done for every message that has to wait: with
200 messages a step, a backlog of 100,000 events took 20 s when it was, 9 s of them idle."""
_NEVER_MS: Final = 1 << 62
_NO_TIMES: Final = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a topic stops, until something else is learned.

    Attributes
    ----------
    offset
        The first offset that waits.
    after_ms
        Publish time after which messages wait; None: whatever it is.
    """

    offset: int
    after_ms: int | None


_NO_STOPS: Final[Mapping[str, Stop]] = MappingProxyType({})


class Backlog:
    """Messages read and not yet learned, by topic.

    Messages that are learned already only restore windows. New ones wait until all of those have
    passed, in every topic. Either wait until the other topics have been read up to ``ahead_max_ms``
    before them (by publish time) or have no more to read of the kind: what one topic has for the
    other waits in memory. And no more than ``ahead_max`` new ones go ahead of what has been read of
    the others: what waits for longer is given up. What waits of a topic here is at most
    ``WAITING_BYTES_MAX`` and what one poll brought.

    Parameters
    ----------
    next_offsets
        Topic → first offset not learned yet.
    reread_from
        Topic → offset that reading starts from.
    ahead_max
        Topic → messages, at least 1; any number of a topic that is not there.
    """

    def __init__(
        self,
        next_offsets: Mapping[str, int],
        reread_from: Mapping[str, int],
        *,
        ahead_max_ms: int,
        ahead_max: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._learned_to = dict(next_offsets)
        self._read_to = dict(reread_from)
        self._ahead_max_ms = ahead_max_ms
        self._ahead_max = ahead_max
        self._published_ms = dict.fromkeys(next_offsets, -1)
        self._taken_ms = dict.fromkeys(ahead_max, _NO_TIMES)  # publish times of the latest taken
        self._waiting: dict[str, MessageBatch] = {}
        # Of what waits, once somebody asked: most is taken at once.
        self._bytes: dict[str, int] = {}

    @property
    def waiting(self) -> set[str]:
        """Topics of which no more is to be read for now."""
        for topic in self._waiting.keys() - self._bytes.keys():
            self._bytes[topic] = _n_bytes(self._waiting[topic])
        return {topic for topic, n_bytes in self._bytes.items() if n_bytes > WAITING_BYTES_MAX}

    def put(self, batch: MessageBatch) -> None:
        """Take what was read."""
        topic = batch.topic
        self._read_to[topic] = int(batch.offsets[-1]) + 1
        self._published_ms[topic] = max(self._published_ms[topic], int(batch.publish_ms.max()))
        before = self._waiting.get(topic)
        if topic in self._bytes:
            self._bytes[topic] += _n_bytes(batch)
        self._waiting[topic] = batch if before is None else joined_batches([before, batch])

    def known(self, lag: Mapping[str, int]) -> list[MessageBatch]:
        """Return messages that are learned already and may be taken again now.

        Parameters
        ----------
        lag
            As of :meth:`ready`.
        """
        behind = self._behind(lag)
        found = []
        for topic in sorted(behind & self._waiting.keys()):
            batch = self._waiting[topic]
            n_known = int(np.searchsorted(batch.offsets, self._learned_to[topic]))
            n = min(n_known, _n_until(batch, self._until_ms(behind - {topic})))
            if n:
                found.append(self._taken(topic, n))
        return found

    def ready(
        self, lag: Mapping[str, int], stops: Mapping[str, Stop] = _NO_STOPS
    ) -> dict[str, MessageBatch]:
        """New messages that may be learned now.

        Parameters
        ----------
        lag
            Topic → messages known to wait at the broker; absent: none.
        stops
            Topic → where it stops, whatever else there is.
        """
        if self._behind(lag):
            return {}
        found: dict[str, MessageBatch] = {}
        for topic, batch in list(self._waiting.items()):
            others = {
                other
                for other in self._learned_to
                if other != topic and (lag.get(other, 0) or other in self._waiting)
            }
            n = _n_until(batch, self._until_ms(others))
            if others and topic in self._ahead_max:
                n = min(n, self._n_near(batch, others))
            if topic in stops:
                n = min(n, _before(batch, stops[topic]))
            if n:
                found[topic] = taken = self._taken(topic, n)
                if topic in self._ahead_max:
                    times = np.concatenate([self._taken_ms[topic], taken.publish_ms])
                    self._taken_ms[topic] = times[-self._ahead_max[topic] :]
        return found

    def is_empty(self, topic: str) -> bool:
        """Whether nothing that was read of a topic waits."""
        return topic not in self._waiting

    def has_reached(self, topic: str, stop: Stop) -> bool:
        """Whether nothing of a topic is to be learned any more before a stop."""
        waiting = self._waiting.get(topic)
        if waiting is not None:
            return not _before(waiting, stop)
        return self._read_to[topic] >= stop.offset

    def _behind(self, lag: Mapping[str, int]) -> set[str]:
        """Topics of which not all that is learned already has passed."""
        return {
            topic
            for topic, learned_to in self._learned_to.items()
            if (self._read_to[topic] < learned_to and lag.get(topic, 0))
            or (topic in self._waiting and self._waiting[topic].offsets[0] < learned_to)
        }

    def _until_ms(self, others: Collection[str]) -> int:
        """Publish time up to which a topic may pass that waits for others."""
        return min((self._published_ms[other] for other in others), default=_NEVER_MS) + (
            self._ahead_max_ms
        )

    def _n_near(self, batch: MessageBatch, others: Collection[str]) -> int:
        """How many messages can go without too many being ahead of what was read of others."""
        read_ms = min(self._published_ms[other] for other in others)
        n_ahead = np.count_nonzero(self._taken_ms[batch.topic] >= read_ms)
        ahead = n_ahead + np.cumsum(batch.publish_ms >= read_ms)
        return int(np.searchsorted(ahead, self._ahead_max[batch.topic], side="right"))

    def _taken(self, topic: str, n: int) -> MessageBatch:
        """The first ``n`` messages that wait of a topic, which wait no more."""
        batch = self._waiting.pop(topic)
        n_bytes = self._bytes.pop(topic, None)
        taken = batch.slice(0, n)
        if n < len(batch):
            self._waiting[topic] = batch.slice(n, len(batch))
            if n_bytes is not None:
                self._bytes[topic] = n_bytes - _n_bytes(taken)
        return taken


def _n_bytes(batch: MessageBatch) -> int:
    return sum(len(value) for value in batch.values if value is not None)


def _n_until(batch: MessageBatch, until_ms: int) -> int:
    """How many messages were published until a time."""
    # Publish times need not rise: what stands behind one that must wait, waits with it.
    published = np.maximum.accumulate(batch.publish_ms)
    return int(np.searchsorted(published, until_ms, side="right"))


def _before(batch: MessageBatch, stop: Stop) -> int:
    """How many messages stand before a stop."""
    n = int(np.searchsorted(batch.offsets, stop.offset))
    if stop.after_ms is None:
        return n
    later = np.flatnonzero(batch.publish_ms > stop.after_ms)
    return min(n, int(later[0])) if len(later) else n
