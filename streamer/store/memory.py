"""A parameter store in this process: for replay, for tests and for trying things out."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from streamer.protocols import Checkpoint, Entry, Layout, PartitionImage, Schedule
from streamer.store.layout import (
    Progress,
    decode_entry,
    decode_schedule,
    encode_entry,
    encode_schedule,
    loaded_checkpoint,
    pack_rows,
    unpack_names,
    unpack_rows,
)
from streamer.store.refusals import (
    FOLLOW_ENTRIES_MAX,
    check_ancestry,
    check_checkpoint,
    check_commit,
    check_followed,
    check_image,
    check_layout,
    check_never_committed,
    check_owner,
    no_layout,
)
from streamer_models.state.table import Keys, Rows, TableSpec


@dataclass(slots=True)
class _Partition:
    """Names and rows are by entity or table, then by key."""

    schedule: deque[bytes]
    owner: str | None = None
    progress: Progress = field(default_factory=Progress)
    checkpoint: Progress = field(default_factory=Progress)
    log: dict[int, bytes] = field(default_factory=dict)
    names: dict[str, dict[int, bytes]] = field(default_factory=dict)
    rows: dict[str, dict[int, bytes]] = field(default_factory=dict)


class MemoryStore:
    """Keeps bytes, as the other stores do: what a caller does to its arrays does not reach in.

    Any thread may call any method. Nothing survives the process.

    Parameters
    ----------
    log_entries_kept, schedule_entries_max
        See :func:`streamer.store.open_store`.
    """

    def __init__(
        self, *, log_entries_kept: int = 1_000, schedule_entries_max: int = 1_000_000
    ) -> None:
        self._log_entries_kept = log_entries_kept
        self._schedule_entries_max = schedule_entries_max
        self._layout: Layout | None = None
        self._partitions: dict[int, _Partition] = {}
        self._changed = threading.Condition()

    def ensure_layout(self, layout: Layout) -> None:
        self.replace_layout(layout, expected=None)
        stored = self.layout()
        assert stored is not None
        check_layout(stored, layout, address="memory:")

    def layout(self) -> Layout | None:
        return self._layout

    def replace_layout(self, layout: Layout, *, expected: Layout | None) -> bool:
        with self._changed:
            if self._layout != expected:
                return False
            self._layout = layout
            return True

    def acquire(self, partition: int, owner: str) -> None:
        with self._changed:
            self._partition(partition).owner = owner

    def owner(self, partition: int) -> str | None:
        with self._changed:
            return self._partition(partition).owner

    def load(self, partition: int) -> PartitionImage:
        with self._changed:
            stored = self._partition(partition)
            progress = stored.checkpoint
            checkpoint = loaded_checkpoint(
                partition,
                progress,
                self._layout,
                names=lambda entity: _names(stored, entity),
                rows=lambda spec: _rows(stored, spec),
            )
            after = range(progress.version + 1, stored.progress.version + 1)
            entries = [decode_entry(stored.log[v]) for v in after if v in stored.log]
            image = PartitionImage(checkpoint, entries)
            check_image(image, stored.progress, self._layout, address="memory:")
            return image

    def commit(self, entry: Entry, *, owner: str) -> None:
        data = encode_entry(entry)
        with self._changed:
            stored = self._partition(entry.partition)
            if stored.owner == owner and stored.log.get(stored.progress.version) == data:
                return  # the same commit again: its first answer was lost
            check_commit(entry, owner=owner, stored_owner=stored.owner, progress=stored.progress)
            stored.log[entry.version] = data
            stored.schedule.append(encode_schedule(entry.schedule))
            stored.progress = stored.progress.after(entry)
            self._changed.notify_all()

    def checkpoint(self, checkpoint: Checkpoint, *, owner: str) -> None:
        with self._changed:
            if self._layout is None:
                raise no_layout("the layout of memory:")
            stored = self._partition(checkpoint.partition)
            check_checkpoint(
                checkpoint,
                owner=owner,
                stored_owner=stored.owner,
                version=stored.progress.version,
                checkpoint_version=stored.checkpoint.version,
            )
            _write(stored, checkpoint, self._layout)
            stored.checkpoint = Progress.of(checkpoint)
            self._trim(stored, min(self._log_entries_kept, checkpoint.log_entries_max))

    def forget(self, partition: int, *, owner: str) -> None:
        with self._changed:
            stored = self._partition(partition)
            check_owner(partition, owner=owner, stored_owner=stored.owner)
            del self._partitions[partition]
            empty = self._partition(partition)
            empty.owner = owner
            empty.progress = empty.checkpoint = Progress.of_empty(stored.progress.version + 1)
            self._changed.notify_all()

    def restore(self, image: PartitionImage, schedules: Sequence[Schedule], *, owner: str) -> None:
        with self._changed:
            if self._layout is None:
                raise no_layout("the layout of memory:")
            partition = image.checkpoint.partition
            stored = self._partition(partition)
            check_owner(partition, owner=owner, stored_owner=stored.owner)
            check_never_committed(partition, stored.progress.version)
            _write(stored, image.checkpoint, self._layout)
            stored.log.update((entry.version, encode_entry(entry)) for entry in image.entries)
            stored.schedule.extend(map(encode_schedule, schedules))
            stored.checkpoint = Progress.of(image.checkpoint)
            stored.progress = Progress.of_image(image)
            self._changed.notify_all()

    def _trim(self, stored: _Partition, n_kept: int) -> None:
        trimmed = min(stored.checkpoint.version, stored.progress.version - n_kept)
        while stored.log and (oldest := next(iter(stored.log))) <= trimmed:
            del stored.log[oldest]

    def follow(
        self,
        after: Mapping[int, int],
        *,
        timeout_s: float,
        commit_ids: Mapping[int, int] = MappingProxyType({}),
    ) -> list[Entry]:
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not (found := self._after(after, commit_ids)):
                remaining_s = deadline - time.monotonic()
                if remaining_s <= 0:
                    break
                self._changed.wait(remaining_s)
        return found

    def _after(self, after: Mapping[int, int], commit_ids: Mapping[int, int]) -> list[Entry]:
        found: list[Entry] = []
        n_max = max(1, FOLLOW_ENTRIES_MAX // max(1, len(after)))
        for partition, version in after.items():
            stored = self._partition(partition)
            end = min(stored.progress.version, version + n_max)
            versions = [v for v in range(version + 1, end + 1) if v in stored.log]
            check_followed(partition, version, stored.progress.version, versions)
            found += [decode_entry(stored.log[v]) for v in versions]
        reached = {partition: self._partition(partition).progress for partition in after}
        check_ancestry(after, commit_ids, reached, found)
        return found

    def versions(self) -> dict[int, int]:
        with self._changed:
            return {
                partition: stored.progress.version
                for partition, stored in sorted(self._partitions.items())
                if stored.progress.version
            }

    def schedule(self, partition: int) -> Iterator[Schedule]:
        with self._changed:
            recorded = list(self._partition(partition).schedule)
        return map(decode_schedule, recorded)

    def close(self) -> None:
        """Does nothing: what is in memory stays until the object goes."""

    def _partition(self, partition: int) -> _Partition:
        if partition not in self._partitions:
            schedule: deque[bytes] = deque(maxlen=self._schedule_entries_max)
            self._partitions[partition] = _Partition(schedule)
        return self._partitions[partition]


def _write(stored: _Partition, checkpoint: Checkpoint, layout: Layout) -> None:
    """Drop what a checkpoint removed, then write its names and rows."""
    for entity, keys in checkpoint.removed.items():
        gone = [spec.name for spec in layout.tables if spec.entity == entity]
        kept = [stored.names.get(entity, {}), *(stored.rows.get(name, {}) for name in gone)]
        for by_key in kept:
            for key in keys.tolist():
                by_key.pop(key, None)
    for entity, (keys, names) in checkpoint.names.items():
        named = stored.names.setdefault(entity, {})
        named.update(zip(keys.tolist(), names, strict=True))
    specs = {spec.name: spec for spec in layout.tables}
    for name, rows in checkpoint.tables.items():
        _, values = pack_rows(specs[name], rows)
        size = specs[name].row_bytes
        split = (values[at : at + size] for at in range(0, len(values), size))
        stored.rows.setdefault(name, {}).update(zip(rows.keys.tolist(), split, strict=True))
    for name in layout.given_up:
        stored.rows.pop(name, None)


def _names(stored: _Partition, entity: str) -> tuple[Keys, tuple[bytes, ...]]:
    named = stored.names.get(entity, {})
    return unpack_names(_keys(named), list(named.values()))


def _rows(stored: _Partition, spec: TableSpec) -> Rows:
    rows = stored.rows.get(spec.name, {})
    return unpack_rows(spec, _keys(rows), b"".join(rows.values()))


def _keys(by_key: Mapping[int, bytes]) -> bytes:
    return np.fromiter(by_key, np.uint64, len(by_key)).tobytes()
