"""Copies put in the place of SQLite files: beside a log that was left, and under who uses them."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import struct
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from streamer.application.local.kept_topics import KeptTopics
from streamer.errors import StoreError
from streamer.protocols import MessageBatch
from streamer.store import open_store
from streamer.store.sqlite import SqliteStore
from streamer.store.sqlite_file import SqliteFile
from streamer.store.sqlite_stamps import is_read, next_stamp, place, stamp_in_file, stamps_in_log
from tests.contract.store_world import LAYOUT, World, state_of

NOT_ITS_LOG = "store.db-wal is not the log of the SQLite file .*Nothing was changed.* delete .*-shm"
MIXED = r"others' bytes were copied into .*while it was in use.*restore a copy of it"


def cp(source: Path, target: Path) -> None:
    """Copy bytes into a file, which stays the same file; by another process, whose closing of it
    ends no lock of this one."""
    subprocess.run(["cp", str(source), str(target)], check=True)


def log_of(path: Path) -> Path:
    return Path(f"{path}-wal")


def begun(path: Path) -> SqliteStore:
    store = SqliteStore(path)
    store.ensure_layout(LAYOUT)
    store.acquire(0, "a")
    return store


def learn(store: SqliteStore, world: World, n: int, *, checkpoint: bool = False) -> None:
    for _ in range(n):
        store.commit(world.next_entry(), owner="a")
    if checkpoint:
        store.checkpoint(world.checkpoint(), owner="a")


def versions(path: Path) -> dict[int, int]:
    with contextlib.closing(SqliteStore(path)) as store:
        return store.versions()


class Left:
    """A store of which a copy was made at version 5, and whose process was killed at version 15.

    Attributes
    ----------
    path, log
        Where it lies; nothing is there yet.
    copy
        The copy.
    file, file_log
        What the process that was killed left.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self.copy = folder / "store.db", folder / "copy.db"
        self.file, self.file_log = folder / "left.db", folder / "left.log"
        self.log = log_of(self.path)
        self.world = World()
        with contextlib.closing(begun(self.path)) as store:
            learn(store, self.world, 5, checkpoint=True)
        cp(self.path, self.copy)
        with contextlib.closing(SqliteStore(self.path)) as store:
            learn(store, self.world, 5, checkpoint=True)
            learn(store, self.world, 5)
            cp(self.path, self.file)
            cp(self.log, self.file_log)
        self.path.unlink()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Left:
    return Left(tmp_path_factory.mktemp("left"))


@pytest.fixture
def left(made: Left) -> Iterator[Left]:
    yield made
    for end in ("", "-wal", "-shm"):
        Path(f"{made.path}{end}").unlink(missing_ok=True)


def test_a_log_that_was_left_is_not_read_into_a_copy(left: Left) -> None:
    cp(left.copy, left.path)
    cp(left.file_log, left.log)
    for _ in range(2):
        with pytest.raises(StoreError, match=NOT_ITS_LOG) as caught:
            versions(left.path)
        assert not caught.value.retriable
    assert left.path.read_bytes() == left.copy.read_bytes()
    assert left.log.read_bytes() == left.file_log.read_bytes()
    left.log.unlink()
    assert versions(left.path) == {0: 5}


def test_what_is_no_file_of_sqlite_is_not_mended_by_a_log_that_was_left(left: Left) -> None:
    left.path.write_bytes(b"dear diary, " * 2_000)
    cp(left.file_log, left.log)
    with pytest.raises(StoreError, match=NOT_ITS_LOG):
        versions(left.path)


def test_a_log_of_before_beside_a_file_of_later_is_refused_too(left: Left, tmp_path: Path) -> None:
    cp(left.file, left.path)
    cp(left.file_log, left.log)
    with contextlib.closing(SqliteStore(left.path)) as store:
        store.acquire(0, "a")
    cp(left.file_log, left.log)
    with pytest.raises(StoreError, match=NOT_ITS_LOG):
        versions(left.path)


def test_a_log_that_is_begun_anew_while_it_is_looked_at_is_no_log_of_another(
    left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is looked at, another process copies the log into it, and the log is looked at."""
    cp(left.file, left.path)
    cp(left.file_log, left.log)
    looks = [stamp_in_file(left.copy)]

    def stamp(path: Path) -> int | None:
        return looks.pop() if looks else stamp_in_file(path)

    monkeypatch.setattr("streamer.store.sqlite_on_disk.stamp_in_file", stamp)
    assert versions(left.path) == {0: 15}
    assert not looks


def test_topics_of_a_trial_are_not_mixed_either(tmp_path: Path) -> None:
    path, copy, log = (tmp_path / name for name in ("topics.db", "copy.db", "log"))

    def keep(topics: KeptTopics, offset: int) -> None:
        offsets = np.array([offset])
        topics.keep([MessageBatch("events", 0, [b"{}"], offsets, offsets, [b"ann"])])

    with contextlib.closing(KeptTopics(path)) as topics:
        keep(topics, 0)
    cp(path, copy)
    with contextlib.closing(KeptTopics(path)) as topics:
        keep(topics, 1)
    with contextlib.closing(KeptTopics(path)) as topics:
        keep(topics, 2)
        cp(log_of(path), log)
    cp(copy, path)
    cp(log, log_of(path))
    with (
        contextlib.closing(KeptTopics(path)) as topics,
        pytest.raises(StoreError, match="is not the log of the SQLite file"),
    ):
        topics.ends()


# --- what a crash leaves --------------------------------------------------------------------------


def pages_of(log: Path) -> dict[int, bytes]:
    """The last frame of each page that a log has."""
    data = log.read_bytes()
    page_bytes = struct.unpack_from(">I", data, 8)[0]
    found = {}
    for at in range(32, len(data) - 24 - page_bytes + 1, 24 + page_bytes):
        if data[at + 8 : at + 16] == data[16:24]:
            number = struct.unpack_from(">I", data, at)[0]
            found[number] = data[at + 24 : at + 24 + page_bytes]
    return found


def test_a_file_is_known_at_each_moment_of_a_checkpoint_that_a_crash_ended(left: Left) -> None:
    pages, rng = pages_of(left.file_log), random.Random(1)
    orders = [sorted(pages), sorted(pages, reverse=True), rng.sample(sorted(pages), len(pages))]
    for order in orders:
        cp(left.file, left.path)
        for n in range(len(order) + 1):
            if n:
                with left.path.open("r+b") as file:
                    file.seek((order[n - 1] - 1) * len(pages[order[n - 1]]))
                    file.write(pages[order[n - 1]])
            at = left.path.with_name("at.db")
            cp(left.path, at)
            cp(left.file_log, log_of(at))
            with contextlib.closing(SqliteStore(at)) as store:
                image = store.load(0)
            assert image.version == 15
            assert state_of(image) == left.world.state


def test_a_log_of_which_a_power_cut_left_no_whole_transaction_is_none(left: Left) -> None:
    """SQLite reads nothing of it, so it harms no file."""
    data = left.file_log.read_bytes()
    assert is_read(left.file_log)
    cp(left.copy, left.path)
    for damaged in (data[:2_000], data[:60] + bytes(200) + data[260:], data[:32], b""):
        left.log.write_bytes(damaged)
        assert not is_read(left.log)
        assert versions(left.path) == {0: 5}


def test_a_file_that_is_gone_is_begun_anew_whatever_was_left(left: Left) -> None:
    cp(left.file_log, left.log)
    with contextlib.closing(begun(left.path)) as store:
        assert store.versions() == {}


def test_files_of_releases_without_stamps_go_on(left: Left) -> None:
    cp(left.copy, left.path)
    with contextlib.closing(sqlite3.connect(left.path)) as connection:
        connection.execute("PRAGMA application_id = 0")
    with contextlib.closing(SqliteStore(left.path)) as store:
        store.acquire(0, "a")
        cp(left.path, left.path.with_name("at.db"))
        cp(left.log, log_of(left.path.with_name("at.db")))
    assert stamp_in_file(left.path) != 0
    assert versions(left.path.with_name("at.db")) == {0: 5}


# --- bytes copied into a file in use --------------------------------------------------------------


@pytest.mark.parametrize("noticed_by", ["commit", "follower", "checkpoint", "end"])
@pytest.mark.parametrize("others", ["older", "no file of SQLite", "empty"])
def test_what_is_copied_into_a_file_in_use_is_noticed_and_stays_refused(
    left: Left, noticed_by: str, others: str
) -> None:
    copied = left.path.with_name("copied")
    copied.write_bytes(b"dear diary, " * 2_000 if others == "no file of SQLite" else b"")
    cp(left.file, left.path)
    cp(left.file_log, left.log)
    store, follower = SqliteStore(left.path), SqliteStore(left.path)
    world = World()
    while world.version < 15:
        world.next_entry()
    store.acquire(0, "a")
    learn(store, world, 1, checkpoint=True)
    learn(store, world, 1)
    assert follower.follow({0: 16}, timeout_s=0)
    assert follower.follow({0: 17}, timeout_s=0) == []
    cp(left.copy if others == "older" else copied, left.path)
    uses: dict[str, Callable[[], object]] = {
        "commit": lambda: store.commit(world.next_entry(), owner="a"),
        "follower": lambda: follower.follow({0: 17}, timeout_s=0),
        "checkpoint": lambda: store.checkpoint(world.checkpoint(), owner="a"),
        "end": store.close,
    }
    with pytest.raises(StoreError, match=MIXED):
        uses[noticed_by]()
    with pytest.raises(StoreError, match=MIXED):
        follower.versions()
    follower.close()
    with contextlib.suppress(StoreError):  # said once more where the store has not met it
        store.close()
    assert not left.log.exists()
    with pytest.raises(StoreError, match=MIXED):
        versions(left.path)
    cp(left.copy, left.path)
    assert versions(left.path) == {0: 5}


def test_what_comes_between_a_checkpoint_and_the_cut_of_the_log_is_noticed(
    left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    cp(left.copy, left.path)
    store, world = SqliteStore(left.path), World()
    store.acquire(0, "a")
    while world.version < 5:
        world.next_entry()
    learn(store, world, 5, checkpoint=True)
    learn(store, world, 1)
    forget_deleted = SqliteFile.forget_deleted

    def copied_over(file: SqliteFile) -> None:
        cp(left.copy, left.path)
        forget_deleted(file)

    monkeypatch.setattr(SqliteFile, "forget_deleted", copied_over)
    with pytest.raises(StoreError, match=MIXED):
        store.checkpoint(world.checkpoint(), owner="a")
    store.close()


def test_a_file_that_goes_back_in_its_own_log_is_noticed(tmp_path: Path) -> None:
    """SQLite takes the pages that it has copied into the file from there."""
    path, older = tmp_path / "store.db", tmp_path / "older.db"
    store = begun(path)
    learn(store, World(), 5)
    cp(path, older)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    assert store.versions() == {0: 5}
    cp(older, path)
    with pytest.raises(StoreError, match=MIXED):
        store.versions()
    store.close()


def test_checkpoints_and_readers_of_any_length_are_not_taken_for_others_bytes(
    tmp_path: Path,
) -> None:
    path, world, rng = tmp_path / "store.db", World(), random.Random(2)
    store, follower = begun(path), SqliteStore(path)
    other, another = (sqlite3.connect(path, timeout=0, isolation_level=None) for _ in range(2))
    for _ in range(300):
        learn(store, world, 1, checkpoint=rng.random() < 0.2)
        if rng.random() < 0.3:
            if other.in_transaction:
                other.execute("COMMIT")
            else:
                other.execute("BEGIN")
                other.execute("SELECT count(*) FROM entries").fetchall()
        if rng.random() < 0.3 and not other.in_transaction:
            kind = rng.choice(["PASSIVE", "FULL", "RESTART", "TRUNCATE"])
            other.execute(f"PRAGMA wal_checkpoint({kind})").fetchall()
        elif rng.random() < 0.3:
            another.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        assert follower.versions() == {0: world.version}
        with contextlib.closing(open_store(f"sqlite:{path}")) as opened:
            assert opened.versions() == {0: world.version}
    other.close()
    another.close()
    store.close()
    follower.close()


# --- stamps ---------------------------------------------------------------------------------------


def test_a_stamp_names_the_one_before_and_stands_in_file_and_log(tmp_path: Path) -> None:
    stamps = [0]
    for _ in range(200):
        stamps.append(next_stamp(stamps[-1]))
    assert len(set(stamps)) == len(stamps)
    assert place(stamps[9], stamps[10:]) == -1
    assert place(stamps[50], stamps[10:]) == 40
    assert [place(stamp, stamps[100:]) for stamp in stamps[:99]].count(None) >= 98
    path = tmp_path / "store.db"
    with contextlib.closing(begun(path)) as store:
        learn(store, World(), 3)
        logged = stamps_in_log(log_of(path))
        assert stamp_in_file(path) == 0
    assert stamp_in_file(path) == logged[-1]
    stamped = logged[logged.count(0) :]
    assert [place(one, [other]) for one, other in pairwise(stamped)] == [-1] * (len(stamped) - 1)
    assert len(stamped) == 5, "settings, owner and three commits"
