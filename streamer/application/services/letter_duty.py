"""Which scorer of a group sends the dead letters for items and features."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from streamer.kafka.reader import KafkaReader

_ASK_S: Final = 2.0
"""Requests wait meanwhile. Who gets no answer asks again."""


class GroupDuty:
    """A :class:`streamer.scorer.topic_letters.LetterDuty`: that of the owner of partition 0 of the
    requests; the broker keeps the offsets.

    Parameters
    ----------
    reader
        Of a group without members, the same for all scorers. Used by one thread alone.
    """

    def __init__(self, reader: KafkaReader) -> None:
        self._reader = reader
        self._mine = False

    def take(self, partitions: Collection[int]) -> None:
        """Note the partitions of the requests that this scorer owns from now on."""
        self._mine = 0 in partitions

    def is_mine(self) -> bool:
        return self._mine

    def sent(self, partitions: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return self._reader.committed(partitions, timeout_s=_ASK_S)

    def tell_sent(self, offsets: Mapping[tuple[str, int], int], *, wait: bool) -> None:
        self._reader.commit(offsets, wait=wait)
