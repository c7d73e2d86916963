"""Topics in a file, so that those of the embedded broker are there after a restart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamer.kafka.log_ends import TopicPartition
from streamer.protocols import MessageBatch
from streamer.store.sqlite_file import SqliteFile

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS messages (
    place INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    "partition" INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    publish_ms INTEGER NOT NULL,
    key BLOB,
    value BLOB,
    UNIQUE (topic, "partition", "offset")
);
"""
_TIMEOUT_S: Final = 10.0
_ROWS_A_READ: Final = 1_000


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """One message, and where it stood."""

    topic: str
    partition: int
    offset: int
    publish_ms: int
    key: bytes | None
    value: bytes | None


class KeptTopics:
    """Messages of topics in a SQLite file, none missing from offset 0 on.

    What :meth:`keep` has returned from survives the end of the process, however that comes; a power
    cut may take the last messages. The methods raise StoreError where the file can't be used.

    Parameters
    ----------
    path
        The file; it and its folder are made when absent.
    """

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, _SCHEMA, timeout_s=_TIMEOUT_S)

    def ends(self) -> dict[TopicPartition, int]:
        """Offset behind the last message of each partition that has any."""
        with self._file.read() as cursor:
            found = cursor.execute(
                'SELECT topic, "partition", max("offset") + 1 FROM messages'
                ' GROUP BY topic, "partition"'
            ).fetchall()
        return {(topic, partition): end for topic, partition, end in found}

    def keep(self, batches: Sequence[MessageBatch]) -> None:
        """Add messages that follow those of their partitions, in one transaction."""
        rows = [
            (batch.topic, batch.partition, offset, publish_ms, key, value)
            for batch in batches
            for offset, publish_ms, key, value in zip(
                batch.offsets.tolist(),
                batch.publish_ms.tolist(),
                batch.keys,
                batch.values,
                strict=True,
            )
        ]
        with self._file.write() as cursor:
            cursor.executemany(
                'INSERT INTO messages (topic, "partition", "offset", publish_ms, key, value)'
                " VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )

    def messages(
        self,
        *,
        starts: Mapping[TopicPartition, int] | None = None,
        ends: Mapping[TopicPartition, int] | None = None,
    ) -> Iterator[KeptMessage]:
        """Messages in the order in which they were kept, those of a partition by their offsets.

        Parameters
        ----------
        starts, ends
            First offset of partitions, and the one behind their last; absent: all.
        """
        starts, ends = starts or {}, ends or {}
        place = 0
        while True:
            with self._file.read() as cursor:
                rows = cursor.execute(
                    "SELECT * FROM messages WHERE place > ? ORDER BY place LIMIT ?",
                    [place, _ROWS_A_READ],
                ).fetchall()
            for _, *fields in rows:
                message = KeptMessage(*fields)
                where = message.topic, message.partition
                if starts.get(where, 0) <= message.offset < ends.get(where, message.offset + 1):
                    yield message
            if len(rows) < _ROWS_A_READ:
                return
            place = rows[-1][0]

    def close(self) -> None:
        self._file.close()
