"""Wait before the embedded broker drops what the learner has not read.

It keeps some 5 MB of a partition and refuses nothing: older messages are gone, read or not. A log
that is published at full speed fills that in a second.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Final

from streamer.config import Config
from streamer.errors import DeliveryFailed
from streamer.kafka.configured import configured_reader
from streamer.kafka.log_ends import TopicPartition
from streamer.kafka.reader import KafkaReader

log = logging.getLogger(__name__)

STUCK_S: Final = 600.0
"""How long to wait for a learner that reads nothing: the first one of a machine compiles."""
_AHEAD_BYTES_MAX: Final = 2_000_000
"""Of the 5 MB of a partition: several publishers may come to it at once."""
_LOOK_BYTES: Final = 500_000
"""Sent between two looks, if need be to one partition."""
_MESSAGE_BYTES: Final = 80
"""What the broker keeps of a message beside its value, at most."""
_POLL_S: Final = 0.05
_SAID_AFTER_S: Final = 5.0


class EmbeddedRoom:
    """Makes who publishes to a topic wait for the learner, on the embedded broker alone.

    For any number of threads.

    Parameters
    ----------
    topic
        One that learners read.
    flush
        Waits until the broker has all that was sent; nothing for who waits for each message.
    """

    def __init__(
        self, config: Config, topic: str, *, flush: Callable[[], None] = lambda: None
    ) -> None:
        self._config = config
        self._topic = topic
        self._flush = flush
        self._lock = threading.Lock()
        self._reader: KafkaReader | None = None
        self._partitions: list[TopicPartition] = []
        self._needed = True
        self._n_sent = 0
        self._n_bytes = 0
        self._look_at = _LOOK_BYTES

    def sent(self, n_bytes: int) -> None:
        """Note a message of so many bytes, and wait if need be.

        Raises
        ------
        DeliveryFailed
            When the learner reads nothing for :data:`STUCK_S`.
        """
        with self._lock:
            self._note(n_bytes)
            if self._is_due:
                self._look_at = self._n_bytes + _LOOK_BYTES
                self._wait()

    def note(self, n_bytes: int) -> None:
        """Note a message of so many bytes, and don't wait: for who asks :meth:`is_full` before."""
        with self._lock:
            self._note(n_bytes)

    @property
    def is_due(self) -> bool:
        """Whether so much was sent since the last look that :meth:`is_full` would look again."""
        with self._lock:
            return self._is_due

    def is_full(self) -> bool:
        """Whether the learner must read before more is sent; may ask the broker.

        Raises
        ------
        KafkaError
            When the broker does not answer.
        """
        with self._lock:
            if not self._is_due:
                return False
            reader = self._looking()
            if reader is not None and self._n_ahead(reader) > self._n_ahead_max:
                return True
            self._look_at = self._n_bytes + _LOOK_BYTES
            return False

    def close(self) -> None:
        """End the connection, if there is one."""
        with self._lock:
            if self._reader is not None:
                self._reader.close()
            self._reader, self._needed = None, False

    def _note(self, n_bytes: int) -> None:
        self._n_sent += 1
        self._n_bytes += n_bytes + _MESSAGE_BYTES

    @property
    def _is_due(self) -> bool:
        return self._needed and self._n_bytes >= self._look_at

    def _looking(self) -> KafkaReader | None:
        """What looks how far the learner is; None where the broker is not the embedded one."""
        if self._reader is None:
            self._reader = configured_reader(self._config, service="learner")
        self._needed = self._reader.is_embedded
        if not self._needed:
            self._reader.close()
            self._reader = None
        return self._reader

    def _wait(self) -> None:
        reader = self._looking()
        if reader is None:
            return
        self._flush()
        began = since = time.monotonic()
        n_least, said = math.inf, False
        while (n_ahead := self._n_ahead(reader)) > self._n_ahead_max:
            now = time.monotonic()
            if n_ahead < n_least:
                n_least, since = n_ahead, now
            if now - since > STUCK_S:
                raise DeliveryFailed(
                    f"the learner has read none of the {n_ahead:,} messages that wait in a"
                    f" partition of {self._topic} for {STUCK_S:.0f} s, and the embedded broker"
                    " would drop more: see that the learner runs, or use a Kafka of your own"
                )
            if not said and now - began > _SAID_AFTER_S:
                said = True
                log.warning(
                    "waiting for the learner: the embedded broker keeps 5 MB of a partition, and"
                    " %s messages wait there",
                    f"{n_ahead:,}",
                )
            time.sleep(_POLL_S)

    @property
    def _n_ahead_max(self) -> int:
        """Messages of the mean size that may wait in a partition."""
        return int(_AHEAD_BYTES_MAX * self._n_sent / self._n_bytes)

    def _n_ahead(self, reader: KafkaReader) -> int:
        """Most messages of a partition that the learner has not committed."""
        self._partitions = self._partitions or reader.partitions(self._topic)
        ends = reader.end_offsets(self._partitions)
        committed = reader.committed(ends)
        return max((end - committed.get(where, 0) for where, end in ends.items()), default=0)
