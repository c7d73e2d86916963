"""From a topic of others to one of ours, each message once or as a repeat that is known for one."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Final

from streamer.bridge.metrics import BridgeMetrics
from streamer.bridge.translation import Translation
from streamer.dead_letters import send_letter
from streamer.errors import BadMessage
from streamer.protocols import MessageBatch, Sink, Source
from streamer.telemetry import show_lag

log = logging.getLogger(__name__)

MESSAGES_A_ROUND: Final = 2_000


class Bridge:
    """Reads a topic, translates its messages, and publishes them.

    Offsets are told to the group when the broker has what was made of the messages: what is read
    twice is published twice, with the same ids, and learned once.

    Parameters
    ----------
    name
        Of its table.
    source
        Of the topic, with keys; it starts where the group was.
    target, dead_letters
        Topics: of what is translated, and of what can't be.
    flush
        Waits until the broker has all that was sent.
    """

    def __init__(
        self,
        name: str,
        *,
        source: Source,
        translation: Translation,
        sink: Sink,
        flush: Callable[[], None],
        target: str,
        dead_letters: str,
        metrics: BridgeMetrics,
    ) -> None:
        self.name = name
        self._source = source
        self._translation = translation
        self._sink = sink
        self._flush = flush
        self._target = target
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._n_sent = 0  # since the last flush, less what was refused

    def round(self, timeout_s: float) -> int:
        """Publish what is there, waiting ``timeout_s`` for the first; the number taken.

        Raises
        ------
        StreamerError
            When the broker refuses something, or partitions can't be taken.
        """
        batches = self._source.poll(n_max=MESSAGES_A_ROUND, timeout_s=timeout_s)
        for batch in batches:
            for index in range(len(batch)):
                self._take(batch, index)
        if batches:
            self._flush()
            self._count("published", self._n_sent)
            self._n_sent = 0
            self._source.tell_applied(
                {(batch.topic, batch.partition): int(batch.offsets[-1]) + 1 for batch in batches}
            )
        show_lag(self._metrics.lag, self._source.lag())
        return sum(map(len, batches))

    def close(self) -> None:
        """Leave the group."""
        self._source.close()

    def _take(self, batch: MessageBatch, index: int) -> None:
        try:
            found = self._translation.message(batch, index)
        except BadMessage as error:
            self._reject(batch, index, str(error))
            return
        if found is None:
            self._count("passed_over")
            return
        refused = functools.partial(self._refused, batch, index)
        self._sink.send(self._target, key=found.key, value=found.value, on_too_large=refused)
        self._n_sent += 1

    def _refused(self, batch: MessageBatch, index: int) -> None:
        self._n_sent -= 1
        self._reject(batch, index, f"its {self._target} message is larger than the topic takes")

    def _reject(self, batch: MessageBatch, index: int, reason: str) -> None:
        send_letter(self._sink, self._dead_letters, batch, index, f"bridge {self.name}: {reason}")
        self._count("dead_letter")

    def _count(self, fate: str, n: int = 1) -> None:
        self._metrics.messages.labels(self.name, fate).inc(n)
