"""A store of any kind becomes what another is, and is gone on with from there."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streamer.application.copied_store import export_store
from streamer.cli import app
from streamer.config import load_config
from streamer.errors import ConfigError, Fenced, StoreError
from streamer.protocols import RestorableStore
from streamer.store import open_store
from streamer.store.agreement import agree
from streamer.store.copying import copy_store
from streamer.store.layout import encode_entry, encode_schedule
from streamer.store.memory import MemoryStore
from streamer.store.rebuild import forget_all, forget_partition
from streamer.store.sqlite import SqliteStore
from tests.contract.conftest import StoreUnderTest
from tests.contract.store_world import LAYOUT, CutShort, World, cut_short_after, state_of
from tests.forked import FORK

WITH_IDS = replace(LAYOUT, topic_ids={"events": "a1"})


def learned(store: RestorableStore, *, seed: int = 0) -> dict[int, World]:
    """Partition 0 with a checkpoint at version 3 and entries up to 5, partition 3 without one."""
    store.ensure_layout(WITH_IDS)
    worlds = {p: World(p, seed=seed) for p in (0, 3)}
    for partition, world in worlds.items():
        store.acquire(partition, "a")
        for version in range(1, 6):
            store.commit(world.next_entry(), owner="a")
            if (partition, version) == (0, 3):
                store.checkpoint(world.checkpoint(), owner="a")
    return worlds


def assert_alike(one: RestorableStore, other: RestorableStore, partition: int) -> None:
    images = one.load(partition), other.load(partition)
    assert state_of(images[0]) == state_of(images[1])
    assert images[0].offsets == images[1].offsets
    checkpoints = [replace(each.checkpoint, names={}, tables={}) for each in images]
    assert checkpoints[0] == checkpoints[1]
    logs = [[encode_entry(entry) for entry in each.entries] for each in images]
    assert logs[0] == logs[1]
    recorded = [[*map(encode_schedule, each.schedule(partition))] for each in (one, other)]
    assert recorded[0] == recorded[1]
    assert len(recorded[0]) == one.versions()[partition]


@pytest.mark.parametrize("outward", [True, False])
def test_a_copy_is_what_the_store_was_and_is_gone_on_with(
    stored: StoreUnderTest, outward: bool
) -> None:
    ends = stored.open(), MemoryStore()
    source, target = ends if outward else ends[::-1]
    worlds = learned(source)
    assert copy_store(source, target) == {0: 5, 3: 5}
    assert target.layout() == WITH_IDS
    for partition, world in worlds.items():
        assert_alike(source, target, partition)
        target.acquire(partition, "b")
        before = world.commit_id
        assert target.load(partition).commit_id == before
        entry, checkpoint = world.next_entry(), world.checkpoint()
        for store, owner in ((source, "a"), (target, "b")):
            store.commit(entry, owner=owner)
            store.checkpoint(checkpoint, owner=owner)
        assert_alike(source, target, partition)
        ids = {partition: before}
        found = target.follow({partition: 5}, timeout_s=0, commit_ids=ids)
        assert [each.version for each in found] == [6]


def test_only_an_empty_store_becomes_a_copy(stored: StoreUnderTest) -> None:
    store, other = stored.open(), MemoryStore()
    with pytest.raises(StoreError, match="no learner has committed"):
        copy_store(store, other)
    learned(store)
    learned(other)
    with pytest.raises(StoreError, match="is not empty"):
        copy_store(other, store)
    image = other.load(0)
    store.acquire(0, "b")
    with pytest.raises(Fenced, match="partition 0 is at version 5"):
        store.restore(image, [], owner="b")
    with pytest.raises(Fenced, match="is held by"):
        store.restore(image, [], owner="a")
    assert_alike(store, other, 0)


def test_a_store_that_is_learned_into_meanwhile_is_not_copied() -> None:
    class Learning(MemoryStore):
        def load(self, partition: int):  # type: ignore[no-untyped-def]
            image = super().load(partition)
            if partition == 3:
                self.commit(worlds[0].next_entry(), owner="a")
            return image

    source, target = Learning(), MemoryStore()
    worlds = learned(source)
    with pytest.raises(StoreError, match="stop the learners"):
        copy_store(source, target)
    assert target.layout() is None


def run(*words: str) -> str:
    """What a command of `streamer store` prints; raises as it does."""
    done = CliRunner().invoke(app, ["store", *words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_copying_nothing_leaves_nothing_behind(tmp_path: Path) -> None:
    absent, empty = tmp_path / "absent.db", tmp_path / "empty.db"
    with pytest.raises(StoreError, match="no learner has committed"):
        run("export", str(tmp_path / "copy.db"), "--store", f"sqlite:{absent}")
    empty.touch()
    with pytest.raises(StoreError, match="no learner has committed"):
        run("import", str(empty), "--store", f"sqlite:{absent}")
    assert [path.name for path in tmp_path.glob("*.db")] == ["empty.db"]


def test_the_commands_take_a_store_to_a_file_and_back(tmp_path: Path) -> None:
    url, again, file = (str(tmp_path / name) for name in ("a.db", "b.db", "copy.db"))
    with closing(open_store(f"sqlite:{url}")) as store:
        learned(store)
    assert "partition 3: 5 commits" in run("export", file, "--store", f"sqlite:{url}")
    with pytest.raises(ConfigError, match="is there already"):
        run("export", file, "--store", f"sqlite:{url}")
    run("import", file, "--store", f"sqlite:{again}")
    with (
        closing(open_store(f"sqlite:{url}")) as store,
        closing(open_store(f"sqlite:{again}")) as other,
    ):
        assert_alike(store, other, 0)
        assert_alike(store, other, 3)
    with pytest.raises(StoreError, match="is not empty"):
        run("import", file, "--store", f"sqlite:{again}")


# --- cut short ------------------------------------------------------------------------------------


N_WRITES = 6
"""The layout that is not whole, twice the owner and the partition, and the layout."""


@pytest.mark.parametrize("n_writes", range(1, N_WRITES))
def test_a_copy_that_was_cut_short_takes_no_process_and_is_finished_by_the_same_again(
    stored: StoreUnderTest, n_writes: int
) -> None:
    source, target = MemoryStore(), stored.open()
    learned(source)
    with pytest.raises(CutShort):
        copy_store(source, cut_short_after(target, n_writes))
    for may_change in (True, False):
        with pytest.raises(StoreError, match="a copy that is not finished"):
            agree(target, WITH_IDS, may_change=may_change)
    with pytest.raises(StoreError, match="a copy that is not finished"):
        copy_store(target, MemoryStore())
    assert copy_store(source, target) == {0: 5, 3: 5}
    assert agree(target, WITH_IDS, may_change=True) == WITH_IDS == target.layout()
    for partition in (0, 3):
        assert_alike(source, target, partition)


def test_a_part_of_another_copy_is_not_gone_on_with() -> None:
    source, other, target = MemoryStore(), MemoryStore(), MemoryStore()
    learned(source)
    learned(other, seed=1)
    with pytest.raises(CutShort):
        copy_store(other, cut_short_after(target, 3))
    with pytest.raises(StoreError, match="is not empty"):
        copy_store(source, target)
    assert target.versions() == {0: 5}


def test_a_copy_that_was_cut_short_can_be_forgotten(stored: StoreUnderTest) -> None:
    source, target = MemoryStore(), stored.open()
    learned(source)
    with pytest.raises(CutShort):
        copy_store(source, cut_short_after(target, 3))
    with pytest.raises(StoreError, match="a copy that is not finished"):
        forget_partition(target, 0, WITH_IDS, owner="rebuild")
    forget_all(target, WITH_IDS, owner="rebuild")
    assert agree(target, WITH_IDS, may_change=True) == WITH_IDS
    assert not target.load(0).offsets


def test_a_store_that_is_forgotten_while_it_is_copied_to_is_no_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, target = MemoryStore(), MemoryStore()
    learned(source)
    restore = target.restore

    def restore_and_forget(*what: Any, owner: str) -> None:
        restore(*what, owner=owner)
        if target.versions().keys() == source.versions().keys():
            forget_all(target, WITH_IDS, owner="rebuild")

    monkeypatch.setattr(target, "restore", restore_and_forget)
    with pytest.raises(StoreError, match="written by others while it was copied to"):
        copy_store(source, target)
    assert not any(target.load(p).offsets for p in range(LAYOUT.n_partitions))


def export_until_killed(url: str, file: Path, n_restored: int) -> None:
    """Export, and die before one more partition than so many is written."""
    left = [n_restored]
    restore = SqliteStore.restore

    def restore_or_die(*what: Any, owner: str) -> None:
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        restore(*what, owner=owner)

    SqliteStore.restore = restore_or_die  # type: ignore[assignment, method-assign]
    export_store(load_config(flags={"store.url": url}), file)


def test_an_export_that_is_killed_leaves_no_file_of_its_name(tmp_path: Path) -> None:
    url, file = f"sqlite:{tmp_path / 'a.db'}", tmp_path / "copy.db"
    with closing(open_store(url)) as store:
        learned(store)
    for n_restored in range(2):
        process = FORK.Process(target=export_until_killed, args=(url, file, n_restored))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not file.exists()
        (begun,) = tmp_path.glob(".copy.db.unfinished")
        with (
            closing(open_store(f"sqlite:{begun}")) as half,
            pytest.raises(StoreError, match="a copy that is not finished"),
        ):
            agree(half, WITH_IDS, may_change=False)
    run("export", str(file), "--store", url)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.db", "copy.db"]


def test_a_log_that_another_file_left_is_not_taken_for_that_of_a_copy(tmp_path: Path) -> None:
    url, log = f"sqlite:{tmp_path / 'a.db'}", tmp_path / "copy.db-wal"
    with closing(open_store(url)) as store:
        learned(store)
    log.touch()
    with pytest.raises(ConfigError, match=r"copy.db-wal is there already"):
        run("export", str(tmp_path / "copy.db"), "--store", url)
