"""A partition of a topic, handed out up to an offset at a time, for verification."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from streamer.errors import KafkaError
from streamer.protocols import MessageBatch, joined_batches, no_messages

_N_MAX = 10_000


class PartitionReader(Protocol):
    """Reads one partition from its start, without a group.

    Attributes
    ----------
    positions
        (topic, partition) → next offset; offsets that hold no message, as where transactions end,
        are passed.
    """

    @property
    def positions(self) -> Mapping[tuple[str, int], int]: ...

    def poll(self, *, n_max: int, timeout_s: float) -> list[MessageBatch]: ...


class TopicStream:
    """Messages in offset order; holds those polled and not yet taken, some thousand at most.

    Parameters
    ----------
    timeout_s
        How long the broker may take for messages that must be there.
    """

    def __init__(
        self, reader: PartitionReader, topic: str, partition: int, *, timeout_s: float
    ) -> None:
        self._reader = reader
        self._timeout_s = timeout_s
        self._ahead = no_messages(topic, partition)

    def take(self, to_offset: int) -> MessageBatch:
        """All messages below ``to_offset`` not taken yet.

        Raises
        ------
        KafkaError
            When the topic does not reach so far.
        """
        parts = [self._ahead]
        deadline = time.monotonic() + self._timeout_s
        while not self._reaches(to_offset):
            parts += self._reader.poll(n_max=_N_MAX, timeout_s=0.5)
            if time.monotonic() > deadline and not self._reaches(to_offset):
                raise KafkaError(
                    f"{self._ahead.topic} partition {self._ahead.partition}: no message at offset"
                    f" {to_offset - 1} within {self._timeout_s:.0f} s; the store has learned it,"
                    " so the topic was trimmed or made anew: verify against a topic that keeps all"
                )
        joined = joined_batches(parts)
        n = int(np.searchsorted(joined.offsets, to_offset))
        self._ahead = joined.slice(n, len(joined))
        return joined.slice(0, n)

    def _reaches(self, to_offset: int) -> bool:
        where = self._ahead.topic, self._ahead.partition
        return self._reader.positions.get(where, 0) >= to_offset
