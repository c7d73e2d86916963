"""The last messages of a topic."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.config import Config, TopicRole
from streamer.errors import TopicMismatch
from streamer.kafka.configured import configured_reader
from streamer.protocols import MessageBatch

_POLL_MAX = 10_000


@dataclass(frozen=True, slots=True)
class TopicTail:
    """Messages of all partitions, those of a partition in their order.

    Attributes
    ----------
    publish_ms
        ``(n,)`` int64, when each was published.
    from_ms
        All that was published since then is here; 0: all that there ever was.
    """

    values: list[bytes | None]
    publish_ms: NDArray[np.int64]
    from_ms: int = 0

    @property
    def newest_ms(self) -> int:
        """When the newest was published; -1 where there is none."""
        return int(self.publish_ms.max(initial=-1))

    def between(self, from_ms: int, to_ms: int) -> TopicTail:
        """Return those that were published from ``from_ms`` on and before ``to_ms``."""
        keep = np.flatnonzero((self.publish_ms >= from_ms) & (self.publish_ms < to_ms))
        values = [self.values[i] for i in keep.tolist()]
        return TopicTail(values, self.publish_ms[keep], max(self.from_ms, from_ms))


def tail_of(config: Config, role: TopicRole, *, n_max: int) -> TopicTail:
    """Read the last ``n_max`` messages of each partition of a topic; none where it is not there.

    What does not come in time is left out, as by :class:`LastMessages`.
    """
    values: list[bytes | None] = []
    times: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    from_ms = 0
    with contextlib.suppress(TopicMismatch):
        for batch, is_cut in LastMessages(config, config.topics.topic(role), n_max=n_max):
            values += batch.values
            times.append(batch.publish_ms)
            if is_cut:
                from_ms = max(from_ms, int(batch.publish_ms[0]))
    return TopicTail(values, np.concatenate(times), from_ms)


class LastMessages:
    """The last ``n_max`` messages of each partition of a topic, and of each batch whether it begins
    behind older messages, which are passed over or deleted.

    What does not come within ``kafka.request_timeout_s`` is left out: the last offsets of a log may
    hold no message, as where transactions end.

    Attributes
    ----------
    is_whole
        Once they were read: whether that was all that the topic has.

    Raises
    ------
    TopicMismatch
        As it is read, where the topic is not there.
    """

    def __init__(self, config: Config, topic: str, *, n_max: int) -> None:
        self._config, self._topic, self._n_max = config, topic, n_max
        self.is_whole = False

    def __iter__(self) -> Iterator[tuple[MessageBatch, bool]]:
        with contextlib.closing(configured_reader(self._config)) as reader:
            ends = reader.ends(reader.partitions(self._topic))
            starts = {where: max(end.low, end.high - self._n_max) for where, end in ends.items()}
            cut = {where for where, start in starts.items() if start > 0}
            is_cut = any(starts[where] > end.low for where, end in ends.items())
            reader.start(starts)
            deadline = time.monotonic() + self._config.kafka.request_timeout_s

            def is_read() -> bool:
                return all(reader.positions[where] >= end.high for where, end in ends.items())

            while time.monotonic() < deadline and not is_read():
                for batch in reader.poll(n_max=_POLL_MAX, timeout_s=0.5):
                    if len(batch):
                        where = batch.topic, batch.partition
                        yield batch, where in cut
                        cut.discard(where)
            self.is_whole = is_read() and not is_cut
