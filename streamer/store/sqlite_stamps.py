"""Stamps in a SQLite file: they tell whether a write-ahead log belongs to it.

SQLite reads whatever log has the name of a file into it: into a copy that was put in the place of
the file, too. So each transaction writes a stamp, half of which names the stamp before it, where
SQLite has room for an application's own: ``application_id``, 32 bits of the first page. A log
belongs to a file that has one of the log's stamps, or the one before the first of them. That holds
at each moment of a checkpoint, which copies pages of the log to the file in any order, and after a
crash in it: the first page is the one of before, or that of a transaction of the log.

Formats: https://www.sqlite.org/fileformat.html, sections 1.3 and 4.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

MIXED: Final = 0xFFFF_FFFF
"""Stamp of a file into which others' bytes came while it was in use."""
_BITS_DRAWN: Final = 16
_AT: Final = 68
"""Place of ``application_id`` in the first page."""
_LOG_HEAD: Final = struct.Struct(">8I")
_FRAME_HEAD: Final = struct.Struct(">6I")
_BIG_ENDIAN: Final = 0x377F_0683
"""First number of a log whose checksums are of big-endian numbers."""
_PAGE_BYTES: Final = {1 << bits for bits in range(9, 17)}
_MASK: Final = 0xFFFF_FFFF


def next_stamp(before: int) -> int:
    """Return the stamp of a transaction behind another one.

    A log of other transactions is taken for that of a file in 1 of 65,536 cases, by chance.
    """
    return _name(before) << _BITS_DRAWN | 1 + secrets.randbelow((1 << _BITS_DRAWN) - 2)


def read_stamp(connection: sqlite3.Connection) -> int:
    """Return the stamp as a connection sees it; 0: there is none yet."""
    return int(connection.execute("PRAGMA application_id").fetchone()[0]) & _MASK


def write_stamp(connection: sqlite3.Connection, stamp: int) -> None:
    """Set the stamp, in the transaction of the connection."""
    signed = stamp - (1 << 32) if stamp >> 31 else stamp
    connection.execute(f"PRAGMA application_id = {signed}")


def stamp_in_file(path: Path) -> int:
    """Return the stamp that a file has without its log.

    SQLite reads it, which takes 0.2 ms: to open and close the file otherwise would end the locks
    that this process holds on it.

    Raises
    ------
    sqlite3.Error
        When the file is not there, or is none of SQLite.
    """
    uri = f"{Path(os.path.realpath(path)).as_uri()}?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as alone:
        # Else a file that a checkpoint has not made as long yet as its first page says is damaged.
        alone.execute("PRAGMA writable_schema = ON")
        return read_stamp(alone)


def stamps_in_log(log: Path) -> list[int]:
    """Return the stamps in a log, oldest first; of a thousand pages in 1 ms."""
    return [stamp for _, stamp in _frames(log) if stamp is not None]


def place(stamp: int, logged: Sequence[int]) -> int | None:
    """Return where among the stamps of a log a file stands: -1, before the first; None: the log is
    not that of the file."""
    for at in range(len(logged) - 1, -1, -1):
        if logged[at] == stamp:
            return at
    return -1 if logged and logged[0] >> _BITS_DRAWN == _name(stamp) else None


def is_read(log: Path) -> bool:
    """Return whether SQLite reads a log: after a power cut parts of it may be missing, and nothing
    is read from there on.

    Sums up the log as SQLite does, to the end of the first transaction with a stamp: 20 ms a MB.
    """
    stamped = False
    with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
        head = file.read(_LOG_HEAD.size)
        order = ">" if head[:4] == _BIG_ENDIAN.to_bytes(4, "big") else "<"
        sums = _summed(head[:24], order, (0, 0))
        for at, stamp in _frames(log):
            file.seek(at)
            frame = file.read(_FRAME_HEAD.size)
            page = file.read(_LOG_HEAD.unpack(head)[2])
            sums = _summed(frame[:8] + page, order, sums)
            _, n_pages, _, _, *stored = _FRAME_HEAD.unpack(frame)
            if tuple(stored) != sums:
                return False
            stamped = stamped or stamp is not None
            if stamped and n_pages:  # the last frame of a transaction says how many there are
                return True
    return False


def _frames(log: Path) -> Iterator[tuple[int, int | None]]:
    """Place of each frame of a log, and the stamp in it where it has the first page. Frames of
    former logs, which lie behind the last one, have other salts."""
    with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
        descriptor = file.fileno()
        head = os.pread(descriptor, _LOG_HEAD.size, 0)
        if len(head) < _LOG_HEAD.size:
            return
        _, _, page_bytes, _, *salts, _, _ = _LOG_HEAD.unpack(head)
        if page_bytes not in _PAGE_BYTES:
            return
        at = _LOG_HEAD.size
        while len(frame := os.pread(descriptor, _FRAME_HEAD.size, at)) == _FRAME_HEAD.size:
            page, _, *own, _, _ = _FRAME_HEAD.unpack(frame)
            if own != salts:
                return
            stamp = None
            if page == 1:
                found = os.pread(descriptor, 4, at + _FRAME_HEAD.size + _AT)
                if len(found) < 4:
                    return
                stamp = int.from_bytes(found, "big")
            yield at, stamp
            at += _FRAME_HEAD.size + page_bytes


def _summed(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    """Return the checksums of a log, carried on over 8 bytes at a time."""
    first, second = sums
    for one, other in struct.iter_unpack(f"{order}II", data[: len(data) // 8 * 8]):
        first = (first + one + second) & _MASK
        second = (second + other + first) & _MASK
    return first, second


def _name(stamp: int) -> int:
    digest = blake2b(stamp.to_bytes(4, "big"), digest_size=2).digest()
    return int.from_bytes(digest, "big")
