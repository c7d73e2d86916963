"""Text in any encoding, read as UTF-8 with line feeds."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable
from typing import IO, Any, Final

_BUFFER_BYTES: Final = 1 << 18
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def in_utf8(stream: Any, encoding: str | None = None) -> IO[bytes]:
    """``stream``, or its text in UTF-8.

    Parameters
    ----------
    stream
        Bytes that can be peeked at.
    encoding
        Its name; None: UTF-8, unless the first bytes are the mark of UTF-16 or UTF-32. Carriage
        returns alone, without any line feed among the first bytes, become line feeds.

    Raises
    ------
    LookupError
        When there is no such encoding.
    UnicodeError
        When bytes are none of it, here or as the stream is read.
    """
    head: bytes = stream.peek(1)
    if encoding is None:
        encoding = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    convert: Callable[[bytes, bool], bytes] | None = None
    if encoding is not None:
        "".encode(encoding)  # raises where it is a codec of bytes, as base64 is, and none of text
        decoder = codecs.getincrementaldecoder(encoding)()
        head = codecs.getincrementaldecoder(encoding)().decode(head).encode()

        def convert(block: bytes, final: bool) -> bytes:
            return decoder.decode(block, final).encode()

    if b"\r" in head[:-1] and b"\n" not in head:
        plain = convert or (lambda block, final: block)

        def convert(block: bytes, final: bool) -> bytes:
            return plain(block, final).replace(b"\r", b"\n")

    if convert is None:
        found: IO[bytes] = stream
        return found
    return io.BufferedReader(_Converted(stream, convert), _BUFFER_BYTES)


class _Converted(io.RawIOBase):
    """A stream of which each block is converted as it is read."""

    def __init__(self, stream: IO[bytes], convert: Callable[[bytes, bool], bytes]) -> None:
        self._stream = stream
        self._convert = convert
        self._left = b""
        self._at_end = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left and not self._at_end:
            block = self._stream.read(_BUFFER_BYTES)
            self._at_end = not block
            self._left = self._convert(block, self._at_end)
        n_bytes = min(len(buffer), len(self._left))
        buffer[:n_bytes] = self._left[:n_bytes]
        self._left = self._left[n_bytes:]
        return n_bytes
