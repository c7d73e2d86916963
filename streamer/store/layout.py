"""How entries, schedules and row tables look as bytes, the same in every store.

A record is ``schema version (u32) · header length (u32) · header (MessagePack) · buffers``, where
the buffers are the arrays as raw little-endian bytes, each starting at a multiple of 8. So decoding
copies nothing: **decoded arrays are read-only views** into the record, aligned like fresh ones
(numba compiles one more variant of a kernel for read-only arrays, but not for unaligned ones).
Dictionaries are written in sorted order: equal entries are equal bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, cast, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.commit_ids import UNKNOWN, id_of_empty
from streamer.errors import LayoutMismatch, StoreError
from streamer.protocols import (
    STORE_SCHEMA_VERSION,
    Checkpoint,
    Entry,
    Layout,
    PartitionImage,
    Schedule,
)
from streamer_models.state.table import ID_ENTITIES, Array, Change, IdChange, Keys, Rows, TableSpec

_PREFIX = struct.Struct("<II")
_PADDING = bytes(7)
_SCHEMA_VERSION_MAX = 9_999
"""Bytes that say more are no record of any version."""
_PARTITIONS_MAX = 1 << 20
_WIDTH_MAX = 1 << 20
"""Elements of a row."""
_KeyT = TypeVar("_KeyT", int, str)
_ValueT = TypeVar("_ValueT")
_HeadT = TypeVar("_HeadT")
_Dtype = Literal["f4", "f8", "i4", "i8", "u8"]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Buffer = bytes | memoryview


class Progress(msgspec.Struct, frozen=True):
    """How far a partition is, or its checkpoint: of no commit yet, all is empty.

    Attributes
    ----------
    offsets
        Next offset to take, by topic.
    sizes
        Of the tables, as a checkpoint left them.
    commit_id
        Of the last commit; 0: not known.
    """

    version: int = 0
    offsets: dict[str, int] = {}
    watermark_ms: int = 0
    generation: int = 0
    sizes: dict[str, int] = {}
    commit_id: int = UNKNOWN

    def after(self, entry: Entry) -> Progress:
        """Progress once ``entry`` is committed."""
        taken = {topic: to for topic, (_, to) in entry.schedule.offsets.items()}
        generation = entry.schedule.generation
        return Progress(
            entry.version,
            self.offsets | taken,
            entry.watermark_ms,
            generation,
            commit_id=entry.commit_id,
        )

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Progress:
        """Progress that a checkpoint holds."""
        return cls(
            checkpoint.version,
            checkpoint.offsets,
            checkpoint.watermark_ms,
            checkpoint.generation,
            checkpoint.sizes,
            checkpoint.commit_id,
        )

    @classmethod
    def of_empty(cls, version: int) -> Progress:
        """Progress of a partition that was forgotten."""
        return cls(version, commit_id=id_of_empty(version))

    @classmethod
    def of_image(cls, image: PartitionImage) -> Progress:
        """Progress of a partition whose checkpoint and entries these are."""
        progress = cls.of(image.checkpoint)
        for entry in image.entries:
            progress = progress.after(entry)
        return progress


class _SchemaVersion(msgspec.Struct):
    schema_version: int


class _RowsHead(msgspec.Struct, frozen=True, array_like=True):
    table: str
    dtype: _Dtype
    n_rows: _Count
    width: _Count


class _IdsHead(msgspec.Struct, frozen=True, array_like=True):
    entity: str
    n_added: _Count
    n_name_bytes: _Count
    n_removed: _Count


class _ScheduleHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A :class:`Schedule`; a factor or share of 1, a generation of 0 and no catalogue take no
    bytes."""

    version: int
    offsets: dict[str, tuple[int, int]]
    seen: dict[int, int]
    merged: dict[int, int]
    rate_factor: float | msgspec.UnsetType = msgspec.UNSET
    generation: int | msgspec.UnsetType = msgspec.UNSET
    practice_share: float | msgspec.UnsetType = msgspec.UNSET
    catalogue: dict[int, int] | msgspec.UnsetType = msgspec.UNSET


class _EntryHead(msgspec.Struct, frozen=True, array_like=True):
    partition: int
    schedule: _ScheduleHead
    watermark_ms: int
    committed_ms: int
    n_events: int
    n_publish: _Count
    withdrawn: list[_RowsHead]
    ids: list[_IdsHead]
    tables: list[_RowsHead]
    # Entries of former releases end here, and these read no further.
    parent_id: int = UNKNOWN
    commit_id: int = UNKNOWN


_ENCODER = msgspec.msgpack.Encoder()
_ENTRY = msgspec.msgpack.Decoder(_EntryHead)
_SCHEDULE = msgspec.msgpack.Decoder(_ScheduleHead)
_PROGRESS = msgspec.msgpack.Decoder(Progress)


# --- records ----------------------------------------------------------------------------------


def encode_entry(entry: Entry) -> bytes:
    """One entry as bytes; its cost is one copy of the arrays."""
    change = entry.change
    buffers: list[_Buffer] = [_raw(entry.publish_ms, "i8")]
    head = _EntryHead(
        partition=entry.partition,
        schedule=_schedule_head(entry.schedule),
        watermark_ms=entry.watermark_ms,
        committed_ms=entry.committed_ms,
        n_events=entry.n_events,
        n_publish=len(entry.publish_ms),
        withdrawn=[_write_rows(name, rows, buffers) for name, rows in _items(change.withdrawn)],
        ids=[_write_ids(entity, ids, buffers) for entity, ids in _items(change.ids)],
        tables=[_write_rows(name, rows, buffers) for name, rows in _items(change.tables)],
        parent_id=entry.parent_id,
        commit_id=entry.commit_id,
    )
    return _record(head, buffers)


def decode_entry(data: bytes) -> Entry:
    """The entry of :func:`encode_entry`; its arrays are read-only views into ``data``.

    Raises
    ------
    LayoutMismatch
        When ``data`` has another schema version.
    StoreError
        When ``data`` is damaged.
    """
    head, start = _head(data, _ENTRY, "an entry")
    body = _Body(data, start)
    try:
        publish_ms = body.take("i8", head.n_publish)
        withdrawn = {rows.table: body.rows(rows) for rows in head.withdrawn}
        ids = {ids.entity: body.ids(ids) for ids in head.ids}
        tables = {rows.table: body.rows(rows) for rows in head.tables}
    except (ValueError, TypeError) as error:
        raise _damaged("an entry", data, error) from error
    return Entry(
        partition=head.partition,
        schedule=_schedule(head.schedule),
        change=Change(withdrawn, ids, tables),
        watermark_ms=head.watermark_ms,
        publish_ms=publish_ms,
        committed_ms=head.committed_ms,
        n_events=head.n_events,
        parent_id=head.parent_id,
        commit_id=head.commit_id,
    )


def encode_schedule(schedule: Schedule) -> bytes:
    return _record(_schedule_head(schedule), ())


def decode_schedule(data: bytes) -> Schedule:
    """Raises as :func:`decode_entry`."""
    return _schedule(_head(data, _SCHEDULE, "a schedule")[0])


def encode_layout(layout: Layout) -> bytes:
    """A layout as text, so that what a store was learned with can be read with any client."""
    return msgspec.json.format(msgspec.json.encode(layout))


def decode_layout(data: bytes) -> Layout:
    """Raises as :func:`decode_entry`."""
    try:
        if data[:1] != b"{":
            _check_schema("a layout", _PREFIX.unpack_from(data)[0])
        schema_version = msgspec.json.decode(data, type=_SchemaVersion).schema_version
        _check_schema("a layout", schema_version)
        layout = msgspec.json.decode(data, type=Layout)
        _check_layout(layout)
        return layout
    except (struct.error, ValueError) as error:
        # Nothing of a store can be found without, so nothing of it can be forgotten either.
        raise StoreError(
            f"a layout of {len(data)} bytes can't be read ({error}); the store is damaged: restore"
            " it, or use an empty one (another path in store.url, or another store.key_prefix) and"
            " learn again from the topics"
        ) from error


def encode_progress(progress: Progress) -> bytes:
    offsets, sizes = dict(_items(progress.offsets)), dict(_items(progress.sizes))
    return _record(msgspec.structs.replace(progress, offsets=offsets, sizes=sizes), ())


def decode_progress(data: bytes) -> Progress:
    """Raises as :func:`decode_entry`."""
    return _head(data, _PROGRESS, "a checkpoint")[0]


# --- rows and names, as row tables keep them ---------------------------------------------------


def pack_rows(spec: TableSpec, rows: Rows) -> tuple[bytes, bytes]:
    """Keys (8 bytes each) and full rows (``spec.row_bytes`` each), both joined."""
    assert rows.values.shape == (len(rows.keys), spec.width), (spec, rows.values.shape)
    assert rows.values.dtype == np.dtype(spec.dtype), (spec, rows.values.dtype)
    return bytes(_raw(rows.keys, "u8")), bytes(_raw(rows.values, spec.dtype))


def unpack_rows(spec: TableSpec, keys: bytes, values: bytes) -> Rows:
    """Rows in the order of their keys, in arrays of their own; repeated keys are taken once.

    Raises
    ------
    StoreError
        When the bytes are not whole rows of the table.
    """
    unique, at = np.unique(np.frombuffer(keys, "<u8"), return_index=True)
    if len(values) != len(keys) // 8 * spec.row_bytes:
        raise StoreError(
            f"table {spec.name}: {len(values)} bytes for {len(keys) // 8} rows of {spec.row_bytes};"
            " the store is damaged: restore it, or forget what it has with `streamer store rebuild`"
            " and learn again from the topics"
        )
    rows = np.frombuffer(values, "<" + spec.dtype).reshape(-1, spec.width)
    return Rows(unique.astype(np.uint64, copy=False), rows[at])


def unpack_names(keys: bytes, names: Sequence[bytes]) -> tuple[Keys, tuple[bytes, ...]]:
    """Names in the order of their keys; repeated keys are taken once."""
    unique, at = np.unique(np.frombuffer(keys, "<u8"), return_index=True)
    return unique.astype(np.uint64, copy=False), tuple(names[i] for i in at.tolist())


def loaded_checkpoint(
    partition: int,
    progress: Progress,
    layout: Layout | None,
    *,
    names: Callable[[str], tuple[Keys, tuple[bytes, ...]]],
    rows: Callable[[TableSpec], Rows],
) -> Checkpoint:
    """A checkpoint with the names of every entity and the rows of every table of ``layout``."""
    specs = layout.tables if layout else ()
    entities = {spec.entity for spec in specs}.intersection(ID_ENTITIES)
    return Checkpoint(
        partition=partition,
        version=progress.version,
        offsets=dict(progress.offsets),
        watermark_ms=progress.watermark_ms,
        names={entity: names(entity) for entity in sorted(entities)},
        removed={},
        tables={spec.name: rows(spec) for spec in specs},
        generation=progress.generation,
        # A learner of former settings may have written what later ones gave up.
        sizes={
            name: n
            for name, n in progress.sizes.items()
            if layout is None or name not in layout.given_up
        },
        commit_id=progress.commit_id,
    )


def pack_names(names: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Lengths (4 bytes each) and names, both joined."""
    lengths = np.fromiter(map(len, names), np.int32, len(names))
    return bytes(_raw(lengths, "i4")), b"".join(names)


def split_names(lengths: NDArray[np.int32], joined: bytes) -> tuple[bytes, ...]:
    """Names of :func:`pack_names`."""
    ends = np.cumsum(lengths, dtype=np.int64)
    starts = ends - lengths
    pairs = zip(starts.tolist(), ends.tolist(), strict=True)
    return tuple(joined[start:end] for start, end in pairs)


# --- parts ------------------------------------------------------------------------------------


class _Body:
    """Takes the buffers of a record one after the other."""

    def __init__(self, data: bytes, start: int) -> None:
        self._data = data
        self._at = start

    def take(self, dtype: str, n: int) -> Array:
        if n == 0:
            return np.frombuffer(b"", "<" + dtype)
        array = np.frombuffer(self._data, "<" + dtype, n, self._at)
        self._at += _padded(array.nbytes)
        return array

    def rows(self, head: _RowsHead) -> Rows:
        keys = self.take("u8", head.n_rows)
        values = self.take(head.dtype, head.n_rows * head.width)
        return Rows(keys, values.reshape(head.n_rows, head.width))

    def ids(self, head: _IdsHead) -> IdChange:
        added = self.take("u8", head.n_added)
        lengths = self.take("i4", head.n_added)
        joined = self.take("u1", head.n_name_bytes).tobytes()
        return IdChange(added, split_names(lengths, joined), self.take("u8", head.n_removed))


def _write_rows(table: str, rows: Rows, buffers: list[_Buffer]) -> _RowsHead:
    dtype = cast("_Dtype", rows.values.dtype.str[1:])
    buffers += [_raw(rows.keys, "u8"), _raw(rows.values, dtype)]
    return _RowsHead(table, dtype, len(rows), rows.values.shape[1])


def _write_ids(entity: str, ids: IdChange, buffers: list[_Buffer]) -> _IdsHead:
    lengths, joined = pack_names(ids.names)
    buffers += [_raw(ids.added, "u8"), lengths, joined, _raw(ids.removed, "u8")]
    return _IdsHead(entity, len(ids.added), len(joined), len(ids.removed))


def _raw(array: NDArray[Any], dtype: str) -> memoryview:
    """Bytes of an array, which are copied when they are joined with others."""
    return np.ascontiguousarray(array, "<" + dtype).data


def _padded(n_bytes: int) -> int:
    return -(-n_bytes // 8) * 8


def _items(mapping: Mapping[_KeyT, _ValueT]) -> list[tuple[_KeyT, _ValueT]]:
    return sorted(mapping.items(), key=lambda item: item[0])


def _schedule_head(schedule: Schedule) -> _ScheduleHead:
    return _ScheduleHead(
        version=schedule.version,
        offsets=dict(_items(schedule.offsets)),
        seen=dict(_items(schedule.seen)),
        merged=dict(_items(schedule.merged)),
        rate_factor=msgspec.UNSET if schedule.rate_factor == 1 else schedule.rate_factor,
        generation=schedule.generation or msgspec.UNSET,
        practice_share=msgspec.UNSET if schedule.practice_share == 1 else schedule.practice_share,
        catalogue=dict(_items(schedule.catalogue)) or msgspec.UNSET,
    )


def _schedule(head: _ScheduleHead) -> Schedule:
    factor = 1.0 if head.rate_factor is msgspec.UNSET else head.rate_factor
    generation = 0 if head.generation is msgspec.UNSET else head.generation
    share = 1.0 if head.practice_share is msgspec.UNSET else head.practice_share
    return Schedule(
        version=head.version,
        offsets=head.offsets,
        seen=head.seen,
        merged=head.merged,
        rate_factor=factor,
        generation=generation,
        practice_share=share,
        catalogue={} if head.catalogue is msgspec.UNSET else head.catalogue,
    )


def _record(head: object, buffers: Iterable[_Buffer]) -> bytes:
    encoded = _ENCODER.encode(head)
    parts: list[_Buffer] = [_PREFIX.pack(STORE_SCHEMA_VERSION, len(encoded))]
    for buffer in (encoded, *buffers):
        n_bytes = buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)
        parts += [buffer, _PADDING[: -n_bytes % 8]]
    return b"".join(parts)


def _head(data: bytes, decoder: msgspec.msgpack.Decoder[_HeadT], what: str) -> tuple[_HeadT, int]:
    """The header of a record, and where its buffers start."""
    try:
        schema_version, n_bytes = _PREFIX.unpack_from(data)
        _check_schema(what, schema_version)
        head = decoder.decode(memoryview(data)[_PREFIX.size : _PREFIX.size + n_bytes])
    except (struct.error, ValueError) as error:
        raise _damaged(what, data, error) from error
    return head, _PREFIX.size + _padded(n_bytes)


def _check_schema(what: str, schema_version: int) -> None:
    """Raise LayoutMismatch for a record of another version, ValueError for what is none."""
    if not 0 < schema_version <= _SCHEMA_VERSION_MAX:
        raise ValueError(f"it would be of schema version {schema_version:,}")
    if schema_version != STORE_SCHEMA_VERSION:
        raise LayoutMismatch(
            f"the store holds {what} of schema version {schema_version}, this streamer reads"
            f" {STORE_SCHEMA_VERSION}: run the version that wrote it, or use an empty store and"
            " learn again from the topics"
        )


def _check_layout(layout: Layout) -> None:
    """Raise ValueError where nothing can be laid out so."""
    if not 1 <= layout.n_partitions <= _PARTITIONS_MAX:
        raise ValueError(f"it would have {layout.n_partitions} partitions")
    if not layout.generations:
        raise ValueError("it has no generation")
    tables = {spec.name: spec for spec in layout.tables}
    if len(tables) < len(layout.tables):
        raise ValueError("two of its tables have one name")
    for spec in layout.tables:
        if spec.dtype not in get_args(_Dtype) or not 1 <= spec.width <= _WIDTH_MAX:
            raise ValueError(f"table {spec.name} would have {spec.width} times {spec.dtype!r}")


def _damaged(what: str, data: bytes, error: Exception) -> StoreError:
    return StoreError(
        f"{what} of {len(data)} bytes can't be read ({error}); the store is damaged: restore it, or"
        " forget what it has with `streamer store rebuild` and learn again from the topics"
    )
