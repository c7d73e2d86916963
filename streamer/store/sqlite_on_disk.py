"""What lies on the disk under the name of a SQLite file: whether it is what was opened, or ours."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamer.errors import StoreError
from streamer.store.sqlite_stamps import (
    MIXED,
    is_read,
    place,
    read_stamp,
    stamp_in_file,
    stamps_in_log,
    write_stamp,
)

_Identity = tuple[int, int] | None
"""Device and inode of a file; None: it is not there."""
_LOOKS: Final = 20
"""At a log that other processes copy into their file and begin anew meanwhile."""


@dataclass(frozen=True, slots=True)
class Remedies:
    """What to do about a file.

    Attributes
    ----------
    damaged
        When its bytes are not what was written.
    replaced
        When another one has its name.
    """

    damaged: str
    replaced: str


def logs_of(path: Path) -> tuple[Path, Path]:
    """Return the write-ahead log of a file, and the index of it, which are there while it is in
    use and after a kill: beside the file itself, where ``path`` is a link to it."""
    file = os.path.realpath(path)
    return Path(f"{file}-wal"), Path(f"{file}-shm")


class SqliteOnDisk:
    """A SQLite file, its write-ahead log and the index of that, which go together.

    What replaces one of them, by another file or by other bytes in the same one, is noticed by the
    next transaction (see :mod:`streamer.store.sqlite_stamps`): SQLite would mix both.

    Parameters
    ----------
    path
        The file.
    remedies
        Said with what is found.

    Attributes
    ----------
    log, index
        The other files.
    is_mixed
        Whether others' bytes were found in the file.
    """

    def __init__(self, path: Path, remedies: Remedies) -> None:
        self.log, self.index = logs_of(path)
        self.is_mixed = False
        self._path = path
        self._remedies = remedies
        self._identity: tuple[_Identity, ...] = ()  # of the files in use, empty before
        self._seen_ns = 0  # when the file had been changed last, as it was looked at
        self._stamp_alone = 0  # of the file without its log, then

    @property
    def is_absent(self) -> bool:
        """Whether the file is neither in use nor there."""
        return not self._identity and _identity(self._path) is None

    @property
    def is_in_place(self) -> bool:
        """Whether the files in use are those that have the names."""
        return self._found() == self._identity

    def check_unopened(self) -> None:
        """Raise StoreError where the file must not be opened by its name, or with the log that lies
        there. Nothing is checked while it is in use by this process."""
        if not self._identity:
            self._check_name()
            self._check_log()

    def opened(self) -> None:
        """Remember the files, which are in use from now on."""
        self._identity = self._identity or self._found()

    def closed(self) -> None:
        """Forget them: the log goes with the last connection of all."""
        self._identity = ()

    def check_in_place(self) -> None:
        """Raise StoreError where one of the files in use has lost its name.

        What is written to a file without a name is gone with the last process, and who opens the
        file without the log, and without the locks in its index, destroys it.
        """
        found = self._found()
        if found == self._identity:
            return
        if found[0] != self._identity[0]:
            raise StoreError(
                f"SQLite file {self._path} was deleted or replaced while it was in use; nothing"
                f" more is written to it: {self._remedies.replaced}"
            )
        lost = self.log if found[1] != self._identity[1] else self.index
        raise StoreError(
            f"{lost}, which belongs to the SQLite file {self._path}, was deleted or replaced while"
            " it was in use; nothing more is written to either: stop all that uses the file before"
            " any of it starts again, and keep -wal and -shm from whatever deletes files"
        )

    def was_written(self) -> bool:
        """Return whether anything wrote to the file itself since it was checked: nearly always a
        checkpoint of SQLite, of which there is one in some hundred transactions."""
        return os.stat(self._path).st_ctime_ns != self._seen_ns

    def checked_stamp(self, connection: sqlite3.Connection) -> int:
        """Return the stamp with which a transaction begins, the first thing it reads.

        While it lasts, the log goes on behind what it sees, and begins anew only where all that it
        sees is in the file. So the file alone is at this stamp, or at one of the log.

        Raises
        ------
        StoreError
            Where others' bytes came into the file; the transaction is at its end then. The file is
            marked, since what is left of the log is copied into it by the process that ends last.
        """
        last_alone = self._stamp_alone  # before that of now, whatever other threads look at
        written_ns, stamp = os.stat(self._path).st_ctime_ns, read_stamp(connection)
        if stamp != MIXED:
            if written_ns == self._seen_ns:
                return stamp
            alone = self._alone()
            if alone == stamp or self._is_further(alone, last_alone):
                self._seen_ns, self._stamp_alone = written_ns, alone or 0
                return stamp
        self.is_mixed = True
        connection.execute("ROLLBACK")
        if stamp != MIXED:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("BEGIN IMMEDIATE")
                write_stamp(connection, MIXED)
                connection.execute("COMMIT")
        raise StoreError(
            f"others' bytes were copied into the SQLite file {self._path} while it was in use, and"
            " what it has now is a mixture of both; nothing of it is used any more: stop all that"
            f" uses it, and then {self._remedies.damaged}"
        )

    def _is_further(self, alone: int | None, last_alone: int) -> bool:
        """Return whether the file alone is at a stamp of its log, and none before the last seen."""
        logged = stamps_in_log(self.log)
        at, before = _place(alone, logged), place(last_alone, logged)
        return at is not None and (before is None or before <= at)

    def _check_name(self) -> None:
        """The log lies beside the name that a file was opened by: who opened it by another one
        would not see the log, nor its locks."""
        if self._path.is_file() and os.stat(self._path).st_nlink > 1:
            raise StoreError(
                f"SQLite file {self._path} has a second name (a hard link), by which it would be"
                f" written with another log and be destroyed: name a copy of it (`cp {self._path}"
                " …` while nothing uses it), or delete the other name"
            )

    def _check_log(self) -> None:
        """A log that was left is read into whatever file has the name by the first connection."""
        for _ in range(_LOOKS):
            if _identity(self._path) is None or not stamps_in_log(self.log):
                return
            alone = self._alone()
            logged = stamps_in_log(self.log)
            if not logged or MIXED in logged or _place(alone, logged) is not None:
                return
            if not is_read(self.log):
                return
            # Unless another process has copied the log into the file since, and begun it anew.
            still = stamps_in_log(self.log)[: len(logged)] == logged
            if still and self._alone() == alone:
                raise StoreError(
                    f"{self.log} is not the log of the SQLite file {self._path} that lies there"
                    " now, and would be read into it: the file was put there, or was copied over,"
                    " and the log of another was left. Nothing was changed. Where that file is the"
                    f" one you want, stop all that uses it and delete {self.log} and {self.index};"
                    " else put back the one that the log belongs to"
                )

    def _alone(self) -> int | None:
        """Stamp of the file without its log; None: it is no file of SQLite."""
        try:
            return stamp_in_file(self._path)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                return None
            raise

    def _found(self) -> tuple[_Identity, ...]:
        return tuple(map(_identity, (self._path, self.log, self.index)))


def _place(alone: int | None, logged: list[int]) -> int | None:
    return None if alone is None else place(alone, logged)


def _identity(path: Path) -> _Identity:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
