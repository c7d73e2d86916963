"""Topics in a file, so that those of the embedded broker are there after a restart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamer.application.local.ends_record import EndsRecord
from streamer.errors import StoreError
from streamer.kafka.log_ends import TopicPartition
from streamer.protocols import MessageBatch
from streamer.store.sqlite_file import SqliteFile
from streamer.store.sqlite_on_disk import Remedies

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
_IS_MESSAGE: Final = (
    """typeof(topic) = 'text' AND typeof("partition") = 'integer'"""
    """ AND typeof("offset") = 'integer' AND typeof(publish_ms) = 'integer'"""
    " AND typeof(key) IN ('blob', 'null')"
    " AND typeof(value) IN ('blob', 'null')"
)
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

    What :meth:`keep` has returned from survives the end of the process and a power cut, however
    they come. The methods raise StoreError where the file can't be used.

    Parameters
    ----------
    path
        The file; it and its folder are made when absent. A file of the same name that ends with
        ``.ends`` says how far it was written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._remedies = Remedies(
            damaged="it holds the topics themselves, so nothing can learn them again: put back a"
            f" copy of it, with the other files of {path.parent} of the same time and without any"
            f" -wal or -shm of another, or move {path.parent} away to begin anew",
            replaced="put it back, and start again",
        )
        self._file = SqliteFile(
            path,
            _SCHEMA,
            timeout_s=_TIMEOUT_S,
            remedies=self._remedies,
            survives_power_cuts=True,
        )
        self._record = EndsRecord(path.with_suffix(".ends"))
        self._ends: dict[TopicPartition, int] | None = None

    @property
    def was_killed(self) -> bool:
        """Whether whoever kept messages here last did not :meth:`end`, so that some that came to
        the topics may be missing."""
        return self._record.killed

    def ends(self) -> dict[TopicPartition, int]:
        """Offset behind the last message of each partition that has any."""
        if self._ends is None:
            self._ends = self._read_ends()
        return dict(self._ends)

    def n_gone(self) -> dict[TopicPartition, int]:
        """Messages that were kept, and that the file does not have any more, of partitions that
        lack some."""
        ends = self.ends()
        return {
            where: end - ends.get(where, 0)
            for where, end in self._record.ends.items()
            if end > ends.get(where, 0)
        }

    def begin(self) -> None:
        """Record that messages are kept from now on."""
        self._record.write(self.ends(), ended=False)

    def end(self) -> None:
        """Record that all that came is kept."""
        self._record.write(self.ends(), ended=True)

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
        # After the messages: it never says more than there is.
        self._ends = self.ends() | {
            (each.topic, each.partition): int(each.offsets[-1]) + 1 for each in batches
        }
        self._record.write(self._ends, ended=False)

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
                    f"SELECT {_IS_MESSAGE}, * FROM messages WHERE place > ? ORDER BY place LIMIT ?",
                    [place, _ROWS_A_READ],
                ).fetchall()
            for is_message, at, *fields in rows:
                if not is_message:
                    raise self._damaged(f"what it has in place {at} is no message")
                message = KeptMessage(*fields)
                where = message.topic, message.partition
                if starts.get(where, 0) <= message.offset < ends.get(where, message.offset + 1):
                    yield message
            if len(rows) < _ROWS_A_READ:
                return
            place = rows[-1][1]

    def close(self) -> None:
        self._file.close()

    def _read_ends(self) -> dict[TopicPartition, int]:
        with self._file.read() as cursor:
            found = cursor.execute(
                'SELECT topic, "partition", min("offset"), max("offset") + 1, count(*)'
                ' FROM messages GROUP BY topic, "partition"'
            ).fetchall()
        for topic, partition, start, end, n in found:
            if start != 0 or n != end:
                raise self._damaged(
                    f"{topic}[{partition}] has {n:,} messages from offset {start!r} to {end!r}"
                )
        return {(topic, partition): end for topic, partition, _, end, _ in found}

    def _damaged(self, what: str) -> StoreError:
        return StoreError(f"SQLite file {self._path} is damaged ({what}): {self._remedies.damaged}")
