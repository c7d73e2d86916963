"""The store of a live system in memory, executed again from its topics."""

from __future__ import annotations

from collections.abc import Callable, Set

import numpy as np

from streamer.learner.topic_stream import TopicStream
from streamer.protocols import Entry, MessageBatch
from streamer.simulation.live import LiveSystem
from streamer.verify.execution import learned_with
from streamer.verify.parameters import Verification, verify_store


class _Reader:
    """Reads one partition of the broker in memory."""

    def __init__(
        self,
        live: LiveSystem,
        topic: str,
        partition: int,
        offset: int,
        without: Set[tuple[str, int]],
    ) -> None:
        self._broker, self._where, self._offset = live.broker, (topic, partition), offset
        self._without = without

    @property
    def positions(self) -> dict[tuple[str, int], int]:
        return {self._where: self._offset}

    def poll(self, *, n_max: int, timeout_s: float) -> list[MessageBatch]:
        records = self._broker.read(self._where, self._offset, n_max)
        offsets = self._offset + np.arange(len(records))
        self._offset += len(records)
        times = np.array([record.publish_ms for record in records], dtype=np.int64)
        keys = [record.key for record in records]
        values = [record.value for record in records]
        topic, partition = self._where
        batch = MessageBatch(topic, partition, values, offsets, times, keys)
        kept = [at for at in range(len(batch)) if (topic, int(offsets[at])) not in self._without]
        return [batch.take(np.array(kept))] if kept else []


def verified_store(
    live: LiveSystem,
    *,
    without: Set[tuple[str, int]] = frozenset(),
    executed: Callable[[Entry], None] = lambda entry: None,
) -> Verification:
    """Execute what a system has committed again.

    Parameters
    ----------
    without
        (topic, offset) of messages that are not there any more.
    executed
        Told of each entry as it comes out.
    """
    layout = live.store.layout()
    assert layout is not None
    return verify_store(
        live.store,
        learned_with=learned_with(layout, items="items", users="users"),
        stream=lambda topic, p, at: TopicStream(
            _Reader(live, topic, p, at, without), topic, p, timeout_s=5.0
        ),
        executed=executed,
    )
