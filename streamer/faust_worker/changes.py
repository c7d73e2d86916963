"""Changes of the state's table, as its changelog topic has them."""

from __future__ import annotations

from typing import Any, NamedTuple


class ChangelogMessage(NamedTuple):
    """One message of the changelog; without a value the record is deleted."""

    partition: int
    offset: int
    ts_ms: int
    key: bytes
    value: bytes | None


def change_read(message: Any) -> ChangelogMessage:
    """Of a message that Faust has read."""
    ts_ms = round(1000 * message.timestamp)
    return ChangelogMessage(message.partition, message.offset, ts_ms, message.key, message.value)


def change_sent(sent: Any) -> ChangelogMessage:
    """Of a message that Faust has sent, and the broker acknowledged."""
    where, message = sent.result(), sent.message
    return ChangelogMessage(
        where.partition, where.offset, round(where.timestamp), message.key, message.value
    )
