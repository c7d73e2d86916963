"""Every store forgets a partition at once, whatever is left of it, and knows its topics by ids."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from dataclasses import replace

import msgspec
import pytest
import redis

from streamer.errors import (
    Fenced,
    LayoutMismatch,
    LogTrimmed,
    StoreError,
    StoreUnavailable,
    TopicMismatch,
)
from streamer.protocols import Layout, ParameterStore
from streamer.store.agreement import agree
from streamer.store.copying import copy_store
from streamer.store.layout import encode_layout
from streamer.store.memory import MemoryStore
from streamer.store.rebuild import forget_all, forget_partition
from tests.contract.conftest import StoreUnderTest, store_params
from tests.contract.store_world import LAYOUT, CutShort, World, cut_short_after, state_of

WITH_IDS = replace(LAYOUT, topic_ids={"events": "a1"})


@pytest.fixture
def store(stored: StoreUnderTest) -> ParameterStore:
    """Partitions 0 and 3, each with a checkpoint at version 2 and entries up to 5."""
    store = stored.open()
    agree(store, WITH_IDS, may_change=True)
    for partition in (0, 3):
        store.acquire(partition, "a")
        world = World(partition)
        for version in range(1, 6):
            store.commit(world.next_entry(), owner="a")
            if version == 2:
                store.checkpoint(world.checkpoint(), owner="a")
    return store


def is_empty(store: ParameterStore, partition: int) -> bool:
    """Whether nothing is left of a partition."""
    image = store.load(partition)
    sizes = [len(rows) for rows in image.checkpoint.tables.values()]
    sizes += [len(names) for _, names in image.checkpoint.names.values()]
    sizes += [len(image.entries), len(image.offsets), len(list(store.schedule(partition)))]
    return not any(sizes)


# --- forgetting -----------------------------------------------------------------------------------


def test_a_partition_is_forgotten_and_learned_again(store: ParameterStore) -> None:
    other = state_of(store.load(3))
    forget_partition(store, 0, WITH_IDS, owner="rebuild")
    assert is_empty(store, 0)
    assert store.versions() == {0: 6, 3: 5}
    assert state_of(store.load(3)) == other
    store.acquire(0, "b")
    world = World(0, seed=1)
    entries = [world.next_entry() for _ in range(4)]
    for entry in entries:
        schedule = replace(entry.schedule, version=entry.version + 6)
        store.commit(replace(entry, schedule=schedule), owner="b")
    checkpoint = world.checkpoint()
    store.checkpoint(replace(checkpoint, version=10), owner="b")
    image = store.load(0)
    assert (image.version, image.offsets) == (10, world.offsets)
    assert state_of(image) == world.state
    assert [schedule.version for schedule in store.schedule(0)] == [7, 8, 9, 10]


def test_followers_load_what_was_forgotten_again(store: ParameterStore) -> None:
    assert store.follow({0: 5}, timeout_s=0) == []
    forget_partition(store, 0, WITH_IDS, owner="rebuild")
    with pytest.raises(LogTrimmed, match=r"partition 0.* it is loaded again"):
        store.follow({0: 5}, timeout_s=0)
    assert store.follow({0: 6}, timeout_s=0) == []
    commit_id = store.load(0).commit_id
    assert store.follow({0: 6}, timeout_s=0, commit_ids={0: commit_id}) == []
    with pytest.raises(LogTrimmed, match="has another commit at version 6"):
        store.follow({0: 6}, timeout_s=0, commit_ids={0: commit_id - 1})


def test_forgetting_is_fenced_and_fences(store: ParameterStore) -> None:
    with pytest.raises(Fenced, match="held by 'a', not by 'b'"):
        store.forget(0, owner="b")
    assert store.load(0).version == 5
    forget_partition(store, 0, WITH_IDS, owner="rebuild")
    late = World(0).next_entry()
    with pytest.raises(Fenced, match="held by 'rebuild', not by 'a'"):
        store.commit(late, owner="a")


def test_all_is_forgotten_and_the_settings_stay(store: ParameterStore) -> None:
    forget_all(store, WITH_IDS, owner="rebuild")
    assert all(is_empty(store, partition) for partition in range(LAYOUT.n_partitions))
    assert store.layout() == WITH_IDS


@pytest.mark.parametrize(
    "asked",
    [
        replace(LAYOUT, fixed={"learner.seed": 2}),
        replace(LAYOUT, topic_ids={"events": "b2"}),
        replace(LAYOUT, n_partitions=2, fixed={"learner.seed": 2}),
    ],
)
def test_with_all_forgotten_a_store_takes_other_settings(
    store: ParameterStore, asked: Layout
) -> None:
    with pytest.raises((LayoutMismatch, TopicMismatch), match="streamer store rebuild"):
        forget_partition(store, 0, asked, owner="rebuild")
    assert store.load(0).version == 5
    forget_all(store, asked, owner="rebuild")
    assert store.layout() == asked
    assert all(is_empty(store, partition) for partition in range(LAYOUT.n_partitions))


N_WRITES = 2 * LAYOUT.n_partitions + 1
"""The owner of each partition, each partition, and the layout, which says so before."""


@pytest.mark.parametrize("seed", [1, 2])
def test_a_rebuild_that_was_cut_short_takes_no_process_and_is_ended_by_the_next(
    store: ParameterStore, seed: int
) -> None:
    asked = replace(WITH_IDS, fixed={"learner.seed": seed})
    with pytest.raises(CutShort):
        forget_all(cut_short_after(store, 0), asked, owner="rebuild")
    assert store.layout() == WITH_IDS
    assert store.load(3).version == 5
    for n_writes in range(1, N_WRITES):
        with pytest.raises(CutShort):
            forget_all(cut_short_after(store, n_writes), asked, owner="rebuild")
        for may_change in (True, False):
            with pytest.raises(StoreUnavailable, match="give the same command again"):
                agree(store, asked, may_change=may_change)
        with pytest.raises(StoreError, match="is being forgotten"):
            copy_store(store, MemoryStore())
        with pytest.raises(StoreError, match="is being forgotten"):
            forget_partition(store, 0, asked, owner="rebuild")
    forget_all(store, asked, owner="rebuild")
    assert agree(store, asked, may_change=True) == asked
    assert all(is_empty(store, partition) for partition in range(LAYOUT.n_partitions))


def test_a_learner_that_goes_on_meanwhile_is_told_to_stop(
    store: ParameterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget = store.forget

    def forget_and_learn(partition: int, *, owner: str) -> None:
        forget(partition, owner=owner)
        if partition == 0:
            store.acquire(0, "a")
            entry = World(0).next_entry()
            version = store.load(0).version + 1
            schedule = replace(entry.schedule, version=version)
            store.commit(replace(entry, schedule=schedule), owner="a")

    monkeypatch.setattr(store, "forget", forget_and_learn)
    with pytest.raises(StoreError, match=r"learners went on to commit.*stop"):
        forget_all(store, WITH_IDS, owner="rebuild")


@pytest.mark.parametrize("stored", store_params("sqlite", "redis"), indirect=True)
def test_a_damaged_partition_is_forgotten_too(
    store: ParameterStore, stored: StoreUnderTest
) -> None:
    if stored.kind == "sqlite":
        with closing(sqlite3.connect(stored.url.removeprefix("sqlite:"))) as file, file:
            file.execute("DELETE FROM entries WHERE version = 4")
            file.execute("UPDATE partitions SET version = 1, progress = checkpoint")
            file.execute("DELETE FROM layout")
    else:
        with redis.Redis.from_url(stored.url) as client:
            client.xdel(f"{stored.key_prefix}:{{0}}:log", "4-0")
            client.delete(f"{stored.key_prefix}:{{0}}:meta", f"{stored.key_prefix}:layout")
    forget_all(store, WITH_IDS, owner="rebuild")
    assert all(is_empty(store, partition) for partition in range(LAYOUT.n_partitions))
    assert store.versions()[0] == 6, "it never falls, or followers would take the new for the old"
    assert store.layout() == WITH_IDS


# --- ids of topics --------------------------------------------------------------------------------


@pytest.mark.parametrize("may_change", [True, False])
def test_a_topic_that_was_made_anew_is_refused(store: ParameterStore, may_change: bool) -> None:
    anew = replace(LAYOUT, topic_ids={"events": "b2"})
    with pytest.raises(TopicMismatch) as caught:
        agree(store, anew, may_change=may_change)
    for words in ("topic events was deleted and made anew", "b2", "a1", "streamer store rebuild"):
        assert words in str(caught.value)
    assert store.layout() == WITH_IDS


def test_ids_that_nobody_knew_are_taken_once_and_in_silence(
    stored: StoreUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    store = stored.open()
    store.ensure_layout(LAYOUT)
    caplog.set_level(logging.DEBUG, logger="streamer")
    assert agree(store, WITH_IDS, may_change=False) == LAYOUT
    assert agree(store, WITH_IDS, may_change=True) == WITH_IDS == store.layout()
    both = replace(LAYOUT, topic_ids={"decisions": "d1"})
    known = {"events": "a1", "decisions": "d1"}
    assert agree(store, both, may_change=True).topic_ids == known
    assert agree(store, LAYOUT, may_change=True).topic_ids == known, "a broker that gives none"
    assert caplog.records == []


@pytest.mark.parametrize("stored", store_params("sqlite", "redis"), indirect=True)
def test_a_store_from_before_ids_were_kept_takes_them(stored: StoreUnderTest) -> None:
    store = stored.open()
    store.ensure_layout(LAYOUT)
    former = msgspec.json.decode(encode_layout(LAYOUT))
    del former["topic_ids"]
    text = msgspec.json.encode(former).decode()
    if stored.kind == "sqlite":
        with closing(sqlite3.connect(stored.url.removeprefix("sqlite:"))) as file, file:
            file.execute("UPDATE layout SET layout = ?", [text])
    else:
        with redis.Redis.from_url(stored.url) as client:
            client.set(f"{stored.key_prefix}:layout", text)
    assert agree(store, WITH_IDS, may_change=True) == WITH_IDS == store.layout()
