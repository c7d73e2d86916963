"""One SQLite file in WAL mode: a connection a thread, transactions, errors in our words."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamer.errors import LayoutMismatch, StoreError, StoreUnavailable
from streamer.protocols import STORE_SCHEMA_VERSION
from streamer.store.sqlite_on_disk import Remedies, SqliteOnDisk
from streamer.store.sqlite_stamps import next_stamp, write_stamp

Cursor = sqlite3.Cursor

WAL_BYTES_KEPT = 64 << 20
"""The write-ahead log is cut to this after a burst; within one it grows with the largest
transaction and the longest reader."""
OPEN_RETRY_INTERVAL_S = 0.02
_REFUSED = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
"""Trying again does not help."""
_NAMES_SHOWN = 3
_MAY_PASS = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
}
"""What the file says is not at fault."""


OF_STORE = Remedies(
    damaged="restore a copy of it, but delete its -wal and -shm first, which would be read into the"
    " copy, or use an empty store and learn again from the topics",
    replaced="put back the file of this store, or start again with what is there, and what it lacks"
    " is learned again from the topics",
)


class SqliteFile:
    """Connections of this process to one file.

    Nothing is opened before the first use. A thread's connection stays open until :meth:`close`,
    so threads that use a file are few and live long.

    Parameters
    ----------
    path
        The file; it and its folder are made when absent, by the first write.
    schema
        ``CREATE TABLE IF NOT EXISTS`` statements.
    timeout_s
        How long a transaction waits for that of another process.
    remedies
        Said with its errors.
    survives_power_cuts
        Whether a transaction that returned does; one costs some milliseconds then.
    """

    def __init__(
        self,
        path: Path,
        schema: str,
        *,
        timeout_s: float,
        remedies: Remedies = OF_STORE,
        survives_power_cuts: bool = False,
    ) -> None:
        self._path = path
        self._on_disk = SqliteOnDisk(path, remedies)
        self._schema = schema
        self._timeout_s = timeout_s
        self._remedies = remedies
        self._synchronous = "FULL" if survives_power_cuts else "NORMAL"
        self._by_thread = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Cursor]:
        """A transaction that sees one state of the file, whatever others write; while there is no
        file, one that sees nothing and makes none."""
        with self._errors():
            absent = self._on_disk.is_absent
        with self._nothing() if absent else self._transaction("BEGIN") as cursor:
            yield cursor

    @contextmanager
    def write(self) -> Iterator[Cursor]:
        """A transaction that keeps other writers out; undone when the block raises."""
        with self._transaction("BEGIN IMMEDIATE") as cursor:
            yield cursor

    def data_version(self) -> tuple[int, int]:
        """Return what is another pair once anybody, this thread too, has written."""
        with self._errors():
            connection = self._connection()
            self._look()
            of_others = int(connection.execute("PRAGMA data_version").fetchone()[0])
            return of_others, connection.total_changes

    def log_state(self) -> tuple[int, int]:
        """Return what nearly every commit of anybody changes: size and time of the log's file.

        A tenth of the cost of :meth:`data_version`, and a hint alone: of two commits within a tick
        of the file system's clock, 4 ms, the second may not show.
        """
        try:
            found = os.stat(self._on_disk.log)
        except FileNotFoundError:
            return 0, 0
        return found.st_size, found.st_mtime_ns

    def forget_deleted(self) -> None:
        """Have the write-ahead log forget what was deleted, unless somebody reads at the moment."""
        with self._errors():
            connection = self._connection()
            self._look()
            connection.execute("PRAGMA busy_timeout = 0")
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.OperationalError:
                return  # it is locked: the next time will do
            finally:
                connection.execute(f"PRAGMA busy_timeout = {round(1000 * self._timeout_s)}")

    def close(self) -> None:
        """Close the connections; the last one of all processes copies the log into the file.

        Raises
        ------
        StoreError
            Where others' bytes came into the file since it was last looked at.
        """
        try:
            with self._errors():
                if self._opened and self._on_disk.is_in_place and not self._on_disk.is_mixed:
                    self._look()
        except StoreError:
            if self._on_disk.is_mixed:
                raise
        finally:
            with self._lock:
                for connection in self._opened:
                    connection.close()
                self._opened.clear()
                self._on_disk.closed()

    def _look(self) -> None:
        """Check the files, and what is in them where anything was written to the file itself."""
        self._on_disk.check_in_place()
        if self._on_disk.was_written():
            with self._transaction("BEGIN"):
                pass

    @contextmanager
    def _nothing(self) -> Iterator[Cursor]:
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(self._schema)
            yield connection.cursor()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Cursor]:
        with self._errors():
            connection = self._connection()
            connection.execute(begin)
            try:
                self._on_disk.check_in_place()
                stamp = self._on_disk.checked_stamp(connection)
                n_changes = connection.total_changes
                yield connection.cursor()
                if connection.total_changes != n_changes:
                    write_stamp(connection, next_stamp(stamp))
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._by_thread, "connection", None)
        if connection is None:
            connection = self._by_thread.connection = self._open()
        return connection

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._on_disk.check_unopened()
        connection = sqlite3.connect(
            self._path,
            timeout=self._timeout_s,
            isolation_level=None,  # transactions begin and end where we say so
            check_same_thread=False,  # close() closes those of other threads
        )
        with self._lock:
            self._opened.append(connection)
        self._check_ours(connection)
        self._use_wal(connection)
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        # What is deleted may be a user who wants to be forgotten.
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
        self._ensure_schema(connection)
        with self._lock:
            self._on_disk.opened()
        return connection

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Turning WAL on needs the file alone, and SQLite does not wait for that by itself."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                locked = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY,)
                if not locked or time.monotonic() > deadline:
                    raise
                time.sleep(OPEN_RETRY_INTERVAL_S)

    def _check_ours(self, connection: sqlite3.Connection) -> None:
        """Nothing is written to a database of somebody else, not even how it keeps its log."""
        tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
        found = {name for (name,) in connection.execute(tables)}
        if found and not any(f"EXISTS {name} (" in self._schema for name in found):
            names = ", ".join(sorted(found)[:_NAMES_SHOWN])
            raise StoreError(
                f"SQLite file {self._path} has {names} in it and was not made by streamer: name the"
                " file of a store, or one that is not there yet"
            )

    def _ensure_schema(self, connection: sqlite3.Connection) -> None:
        stored = connection.execute("PRAGMA user_version").fetchone()[0]
        if stored == 0:
            connection.executescript(
                f"BEGIN IMMEDIATE; {self._schema}"
                f" PRAGMA user_version = {STORE_SCHEMA_VERSION}; COMMIT;"
            )
        elif stored != STORE_SCHEMA_VERSION:
            raise LayoutMismatch(
                f"{self._path} has schema version {stored}, this streamer uses"
                f" {STORE_SCHEMA_VERSION}: run the version that wrote it; where none did, it is"
                f" damaged: {self._remedies.damaged}"
            )
        self._check_tables(connection)

    def _check_tables(self, connection: sqlite3.Connection) -> None:
        with contextlib.closing(sqlite3.connect(":memory:")) as anew:
            anew.executescript(self._schema)
            stored = _columns(connection)
            for name, columns in _columns(anew).items():
                if stored.get(name) != columns:
                    what = "has other columns in its table" if name in stored else "lacks its table"
                    raise StoreError(
                        f"SQLite file {self._path} {what} {name}; something other than streamer"
                        f" changed it: {self._remedies.damaged}"
                    )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._said(error) from error

    def _said(self, error: Exception) -> StoreError:
        """An error of the file, with its remedy."""
        file, code = f"SQLite file {self._path}", getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _REFUSED or isinstance(error, PermissionError):
            return StoreError(
                f"{file} can't be opened or written ({error}): name a file in a folder that"
                " streamer may write"
            )
        if code in _MAY_PASS:
            return StoreUnavailable(
                f"{file} did not answer within {self._timeout_s} s ({error}); try again, or end"
                " whatever else writes to it, and see that its disk has room"
            )
        if code == sqlite3.SQLITE_NOTADB or not isinstance(error, sqlite3.DatabaseError):
            return StoreError(
                f"{file} can't be used ({error}): name a file that streamer may write and that no"
                f" other program made; where streamer made it, it is damaged:"
                f" {self._remedies.damaged}"
            )
        return StoreError(f"{file} is damaged ({error}): {self._remedies.damaged}")


def _columns(connection: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Columns of each table."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {
        name: connection.execute("SELECT * FROM pragma_table_info(?)", [name]).fetchall()
        for (name,) in tables
    }
