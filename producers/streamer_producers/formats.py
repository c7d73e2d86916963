"""Files → records, one at a time: JSON lines and Parquet; for separated values see `separated`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from streamer.errors import BadMessage, ConfigError
from streamer_producers.arrow import import_pyarrow
from streamer_producers.arrow_values import values
from streamer_producers.log_file import LINE_BYTES_MAX, LogFile

Record = dict[str, object] | BadMessage
"""Column → value; or why the line holds none."""
Records = Iterator[tuple[int, Record]]
"""Line numbers (of Parquet: row numbers), from 1, and what the lines hold."""

PARQUET_ROWS = 8_192
"""Rows held in memory at a time, beside the row group that Parquet itself decompresses."""
_BLOCK_CHARACTERS = 1 << 16


def _is_row_of_values(line: bytes) -> bool:
    """Whether a line is an array by itself that has values, but no objects."""
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    is_row = isinstance(found, list) and bool(found)
    return is_row and not any(isinstance(each, dict | list) for each in found)


def json_records(file: LogFile) -> Records:
    """One JSON object a line; or objects over several lines, or one array of all of them.

    Blank lines are passed over.

    Raises
    ------
    ConfigError
        When what is left can't be read, or lines are arrays, whose values have no names.
    """
    decode = msgspec.json.decode
    first = next((line for _, line in file.lines() if not line.isspace()), b"").strip()
    if _is_row_of_values(first):
        raise ConfigError(
            f"{file}:1: the line is an array of values without names; write one object a line, as"
            ' {"user_id": "ann", "item_id": "tea"}'
        )
    if first == b"{" or first.startswith(b"["):
        yield from _json_values(file)
        return
    # Carriage returns alone end lines, too: there is none inside of JSON's texts.
    lines = ((number, part) for number, line in file.lines() for part in line.split(b"\r"))
    for number, line in lines:
        if not line or line.isspace():
            continue
        try:
            record = decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            yield number, BadMessage(f"{_shown(line)} is not JSON ({error})")
        else:
            if isinstance(record, dict):
                yield number, record
            else:
                yield number, BadMessage(f"{_shown(line)} is not an object")


def _json_values(file: LogFile) -> Records:
    """Objects one after the other, wherever lines end, or the elements of one array.

    Memory: one object of ``LINE_BYTES_MAX`` characters at most.
    """
    decoder = json.JSONDecoder()
    with file.open_text() as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape")
        buffer, line, at_end = "", 1, False
        is_first, is_array = True, False
        while True:
            rest = buffer.lstrip(" \t\r\n," + "[" * is_first)
            passed = len(buffer) - len(rest)
            is_array = is_array or (is_first and "[" in buffer[:passed])
            line += buffer.count("\n", 0, passed)
            buffer = rest
            is_first = is_first and not buffer
            try:
                value, end = decoder.raw_decode(buffer)
            except (ValueError, RecursionError) as error:
                if not at_end and len(buffer) < LINE_BYTES_MAX:
                    block = text.read(_BLOCK_CHARACTERS)
                    buffer, at_end = buffer + block, not block
                    continue
                if at_end and buffer.rstrip() == "]" * is_array:
                    return
                if at_end and not buffer:
                    raise ConfigError(
                        f"{file}:{line}: the array is cut, no ] is at its end; get the file again,"
                        " or write one object a line"
                    ) from error
                raise ConfigError(
                    f"{file}:{line}: not JSON ({error}), and the rest can't be read; mend it, or"
                    " write one object a line"
                ) from error
            if isinstance(value, dict):
                yield line, value
            else:
                yield (
                    line,
                    BadMessage(
                        f"{_shown(buffer[:end].encode(errors='surrogateescape'))} is not an object"
                    ),
                )
            line += buffer.count("\n", 0, end)
            buffer = buffer[end:]


def parquet_records(path: Path, columns: Sequence[str]) -> Records:
    """Rows of a Parquet file, with those of ``columns`` that it has; see `arrow_values`.

    Raises
    ------
    ConfigError
        When pyarrow is not installed, or the file can't be read.
    """
    pyarrow = import_pyarrow("reading Parquet")
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            wanted = [name for name in file.schema_arrow.names if name in columns]
            for batch in file.iter_batches(PARQUET_ROWS, columns=wanted):
                columns_read = [values(array, pyarrow) for array in batch.columns]
                for row in zip(*columns_read, strict=True):
                    number += 1
                    yield number, dict(zip(wanted, row, strict=True))
    except (OSError, pyarrow.ArrowException) as error:
        raise ConfigError(f"{path} can't be read as Parquet ({error}); write it again") from error


def parquet_shape(path: Path) -> tuple[list[str], int]:
    """Names of the columns and number of rows, from the file's footer; errors as above."""
    pyarrow = import_pyarrow("reading Parquet")
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            return list(file.schema_arrow.names), int(file.metadata.num_rows)
    except (OSError, pyarrow.ArrowException) as error:
        raise ConfigError(f"{path} can't be read as Parquet ({error}); write it again") from error


def _shown(line: bytes) -> str:
    text = ascii(line[:81])[1:]
    return text if len(text) <= 80 else text[:79] + "…"
