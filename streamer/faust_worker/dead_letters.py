"""Messages that can't be used, on their way to the topic of dead letters."""

from __future__ import annotations

import faust

from streamer.dead_letters import key_and_letter
from streamer.faust_worker.metrics import FeaturesMetrics
from streamer.protocols import MessageBatch


class DeadLetters:
    """Sends them through Faust's producer."""

    def __init__(self, topic: faust.TopicT, metrics: FeaturesMetrics) -> None:
        self._topic = topic
        self._metrics = metrics

    async def send(self, batch: MessageBatch, index: int, reason: str) -> None:
        """One message of a batch, and why; returns when the broker has it."""
        key, letter = key_and_letter(batch, index, reason)
        await (await self._topic.send(key=key, value=letter))
        self._metrics.dead_letters.inc()
