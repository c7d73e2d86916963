"""What a file is by its first bytes, where its name says that it holds text."""

from __future__ import annotations

import zipfile
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from pathlib import Path
from typing import Final

from streamer_producers.zip_archives import zip_archive

PARQUET: Final = b"PAR1"
GZIP: Final = b"\x1f\x8b"
ZSTD: Final = b"\x28\xb5\x2f\xfd"
_EXPORT: Final = "export its table as CSV"
_CONVERT: Final = "write it as CSV, JSON lines or Parquet"
_UNPACK: Final = "unpack it, or compress it with gzip"
_KINDS: Final[tuple[tuple[bytes, str, str], ...]] = (
    (PARQUET, "Parquet", "name it so with --format parquet"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a spreadsheet of Excel (.xls)", _EXPORT),
    (b"SQLite format 3\x00", "a SQLite database", _EXPORT),
    (b"%PDF-", "a PDF", _EXPORT),
    (b"{\\rtf", "a text of a word processor (RTF)", _EXPORT),
    (b"BZh", "compressed with bzip2", _UNPACK),
    (b"\xfd7zXZ\x00", "compressed with xz", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"ORC", "ORC", _CONVERT),
    (b"Obj\x01", "an Avro file", _CONVERT),
    (b"ARROW1", "an Arrow (Feather) file", _CONVERT),
    (b"\x89HDF\r\n\x1a\n", "HDF5", _CONVERT),
    (b"\x93NUMPY", "an array of NumPy", _CONVERT),
    (b"\x80\x04\x95", "a pickle of Python", _CONVERT),
    (b"\x80\x05\x95", "a pickle of Python", _CONVERT),
    (b"\x89PNG", "a picture", _CONVERT),
    (b"\xff\xd8\xff", "a picture", _CONVERT),
    (b"<!doctype html", "a web page", "it may be that of a login: get the file itself"),
    (b"<html", "a web page", "it may be that of a login: get the file itself"),
    (b"<?xml", "XML", _CONVERT),
    (b"version https://git-lfs", "a pointer of Git LFS", "fetch the file with `git lfs pull`"),
)
"""How a file begins, in lower case where it is text; what it is then, and what to do."""
_IN_ARCHIVES: Final = (
    ("xl/", "a spreadsheet of Excel (.xlsx)"),
    ("word/", "a document of Word (.docx)"),
    ("content.xml", "a spreadsheet or document of LibreOffice"),
)
HEAD_BYTES: Final = 1_024
_MARKS: Final = (BOM_UTF16_LE, BOM_UTF16_BE, BOM_UTF32_LE, BOM_UTF32_BE)
_WIDE_MIN: Final = 0.25
"""Share of 0 among the high bytes of UTF-16: delimiters and line ends are ASCII in any script."""
_CONTROLS: Final = bytes((*range(5, 9), 11, *range(14, 26)))
"""Characters that neither divide values (Hive's files do it by 1, others by 28 to 31) nor stand in
the holes of a log whose writer died (0)."""
_NO_TEXT_MIN: Final = 0.03
"""Share of them from which on bytes are no text: 6.6 % of random ones are."""


def other_kind(head: bytes, path: Path) -> str | None:
    """Say that a file holds no text, what it is, and what to do; None: it may hold text.

    Parameters
    ----------
    head
        Its first bytes, decompressed.
    path
        Of the file, to look into a zip archive.
    """
    if head.startswith(b"PK\x03\x04"):
        what, remedy = _zip_kind(path)
        return f"it is {what}; {remedy}"
    start = head[:16].lower()
    for magic, what, remedy in _KINDS:
        if head.startswith(magic) or (magic[:1] == b"<" and start.startswith(magic)):
            return f"it is {what}; {remedy}"
    if head.startswith(_MARKS) or wide_encoding(head):
        return None
    if sum(map(head.count, _CONTROLS)) > _NO_TEXT_MIN * len(head):
        return f"its bytes are no text; {_CONVERT}"
    return None


def wide_encoding(head: bytes) -> str | None:
    """Return the encoding of text in characters of two or four bytes, by where its bytes are 0;
    None where it begins with the mark of one, which says it.

    >>> wide_encoding("user_id,item_id".encode("utf-16-le")), wide_encoding(b"user_id,item_id")
    ('utf-16-le', None)
    """
    first, second, third, fourth = (_nuls(head[at::4]) for at in range(4))
    if head.startswith(_MARKS):
        return None
    if first < 0.1 and min(third, fourth) > 0.9:
        return "utf-32-le"
    if fourth < 0.1 and min(first, second) > 0.9:
        return "utf-32-be"
    if min(second, fourth) > _WIDE_MIN and max(first, third) < 0.1:
        return "utf-16-le"
    if min(first, third) > _WIDE_MIN and max(second, fourth) < 0.1:
        return "utf-16-be"
    return None


def _nuls(head: bytes) -> float:
    return head.count(0) / len(head) if head else 0.0


def _zip_kind(path: Path) -> tuple[str, str]:
    try:
        with zip_archive(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        with path.open("rb") as file:  # it may be compressed, and begin otherwise
            is_itself = file.read(2) == b"PK"
        if is_itself:
            return "a zip archive that is cut or damaged", "get it again"
        return "a zip archive", "unpack it"
    for part, what in _IN_ARCHIVES:
        if any(name.startswith(part) for name in names):
            return what, _EXPORT
    return "a zip archive", "unpack it"
