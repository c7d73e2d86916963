"""What a store gives back is checked before it is used: types, numbers, bytes and whose they are.

Anything may have written to a store. What is found is refused by its place, with the way out.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamer.errors import LayoutMismatch, StoreError, damaged
from streamer.protocols import Checkpoint, Entry, Layout, Schedule
from streamer.store.layout import Progress, decode_entry, decode_schedule, unpack_names, unpack_rows
from streamer_models.state.ids.id_column import IdColumn
from streamer_models.state.table import ID_ENTITIES, Keys, Rows, TableSpec

NUMBER_MAX: Final = 1 << 53
"""Of versions; more is damage, and the next one could not be written."""
INDEX_MAX: Final = 1 << 20
"""Rows of tables whose keys are indices."""
_SHOWN_MAX: Final = 40

_T = TypeVar("_T")


def shown(stored: object) -> str:
    """A value, cut where it is long."""
    text = repr(stored)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"


def is_number(stored: object) -> bool:
    """Whether a version may be this."""
    return isinstance(stored, int) and 0 <= stored <= NUMBER_MAX


def checked_number(stored: object, what: str) -> int:
    """Return a number, or raise StoreError."""
    if not isinstance(stored, int) or not is_number(stored):
        raise damaged(f"{what} is {shown(stored)}, which is no number from 0 to {NUMBER_MAX:,}")
    return stored


def checked_bytes(stored: object, what: str) -> bytes:
    """Return bytes, or raise StoreError."""
    if not isinstance(stored, bytes):
        raise damaged(f"{what} is {shown(stored)}, and no bytes")
    return stored


def decoded(decode: Callable[[bytes], _T], stored: object, what: str) -> _T:
    """Return what a record says; errors say where it stands."""
    data = checked_bytes(stored, what)
    try:
        return decode(data)
    except (StoreError, LayoutMismatch) as error:
        raise type(error)(f"{what}: {error}") from error


def checked_entry(stored: object, *, partition: int, version: object, address: str) -> Entry:
    """Return the entry that stands at a version, or raise StoreError."""
    what = f"entry {shown(version)} of partition {partition} of {address}"
    entry = decoded(decode_entry, stored, what)
    if (entry.partition, entry.version) != (partition, version):
        raise damaged(f"{what} is in truth entry {entry.version} of partition {entry.partition}")
    return entry


def checked_schedule(stored: object, *, partition: int, version: object, address: str) -> Schedule:
    """Return the schedule that stands at a version, or raise StoreError."""
    what = f"the schedule of entry {shown(version)} of partition {partition} of {address}"
    schedule = decoded(decode_schedule, stored, what)
    if schedule.version != version:
        raise damaged(f"{what} is in truth that of entry {schedule.version}")
    return schedule


def checked_progress(progress: Progress, what: str) -> Progress:
    """Return how far something is, or raise StoreError where a number of it can't be."""
    checked_number(progress.version, f"the version of {what}")
    for topic, offset in progress.offsets.items():
        if offset < 0:
            raise damaged(f"the offset of topic {topic} of {what} is {offset}")
    return progress


def key_bytes(keys: Sequence[Any], what: str) -> bytes:
    """Return keys that are read as signed integers, joined, or raise StoreError."""
    try:
        return array("q", keys).tobytes()
    except (TypeError, OverflowError):
        wrong = next(key for key in keys if not isinstance(key, int))
        raise damaged(f"{what} has a key {shown(wrong)}, which is no integer") from None


def checked_rows(spec: TableSpec, keys: bytes, values: Sequence[Any], what: str) -> Rows:
    """Return the rows of a table, or raise StoreError, with the key, where one is none."""
    size = spec.row_bytes
    # By sets: a look at each row in Python would take as long as reading it.
    if not ({*map(type, values)} <= {bytes} and {*map(len, values)} <= {size}):
        at, value = next(
            (at, each)
            for at, each in enumerate(values)
            if type(each) is not bytes or len(each) != size
        )
        is_row = f"{len(value)} bytes long" if type(value) is bytes else f"{shown(value)}, no bytes"
        raise damaged(
            f"{what}: the row of key {_key(keys, at)} is {is_row}, where {size} bytes belong"
        )
    rows = unpack_rows(spec, keys, b"".join(values))
    if spec.entity not in ID_ENTITIES and len(rows) and int(rows.keys[-1]) >= INDEX_MAX:
        raise damaged(f"{what}: its keys are indices, and one is {int(rows.keys[-1])}")
    return rows


def checked_names(keys: bytes, names: Sequence[Any], what: str) -> tuple[Keys, tuple[bytes, ...]]:
    """Return names and their keys, or raise StoreError, with the key, where one has another."""
    for at, name in enumerate(names):
        if type(name) is not bytes:
            raise damaged(f"{what}: the name of key {_key(keys, at)} is {shown(name)}, no bytes")
    if names:
        stored = np.frombuffer(keys, "<u8")
        own = IdColumn.of_bytes(names).keys()
        if (stored != own).any():
            at = int(np.flatnonzero(stored != own)[0])
            raise damaged(
                f"{what}: the name of key {_key(keys, at)} is {shown(names[at])}, whose key is"
                f" {_shown_key(int(own[at]))}"
            )
    return unpack_names(keys, names)


def check_ids(checkpoint: Checkpoint, layout: Layout | None, *, address: str) -> None:
    """Raise StoreError where a loaded checkpoint has a row of an id whose name it does not have."""
    given_up = set(layout.given_up) if layout else set()
    for spec in layout.tables if layout else ():
        rows, named = checkpoint.tables[spec.name], checkpoint.names.get(spec.entity)
        if named is None or spec.name in given_up:
            continue
        unknown = rows.keys[~_among(rows.keys, named[0])]
        if len(unknown):
            raise damaged(
                f"partition {checkpoint.partition} of {address}: rows:{spec.name} has a row of key"
                f" {_shown_key(int(unknown[0]))}, and names:{spec.entity} no such key"
            )


def _among(keys: Keys, known: Keys) -> NDArray[np.bool_]:
    """Whether each key is among the known ones, which rise."""
    if not len(known):
        return np.zeros(len(keys), dtype=np.bool_)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    found: NDArray[np.bool_] = known[at] == keys
    return found


def _key(keys: bytes, at: int) -> str:
    return _shown_key(int(np.frombuffer(keys, "<u8")[at]))


def _shown_key(key: int) -> str:
    """A key as the number that SQLite has, and as the bytes that Redis has."""
    data = key.to_bytes(8, "little")
    return f"{int.from_bytes(data, 'little', signed=True)} (0x{data.hex()})"
