"""How to read a file of records: its format, and what divides and names its columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from streamer.errors import ConfigError
from streamer_producers.columns import ColumnMapping
from streamer_producers.first_bytes import PARQUET, other_kind, wide_encoding
from streamer_producers.formats import Records, json_records, parquet_records, parquet_shape
from streamer_producers.log_file import COMPRESSED, LogFile
from streamer_producers.movielens import RATINGS_COLUMNS, layout_of
from streamer_producers.separated import column_names, declared_delimiter, separated_records

FORMATS: Final = ("jsonl", "csv", "tsv", "dat", "inter", "parquet")
"""Formats that ``--format`` names."""
_SUFFIXES: Final = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".dat": "dat",
    ".inter": "inter",
    ".item": "inter",
    ".parquet": "parquet",
}
_UNSAID: Final = ("", ".txt")
"""Suffixes that do not name a format: the first bytes do."""
_DELIMITERS: Final = {"csv": ",", "tsv": "\t", "inter": "\t", "dat": "::"}
_TRIED: Final = (",", "\t", ";", "|", "::")
_WRITTEN: Final = {"\\t": "\t", "tab": "\t"}
"""Delimiters that a shell does not take as they are."""


@dataclass(frozen=True, slots=True)
class RecordTable:
    """A file whose records can be read, any number of times.

    Attributes
    ----------
    n_estimated
        About how many records it holds; None: unknown.
    is_text
        Whether all values are text, as in CSV.
    lists
        Columns that the first line declares to be lists, divided by blanks (RecBole).
    """

    records: Callable[[], Records]
    n_estimated: int | None
    is_text: bool
    lists: frozenset[str] = frozenset()


def open_table(
    path: Path,
    mapping: ColumnMapping,
    *,
    name: str,
    file_format: str | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> RecordTable:
    """Find out how to read a file, and check that it has the columns that are needed.

    Parameters
    ----------
    name
        Of the file, for messages.
    file_format
        One of ``FORMATS``; None: as its suffix says, or its first bytes where it says nothing.
    delimiter
        Between values; None: the format's own, or another one that makes the needed columns.
    encoding
        Of text; None: UTF-8, or UTF-16 where the file begins so.

    Raises
    ------
    ConfigError
        When the format is unknown, the file can't be read, or lacks a column.
    """
    file = LogFile(path, encoding=encoding)
    file_format = _format_of(path, file, name, file_format)
    if file_format != "parquet":
        _require_text(file, name)
    if file_format == "parquet":
        columns, n_rows = parquet_shape(path)
        mapping.require(columns, name)
        sources = mapping.sources()
        wanted = columns if sources is None else list(sources.values())
        return RecordTable(lambda: parquet_records(path, wanted), n_rows, is_text=False)
    if file_format == "jsonl":
        return RecordTable(lambda: json_records(file), file.n_lines_estimated(), is_text=False)
    divided, names, has_names = _divided(file, mapping, file_format, delimiter)
    if names:
        mapping.require(names, name)

    def records() -> Records:
        rows = separated_records(file, delimiter=divided, columns=names or None)
        return islice(rows, int(has_names), None)

    lists = _declared_lists(file, divided) if file_format == "inter" else frozenset()
    return RecordTable(records, file.n_lines_estimated(), is_text=True, lists=lists)


def _format_of(path: Path, file: LogFile, name: str, file_format: str | None) -> str:
    """One of ``FORMATS``, or ``text`` for separated values of which nothing else is known."""
    if file_format is not None:
        if file_format not in FORMATS:
            raise ConfigError(f"--format {file_format!r} is none of {', '.join(FORMATS)}")
        return file_format
    if file.head().startswith(PARQUET):
        return "parquet"
    _require_text(file, name)
    suffix = Path(path.stem).suffix if path.suffix in COMPRESSED else path.suffix
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if ".tar" in path.suffixes[-2:] or suffix in (".tar", ".tgz"):
        raise ConfigError(f"{name}: this is an archive of tar; unpack it, and name a file of it")
    if suffix not in _UNSAID:
        known = ", ".join((*_SUFFIXES, ".txt", ".zip"))
        raise ConfigError(
            f"{name}: format {suffix!r} is unknown; give the file one of {known}, or name it"
            f" with --format, one of {', '.join(FORMATS)}"
        )
    _, first = next(((n, line) for n, line in file.lines() if not line.isspace()), (0, b""))
    return "jsonl" if first.lstrip()[:1] in (b"{", b"[") else "text"


def _require_text(file: LogFile, name: str) -> None:
    """Check by its first bytes that a file holds text in an encoding that is known."""
    head = file.head()
    if (said := other_kind(head, file.path)) is not None:
        raise ConfigError(f"{name}: {said}")
    if file.encoding is None and (encoding := wide_encoding(head)) is not None:
        raise ConfigError(
            f"{name}: it is text in {encoding} without a byte order mark; name that with --encoding"
            f" {encoding}"
        )


def _divided(
    file: LogFile, mapping: ColumnMapping, file_format: str, delimiter: str | None
) -> tuple[str, list[str], bool]:
    """What divides values, the names of the columns, and whether the first line has them.

    The format's own delimiter, or another one with which the columns are there that are needed.
    """
    # MovieLens's own files, read with another mapping, have no line of names.
    layout = layout_of({file.path.name: file})
    bare = layout is not None and not layout.has_header
    own = _DELIMITERS.get(file_format)
    tried = [each for each in (declared_delimiter(file), own, *_TRIED) if each is not None]
    if delimiter is not None:
        tried = [_WRITTEN.get(delimiter, delimiter)]
    found: list[tuple[str, list[str]]] = []
    for each in tried:
        first = column_names(file, delimiter=each)
        if mapping.by_place:
            names = [f"#{place}" for place in range(1, len(first) + 1)]
        elif bare:
            names = list(RATINGS_COLUMNS)
        else:
            names = (
                [_plain_name(name, mapping) for name in first] if file_format == "inter" else first
            )
        found.append((each, names))
        if not mapping.missing(names):
            break
    else:
        found.sort(key=lambda one: -len(one[1]))  # stable: the format's own of equal ones
        found.append(found[0])
    divided, names = found[-1]
    return divided, names, not (bare or mapping.by_place)


def _declared_lists(file: LogFile, delimiter: str) -> frozenset[str]:
    declared = (name.partition(":") for name in column_names(file, delimiter=delimiter))
    return frozenset(name for name, _, kind in declared if kind == "token_seq")


def _plain_name(name: str, mapping: ColumnMapping) -> str:
    """Name of a column of RecBole's atomic files, ``user_id:token``, without its type."""
    return name if name in (mapping.sources() or {}).values() else name.partition(":")[0]
