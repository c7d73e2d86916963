"""Files → records, one at a time: JSON lines and Parquet; for separated values see `separated`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from streamer.errors import BadMessage, ConfigError
from streamer_producers.arrow import import_pyarrow
from streamer_producers.log_file import LogFile

Record = dict[str, object] | BadMessage
"""Column → value; or why the line holds none."""
Records = Iterator[tuple[int, Record]]
"""Line numbers (of Parquet: row numbers), from 1, and what the lines hold."""

PARQUET_ROWS = 8_192
"""Rows held in memory at a time, beside the row group that Parquet itself decompresses."""


def json_records(file: LogFile) -> Records:
    """One JSON object a line; blank lines are passed over."""
    decode = msgspec.json.decode
    for number, line in file.lines():
        if line.isspace():
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


def parquet_records(path: Path, columns: Sequence[str]) -> Records:
    """Rows of a Parquet file, with those of ``columns`` that it has; times become datetimes.

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
                # Python's datetimes end at the microsecond, and an event's time at the millisecond.
                arrays = [
                    array.cast(pyarrow.timestamp("ms", array.type.tz), safe=False)
                    if pyarrow.types.is_timestamp(array.type)
                    else array
                    for array in batch.columns
                ]
                for record in pyarrow.RecordBatch.from_arrays(arrays, names=wanted).to_pylist():
                    number += 1
                    yield number, record
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
