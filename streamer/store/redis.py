"""A parameter store in Redis (6.2 or later) or a Redis cluster: for several hosts.

All keys of partition *p* carry the hash tag ``{p}``, so they lie in one slot. A commit and a
checkpoint are one transaction each, which watches the meta hash and is carried out only if nobody
has changed it since it was checked. (A script in Lua copies each argument twice and hashes every
byte of it: a third of the server's time, with entries of 2 MB.)::

    <prefix>:layout              the layout
    <prefix>:{p}:meta            owner, version, commit id, watermark, offsets, checkpoint (hash)
    <prefix>:{p}:log             the delta log: entry n has the id n-0 (stream)
    <prefix>:{p}:schedule        the schedule, with the same ids (stream)
    <prefix>:{p}:names:<entity>  key (8 bytes) → name (hash)
    <prefix>:{p}:rows:<table>    key (8 bytes) → row (hash)

What survives is what Redis keeps: with ``appendonly yes`` and ``appendfsync everysec`` a crash of
the server loses at most the last second of commits, each as a whole and with its offsets, so they
are learned again from the topics. A server that may evict any key (``maxmemory-policy
allkeys-…``) is refused.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from streamer.commit_ids import UNKNOWN
from streamer.errors import ConfigError, StoreError, StoreUnavailable, damaged
from streamer.protocols import Checkpoint, Entry, Layout, PartitionImage, Schedule
from streamer.store.checked import (
    checked_entry,
    checked_names,
    checked_progress,
    checked_rows,
    checked_schedule,
    decoded,
    is_number,
    shown,
)
from streamer.store.layout import (
    Progress,
    decode_layout,
    decode_progress,
    encode_entry,
    encode_layout,
    encode_progress,
    encode_schedule,
    loaded_checkpoint,
    pack_rows,
)
from streamer.store.redis_commands import KEY_BYTES, drop, set_names, set_rows
from streamer.store.redis_connection import Argument, Command, RedisConnection
from streamer.store.refusals import (
    FOLLOW_ENTRIES_MAX,
    ahead_of_version,
    check_ancestry,
    check_checkpoint,
    check_commit,
    check_eviction,
    check_followed,
    check_image,
    check_layout,
    check_log,
    check_never_committed,
    check_owner,
    check_recorded,
    no_layout,
)
from streamer_models.state.table import ID_ENTITIES, Keys, Rows, TableSpec

PARTITIONS_LOOKED_FOR: Final = 256
"""Where no layout says how many there are."""
CLUSTER_POLL_INTERVAL_S: Final = 0.005
"""One XREAD can't wait for streams of several slots, so followers of a cluster ask again."""
ROWS_A_SCAN: Final = 2_000
"""2,000 rows * 520 B = 1 MB an answer, some 2 ms of the server's time."""
STREAM_ENTRIES_A_READ: Final = 128
LOAD_ATTEMPTS: Final = 8
TRANSACTION_ATTEMPTS: Final = 8


_OFFSET: Final = b"offset:"
_META: Final = re.compile(r"\{\d+\}:meta")
_NUMBER: Final = re.compile(rb"-?\d{1,19}")
_COMMIT_ID: Final = re.compile(rb"(\d{1,19}):([0-9a-f]{16})")


@dataclass(frozen=True, slots=True)
class _Meta:
    """A partition's meta hash: how far it is, its checkpoint, and a counter of checkpoints."""

    progress: Progress
    checkpoint: Progress
    n_checkpoints: int


class RedisStore:
    """See :class:`streamer.protocols.ParameterStore` and the module.

    Any thread may call any method.

    Parameters
    ----------
    url, key_prefix, timeout_s, log_entries_kept, schedule_entries_max
        See :func:`streamer.store.open_store`.

    Raises
    ------
    ConfigError
        When ``key_prefix`` is empty or would break the hash tags.
    """

    def __init__(
        self,
        url: str,
        *,
        key_prefix: str = "streamer",
        timeout_s: float = 5.0,
        log_entries_kept: int = 1_000,
        schedule_entries_max: int = 1_000_000,
    ) -> None:
        if not key_prefix or set("{}") & set(key_prefix):
            raise ConfigError(
                f"key_prefix is {key_prefix!r}, but must be a word without {{ and }}: braces choose"
                " the slot of a key in a Redis cluster"
            )
        self._redis = RedisConnection(url, timeout_s=timeout_s)
        self._key_prefix = key_prefix
        self._log_entries_kept = log_entries_kept
        self._schedule_entries_max = schedule_entries_max

    def ensure_layout(self, layout: Layout) -> None:
        self.replace_layout(layout, expected=None)
        stored = self.layout()
        if stored is None:
            raise StoreError(
                f"Redis at {self._redis.address} forgot the layout at once: something else deletes"
                f" keys under {self._key_prefix!r}; choose another key prefix"
            )
        check_layout(stored, layout, address=self._redis.address)

    def layout(self) -> Layout | None:
        return self._layout(self._redis.call("GET", f"{self._key_prefix}:layout"))

    def replace_layout(self, layout: Layout, *, expected: Layout | None) -> bool:
        key = f"{self._key_prefix}:layout"
        written = False

        def commands(found: list[Any]) -> list[Command]:
            nonlocal written
            # Compared as it is read: one that a former version wrote may lack what has a default.
            written = self._layout(found[0]) == expected
            return [("SET", key, encode_layout(layout))] if written else []

        return self._redis.transact([key], [("GET", key)], commands) and written

    def check_memory(self) -> None:
        """Raise StoreError where the server may drop parameters to make room for others."""
        for memory in self._redis.memory():
            # Keys without expiry, as ours are, stay under the policies called volatile-….
            check_eviction(
                memory["maxmemory_policy"], memory["maxmemory"], address=self._redis.address
            )

    def check_records(self) -> None:
        """Raise StoreError where an entry of a log is damaged, those before checkpoints too, or
        where there are keys that no store writes. All keys of the server are looked at."""
        layout = self.layout()
        if layout is None:
            return
        self._check_keys(layout)
        for partition in range(layout.n_partitions):
            meta = self._meta(partition)
            found = self._stream(partition, "log", after=-1)
            entries = (self._entry(partition, version, fields) for version, fields in found)
            address = self._redis.address
            logged = check_log(partition, entries, meta.progress, address=address)
            recorded = self.schedule(partition)
            check_recorded(partition, logged, meta.checkpoint, recorded, address=address)

    def _check_keys(self, layout: Layout) -> None:
        names = {"meta", "log", "schedule"}
        names |= {f"rows:{spec.name}" for spec in layout.tables}
        entities = {spec.entity for spec in layout.tables}.intersection(ID_ENTITIES)
        names |= {f"names:{entity}" for entity in entities}
        known = {self._key(p, name) for p in range(layout.n_partitions) for name in names}
        # One that was forgotten under other settings keeps its version.
        for key in sorted({*map(_shown, self._redis.keys(f"{self._key_prefix}:{{"))} - known):
            is_meta = _META.fullmatch(key.removeprefix(f"{self._key_prefix}:"))
            if not is_meta or any(
                field.startswith(_OFFSET) for field in self._redis.call("HKEYS", key)
            ):
                raise damaged(
                    f"{self._place(key)} is of no table, entity or partition of the"
                    f" {layout.n_partitions} that its layout has"
                )

    def acquire(self, partition: int, owner: str) -> None:
        self.check_memory()
        self._redis.call("HSET", self._key(partition, "meta"), "owner", owner)

    def owner(self, partition: int) -> str | None:
        return _text(self._redis.call("HGET", self._key(partition, "meta"), "owner"))

    def load(self, partition: int) -> PartitionImage:
        for _ in range(LOAD_ATTEMPTS):
            before = self._meta(partition)
            layout = self.layout()
            image = self._load(partition, before.checkpoint, layout)
            after = self._meta(partition)
            # A checkpoint meanwhile may have changed rows behind the scan and trimmed the log.
            if (after.checkpoint, after.n_checkpoints) == (before.checkpoint, before.n_checkpoints):
                check_image(
                    image,
                    before.progress,
                    layout,
                    address=self._redis.address,
                    version_max=after.progress.version,
                )
                return image
        raise StoreUnavailable(
            f"partition {partition} of Redis at {self._redis.address} had a checkpoint during each"
            f" of {LOAD_ATTEMPTS} attempts to load it; try again, and checkpoint less often"
        )

    def commit(self, entry: Entry, *, owner: str) -> None:
        partition, version, topics = entry.partition, entry.version, list(entry.schedule.offsets)
        meta, log, schedule = (self._key(partition, name) for name in ("meta", "log", "schedule"))
        entry_id, data = f"{version}-0", encode_entry(entry)
        recorded = encode_schedule(entry.schedule)

        def commands(found: list[Any]) -> list[Command]:
            logged, scheduled, (held_by, stored, stored_id, *offsets) = found
            if _text(held_by) == owner and logged and logged[0][1] == [b"e", data]:
                return []  # the same commit again: its first answer was lost
            taken = {
                topic: self._number(partition, f"offset:{topic}", to)
                for topic, to in zip(topics, offsets, strict=True)
                if to
            }
            reached = self._number(partition, "version", stored)
            last_id = self._commit_id(partition, reached, stored_id)
            progress = Progress(reached, taken, commit_id=last_id)
            check_commit(entry, owner=owner, stored_owner=_text(held_by), progress=progress)
            if logged or scheduled:
                raise ahead_of_version(entry, address=self._redis.address)
            moved: list[Argument] = ["version", version, "watermark_ms", entry.watermark_ms]
            moved += ["commit_id", _stored_id(version, entry.commit_id)]
            for topic, (_, to) in entry.schedule.offsets.items():
                moved += [f"offset:{topic}", to]
            trim = ("MAXLEN", "~", self._schedule_entries_max)
            return [
                ("XADD", log, entry_id, "e", data),
                ("XADD", schedule, *trim, entry_id, "s", recorded),
                ("HSET", meta, *moved),
            ]

        # The version is read last: where another commits in between, it is no longer the one before
        # this entry. Redis would refuse to append an entry below the last, and carry out the rest.
        reads: list[Command] = [
            ("XRANGE", log, entry_id, "+", "COUNT", 1),
            ("XRANGE", schedule, entry_id, "+", "COUNT", 1),
            ("HMGET", meta, "owner", "version", "commit_id", *(f"offset:{t}" for t in topics)),
        ]
        self._transact(partition, [meta, log, schedule], reads, commands, writing="an entry")

    def checkpoint(self, checkpoint: Checkpoint, *, owner: str) -> None:
        layout = self.layout()
        if layout is None:
            raise no_layout(self._place(f"{self._key_prefix}:layout"))
        partition = checkpoint.partition
        meta, log = (self._key(partition, name) for name in ("meta", "log"))
        hashes = _hashes(layout)

        def commands(found: list[Any]) -> list[Command]:
            *lengths, (held_by, version, last, recorded) = found
            n_entries = self._number(partition, "version", version)
            check_checkpoint(
                checkpoint,
                owner=owner,
                stored_owner=_text(held_by),
                version=n_entries,
                checkpoint_version=self._number(partition, "checkpoint_version", last),
            )
            self._check_lengths(partition, recorded, dict(zip(hashes, lengths, strict=True)))
            kept = min(self._log_entries_kept, checkpoint.log_entries_max)
            first = max(0, min(checkpoint.version, n_entries - kept)) + 1
            progress = encode_progress(Progress.of(checkpoint))
            return [
                *self._row_commands(checkpoint, layout),
                ("HSET", meta, "checkpoint_version", checkpoint.version),
                ("HSET", meta, "checkpoint", progress),
                ("HINCRBY", meta, "n_checkpoints", 1),
                ("XTRIM", log, "MINID", f"{first}-0"),
            ]

        fields = ("owner", "version", "checkpoint_version", "checkpoint")
        reads: list[Command] = [("HLEN", self._key(partition, name)) for name in hashes.values()]
        reads.append(("HMGET", meta, *fields))
        self._transact(partition, [meta], reads, commands, writing="a checkpoint")
        for name in layout.given_up:  # what is not done of it will be by the next one
            self._redis.call("UNLINK", self._key(partition, f"rows:{name}"))

    def _check_lengths(
        self, partition: int, recorded: bytes | None, lengths: Mapping[str, int]
    ) -> None:
        """Raise StoreError where a table lost rows, or an entity names, since the last checkpoint.

        Parameters
        ----------
        recorded
            The last checkpoint.
        lengths
            Name of a table, or ``names:`` and an entity, → how many there are now.
        """
        sizes = decode_progress(recorded).sizes if recorded else {}
        if any(lengths.get(name, n) != n for name, n in sizes.items()):
            # Says what it is. Lengths were read one after the other, so it may be nothing.
            self.load(partition)

    def forget(self, partition: int, *, owner: str) -> None:
        meta, log, schedule = (self._key(partition, name) for name in ("meta", "log", "schedule"))
        # Found by name: what a damaged store has may be in no layout. Nothing comes after the
        # look, since the owner is checked.
        others = self._redis.keys(self._key(partition, "")) - {meta.encode()}
        unlink: list[Argument] = ["UNLINK", *sorted(others)]

        def commands(found: list[Any]) -> list[Command]:
            (held_by, version, n_checkpoints), *last = found
            check_owner(partition, owner=owner, stored_owner=_text(held_by))
            logged = [_versioned(entries[0])[0] for entries in last if entries]
            empty = Progress.of_empty(max([_readable(version), *logged]) + 1)
            return [
                tuple(unlink) if others else ("DEL", meta),
                ("DEL", meta),
                ("HSET", meta, "owner", owner, "version", empty.version),
                ("HSET", meta, "commit_id", _stored_id(empty.version, empty.commit_id)),
                ("HSET", meta, "checkpoint_version", empty.version),
                ("HSET", meta, "checkpoint", encode_progress(empty)),
                ("HSET", meta, "n_checkpoints", _readable(n_checkpoints) + 1),
            ]

        reads: list[Command] = [
            ("HMGET", meta, "owner", "version", "n_checkpoints"),
            ("XREVRANGE", log, "+", "-", "COUNT", 1),
            ("XREVRANGE", schedule, "+", "-", "COUNT", 1),
        ]
        watched = [meta, log, schedule]
        self._transact(partition, watched, reads, commands, writing="that it is forgotten")

    def restore(self, image: PartitionImage, schedules: Sequence[Schedule], *, owner: str) -> None:
        layout = self.layout()
        if layout is None:
            raise no_layout(self._place(f"{self._key_prefix}:layout"))
        checkpoint, progress = image.checkpoint, Progress.of_image(image)
        partition = checkpoint.partition
        meta, log, schedule = (self._key(partition, name) for name in ("meta", "log", "schedule"))

        def commands(found: list[Any]) -> list[Command]:
            held_by, version = found[0]
            check_owner(partition, owner=owner, stored_owner=_text(held_by))
            check_never_committed(partition, self._number(partition, "version", version))
            reached: list[Argument] = ["version", progress.version]
            reached += ["commit_id", _stored_id(progress.version, progress.commit_id)]
            reached += ["watermark_ms", progress.watermark_ms]
            for topic, to in progress.offsets.items():
                reached += [f"offset:{topic}", to]
            reached += ["checkpoint_version", checkpoint.version, "n_checkpoints", 1]
            reached += ["checkpoint", encode_progress(Progress.of(checkpoint))]
            return [
                *self._row_commands(checkpoint, layout),
                *(("XADD", log, f"{e.version}-0", "e", encode_entry(e)) for e in image.entries),
                *(("XADD", schedule, f"{s.version}-0", "s", encode_schedule(s)) for s in schedules),
                ("HSET", meta, *reached),
            ]

        reads: list[Command] = [("HMGET", meta, "owner", "version")]
        self._transact(partition, [meta, log, schedule], reads, commands, writing="what it was")

    def _transact(
        self,
        partition: int,
        watched: list[str],
        reads: list[Command],
        commands: Callable[[list[Any]], list[Command]],
        *,
        writing: str,
    ) -> None:
        for _ in range(TRANSACTION_ATTEMPTS):
            if self._redis.transact(watched, reads, commands):
                return
        raise StoreUnavailable(
            f"partition {partition} of Redis at {self._redis.address} was changed by others during"
            f" each of {TRANSACTION_ATTEMPTS} attempts to write {writing}; try again"
        )

    def _row_commands(self, checkpoint: Checkpoint, layout: Layout) -> Iterator[bytes]:
        """Commands that drop ids, and then write names and rows."""
        removed = {
            entity: keys.astype("<u8", copy=False).tobytes()
            for entity, keys in checkpoint.removed.items()
        }
        for entity in sorted(removed.keys() | checkpoint.names.keys()):
            name = self._key(checkpoint.partition, f"names:{entity}").encode()
            keys, names = checkpoint.names.get(entity, (np.zeros(0, np.uint64), ()))
            yield from drop(name, removed.get(entity, b""))
            yield from set_names(name, keys.astype("<u8", copy=False).tobytes(), tuple(names))
        for spec in layout.tables:
            name = self._key(checkpoint.partition, f"rows:{spec.name}").encode()
            yield from drop(name, removed.get(spec.entity, b""))
            if spec.name in checkpoint.tables:
                packed_rows = pack_rows(spec, checkpoint.tables[spec.name])
                yield from set_rows(name, *packed_rows, spec.row_bytes)

    def follow(
        self,
        after: Mapping[int, int],
        *,
        timeout_s: float,
        commit_ids: Mapping[int, int] = MappingProxyType({}),
    ) -> list[Entry]:
        deadline = time.monotonic() + timeout_s
        while not (found := self._after(after, commit_ids)):
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                break
            self._wait(after, remaining_s)
        return found

    def versions(self) -> dict[int, int]:
        layout = self.layout()
        partitions = range(layout.n_partitions if layout else PARTITIONS_LOOKED_FOR)
        stored = self._redis.call_all(
            [("HGET", self._key(p, "meta"), "version") for p in partitions]
        )
        found = zip(partitions, stored, strict=True)
        # One that can't be read is refused where it is loaded, and can be forgotten.
        return {p: _readable(version) for p, version in found if version}

    def schedule(self, partition: int) -> Iterator[Schedule]:
        address = f"{self._key(partition, 'schedule')} in Redis at {self._redis.address}"
        for version, fields in self._stream(partition, "schedule", after=0):
            yield checked_schedule(
                fields.get(b"s"), partition=partition, version=version, address=address
            )

    def close(self) -> None:
        self._redis.close()

    # --- loading -------------------------------------------------------------------------------

    def _meta(self, partition: int) -> _Meta:
        found = self._redis.call("HGETALL", self._key(partition, "meta"))
        checkpoint = found.get(b"checkpoint")

        def number(field: str) -> int:
            return self._number(partition, field, found.get(field.encode()))

        offsets = {
            _shown(field)[len(_OFFSET) :]: self._number(partition, _shown(field), stored)
            for field, stored in found.items()
            if field.startswith(_OFFSET)
        }
        progress = Progress()
        if checkpoint:
            what = f"the field checkpoint of {self._place(self._key(partition, 'meta'))}"
            progress = checked_progress(decoded(decode_progress, checkpoint, what), what)
        if number("checkpoint_version") != progress.version:
            raise damaged(
                f"{self._place(self._key(partition, 'meta'))} has a checkpoint at version"
                f" {progress.version}, and {number('checkpoint_version')} in its field"
                " checkpoint_version"
            )
        version = number("version")
        commit_id = self._commit_id(partition, version, found.get(b"commit_id"))
        return _Meta(
            Progress(version, offsets, number("watermark_ms"), commit_id=commit_id),
            progress,
            number("n_checkpoints"),
        )

    def _number(self, partition: int, field: str, stored: bytes | None) -> int:
        """A field of a partition's meta hash; 0 where it is not there."""
        if stored is None:
            return 0
        if not _NUMBER.fullmatch(stored):
            raise damaged(
                f"field {field} of {self._place(self._key(partition, 'meta'))} is {shown(stored)},"
                " which is no number"
            )
        return int(stored)

    def _commit_id(self, partition: int, version: int, stored: bytes | None) -> int:
        """Id of the commit at a version; unknown where a release without ids made it, which left
        the id of a former one there."""
        if stored is None:
            return UNKNOWN
        found = _COMMIT_ID.fullmatch(stored)
        if found is None:
            raise damaged(
                f"field commit_id of {self._place(self._key(partition, 'meta'))} is"
                f" {shown(stored)}, which is no version and id"
            )
        return int(found[2], 16) if int(found[1]) == version else UNKNOWN

    def _layout(self, data: bytes | None) -> Layout | None:
        key = f"{self._key_prefix}:layout"
        return decoded(decode_layout, data, self._place(key)) if data else None

    def _load(self, partition: int, progress: Progress, layout: Layout | None) -> PartitionImage:
        checkpoint = loaded_checkpoint(
            partition,
            progress,
            layout,
            names=lambda entity: self._names(partition, entity),
            rows=lambda spec: self._rows(partition, spec),
        )
        found = self._stream(partition, "log", after=progress.version)
        entries = [self._entry(partition, version, fields) for version, fields in found]
        return PartitionImage(checkpoint, entries)

    def _entry(self, partition: int, version: int, fields: Mapping[bytes, bytes]) -> Entry:
        address = f"{self._key(partition, 'log')} in Redis at {self._redis.address}"
        return checked_entry(
            fields.get(b"e"), partition=partition, version=version, address=address
        )

    def _names(self, partition: int, entity: str) -> tuple[Keys, tuple[bytes, ...]]:
        key = self._key(partition, f"names:{entity}")
        return checked_names(*self._scan(key), self._place(key))

    def _rows(self, partition: int, spec: TableSpec) -> Rows:
        key = self._key(partition, f"rows:{spec.name}")
        return checked_rows(spec, *self._scan(key), self._place(key))

    def _place(self, key: str) -> str:
        return f"the key {key} in Redis at {self._redis.address}"

    def _scan(self, key: str) -> tuple[bytes, list[bytes]]:
        """Joined fields and the values of a whole hash, read in parts that don't keep the server
        from others for long."""
        found: dict[bytes, bytes] = {}
        cursor = 0
        while True:
            next_cursor, part = self._redis.call("HSCAN", key, cursor, "COUNT", ROWS_A_SCAN)
            found.update(part)
            cursor = int(next_cursor)
            if cursor == 0:
                break
        if wrong := [field for field in found if len(field) != KEY_BYTES]:
            raise damaged(
                f"{self._place(key)} has a field {shown(wrong[0])}, which is no key of 8 bytes"
            )
        return b"".join(found), list(found.values())

    def _stream(
        self, partition: int, name: str, *, after: int
    ) -> Iterator[tuple[int, dict[bytes, bytes]]]:
        """Version and fields of a stream's entries, read in parts."""
        while True:
            found = self._redis.call(*self._range(partition, name, after, STREAM_ENTRIES_A_READ))
            yield from map(_versioned, found)
            if len(found) < STREAM_ENTRIES_A_READ:
                return
            after = _versioned(found[-1])[0]

    # --- following -----------------------------------------------------------------------------

    def _after(self, after: Mapping[int, int], commit_ids: Mapping[int, int]) -> list[Entry]:
        n_max = max(1, FOLLOW_ENTRIES_MAX // max(1, len(after)))
        commands: list[tuple[Argument, ...]] = []
        for partition, version in after.items():
            # The version goes first: what is committed between the two is found in the log.
            commands.append(("HMGET", self._key(partition, "meta"), "version", "commit_id"))
            commands.append(self._range(partition, "log", version, n_max))
        answers = self._redis.call_all(commands)
        entries: list[Entry] = []
        progress: dict[int, Progress] = {}
        for at, (partition, version) in enumerate(after.items()):
            (stored, stored_id), items = answers[2 * at : 2 * at + 2]
            found = [_versioned(item) for item in items]
            reached = self._number(partition, "version", stored)
            check_followed(partition, version, reached, [v for v, _ in found])
            entries += [self._entry(partition, at, fields) for at, fields in found]
            commit_id = self._commit_id(partition, reached, stored_id)
            progress[partition] = Progress(reached, commit_id=commit_id)
        check_ancestry(after, commit_ids, progress, entries)
        return entries

    def _wait(self, after: Mapping[int, int], timeout_s: float) -> None:
        """Return when a commit came, or before ``timeout_s`` passed."""
        if self._redis.cluster or not after:
            time.sleep(min(timeout_s, CLUSTER_POLL_INTERVAL_S))
            return
        # Half of the client's own timeout, so that waiting is not taken for a dead server. The
        # schedule grows with the log and is small: what is read here is thrown away.
        block_ms = max(1, int(1_000 * min(timeout_s, self._redis.timeout_s / 2)))
        streams = [self._key(partition, "schedule") for partition in after]
        ids = [f"{version}-0" for version in after.values()]
        self._redis.call("XREAD", "COUNT", 1, "BLOCK", block_ms, "STREAMS", *streams, *ids)

    def _range(self, partition: int, name: str, after: int, n: int) -> tuple[Argument, ...]:
        return ("XRANGE", self._key(partition, name), f"{after + 1}-0", "+", "COUNT", n)

    def _key(self, partition: int, name: str) -> str:
        return f"{self._key_prefix}:{{{partition}}}:{name}"


def _hashes(layout: Layout) -> dict[str, str]:
    """Name in :attr:`Progress.sizes` → name of the hash, of all that a partition has."""
    entities = sorted({spec.entity for spec in layout.tables}.intersection(ID_ENTITIES))
    hashes = {f"names:{entity}": f"names:{entity}" for entity in entities}
    given_up = layout.given_up
    tables = [spec.name for spec in layout.tables if spec.name not in given_up]
    return hashes | {name: f"rows:{name}" for name in tables}


def _versioned(item: tuple[bytes, Any]) -> tuple[int, dict[bytes, bytes]]:
    entry_id, fields = item
    return int(entry_id.partition(b"-")[0]), fields


def _readable(stored: bytes | None) -> int:
    """A number of the meta hash; 0 for one that can't be."""
    number = int(stored) if stored and _NUMBER.fullmatch(stored) else 0
    return number if is_number(number) else 0


def _stored_id(version: int, commit_id: int) -> str:
    return f"{version}:{commit_id:016x}"


def _text(stored: bytes | None) -> str | None:
    return None if stored is None else _shown(stored)


def _shown(stored: bytes) -> str:
    return stored.decode(errors="backslashreplace")
