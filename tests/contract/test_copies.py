"""A store of any kind becomes what another is, and is gone on with from there."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.errors import ConfigError, Fenced, StoreError
from streamer.protocols import RestorableStore
from streamer.store import open_store
from streamer.store.copying import copy_store
from streamer.store.layout import encode_entry, encode_schedule
from streamer.store.memory import MemoryStore
from tests.contract.conftest import StoreUnderTest
from tests.contract.store_world import LAYOUT, World, state_of

WITH_IDS = replace(LAYOUT, topic_ids={"events": "a1"})


def learned(store: RestorableStore) -> dict[int, World]:
    """Partition 0 with a checkpoint at version 3 and entries up to 5, partition 3 without one."""
    store.ensure_layout(WITH_IDS)
    worlds = {0: World(0), 3: World(3)}
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
        entry, checkpoint = world.next_entry(), world.checkpoint()
        for store, owner in ((source, "a"), (target, "b")):
            store.commit(entry, owner=owner)
            store.checkpoint(checkpoint, owner=owner)
        assert_alike(source, target, partition)
        assert [each.version for each in target.follow({partition: 5}, timeout_s=0)] == [6]


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
