"""What a store promises between processes: woken followers, exact state after a kill -9."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.connection import Connection

import pytest

from streamer.protocols import ParameterStore
from streamer.store import open_store
from streamer.store.layout import encode_entry
from tests.contract.conftest import STORE_KINDS, StoreUnderTest, store_params
from tests.contract.store_world import LAYOUT, World, state_of
from tests.forked import FORK

START_TIMEOUT_S = 180.0
WAIT_S = 120.0
CHECKPOINT_EVERY = 7
COMMITS_A_LIFE = 25


@pytest.fixture(params=store_params(*STORE_KINDS[1:]))
def stored(
    request: pytest.FixtureRequest, store_url: Callable[[str], str]
) -> Iterator[StoreUnderTest]:
    """An empty store of each kind that other processes can open."""
    under_test = StoreUnderTest(request.param, store_url(request.param))
    yield under_test
    under_test.close()


def opened(url: str, key_prefix: str) -> ParameterStore:
    store = open_store(url, key_prefix=key_prefix, timeout_s=20.0, log_entries_kept=5)
    store.ensure_layout(LAYOUT)
    return store


def commit_for_ever(url: str, key_prefix: str, partition: int, pipe: Connection) -> None:
    """Recover as a learner does, say so, and commit and checkpoint until killed."""
    store = opened(url, key_prefix)
    owner = f"process {multiprocessing.current_process().pid}"
    store.acquire(partition, owner)
    world = World(partition)
    version = store.load(partition).version
    while world.version < version:
        world.next_entry()
    pipe.send(version)
    while True:
        store.commit(world.next_entry(), owner=owner)
        if world.version % CHECKPOINT_EVERY == 0:
            store.checkpoint(world.checkpoint(), owner=owner)


def commit_when_told(url: str, key_prefix: str, partition: int, pipe: Connection) -> None:
    store = opened(url, key_prefix)
    store.acquire(partition, "other")
    pipe.send(0)
    entry = World(partition).next_entry()
    pipe.recv()
    pipe.send(time.time())
    store.commit(entry, owner="other")


def commit_n(url: str, key_prefix: str, partition: int, pipe: Connection) -> None:
    store = opened(url, key_prefix)
    store.acquire(partition, "other")
    pipe.send(0)
    world = World(partition)
    for _ in range(int(pipe.recv())):
        store.commit(world.next_entry(), owner="other")


Target = Callable[[str, str, int, Connection], None]


class Child:
    """A process that runs ``target`` on a store; it has said it is ready."""

    def __init__(self, target: Target, stored: StoreUnderTest, partition: int = 0) -> None:
        self.pipe, theirs = FORK.Pipe()
        self.process = FORK.Process(
            target=target, args=(stored.url, stored.key_prefix, partition, theirs), daemon=True
        )
        self.process.start()
        theirs.close()

    def ready(self) -> int:
        assert self.pipe.poll(START_TIMEOUT_S)
        return int(self.pipe.recv())

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def test_a_commit_wakes_a_follower_in_another_process(stored: StoreUnderTest) -> None:
    store = stored.open()
    store.ensure_layout(LAYOUT)
    child = Child(commit_when_told, stored, partition=2)
    child.ready()
    child.pipe.send(None)
    found = store.follow({0: 0, 2: 0}, timeout_s=WAIT_S)
    woken = time.time()
    committed = child.pipe.recv()
    child.process.join()
    assert [encode_entry(entry) for entry in found] == [encode_entry(World(2).next_entry())]
    assert woken - committed < WAIT_S / 2, "it waited out its time"


def test_processes_that_write_at_once_all_get_through(stored: StoreUnderTest) -> None:
    """All open an empty store at the same moment, and then write to partitions of their own."""
    children = [Child(commit_n, stored, partition) for partition in range(3)]
    for child in children:
        child.ready()
    for child in children:
        child.pipe.send(60)
    for child in children:
        child.process.join()
        assert child.process.exitcode == 0
    store = stored.open()
    assert store.versions() == {0: 60, 1: 60, 2: 60}
    for partition in range(3):
        world = World(partition)
        entries = [encode_entry(world.next_entry()) for _ in range(60)]
        assert [encode_entry(entry) for entry in store.load(partition).entries] == entries


def test_kill_9_leaves_whole_commits(stored: StoreUnderTest) -> None:
    world = World(1)
    store = stored.open()
    version = 0
    for life in range(4):
        child = Child(commit_for_ever, stored, partition=1)
        assert child.ready() == version
        while store.versions().get(1, 0) < version + COMMITS_A_LIFE:
            time.sleep(0.01)
        time.sleep(0.0037 * life)
        child.kill()
        image = store.load(1)
        assert image.version >= version + COMMITS_A_LIFE
        version = image.version
        while world.version < version:
            world.next_entry()
        assert state_of(image) == world.state
        assert image.offsets == world.offsets
        assert store.versions() == {1: version}
        assert version - CHECKPOINT_EVERY <= image.checkpoint.version <= version
        schedule = list(store.schedule(1))
        assert [recorded.version for recorded in schedule] == list(range(1, version + 1))
        ends = [0, *(recorded.offsets["events"][1] for recorded in schedule)]
        assert [recorded.offsets["events"][0] for recorded in schedule] == ends[:-1]
        assert len(store.follow({1: version - 5}, timeout_s=0)) == 5


@pytest.mark.parametrize("stored", store_params("sqlite"), indirect=True)
def test_a_file_is_opened_at_any_moment_while_others_commit_and_are_killed(
    stored: StoreUnderTest,
) -> None:
    """A log that others write, copy into the file and begin anew meanwhile is that of the file."""
    reached = {0: 0, 1: 0}
    for life in range(4):
        children = [Child(commit_for_ever, stored, partition) for partition in reached]
        for child in children:
            child.ready()
        ends = {partition: version + COMMITS_A_LIFE for partition, version in reached.items()}
        while any(reached[partition] < end for partition, end in ends.items()):
            with closing(open_store(stored.url, timeout_s=20.0)) as store:
                found = store.versions()
            assert all(found.get(partition, 0) >= version for partition, version in reached.items())
            reached |= found
        time.sleep(0.0037 * life)
        for child in children:
            child.kill()
