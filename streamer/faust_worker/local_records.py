"""Records of the state on a worker's disk: RocksDB, a database for each partition of the state.

A database is a copy of its partition's changelog topic up to some offset. A record is written when
the broker has it and not before, in one write with the offset that it brings the copy to. So
whatever is cut off, what is on disk is never ahead of what other workers can read, and reading the
changelog from that offset on makes it current, wherever the partition has been in the meantime.

Two things would make a copy wrong, and are looked for. Where offsets do not rise by one, somebody
else has written as well: the copy's offset then stays before that place, so that it is read when
the partition is taken again. And a topic that is compacted forgets, after a day, that a record was
deleted: a copy that is half as old is thrown away.
"""

from __future__ import annotations

import logging
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final

import msgspec

from streamer.errors import StoreError
from streamer.faust_worker.changes import ChangelogMessage
from streamer.protocols import Clock

try:
    from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict, WriteBatch
except ImportError as error:
    raise ImportError(
        "windows.store = 'rocksdb' needs the package rocksdict, which is not installed: pip install"
        " '.[features,rocksdb]' in the folder of streamer's code, or set windows.store = 'memory'"
    ) from error

log = logging.getLogger(__name__)

COPY_AGE_MAX_MS: Final = 12 * 3_600_000
"""Half of ``delete.retention.ms``, for which a topic keeps that a record was deleted."""

_AT: Final = b"at"
"""Key of how far a copy is; those of records are arrays in MessagePack."""
_CACHE_BYTES: Final = 32 << 20
"""Of all partitions together: blocks, their index and their filters."""
_WRITE_BUFFER_BYTES: Final = 4 << 20
_OPEN_FILES_MAX: Final = 128
_BLOOM_BITS: Final = 10


class _At(msgspec.Struct, array_like=True):
    """The last offset of the changelog that a copy holds, and the time of that message."""

    offset: int
    ts_ms: int


class _Place(msgspec.Struct, array_like=True):
    """What a record's key begins with."""

    partition: int


_decode_at = msgspec.msgpack.Decoder(_At).decode
_decode_place = msgspec.msgpack.Decoder(_Place).decode


class LocalRecords:
    """Records of the partitions that a worker holds; not for several threads.

    Parameters
    ----------
    folder
        Of this worker alone; made where it is missing.

    Raises
    ------
    StoreError
        By whatever opens a partition, where RocksDB can't.
    """

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._cache = Cache(_CACHE_BYTES)
        self._databases: dict[int, Rdict] = {}
        self._offsets: dict[int, int] = {}
        self._waiting: dict[bytes, bytes | None] = {}

    # --- partitions ------------------------------------------------------------------------------

    def hold(self, partitions: Collection[int]) -> None:
        """Open these and close all others."""
        for partition in self._databases.keys() - set(partitions):
            self._databases.pop(partition).close()
            del self._offsets[partition]
        self._waiting = {
            key: value for key, value in self._waiting.items() if self._of(key) is not None
        }
        for partition in partitions:
            if partition not in self._databases:
                self._take(partition)

    def close(self) -> None:
        self.hold(())

    def offset(self, partition: int) -> int | None:
        """The last offset of the changelog that needs not be read; None: all is to be read."""
        found = self._offsets.get(partition, -1)
        return found if found >= 0 else None

    def _take(self, partition: int) -> None:
        path = self._folder / f"partition-{partition}"
        database = self._open(path)
        at = _at(database)
        if at.offset >= 0 and at.ts_ms < self._clock.now_ms() - COPY_AGE_MAX_MS:
            log.info("features_copy_too_old", extra={"partition": partition, "ts_ms": at.ts_ms})
            database.close()
            shutil.rmtree(path)
            database, at = self._open(path), _At(-1, 0)
        log.info("features_copy_opened", extra={"partition": partition, "offset": at.offset})
        self._databases[partition], self._offsets[partition] = database, at.offset

    def _open(self, path: Path) -> Rdict:
        path.mkdir(parents=True, exist_ok=True)
        try:
            return Rdict(str(path), options=_options(self._cache))
        except Exception as error:
            if not str(error).startswith("Corruption"):
                raise StoreError(
                    f"RocksDB can't open {path}: {error}. Make windows.store_folder a folder on a"
                    " local disk with room, that this user may write to"
                ) from error
            log.warning("features_copy_corrupt", extra={"path": str(path), "error": str(error)})
        shutil.rmtree(path)
        return self._open(path)

    # --- reading ---------------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        if key in self._waiting:
            return self._waiting[key]
        database = self._of(key)
        if database is None:
            return None
        try:
            found: bytes | None = database.get(key)
        except Exception as error:
            raise StoreError(
                f"RocksDB can't read {database.path()}: {error}. Delete that folder and start the"
                " worker again: it comes back from the changelog topic"
            ) from error
        return found

    def __iter__(self) -> Iterator[bytes]:
        """Keys of all partitions that are held."""
        for key in chain.from_iterable(each.keys() for each in self._databases.values()):
            assert isinstance(key, bytes), "databases are opened in raw mode"
            if key != _AT and key not in self._waiting:
                yield key
        yield from (key for key, waits in self._waiting.items() if waits is not None)

    def _of(self, key: bytes) -> Rdict | None:
        return self._databases.get(_decode_place(key).partition)

    # --- writing ---------------------------------------------------------------------------------

    def put(self, key: bytes, value: bytes | None) -> None:
        """Change or delete a record, for this worker to see; :meth:`settle` writes it."""
        self._waiting[key] = value

    def settle(self, acknowledged: Iterable[ChangelogMessage]) -> None:
        """Write what the broker has of what was :meth:`put`."""
        changes = list(acknowledged)
        for partition, given in _by_partition(changes).items():
            at = self._offsets.get(partition, -1)
            new = [each for each in given if each.offset > at]
            for each in new:
                at += each.offset == at + 1
            self._write(partition, new, at)
        for each in changes:
            if each.key in self._waiting and self._waiting[each.key] == each.value:
                del self._waiting[each.key]

    def replay(self, read: Iterable[ChangelogMessage]) -> None:
        """Write what was read of the changelog, in its order and without gaps."""
        for partition, given in _by_partition(read).items():
            new = [each for each in given if each.offset > self._offsets.get(partition, -1)]
            if new:
                self._write(partition, new, new[-1].offset)

    def _write(self, partition: int, changes: list[ChangelogMessage], offset: int) -> None:
        database = self._databases.get(partition)
        if database is None or not changes:
            return  # another worker's by now, which reads it from the changelog
        batch = WriteBatch(raw_mode=True)
        for each in changes:
            if each.value is None:
                batch.delete(each.key)
            else:
                batch.put(each.key, each.value)
        if offset > self._offsets[partition]:
            (ts_ms,) = (each.ts_ms for each in changes if each.offset == offset)
            batch.put(_AT, msgspec.msgpack.encode(_At(offset, ts_ms)))
        try:
            database.write(batch)
        except Exception as error:
            raise StoreError(
                f"RocksDB can't write to {database.path()}: {error}. Make room in"
                " windows.store_folder, then start the worker again"
            ) from error
        self._offsets[partition] = offset


def _at(database: Rdict) -> _At:
    found = database.get(_AT)
    return _At(-1, 0) if found is None else _decode_at(found)


def _by_partition(changes: Iterable[ChangelogMessage]) -> dict[int, list[ChangelogMessage]]:
    """By offset, as the topic has them."""
    found: dict[int, list[ChangelogMessage]] = defaultdict(list)
    for each in changes:
        found[each.partition].append(each)
    return {partition: sorted(given, key=_offset) for partition, given in found.items()}


def _offset(change: ChangelogMessage) -> int:
    return change.offset


def _options(cache: Cache) -> Options:
    """Bounds for memory: one cache for all, filters and index in it, small buffers."""
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_cache_index_and_filter_blocks(True)
    table.set_bloom_filter(_BLOOM_BITS, block_based=False)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(table)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
    options.set_max_write_buffer_number(2)
    options.set_max_open_files(_OPEN_FILES_MAX)
    options.set_keep_log_file_num(2)
    return options
