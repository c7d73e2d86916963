"""A parameter store in one SQLite file: durable, for one machine, readable by other processes.

The file is in WAL mode with ``synchronous=NORMAL``. A commit survives a crash or a kill -9 of any
process; a power cut may lose the last commits, each as a whole and with its offsets, so they are
learned again from the topics. Writers exclude each other for the length of a transaction
(``BEGIN IMMEDIATE``); readers neither wait nor make anybody wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from streamer.protocols import Checkpoint, Entry, Layout, PartitionImage, Schedule
from streamer.store.checked import checked_entry, checked_number, checked_schedule
from streamer.store.layout import (
    Progress,
    encode_entry,
    encode_layout,
    encode_progress,
    encode_schedule,
    loaded_checkpoint,
)
from streamer.store.refusals import (
    FOLLOW_ENTRIES_MAX,
    ahead_of_version,
    check_ancestry,
    check_checkpoint,
    check_commit,
    check_followed,
    check_image,
    check_layout,
    check_log,
    check_never_committed,
    check_owner,
    check_recorded,
    no_layout,
)
from streamer.store.sqlite_file import Cursor, SqliteFile
from streamer.store.sqlite_tables import (
    SCHEMA,
    check_known,
    drop_partition,
    is_ahead,
    read_layout,
    read_log,
    read_names,
    read_partition,
    read_rows,
    read_version,
    read_versions,
    write_tables,
)

POLL_S_MIN, POLL_S_MAX = 0.002, 0.045
"""Between two looks at the file, while commits come and after a while without any. A look costs
a wake-up and, cold, some 0.2 ms: 500 a second took 4 % of a core, where nothing happened."""
_POLL_GROWTH = 1.01
"""A look: 10 ms after 0.8 s without a commit, so with a commit a second none waits longer; 45 ms
after 4 s."""
SCHEDULES_A_READ = 1_000


class SqliteStore:
    """See :class:`streamer.protocols.ParameterStore` and the module.

    Any thread may call any method.

    Parameters
    ----------
    path
        The file; it and its folder are made when it is first written.
    timeout_s
        How long a write may wait for writers of other processes.
    log_entries_kept, schedule_entries_max
        See :func:`streamer.store.open_store`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        timeout_s: float = 5.0,
        log_entries_kept: int = 1_000,
        schedule_entries_max: int = 1_000_000,
    ) -> None:
        self._file = SqliteFile(Path(path), SCHEMA, timeout_s=timeout_s)
        self._address = f"sqlite:{path}"
        self._log_entries_kept = log_entries_kept
        self._schedule_entries_max = schedule_entries_max
        self._poll_s = POLL_S_MIN
        # Of each thread, as its connection is: what it was last asked for when nothing was there.
        self._in_vain = threading.local()

    def ensure_layout(self, layout: Layout) -> None:
        self.replace_layout(layout, expected=None)
        stored = self.layout()
        assert stored is not None
        check_layout(stored, layout, address=self._address)

    def layout(self) -> Layout | None:
        with self._file.read() as cursor:
            return self._layout(cursor)

    def replace_layout(self, layout: Layout, *, expected: Layout | None) -> bool:
        with self._file.write() as cursor:
            if self._layout(cursor) != expected:
                return False
            cursor.execute(
                "INSERT OR REPLACE INTO layout VALUES (0, ?)", [encode_layout(layout).decode()]
            )
        return True

    def check_records(self) -> None:
        """Raise StoreError where an entry of the log is damaged, those before checkpoints too."""
        for partition in self.versions():
            with self._file.read() as cursor:
                _, progress, checkpoint = read_partition(cursor, partition, address=self._address)
                entries = (
                    self._entry(partition, version, data)
                    for version, data in read_log(cursor, partition)
                )
                logged = check_log(partition, entries, progress, address=self._address)
            check_recorded(
                partition, logged, checkpoint, self.schedule(partition), address=self._address
            )

    def acquire(self, partition: int, owner: str) -> None:
        empty = encode_progress(Progress())
        with self._file.write() as cursor:
            cursor.execute(
                "INSERT INTO partitions VALUES (?1, ?2, 0, ?3, ?3)"
                " ON CONFLICT (id) DO UPDATE SET owner = ?2",
                [partition, owner, empty],
            )

    def owner(self, partition: int) -> str | None:
        with self._file.read() as cursor:
            return read_version(cursor, partition)[0]

    def load(self, partition: int) -> PartitionImage:
        with self._file.read() as cursor:
            layout = self._layout(cursor)
            indices = {spec: index for index, spec in enumerate(layout.tables if layout else ())}
            _, reached, progress = read_partition(cursor, partition, address=self._address)
            check_known(cursor, partition, layout, address=self._address)
            entries = cursor.execute(
                "SELECT version, entry FROM entries WHERE partition = ? AND version > ?"
                " ORDER BY version",
                [partition, progress.version],
            ).fetchall()
            checkpoint = loaded_checkpoint(
                partition,
                progress,
                layout,
                names=lambda entity: read_names(cursor, partition, entity, address=self._address),
                rows=lambda spec: read_rows(
                    cursor, partition, indices[spec], spec, address=self._address
                ),
            )
        image = PartitionImage(
            checkpoint, [self._entry(partition, version, data) for version, data in entries]
        )
        check_image(image, reached, layout, address=self._address)
        return image

    def commit(self, entry: Entry, *, owner: str) -> None:
        data = encode_entry(entry)
        partition, version = entry.partition, entry.version
        with self._file.write() as cursor:
            stored_owner, progress, _ = read_partition(cursor, partition, address=self._address)
            if stored_owner == owner and progress.version == version:
                last = cursor.execute(
                    "SELECT entry FROM entries WHERE partition = ? AND version = ?",
                    [partition, version],
                ).fetchone()
                if last == (data,):
                    return  # the same commit again: its first answer was lost
            check_commit(entry, owner=owner, stored_owner=stored_owner, progress=progress)
            if is_ahead(cursor, partition, version):
                raise ahead_of_version(entry, address=self._address)
            cursor.execute("INSERT INTO entries VALUES (?, ?, ?)", [partition, version, data])
            cursor.execute(
                "INSERT INTO schedules VALUES (?, ?, ?)",
                [partition, version, encode_schedule(entry.schedule)],
            )
            cursor.execute(
                "DELETE FROM schedules WHERE partition = ? AND version <= ?",
                [partition, version - self._schedule_entries_max],
            )
            cursor.execute(
                "UPDATE partitions SET version = ?, progress = ? WHERE id = ?",
                [version, encode_progress(progress.after(entry)), partition],
            )

    def checkpoint(self, checkpoint: Checkpoint, *, owner: str) -> None:
        partition = checkpoint.partition
        with self._file.write() as cursor:
            layout = self._layout(cursor)
            if layout is None:
                raise no_layout(f"the layout of {self._address}")
            stored_owner, progress, last = read_partition(cursor, partition, address=self._address)
            check_checkpoint(
                checkpoint,
                owner=owner,
                stored_owner=stored_owner,
                version=progress.version,
                checkpoint_version=last.version,
            )
            write_tables(cursor, checkpoint, layout)
            cursor.execute(
                "UPDATE partitions SET checkpoint = ? WHERE id = ?",
                [encode_progress(Progress.of(checkpoint)), partition],
            )
            n_kept = min(self._log_entries_kept, checkpoint.log_entries_max)
            cursor.execute(
                "DELETE FROM entries WHERE partition = ? AND version <= ?",
                [partition, min(checkpoint.version, progress.version - n_kept)],
            )
        self._file.forget_deleted()

    def forget(self, partition: int, *, owner: str) -> None:
        with self._file.write() as cursor:
            stored_owner, version = read_version(cursor, partition)
            check_owner(partition, owner=owner, stored_owner=stored_owner)
            layout = self._layout(cursor)
            drop_partition(cursor, partition, layout.n_partitions if layout else None)
            empty = encode_progress(Progress.of_empty(version + 1))
            cursor.execute(
                "UPDATE partitions SET version = ?1, progress = ?2, checkpoint = ?2 WHERE id = ?3",
                [version + 1, empty, partition],
            )

    def restore(self, image: PartitionImage, schedules: Sequence[Schedule], *, owner: str) -> None:
        partition, progress = image.checkpoint.partition, Progress.of_image(image)
        with self._file.write() as cursor:
            layout = self._layout(cursor)
            if layout is None:
                raise no_layout(f"the layout of {self._address}")
            stored_owner, version = read_version(cursor, partition)
            check_owner(partition, owner=owner, stored_owner=stored_owner)
            check_never_committed(partition, version)
            write_tables(cursor, image.checkpoint, layout)
            cursor.executemany(
                "INSERT INTO entries VALUES (?, ?, ?)",
                ((partition, each.version, encode_entry(each)) for each in image.entries),
            )
            cursor.executemany(
                "INSERT INTO schedules VALUES (?, ?, ?)",
                ((partition, each.version, encode_schedule(each)) for each in schedules),
            )
            at = encode_progress(Progress.of(image.checkpoint))
            cursor.execute(
                "UPDATE partitions SET version = ?, progress = ?, checkpoint = ? WHERE id = ?",
                [progress.version, encode_progress(progress), at, partition],
            )

    def follow(
        self,
        after: Mapping[int, int],
        *,
        timeout_s: float,
        commit_ids: Mapping[int, int] = MappingProxyType({}),
    ) -> list[Entry]:
        deadline = time.monotonic() + timeout_s
        asked = dict(after), dict(commit_ids)
        while True:
            # Read before the entries: whatever is written in between is looked for once more.
            hint, seen = self._file.log_state(), self._file.data_version()
            if getattr(self._in_vain, "asked", None) != (asked, seen):
                if found := self._after(after, commit_ids):
                    self._poll_s = POLL_S_MIN
                    return found
                self._in_vain.asked = asked, seen
            while True:
                remaining_s = deadline - time.monotonic()
                if remaining_s <= 0:
                    return []
                time.sleep(min(remaining_s, self._poll_s))
                self._poll_s = min(POLL_S_MAX, _POLL_GROWTH * self._poll_s)
                if self._file.log_state() != hint:
                    break

    def _after(self, after: Mapping[int, int], commit_ids: Mapping[int, int]) -> list[Entry]:
        n_max = max(1, FOLLOW_ENTRIES_MAX // max(1, len(after)))
        found: list[tuple[int, int, bytes]] = []
        progress: dict[int, Progress] = {}
        with self._file.read() as cursor:
            for partition, version in after.items():
                rows = cursor.execute(
                    "SELECT version, entry FROM entries WHERE partition = ? AND version > ?"
                    " ORDER BY version LIMIT ?",
                    [partition, version, n_max],
                ).fetchall()
                stored = cursor.execute(
                    "SELECT version FROM partitions WHERE id = ?", [partition]
                ).fetchone()
                where = f"of partition {partition} of {self._address}"
                reached = checked_number(stored[0] if stored else 0, f"the version {where}")
                versions = [
                    checked_number(each, f"the version of an entry {where}") for each, _ in rows
                ]
                check_followed(partition, version, reached, versions)
                found += [(partition, at, entry) for at, entry in rows]
                if reached == version and commit_ids.get(partition):
                    _, progress[partition], _ = read_partition(
                        cursor, partition, address=self._address
                    )
        entries = [self._entry(*each) for each in found]
        check_ancestry(after, commit_ids, progress, entries)
        return entries

    def versions(self) -> dict[int, int]:
        with self._file.read() as cursor:
            return read_versions(cursor)

    def schedule(self, partition: int) -> Iterator[Schedule]:
        last = 0
        while True:
            with self._file.read() as cursor:
                rows = cursor.execute(
                    "SELECT version, schedule FROM schedules WHERE partition = ? AND version > ?"
                    " ORDER BY version LIMIT ?",
                    [partition, last, SCHEDULES_A_READ],
                ).fetchall()
            if not rows:
                return
            for at, data in rows:
                yield checked_schedule(data, partition=partition, version=at, address=self._address)
                last = at

    def close(self) -> None:
        self._file.close()

    def _layout(self, cursor: Cursor) -> Layout | None:
        return read_layout(cursor, address=self._address)

    def _entry(self, partition: int, version: int, data: bytes) -> Entry:
        return checked_entry(data, partition=partition, version=version, address=self._address)
