"""Messages that can't be used, on their way to the topic of dead letters."""

from __future__ import annotations

import faust
from aiokafka.errors import MessageSizeTooLargeError

from streamer.dead_letters import letter_refused, letters_of
from streamer.faust_worker.metrics import FeaturesMetrics
from streamer.protocols import MessageBatch


class DeadLetters:
    """Sends them through Faust's producer."""

    def __init__(self, topic: faust.TopicT, metrics: FeaturesMetrics) -> None:
        self._topic = topic
        self._metrics = metrics

    async def send(self, batch: MessageBatch, index: int, reason: str) -> None:
        """Send the longest letter for a message that the topic takes, and wait until it has it."""
        for key, letter in letters_of(batch, index, reason):
            try:
                await (await self._topic.send(key=key, value=letter))
            except MessageSizeTooLargeError:
                continue
            break
        else:
            letter_refused(self._topic.get_topic_name(), batch, index, reason)
        self._metrics.dead_letters.inc()
