"""What goes to the topic of dead letters for a message that can't be used."""

from __future__ import annotations

from streamer.events import dead_letter, encode
from streamer.protocols import MessageBatch


def key_and_letter(batch: MessageBatch, index: int, reason: str) -> tuple[bytes, bytes]:
    """Key and value for message ``index`` of a batch: where it stands, what it is, and why."""
    topic, partition, offset = batch.topic, batch.partition, int(batch.offsets[index])
    letter = dead_letter(
        reason, topic=topic, partition=partition, offset=offset, raw=batch.values[index]
    )
    return f"{topic}:{partition}:{offset}".encode(), encode(letter)
