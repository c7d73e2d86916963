"""Messages that can't be used, on their way to the topic of dead letters."""

from __future__ import annotations

import faust

from streamer.events import dead_letter, encode
from streamer.features.metrics import FeaturesMetrics
from streamer.protocols import MessageBatch


class DeadLetters:
    """Sends them through Faust's producer."""

    def __init__(self, topic: faust.TopicT, metrics: FeaturesMetrics) -> None:
        self._topic = topic
        self._metrics = metrics

    async def send(self, batch: MessageBatch, index: int, reason: str) -> None:
        """One message of a batch, and why; returns when the broker has it."""
        offset = int(batch.offsets[index])
        letter = dead_letter(
            reason,
            topic=batch.topic,
            partition=batch.partition,
            offset=offset,
            raw=batch.values[index],
        )
        key = f"{batch.topic}:{batch.partition}:{offset}".encode()
        await (await self._topic.send(key=key, value=encode(letter)))
        self._metrics.dead_letters.inc()
