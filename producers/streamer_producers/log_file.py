"""A file of a log, as it lies on the disk, compressed, or in a zip archive."""

from __future__ import annotations

import atexit
import gzip
import io
import lzma
import sys
import zipfile
import zlib
from codecs import BOM_UTF8
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from tempfile import NamedTemporaryFile
from typing import IO, cast

from streamer.errors import ConfigError
from streamer_producers.arrow import import_pyarrow
from streamer_producers.encodings import in_utf8
from streamer_producers.first_bytes import GZIP, HEAD_BYTES, ZSTD
from streamer_producers.gone_messages import GoneMessages, read_note
from streamer_producers.zip_archives import open_member, zip_archive

LINE_BYTES_MAX = 1_000_000
"""A line is cut here: a longer one is no message, and one without an end would fill the memory."""
COMPRESSED = (".gz", ".zst")
"""Suffixes of files that are decompressed as they are read."""
_SAMPLE_BYTES = 65_536
_BUFFER_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file; ``member`` names it inside of the zip archive ``path``.

    ``encoding`` is that of its text; None: UTF-8, or UTF-16 where it begins so.
    """

    path: Path
    member: str | None = None
    encoding: str | None = None

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}:{self.member}"

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Its bytes, decompressed as they are read, whatever its name says.

        Raises
        ------
        ConfigError
            When it can't be read, there or later.
        """
        try:
            if self.member is not None:
                with zip_archive(self.path) as archive, open_member(archive, self.member) as stream:
                    yield stream
            elif self._begins_with(GZIP):
                with gzip.open(self.path) as unzipped:
                    yield cast(IO[bytes], unzipped)
            elif self._begins_with(ZSTD):
                pyarrow = import_pyarrow(f"reading {self}")
                with pyarrow.input_stream(self.path, compression="zstd") as raw:
                    yield cast(IO[bytes], io.BufferedReader(raw, _BUFFER_BYTES))
            else:
                with self.path.open("rb") as stream:
                    yield stream
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
            raise ConfigError(
                f"{self} can't be read ({error}); if it is cut or damaged, get it again"
            ) from error

    def head(self) -> bytes:
        """Its first bytes, decompressed; errors as of :meth:`open`."""
        with self.open() as stream:
            return stream.read(HEAD_BYTES)

    @contextmanager
    def open_text(self) -> Iterator[IO[bytes]]:
        """Its text in UTF-8 with line feeds, whatever its encoding and its ends of lines.

        Raises
        ------
        ConfigError
            When it can't be read, there or later.
        """
        with self.open() as stream:
            try:
                yield in_utf8(stream, self.encoding)
            except (UnicodeError, LookupError) as error:
                raise ConfigError(
                    f"{self} can't be read as text ({error}); name its encoding with --encoding"
                ) from error

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Its lines with their numbers, from 1, without the mark of UTF-8 before the first; each is
        cut at ``LINE_BYTES_MAX``."""
        with self.open_text() as stream:
            number = 0
            while line := stream.readline(LINE_BYTES_MAX):
                number += 1
                yield number, line.removeprefix(BOM_UTF8) if number == 1 else line
                while line and not line.endswith(b"\n"):
                    line = stream.readline(LINE_BYTES_MAX)

    @property
    def gone(self) -> Sequence[str]:
        """What the topic no longer had of which this is the record, in a sentence; none: it had
        all."""
        note = self._note()
        return () if note is None else (f"{self}, as recorded: {note.said}",)

    @property
    def whole_since_ms(self) -> int:
        """When the first message was published from which on none is missing; 0: none is."""
        note = self._note()
        return 0 if note is None else note.whole_since_ms

    def n_lines_estimated(self) -> int | None:
        """Lines, from the size of the file and the length of the first ones; None if compressed."""
        if self._begins_with(GZIP) or self._begins_with(ZSTD):
            return None
        with self.open_text() as stream:
            sample = stream.read(_SAMPLE_BYTES)
        n_sampled = sample.count(b"\n")
        if len(sample) < _SAMPLE_BYTES or not n_sampled:
            return n_sampled + (not sample.endswith(b"\n") and bool(sample))
        return round(self._n_bytes() * n_sampled / (sample.rfind(b"\n") + 1))

    def _note(self) -> GoneMessages | None:
        return read_note(self.path) if self.member is None else None

    def _begins_with(self, magic: bytes) -> bool:
        if self.member is not None:
            return False
        with self.path.open("rb") as stream:
            return stream.read(len(magic)) == magic

    def _n_bytes(self) -> int:
        if self.member is None:
            return self.path.stat().st_size
        with zip_archive(self.path) as archive:
            return archive.getinfo(self.member).file_size


def is_read_once(path_or_name: str | Path) -> bool:
    """Return whether what is read is gone then: standard input (``-``), or a pipe."""
    path = Path(path_or_name)
    return str(path_or_name) == "-" or path.is_fifo() or path.is_char_device()


def spooled(path_or_name: str | Path) -> tuple[Path, str]:
    """The file to read and its name; what can be read once only, ``-`` or a pipe, is copied first.

    The copy lies among the temporary files until the process ends.

    Raises
    ------
    ConfigError
        When the system refuses to look for it, as with a name that is too long.
    """
    path = Path(path_or_name)
    try:
        path.exists()
    except OSError as error:
        raise ConfigError(
            f"{path} can't be looked for ({error.strerror}); check its name"
        ) from error
    if str(path_or_name) == "-":
        source: IO[bytes] = sys.stdin.buffer
    elif is_read_once(path):
        source = path.open("rb")
    else:
        return path, path.name
    with NamedTemporaryFile(prefix="streamer-", delete=False) as copy:
        atexit.register(Path(copy.name).unlink, missing_ok=True)
        copyfileobj(source, copy)
    if source is not sys.stdin.buffer:
        source.close()
    return Path(copy.name), "stdin" if str(path_or_name) == "-" else path.name


def files_in(path: Path, *, wanted: Collection[str] = ()) -> dict[str, LogFile]:
    """The files of a folder or of a zip archive, at any depth in it, by their names alone.

    Parameters
    ----------
    wanted
        Names of which an archive may hold one file at most.

    Raises
    ------
    ConfigError
        When the archive can't be read, or holds several files of one of the ``wanted`` names.
    """
    if path.is_dir():
        return {each.name: LogFile(each) for each in path.iterdir() if each.is_file()}
    try:
        with zip_archive(path) as archive:
            members = [name for name in archive.namelist() if not name.endswith("/")]
    except (OSError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"{path} can't be read as a zip archive ({error}); get it again"
        ) from error
    found: dict[str, LogFile] = {}
    for member in members:
        name = member.rpartition("/")[2]
        if name in found and name in wanted:
            raise ConfigError(
                f"{path} holds {found[name].member} and {member}; unpack it and pass the folder of"
                " the one that you mean"
            )
        found[name] = LogFile(path, member)
    return found
