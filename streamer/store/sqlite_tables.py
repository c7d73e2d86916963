"""The SQL tables of a store, and how names and rows go in and out of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any, Final

import numpy as np

from streamer.errors import damaged
from streamer.protocols import Checkpoint, Layout
from streamer.store.checked import (
    NUMBER_MAX,
    checked_names,
    checked_number,
    checked_progress,
    checked_rows,
    decoded,
    is_number,
    key_bytes,
    shown,
)
from streamer.store.layout import Progress, decode_layout, decode_progress, pack_rows
from streamer.store.sqlite_file import Cursor
from streamer_models.state.table import ID_ENTITIES, Keys, Rows, TableSpec

# A key is the unsigned key of an id read as a signed integer; table_index is the position of a
# model's table in the layout.
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS layout (id INTEGER PRIMARY KEY CHECK (id = 0), layout TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS partitions (
    id INTEGER PRIMARY KEY, owner TEXT, version INTEGER NOT NULL,
    progress BLOB NOT NULL, checkpoint BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS entries (
    partition INTEGER, version INTEGER, entry BLOB NOT NULL, PRIMARY KEY (partition, version));
CREATE TABLE IF NOT EXISTS schedules (
    partition INTEGER, version INTEGER, schedule BLOB NOT NULL, PRIMARY KEY (partition, version)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS names (
    partition INTEGER, entity TEXT, key INTEGER, name BLOB NOT NULL,
    PRIMARY KEY (partition, entity, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rows (
    partition INTEGER, table_index INTEGER, key INTEGER, value BLOB NOT NULL,
    PRIMARY KEY (partition, table_index, key)) WITHOUT ROWID;
"""
_TABLES: Final = ("entries", "schedules", "names", "rows")


def read_partition(
    cursor: Cursor, partition: int, *, address: str
) -> tuple[str | None, Progress, Progress]:
    """Owner, progress and checkpoint of a partition.

    Raises
    ------
    StoreError
        Where they can't be, or contradict each other.
    """
    row = cursor.execute(
        "SELECT owner, version, progress, checkpoint FROM partitions WHERE id = ?", [partition]
    ).fetchone()
    if row is None:
        return None, Progress(), Progress()
    owner, version, *records = row
    progress, checkpoint = (
        checked_progress(decoded(decode_progress, record, what), what)
        for what, record in zip(
            (
                f"the progress of partition {partition} of {address}",
                f"the checkpoint of partition {partition} of {address}",
            ),
            records,
            strict=True,
        )
    )
    if checked_number(version, f"the version of partition {partition} of {address}") != (
        progress.version
    ):
        raise damaged(
            f"partition {partition} of {address} is at version {version}, by its progress at"
            f" {progress.version}"
        )
    if checkpoint.version == progress.version and checkpoint.generation != progress.generation:
        raise damaged(
            f"the checkpoint of partition {partition} of {address} is of generation"
            f" {checkpoint.generation} of the settings, its progress of {progress.generation}"
        )
    return owner, progress, checkpoint


def read_version(cursor: Cursor, partition: int) -> tuple[str | None, int]:
    """Owner and greatest version that a partition ever had, where records of it are damaged too."""
    owner, *versions = cursor.execute(
        "SELECT owner, version FROM partitions WHERE id = ?", [partition]
    ).fetchone() or (None, 0)
    for table in ("entries", "schedules"):
        versions += cursor.execute(
            f"SELECT MAX(version) FROM {table} WHERE partition = ? AND version <= ?",
            [partition, NUMBER_MAX],
        ).fetchone()
    return owner, max((each for each in versions if is_number(each)), default=0)


def read_versions(cursor: Cursor) -> dict[int, int]:
    """Versions of the partitions that have any; 0 for one that is no number."""
    found = cursor.execute("SELECT id, version FROM partitions WHERE version <> 0 ORDER BY id")
    return {partition: version if is_number(version) else 0 for partition, version in found}


def is_ahead(cursor: Cursor, partition: int, version: int) -> bool:
    """Return whether there are records of a version, or of later ones."""
    return any(
        cursor.execute(
            f"SELECT EXISTS (SELECT 1 FROM {table} WHERE partition = ? AND version >= ?)",
            [partition, version],
        ).fetchone()[0]
        for table in ("entries", "schedules")
    )


def drop_partition(cursor: Cursor, partition: int, n_partitions: int | None) -> None:
    """Drop every record of a partition but the one that says how far it is, and records of what is
    none of so many partitions."""
    for table in _TABLES:
        cursor.execute(f"DELETE FROM {table} WHERE partition = ?", [partition])
        if n_partitions is not None:
            cursor.execute(
                f"DELETE FROM {table} WHERE partition IS NULL OR partition < 0 OR partition >= ?"
                " OR typeof(partition) <> 'integer'",
                [n_partitions],
            )


def check_known(cursor: Cursor, partition: int, layout: Layout | None, *, address: str) -> None:
    """Raise StoreError where there are records of partitions, or of a partition's entities or
    tables, that the layout does not have."""
    if layout is None:
        return
    for table in _TABLES:
        for found in _distinct(cursor, table, "partition"):
            if found not in range(layout.n_partitions):
                raise damaged(
                    f"table {table} of {address} has records of partition {shown(found)}, and there"
                    f" are {layout.n_partitions}"
                )
    strangers = cursor.execute(
        "SELECT id, progress FROM partitions WHERE id < 0 OR id >= ?", [layout.n_partitions]
    ).fetchall()
    for found, progress in strangers:  # one that was forgotten may stay
        what = f"the progress of partition {found} of {address}"
        if decoded(decode_progress, progress, what).offsets:
            raise damaged(
                f"{address} has learned of partition {found}, and there are {layout.n_partitions}"
            )
    entities = {spec.entity for spec in layout.tables}.intersection(ID_ENTITIES)
    for table, column, known in (
        ("names", "entity", entities),
        ("rows", "table_index", range(len(layout.tables))),
    ):
        for found in _distinct(cursor, table, column, partition):
            if found not in known:
                raise damaged(
                    f"table {table} of {address} has records of {column} {shown(found)} in"
                    f" partition {partition}, which the layout does not have"
                )


def _distinct(
    cursor: Cursor, table: str, column: str, partition: int | None = None
) -> Iterator[object]:
    """Values of a column of a primary key: a look for each, however many rows have it."""
    of = "1" if partition is None else f"partition = {partition}"
    (found,) = cursor.execute(f"SELECT min({column}) FROM {table} WHERE {of}").fetchone()
    while found is not None:
        yield found
        (found,) = cursor.execute(
            f"SELECT min({column}) FROM {table} WHERE {of} AND {column} > ?", [found]
        ).fetchone()


def read_layout(cursor: Cursor, *, address: str) -> Layout | None:
    row = cursor.execute("SELECT layout FROM layout").fetchone()
    if row is None:
        return None
    text = row[0].encode() if isinstance(row[0], str) else row[0]
    return decoded(decode_layout, text, f"the layout of {address}")


def read_log(cursor: Cursor, partition: int) -> Iterator[tuple[Any, Any]]:
    """Version and bytes of every entry, one after the other: all at once may be gigabytes."""
    versions = cursor.execute(
        "SELECT version FROM entries WHERE partition = ? ORDER BY version", [partition]
    ).fetchall()
    for (version,) in versions:
        found = cursor.execute(
            "SELECT entry FROM entries WHERE partition = ? AND version IS ?", [partition, version]
        ).fetchall()
        yield version, found[0][0]


def read_names(
    cursor: Cursor, partition: int, entity: str, *, address: str
) -> tuple[Keys, tuple[bytes, ...]]:
    found = cursor.execute(
        "SELECT key, name FROM names WHERE partition = ? AND entity = ?", [partition, entity]
    ).fetchall()
    what = f"partition {partition} of {address}, names:{entity}"
    keys = key_bytes([key for key, _ in found], what)
    return checked_names(keys, [name for _, name in found], what)


def read_rows(
    cursor: Cursor, partition: int, table_index: int, spec: TableSpec, *, address: str
) -> Rows:
    found = cursor.execute(
        "SELECT key, value FROM rows WHERE partition = ? AND table_index = ?",
        [partition, table_index],
    ).fetchall()
    what = f"partition {partition} of {address}, rows:{spec.name}"
    keys = key_bytes([key for key, _ in found], what)
    return checked_rows(spec, keys, [value for _, value in found], what)


def write_tables(cursor: Cursor, checkpoint: Checkpoint, layout: Layout) -> None:
    """Drop what ``checkpoint`` removed, then write its names and rows."""
    partition = checkpoint.partition
    for entity, removed in checkpoint.removed.items():
        keys = _signed(removed)
        cursor.executemany(
            "DELETE FROM names WHERE partition = ? AND entity = ? AND key = ?",
            zip(repeat(partition), repeat(entity), keys, strict=False),
        )
        for index, spec in enumerate(layout.tables):
            if spec.entity == entity:
                cursor.executemany(
                    "DELETE FROM rows WHERE partition = ? AND table_index = ? AND key = ?",
                    zip(repeat(partition), repeat(index), keys, strict=False),
                )
    for entity, (added, names) in checkpoint.names.items():
        cursor.executemany(
            "INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?)",
            zip(repeat(partition), repeat(entity), _signed(added), names, strict=False),
        )
    given_up = set(layout.given_up)
    for index, spec in enumerate(layout.tables):
        if spec.name in given_up:
            cursor.execute(
                "DELETE FROM rows WHERE partition = ? AND table_index = ?", [partition, index]
            )
        elif spec.name in checkpoint.tables:
            rows = _split(spec, checkpoint.tables[spec.name])
            cursor.executemany(
                "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)",
                ((partition, index, key, value) for key, value in rows),
            )


def _split(spec: TableSpec, rows: Rows) -> Iterator[tuple[int, bytes]]:
    """Rows by rising key: a B-tree takes them about twice as fast so."""
    order = np.argsort(rows.keys.view(np.int64), kind="stable")
    keys, values = rows.keys[order], rows.values[order]
    _, joined = pack_rows(spec, Rows(keys, values))
    size = spec.row_bytes
    split = (joined[at : at + size] for at in range(0, len(joined), size))
    return zip(_signed(keys), split, strict=True)


def _signed(keys: Keys) -> list[int]:
    signed: list[int] = keys.astype(np.uint64, copy=False).view(np.int64).tolist()
    return signed
