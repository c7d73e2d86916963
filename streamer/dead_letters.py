"""What goes to the topic of dead letters for a message that can't be used."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from streamer.events import DeadLetter, dead_letter, encode
from streamer.events.messages import RAW_BYTES_KEPT
from streamer.events.rejection import kind_of
from streamer.protocols import MessageBatch, Sink

log = logging.getLogger(__name__)

_SHRINK: Final = 8
"""Each letter of a message carries an eighth of what the one before it carried."""
_SHORT_REASON: Final = 200
"""Characters of a reason in the shortest letter, some 500 bytes in all."""


def kind_of_letter(letter: DeadLetter) -> str:
    """Return what is wrong with which topic: letters of a kind are counted together."""
    return f"{letter.topic}: {kind_of(letter.reason)}"


def letters_of(batch: MessageBatch, index: int, reason: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of the letter for message ``index`` of a batch, then shorter ones.

    A letter says where the message stands, what it is, and why it can't be used. The later ones
    carry less of the message, the last one nothing of it and the start of the reason: they are for
    a topic that refuses the first for its size.
    """
    topic, partition, offset = batch.topic, batch.partition, int(batch.offsets[index])
    raw = batch.values[index]
    key = f"{topic}:{partition}:{offset}".encode()

    def letter(reason: str, n_raw_max: int) -> bytes:
        return encode(
            dead_letter(
                reason,
                topic=topic,
                partition=partition,
                offset=offset,
                raw=raw,
                n_raw_max=n_raw_max,
            )
        )

    n_raw = min(len(raw or b""), RAW_BYTES_KEPT)
    yield key, letter(reason, n_raw)
    while n_raw:
        n_raw //= _SHRINK
        yield key, letter(reason, n_raw)
    if len(reason) > _SHORT_REASON:
        yield key, letter(reason[:_SHORT_REASON], 0)


def send_letter(sink: Sink, topic: str, batch: MessageBatch, index: int, reason: str) -> None:
    """Send the longest letter for a message that the topic takes.

    Raises
    ------
    DeliveryFailed
        As :meth:`streamer.protocols.Sink.send`.
    """
    letters = letters_of(batch, index, reason)

    def send_next() -> None:
        found = next(letters, None)
        if found is None:
            letter_refused(topic, batch, index, reason)
        else:
            sink.send(topic, key=found[0], value=found[1], on_too_large=send_next)

    send_next()


def letter_refused(topic: str, batch: MessageBatch, index: int, reason: str) -> None:
    """Log that a topic refused even the shortest letter for a message."""
    log.error(
        "dead_letter_refused: %s takes no letter of 500 bytes; raise its max.message.bytes",
        topic,
        extra={
            "topic": batch.topic,
            "partition": batch.partition,
            "offset": int(batch.offsets[index]),
            "reason": reason,
        },
    )
