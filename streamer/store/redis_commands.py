"""Commands as Redis reads them from the wire: of many rows at once, without an object a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

ROWS_A_COMMAND: Final = 2_000
"""2,000 rows * 550 B = 1.1 MB a command."""

KEY_BYTES = 8


def packed(*arguments: bytes) -> bytes:
    """Return one command.

    >>> packed(b"HDEL", b"h", b"f")
    b'*3\\r\\n$4\\r\\nHDEL\\r\\n$1\\r\\nh\\r\\n$1\\r\\nf\\r\\n'
    """
    return _start(len(arguments)) + b"".join(map(_argument, arguments))


def set_rows(name: bytes, fields: bytes, values: bytes, width: int) -> Iterator[bytes]:
    """Commands that set rows of a hash.

    Parameters
    ----------
    fields, values
        8 bytes and ``width`` bytes a row, joined.
    """
    keys = np.frombuffer(fields, np.uint8).reshape(-1, KEY_BYTES)
    rows = np.frombuffer(values, np.uint8).reshape(-1, width)
    between, after = b"\r\n$%d\r\n" % width, b"\r\n"
    for start in range(0, len(keys), ROWS_A_COMMAND):
        some = slice(start, start + ROWS_A_COMMAND)
        n = len(keys[some])
        head = _start(2 + 2 * n) + _argument(b"HSET") + _argument(name)
        columns = [
            _repeated(b"$%d\r\n" % KEY_BYTES, n),
            keys[some],
            _repeated(between, n),
            rows[some],
            _repeated(after, n),
        ]
        yield head + np.concatenate(columns, axis=1).tobytes()


def set_names(name: bytes, fields: bytes, names: tuple[bytes, ...]) -> Iterator[bytes]:
    """Commands that set fields of a hash to texts of any length."""
    for start in range(0, len(names), ROWS_A_COMMAND):
        arguments = [b"HSET", name]
        for i, text in enumerate(names[start : start + ROWS_A_COMMAND], start):
            arguments += [fields[KEY_BYTES * i : KEY_BYTES * (i + 1)], text]
        yield packed(*arguments)


def drop(name: bytes, fields: bytes) -> Iterator[bytes]:
    """Commands that delete fields of a hash."""
    step = KEY_BYTES * ROWS_A_COMMAND
    for start in range(0, len(fields), step):
        some = fields[start : start + step]
        each = [some[at : at + KEY_BYTES] for at in range(0, len(some), KEY_BYTES)]
        yield packed(b"HDEL", name, *each)


def _start(n_arguments: int) -> bytes:
    return b"*%d\r\n" % n_arguments


def _argument(argument: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(argument), argument)


def _repeated(text: bytes, n: int) -> NDArray[np.uint8]:
    return np.broadcast_to(np.frombuffer(text, np.uint8), (n, len(text)))
