"""Values between delimiters → records, a row at a time; no row is lost to a quote of another.

Blanks around a value are no part of it, whichever Unicode has (a non-breaking one is what
spreadsheets leave), also of no width; nor are the signs of ``="002"``, as spreadsheets keep digits.
That holds within quotes too: exports that quote every value pad those of columns of fixed width,
and an id with blanks around it would be another one than the catalogue's.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, islice
from typing import Final

from streamer.errors import BadMessage, ConfigError
from streamer_producers.formats import Records
from streamer_producers.log_file import LINE_BYTES_MAX, LogFile

VALUE_LINES_MAX = 1_000
"""Lines of a quoted value at most: the lines after a quote that is never closed are rows."""

Row = list[str] | BadMessage
_NO_WIDTH: Final = "\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"
"""Blanks that are none to Python, and marks of direction: copies of web pages leave them."""
_TEXT_FORMULA: Final = re.compile(r'="((?:[^"]|"")*)"')
"""As spreadsheets are told that digits are text."""
_BACKSLASHED_QUOTE: Final = re.compile(r'(\\+)"')
_DECLARED: Final = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""The line before the names by which spreadsheets are told what divides values."""
_COMMENT: Final = "#"
_COMMENTS_MAX: Final = 1_000
"""Lines before the names that may be comments."""


def separated_records(
    file: LogFile,
    *,
    delimiter: str,
    columns: Sequence[str] | None = None,
    quoted: bool = True,
    fallback_encoding: str | None = None,
) -> Records:
    """Values between delimiters, a record a row.

    Parameters
    ----------
    delimiter
        One character, or several, which are then not quoted.
    columns
        Their names; None: the first line has them.
    quoted
        Whether values may stand in double quotes, and then hold delimiters and ends of lines.
    fallback_encoding
        Of lines that are not UTF-8; None: such a line is malformed where its text is used.

    Raises
    ------
    ConfigError
        When the first line, which has the names, has a quote that is not closed, or a name twice.
    """
    for number, row in _rows(file, delimiter, quoted, fallback_encoding, columns):
        if isinstance(row, BadMessage):
            if columns is None:
                raise ConfigError(f"{file}:{number}: the names of the columns: {row}")
            yield number, row
        elif columns is None:
            columns = _bare(row)
            if twice := sorted({name for name in columns if name and columns.count(name) > 1}):
                n_named = columns.count(twice[0])
                raise ConfigError(
                    f"{file}:{number}: {twice[0]!r} names {n_named} columns; rename all"
                    " but one of them"
                )
        elif _are_names(row, columns):
            yield number, BadMessage("the names of the columns again; files were joined here")
        elif len(row) != len(columns):
            yield number, BadMessage(f"{len(row)} values where {len(columns)} columns are named")
        else:
            yield number, dict(zip(columns, _bare(row), strict=True))


def declared_delimiter(file: LogFile) -> str | None:
    """Return what divides values by the line ``sep=;`` before the names; None: there is none."""
    for _, line in islice(file.lines(), _COMMENTS_MAX):
        text = line.decode(errors="replace")
        if found := _DECLARED.fullmatch(text.rstrip("\r\n")):
            return found[1]
        if not _may_be_comment(text):
            break
    return None


def column_names(file: LogFile, *, delimiter: str) -> list[str]:
    """Names in the first line that is not blank; none when there is no such line.

    Raises
    ------
    ConfigError
        When that line has a quote that is not closed.
    """
    for number, row in _rows(file, delimiter, True, None, None):
        if isinstance(row, BadMessage):
            raise ConfigError(f"{file}:{number}: the names of the columns: {row}")
        return _bare(row)
    return []


def _bare(row: list[str]) -> list[str]:
    """The values without what is no part of them."""
    values = [value.strip() for value in row]
    joined = "".join(values)
    if joined.isascii() and '="' not in joined:
        return values
    for at, value in enumerate(values):
        if value[:1] in _NO_WIDTH or value[-1:] in _NO_WIDTH:
            values[at] = value = value.strip(_NO_WIDTH + " \t\xa0")
        if found := _TEXT_FORMULA.fullmatch(value):
            values[at] = found[1].replace('""', '"').strip()
    return values


def _are_names(row: Sequence[str], columns: Sequence[str]) -> bool:
    """Whether a row has the names of the columns, as where files with a line of names were joined.

    A byte order mark may stand before them, and RecBole's types behind them.
    """
    if len(row) != len(columns):
        return False
    names = (name.strip("\ufeff \t") for name in row)
    return all(
        name == column or name.partition(":")[0] == column
        for name, column in zip(names, columns, strict=True)
    )


def _rows(
    file: LogFile,
    delimiter: str,
    quoted: bool,
    fallback_encoding: str | None,
    columns: Sequence[str] | None,
) -> Iterator[tuple[int, Row]]:
    """Rows that are not blank, with the number of the last line of each."""
    n_columns = None if columns is None else len(columns)
    parts = (
        part
        for _, line in file.lines()
        for part in _parted(_decoded(line, fallback_encoding), delimiter, n_columns)
    )
    lines = _Lines(_without_preamble(parts, delimiter))
    while (line := lines.take()) is not None:
        if not line.strip("\r\n"):
            continue
        row: Row
        if quoted and '"' in line and len(delimiter) == 1:
            row = _quoted_row(line, lines, delimiter, n_columns)
        else:
            row = line.rstrip("\r\n").split(delimiter)
        if n_columns is None and not isinstance(row, BadMessage):
            n_columns = len(row)
        yield lines.number, row


def _without_preamble(lines: Iterator[str], delimiter: str) -> Iterator[str]:
    """The lines, blank in the place of those before the first row that are none: one that says what
    divides values, and comments.

    A line that begins with ``#`` and has as many values as the first row is one, or its names.
    """
    before: list[str] = []
    for line in lines:
        if _DECLARED.fullmatch(line.rstrip("\r\n")):
            line = "\n"
        if len(before) == _COMMENTS_MAX or not _may_be_comment(line):
            n_values = _n_values(line, delimiter)
            yield from (
                each if n_values > 1 and _n_values(each, delimiter) == n_values else "\n"
                for each in before
            )
            yield from chain([line], lines)
            return
        before.append(line)
    yield from before


def _may_be_comment(line: str) -> bool:
    return line.isspace() or line.startswith(_COMMENT)


def _parted(line: str, delimiter: str, n_columns: int | None) -> list[str]:
    """The rows of a line between carriage returns, where most of them have all values; the last may
    have a quote that lines behind it close.
    """
    body = line.rstrip("\r\n")
    if "\r" not in body:
        return [line]
    parts: list[str] = []
    for piece in body.split("\r"):
        if parts and parts[-1].count('"') % 2:
            parts[-1] += "\r" + piece
        elif piece:
            parts.append(piece)
    is_open = parts[-1].count('"') % 2
    numbers = [_n_values(part, delimiter) for part in parts[: len(parts) - is_open]]
    n_columns = n_columns or next(iter(numbers), 0)
    if 2 * numbers.count(n_columns) <= len(numbers):
        return [line]
    return [*(part + "\n" for part in parts[:-1]), parts[-1] + line[len(body) :]]


class _Lines:
    """Lines of which the following ones can be read before they are taken."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.number = 0
        """Of the line taken last, from 1."""
        self._lines = lines
        self._ahead: deque[str] = deque()

    def take(self) -> str | None:
        """The next line; None at the end."""
        self.number += 1
        return self._ahead.popleft() if self._ahead else next(self._lines, None)

    def ahead(self) -> Iterator[str]:
        """The lines that follow, which stay to be taken."""
        for at in count():
            if at == len(self._ahead):
                line = next(self._lines, None)
                if line is None:
                    return
                self._ahead.append(line)
            yield self._ahead[at]


def _quoted_row(first: str, lines: _Lines, delimiter: str, n_columns: int | None) -> Row:
    """The row that begins with a line; further lines are taken only where a quoted value goes on.

    A quote that is left open would make all rows up to the next quote a part of its value. So a
    value goes on over lines only where none of them is a row of its own, and where the quote that
    ends it is followed by a delimiter or the end of the line.
    """
    n_plain = len(first.split(delimiter))
    n_columns = n_columns or n_plain
    if '\\"' in first and (escaped := _backslashed_row(first, delimiter, n_columns)) is not None:
        return escaped
    taken = [first]
    open_at_end = False

    def feed() -> Iterator[str]:
        """The lines that may be of this row, as the reader asks for them."""
        nonlocal open_at_end
        yield first
        n_characters = len(first)
        for line in lines.ahead():
            n_characters += len(line)
            inner_is_row = len(taken) > 1 and _n_values(taken[-1], delimiter) == n_columns
            if inner_is_row or len(taken) == VALUE_LINES_MAX or n_characters > LINE_BYTES_MAX:
                break
            taken.append(line)
            yield line
        open_at_end = True

    try:
        row = next(_reader(feed(), delimiter))
        if not open_at_end and len(taken) > 1:
            # The last line may be a row too, where the first is one if its quote means nothing.
            plain_row = n_columns in (n_plain, _n_values(first, delimiter))
            open_at_end = plain_row and _n_values(taken[-1], delimiter) == n_columns
            if not open_at_end:
                row = next(_reader(taken, delimiter, strict=True))
    except csv.Error as error:
        if len(taken) == 1:
            return BadMessage(f"not a row of values ({error})")
        open_at_end = True
    if open_at_end:
        return BadMessage(
            "a quote opens a value that is not closed; close it, or write the value in quotes, with"
            ' its own quotes twice: """Weird Al"'
        )
    for _ in taken[1:]:
        lines.take()
    return row


def _backslashed_row(line: str, delimiter: str, n_columns: int) -> Row | None:
    """The row of a line whose quoted values have backslashes before their own quotes; None: its
    backslashes are of the values, or it can't be told yet."""
    ends_midway = False
    try:
        if len(next(_reader([line], delimiter, strict=True))) == n_columns:
            return None
    except csv.Error as error:
        ends_midway = "unexpected end" in str(error)
    twice = _BACKSLASHED_QUOTE.sub(_quote_twice, line)
    try:
        row = next(_reader([twice], delimiter, strict=True))
    except csv.Error:
        row = []
    if len(row) == n_columns:
        return row
    if ends_midway:
        return None
    return BadMessage(
        "a quote behind a backslash may end its value or be a part of it; write quotes within"
        ' values twice: """Weird Al"""'
    )


def _quote_twice(found: re.Match[str]) -> str:
    """Half of the backslashes, and a quote that is a part of the value where they are odd."""
    n = len(found[1])
    return "\\" * (n // 2) + '"' * (1 + n % 2)


def _n_values(line: str, delimiter: str) -> int:
    """Values of a line as a row of its own, in which a quote may be left open."""
    if len(delimiter) > 1 or '"' not in line:
        return len(line.split(delimiter))
    return len(next(_reader([line], delimiter), []))


def _reader(lines: Iterable[str], delimiter: str, *, strict: bool = False) -> Iterator[list[str]]:
    """Rows of values of which some are quoted, also behind blanks: ``1, "a, b"`` has two."""
    skips = delimiter != " "  # between blanks, none is passed over: a value may be empty
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=skips, strict=strict)


def _decoded(line: bytes, fallback_encoding: str | None) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        if fallback_encoding is not None:
            return line.decode(fallback_encoding)
        # Half surrogates in the place of the broken bytes: what uses them refuses them.
        return line.decode(errors="surrogateescape")
