"""How far the topics of a trial were kept, written beside them: what their file lacks shows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from streamer.errors import StoreError
from streamer.kafka.log_ends import TopicPartition


class _WrittenEnds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ends: dict[str, dict[int, int]]
    ended: bool


class EndsRecord:
    """A small file that says of topics in another one where they ended when it was last written.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    ends
        Offset behind the last message of each partition, as recorded; empty without a file that can
        be read.
    killed
        Whether the record says that its writer had not ended in order.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        found = _read(path)
        self.ends: Mapping[TopicPartition, int] = {
            (topic, partition): end
            for topic, each in (found.ends if found else {}).items()
            for partition, end in each.items()
        }
        self.killed = found is not None and not found.ended

    def write(self, ends: Mapping[TopicPartition, int], *, ended: bool) -> None:
        """Replace the file in one step.

        Raises
        ------
        StoreError
            When it can't be written.
        """
        of_topics: dict[str, dict[int, int]] = {}
        for (topic, partition), end in sorted(ends.items()):
            of_topics.setdefault(topic, {})[partition] = end
        new = self.path.with_name(f"{self.path.name}.new")
        try:
            new.write_bytes(msgspec.json.encode(_WrittenEnds(of_topics, ended)))
            os.replace(new, self.path)
        except OSError as error:
            raise StoreError(
                f"{self.path} can't be written ({error}): see that its folder may be written and"
                " its disk has room"
            ) from error


def _read(path: Path) -> _WrittenEnds | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_WrittenEnds)
    except (OSError, msgspec.DecodeError):
        return None  # the machine went down while it was written, or no trial was there yet
