"""What every parameter store promises: fencing, atomic commits, checkpoints, followers."""

from __future__ import annotations

import contextlib
import copy
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from streamer.errors import Fenced, LayoutMismatch, LogTrimmed, StoreUnavailable
from streamer.protocols import (
    Checkpoint,
    Entry,
    Generation,
    ModelSettings,
    ParameterStore,
    PartitionImage,
    Schedule,
)
from streamer.store.layout import encode_entry
from streamer_models.state.ids.id_table import id_key
from streamer_models.state.table import Change, Merge, Rows, TableSpec
from tests.contract.conftest import StoreUnderTest
from tests.contract.store_world import ENTITIES, LAYOUT, TABLES, State, World, state_of
from tests.timing import shortest_s

WAIT_S = 120.0
"""What a follower would wait whom nothing wakes."""


@pytest.fixture
def store(stored: StoreUnderTest) -> ParameterStore:
    return laid_out(stored)


def laid_out(stored: StoreUnderTest, **options: int) -> ParameterStore:
    store = stored.open(**options)
    store.ensure_layout(LAYOUT)
    return store


def commit_some(store: ParameterStore, world: World, n: int, *, owner: str = "a") -> list[Entry]:
    entries = [world.next_entry() for _ in range(n)]
    for entry in entries:
        store.commit(entry, owner=owner)
    return entries


def encoded(entries: list[Entry]) -> list[bytes]:
    return [encode_entry(entry) for entry in entries]


# --- layout -----------------------------------------------------------------------------------


def test_an_empty_store_has_no_layout_and_takes_the_first(stored: StoreUnderTest) -> None:
    store = stored.open()
    assert store.layout() is None
    assert store.versions() == {}
    assert store.load(0).version == 0
    store.ensure_layout(LAYOUT)
    store.ensure_layout(LAYOUT)
    assert stored.open().layout() == LAYOUT


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_partitions": 8}, "n_partitions is 4, asked for 8"),
        (
            {"fixed": {"learner.seed": 2}},
            "fixed is {'learner.seed': 1}, asked for {'learner.seed': 2}",
        ),
        ({"tables": TABLES[1:]}, "table user_meta is replace i8 × 4 by user, asked for absent"),
        (
            {"tables": (*TABLES[:-1], replace(TABLES[-1], width=3))},
            "table recent_items is recent u8 × 9 by slot, asked for recent u8 × 3 by slot",
        ),
        ({"tables": TABLES[::-1]}, "the order of the tables"),
    ],
)
def test_another_layout_is_refused_by_name_and_value(
    stored: StoreUnderTest, change: dict[str, object], said: str
) -> None:
    laid_out(stored)
    with pytest.raises(LayoutMismatch) as caught:
        stored.open().ensure_layout(replace(LAYOUT, **change))  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert "use an empty store" in str(caught.value)
    assert stored.open().layout() == LAYOUT


def test_a_checkpoint_needs_a_layout(stored: StoreUnderTest) -> None:
    store = stored.open()
    store.acquire(0, "a")
    with pytest.raises(LayoutMismatch, match="store rebuild"):
        store.checkpoint(World().checkpoint(), owner="a")


# --- load and commit --------------------------------------------------------------------------


def test_a_partition_never_committed_is_empty(store: ParameterStore) -> None:
    image = store.load(2)
    assert (image.version, image.offsets, image.entries) == (0, {}, [])
    checkpoint = image.checkpoint
    assert (checkpoint.partition, checkpoint.version, checkpoint.removed) == (2, 0, {})
    assert sorted(checkpoint.names) == sorted(ENTITIES)
    assert {name: rows.values.shape for name, rows in checkpoint.tables.items()} == {
        spec.name: (0, spec.width) for spec in TABLES
    }
    assert store.versions() == {}
    assert list(store.schedule(2)) == []


def test_entries_come_back_bit_for_bit(store: ParameterStore, stored: StoreUnderTest) -> None:
    worlds = [World(0), World(3)]
    store.acquire(0, "a")
    store.acquire(3, "a")
    written = {world.partition: commit_some(store, world, 5) for world in worlds}
    other = stored.open()
    for world in worlds:
        image = other.load(world.partition)
        assert encoded(image.entries) == encoded(written[world.partition])
        assert image.offsets == world.offsets
        assert image.version == 5
        assert state_of(image) == world.state
    assert other.versions() == {0: 5, 3: 5}


def test_the_store_keeps_its_own_copy(store: ParameterStore) -> None:
    store.acquire(0, "a")
    values = np.ones((1, 5), np.int32)
    rows = Rows(np.ones(1, np.uint64), values)
    entry = replace(World().next_entry(), change=Change({}, {}, {"item_factors": rows}))
    store.commit(entry, owner="a")
    values[:] = 2
    assert store.load(0).entries[0].change.tables["item_factors"].values.tolist() == [[1] * 5]


# --- fencing ----------------------------------------------------------------------------------


def fenced(store: ParameterStore, entry: Entry, *, owner: str, said: str) -> None:
    """Committing ``entry`` is refused, and nothing of it is seen afterwards."""
    before = store.load(entry.partition)
    schedule = list(store.schedule(entry.partition))
    with pytest.raises(Fenced) as caught:
        store.commit(entry, owner=owner)
    assert said in str(caught.value)
    assert "it is loaded again" in str(caught.value)
    after = store.load(entry.partition)
    assert encoded(after.entries) == encoded(before.entries)
    assert after.offsets == before.offsets
    assert list(store.schedule(entry.partition)) == schedule
    assert store.follow({entry.partition: before.version}, timeout_s=0) == []


def test_only_the_owner_commits(store: ParameterStore, stored: StoreUnderTest) -> None:
    world = World()
    entry = world.next_entry()
    fenced(store, entry, owner="a", said="held by nobody, not by 'a'")
    store.acquire(0, "a")
    store.commit(entry, owner="a")
    stored.open().acquire(0, "b")
    fenced(store, world.next_entry(), owner="a", said="held by 'b', not by 'a'")
    fenced(store, entry, owner="a", said="held by 'b', not by 'a'")


def test_versions_follow_each_other(store: ParameterStore) -> None:
    world = World()
    store.acquire(0, "a")
    first, second, third = (world.next_entry() for _ in range(3))
    fenced(store, second, owner="a", said="is at version 0, so entry 2 is not its next")
    store.commit(first, owner="a")
    fenced(store, third, owner="a", said="is at version 1, so entry 3 is not its next")
    fenced(
        store, replace(first, n_events=99), owner="a", said="at version 1, so entry 1 is not its"
    )


def test_offsets_follow_each_other(store: ParameterStore) -> None:
    store.acquire(0, "a")
    entry = World().next_entry()
    store.commit(entry, owner="a")
    to = entry.schedule.offsets["events"][1]
    for start in (to - 1, to + 1):
        offsets = {"other": (12, 13), "events": (start, to + 9)}
        gap = replace(entry, schedule=Schedule(2, offsets, {}, {}))
        fenced(store, gap, owner="a", said=f"'events' up to offset {to}, entry 2 starts at {start}")
    offsets = {"events": (to, to + 9), "other": (2**62, 2**62 + 1)}
    store.commit(replace(entry, schedule=Schedule(2, offsets, {}, {})), owner="a")
    assert store.load(0).offsets == {"decisions": 7, "events": to + 9, "other": 2**62 + 1}
    offsets = {"other": (2**62, 2**62 + 5)}
    gap = replace(entry, schedule=Schedule(3, offsets, {}, {}))
    fenced(store, gap, owner="a", said=f"'other' up to offset {2**62 + 1}")


def test_a_store_says_who_may_commit(store: ParameterStore, stored: StoreUnderTest) -> None:
    assert stored.open().owner(0) is None
    for owner in ("a", "b"):
        store.acquire(0, owner)
        assert stored.open().owner(0) == owner


def test_a_repeated_commit_is_one(store: ParameterStore) -> None:
    world = World()
    store.acquire(0, "a")
    first, second = commit_some(store, world, 2)
    store.commit(second, owner="a")
    assert encoded(store.load(0).entries) == encoded([first, second])
    assert [schedule.version for schedule in store.schedule(0)] == [1, 2]
    store.checkpoint(world.checkpoint(), owner="a")
    store.commit(second, owner="a")
    assert store.versions() == {0: 2}


# --- checkpoints ------------------------------------------------------------------------------


def test_a_checkpoint_holds_what_the_log_held(stored: StoreUnderTest) -> None:
    store = laid_out(stored, log_entries_kept=3)
    store.acquire(1, "a")
    world = World(1)
    for n in (4, 1, 6, 0, 5):
        commit_some(store, world, n)
        checkpoint = world.checkpoint()
        assert state_of(store.load(1)) == world.state
        store.checkpoint(checkpoint, owner="a")
        store.checkpoint(checkpoint, owner="a")
        image = stored.open().load(1)
        assert image.entries == []
        assert image.checkpoint.version == image.version == world.version
        assert image.offsets == world.offsets
        assert image.checkpoint.watermark_ms == world.watermark_ms
        assert state_of(image) == world.state
    commit_some(store, world, 2)
    assert len(store.load(1).entries) == 2
    assert state_of(store.load(1)) == world.state
    for rows in store.load(1).checkpoint.tables.values():
        assert rows.keys.dtype == np.uint64
        assert np.all(rows.keys[1:] > rows.keys[:-1])


def test_a_checkpoint_may_be_behind_the_log(stored: StoreUnderTest) -> None:
    store = laid_out(stored, log_entries_kept=1)
    store.acquire(0, "a")
    world = World()
    commit_some(store, world, 4)
    checkpoint = world.checkpoint()
    tail = commit_some(store, world, 3)
    store.checkpoint(checkpoint, owner="a")
    image = store.load(0)
    assert image.checkpoint.version == 4
    assert encoded(image.entries) == encoded(tail)
    assert state_of(image) == world.state


def test_removed_ids_lose_their_rows_in_every_table(store: ParameterStore) -> None:
    store.acquire(0, "a")
    world = World(seed=3)
    commit_some(store, world, 12)
    store.checkpoint(world.checkpoint(), owner="a")
    keys = np.array(sorted(world.state.names["item"]), np.uint64)
    empty = replace(
        world.checkpoint(),
        removed={"item": keys, "user": np.zeros(0, np.uint64)},
        tables={},
        sizes={"names:item": 0, "item_factors": 0},
    )
    before = store.load(0).checkpoint
    store.checkpoint(empty, owner="a")
    after = store.load(0).checkpoint
    for spec in TABLES:
        assert len(before.tables[spec.name]) > 0
        assert (len(after.tables[spec.name]) == 0) == (spec.entity == "item")
    assert after.names["item"][1] == ()
    assert after.names["user"][1] == before.names["user"][1]


def test_only_the_owner_checkpoints_and_not_beyond_the_log(stored: StoreUnderTest) -> None:
    store = laid_out(stored, log_entries_kept=1)
    store.acquire(0, "a")
    world = World()
    commit_some(store, world, 3)
    checkpoint = world.checkpoint()
    for wrong, owner, said in (
        (checkpoint, "b", "held by 'a', not by 'b'"),
        (replace(checkpoint, version=4), "a", "entries up to 3, so it can't have one at 4"),
    ):
        with pytest.raises(Fenced) as caught:
            store.checkpoint(wrong, owner=owner)
        assert said in str(caught.value)
        assert store.load(0).checkpoint.version == 0
        assert len(store.load(0).entries) == 3
        assert all(len(rows) == 0 for rows in store.load(0).checkpoint.tables.values())
    store.checkpoint(checkpoint, owner="a")
    with pytest.raises(Fenced, match="checkpoint at version 3"):
        store.checkpoint(replace(checkpoint, version=2), owner="a")
    assert state_of(store.load(0)) == world.state


def test_a_large_checkpoint_goes_in_at_once(store: ParameterStore) -> None:
    n = 50_000
    rng = np.random.default_rng(5)
    store.acquire(0, "a")
    world = World()
    commit_some(store, world, 1)
    by_key = {id_key(name): name for name in (b"item %d" % i for i in range(n))}
    keys = np.array(sorted(by_key), np.uint64)
    names = tuple(by_key[key] for key in keys.tolist())
    values = rng.integers(-(2**31), 2**31, (n, 5)).astype(np.int32)
    large = replace(
        world.checkpoint(),
        names={"item": (keys, names)},
        removed={},
        tables={"item_factors": Rows(keys, values)},
        sizes={"item_factors": n, "names:item": n},
    )
    store.checkpoint(large, owner="a")
    loaded = store.load(0).checkpoint
    assert np.array_equal(loaded.tables["item_factors"].keys, keys)
    assert np.array_equal(loaded.tables["item_factors"].values, values)
    assert np.array_equal(loaded.names["item"][0], keys)
    assert loaded.names["item"][1] == names
    gone = replace(large, removed={"item": keys}, names={}, tables={}, sizes={"item_factors": 0})
    store.checkpoint(gone, owner="a")
    assert len(store.load(0).checkpoint.tables["item_factors"]) == 0


def test_what_is_loaded_during_checkpoints_is_of_one_moment(stored: StoreUnderTest) -> None:
    store = laid_out(stored, log_entries_kept=1)
    store.acquire(0, "a")
    world, n_versions = World(), 90
    states: dict[int, State] = {}
    done = threading.Event()
    loaded: list[PartitionImage] = []

    def wait_for_a_load() -> None:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if any(image.version == world.version for image in loaded):
                return
            time.sleep(0.001)

    def learn() -> None:
        for _ in range(n_versions):
            commit_some(store, world, 1)
            states[world.version] = copy.deepcopy(world.state)
            if world.version % 3 == 0:
                store.checkpoint(world.checkpoint(), owner="a")
            if world.version % 20 == 0:
                wait_for_a_load()  # in between one gets through, on a busy machine too
        done.set()

    other = stored.open()
    thread = threading.Thread(target=learn)
    thread.start()
    while not done.is_set():
        with contextlib.suppress(StoreUnavailable):  # too many checkpoints meanwhile: retriable
            loaded.append(other.load(0))
    thread.join()
    states[0] = State()
    assert len({image.version for image in loaded}) > 3
    for image in loaded:
        assert state_of(image) == states[image.version]


# --- followers --------------------------------------------------------------------------------


def test_a_follower_sees_every_entry_once_and_in_order(
    store: ParameterStore, stored: StoreUnderTest
) -> None:
    written = {}
    for partition in (0, 1):
        store.acquire(partition, "a")
        written[partition] = commit_some(store, World(partition), 150 + partition)
    follower = stored.open()
    after = {0: 0, 1: 3, 2: 0}
    seen: dict[int, list[Entry]] = {0: [], 1: [], 2: []}
    while found := follower.follow(after, timeout_s=0):
        assert len(found) <= 128
        for entry in found:
            assert entry.version == after[entry.partition] + 1
            after[entry.partition] = entry.version
            seen[entry.partition].append(entry)
    assert encoded(seen[0]) == encoded(written[0])
    assert encoded(seen[1]) == encoded(written[1][3:])
    assert seen[2] == []


def test_a_follower_waits_no_longer_than_told(store: ParameterStore) -> None:
    store.acquire(0, "a")
    for timeout_s in (0.0, 0.2):

        def follow(timeout_s: float = timeout_s) -> None:
            assert store.follow({0: 0, 1: 0}, timeout_s=timeout_s) == []

        assert timeout_s <= shortest_s(follow) < timeout_s + 1.0


def test_following_nothing_waits_out_its_time(store: ParameterStore) -> None:
    start = time.monotonic()
    assert store.follow({}, timeout_s=0.05) == []
    assert time.monotonic() - start >= 0.05


def test_a_commit_wakes_a_waiting_follower(store: ParameterStore, stored: StoreUnderTest) -> None:
    store.acquire(1, "a")
    entry = World(1).next_entry()
    follower = stored.open()
    waits_s = []

    def follow() -> None:
        found = follower.follow({0: 0, 1: 0}, timeout_s=WAIT_S)
        waits_s.append(time.monotonic() - committed)
        assert encoded(found) == encoded([entry])

    thread = threading.Thread(target=follow)
    thread.start()
    time.sleep(0.2)
    committed = time.monotonic()
    store.commit(entry, owner="a")
    thread.join()
    assert waits_s
    assert waits_s[0] < WAIT_S / 2, "it waited out its time"


def test_a_follower_behind_the_log_is_told(stored: StoreUnderTest) -> None:
    store = laid_out(stored, log_entries_kept=3)
    store.acquire(0, "a")
    world = World()
    entries = commit_some(store, world, 10)
    assert len(store.follow({0: 0}, timeout_s=0)) == 10
    store.checkpoint(world.checkpoint(), owner="a")
    assert encoded(store.follow({0: 7}, timeout_s=0)) == encoded(entries[7:])
    assert store.follow({0: 10}, timeout_s=0) == []
    for after in (0, 6):
        with pytest.raises(LogTrimmed, match=f"is at version {after}, the log starts at 8"):
            store.follow({1: 0, 0: after}, timeout_s=5.0)
    with pytest.raises(LogTrimmed, match="is at version 10, the follower at 11"):
        store.follow({0: 11}, timeout_s=5.0)


def test_a_follower_is_told_that_the_store_has_other_commits_than_it_has(
    stored: StoreUnderTest,
) -> None:
    """A store that went back to an older copy, and was learned further before it was looked at."""
    store = laid_out(stored)
    store.acquire(0, "a")
    theirs, ours = World(seed=1), World(seed=2)
    for _ in range(5):
        theirs.next_entry()
    commit_some(store, ours, 5)
    known, own = {0: theirs.commit_id}, {0: ours.commit_id}
    assert store.follow({0: 5}, timeout_s=0, commit_ids=own) == []
    for n_more in (0, 2):
        commit_some(store, ours, n_more)
        with pytest.raises(LogTrimmed, match="partition 0 has another commit at version 5 than"):
            stored.open().follow({1: 0, 0: 5}, timeout_s=5.0, commit_ids=known)
    found = store.follow({0: 5}, timeout_s=0, commit_ids=own)
    assert [entry.version for entry in found] == [6, 7]
    assert found[0].parent_id == own[0]
    assert found[1].commit_id == store.load(0).commit_id == ours.commit_id
    store.checkpoint(ours.checkpoint(), owner="a")
    assert store.load(0).checkpoint.commit_id == ours.commit_id


def test_only_what_was_learned_after_the_last_commit_is_committed(store: ParameterStore) -> None:
    store.acquire(0, "a")
    theirs, ours = World(seed=1), World(seed=2)
    commit_some(store, ours, 3)
    for _ in range(3):
        theirs.next_entry()
    entry = theirs.next_entry()
    fenced(store, entry, owner="a", said="has another commit at version 3 than the one before")
    commit_some(store, ours, 1)


def test_commits_of_a_release_without_ids_are_gone_on_with(stored: StoreUnderTest) -> None:
    store = laid_out(stored)
    store.acquire(0, "a")
    world = World()

    def commit(commit_id: int) -> None:
        entry = replace(world.next_entry(), parent_id=0, commit_id=commit_id)
        store.commit(entry, owner="a")

    commit(0)
    checkpoint = replace(world.checkpoint(), commit_id=0)
    store.checkpoint(checkpoint, owner="a")
    assert store.load(0).commit_id == 0
    commit(22)
    assert [e.version for e in store.follow({0: 1}, timeout_s=0, commit_ids={0: 11})] == [2]
    commit(0)
    assert [e.version for e in store.follow({0: 2}, timeout_s=0, commit_ids={0: 22})] == [3]
    assert store.follow({0: 3}, timeout_s=0, commit_ids={0: 33}) == []
    commit(44)
    with pytest.raises(LogTrimmed):
        store.follow({0: 4}, timeout_s=0, commit_ids={0: 33})
    assert (store.load(0).version, store.load(0).commit_id) == (4, 44)


def test_large_entries_may_be_trimmed_earlier(stored: StoreUnderTest) -> None:
    store = laid_out(stored, log_entries_kept=5)
    store.acquire(0, "a")
    world = World()
    entries = commit_some(store, world, 10)
    store.checkpoint(replace(world.checkpoint(), log_entries_max=2), owner="a")
    assert encoded(store.follow({0: 8}, timeout_s=0)) == encoded(entries[8:])
    with pytest.raises(LogTrimmed, match="the log starts at 9"):
        store.follow({0: 7}, timeout_s=5.0)


# --- schedule ---------------------------------------------------------------------------------


def test_the_schedule_outlives_the_log(stored: StoreUnderTest) -> None:
    store = laid_out(stored, log_entries_kept=1)
    store.acquire(0, "a")
    world = World()
    entries = commit_some(store, world, 20)
    store.checkpoint(world.checkpoint(), owner="a")
    assert list(stored.open().schedule(0)) == [entry.schedule for entry in entries]


def test_the_schedule_is_bounded(stored: StoreUnderTest) -> None:
    store = laid_out(stored, schedule_entries_max=20)
    store.acquire(0, "a")
    versions = [entry.version for entry in commit_some(store, World(), 400)]
    kept = [schedule.version for schedule in store.schedule(0)]
    assert 20 <= len(kept) < 20 + 128
    assert kept == versions[-len(kept) :]


# --- names ------------------------------------------------------------------------------------


def test_names_may_be_any_bytes(store: ParameterStore) -> None:
    store.acquire(0, "ö\n'\"")
    names = ("ünïcode 🎬".encode(), b"", b"\x00\xff\n", b"x" * 256)
    keys = np.array([id_key(name) for name in names], np.uint64)
    sizes = {"names:user": len(keys)}
    checkpoint = replace(World().checkpoint(), names={"user": (keys, names)}, sizes=sizes)
    store.checkpoint(checkpoint, owner="ö\n'\"")
    loaded_keys, loaded = store.load(0).checkpoint.names["user"]
    assert loaded_keys.tolist() == sorted(keys.tolist())
    assert dict(zip(loaded_keys.tolist(), loaded, strict=True)) == dict(
        zip(keys.tolist(), names, strict=True)
    )


def test_extreme_values_survive(store: ParameterStore) -> None:
    store.acquire(0, "a")
    spec = next(spec for spec in TABLES if spec.dtype == "f4")
    assert spec.merge is Merge.REPLACE
    assert isinstance(spec, TableSpec)
    values = np.array([[np.nan, -0.0, np.inf, 1e-45, -1.5]], np.float32)
    keys = np.array([id_key(b"ann")], np.uint64)
    written = replace(
        World().checkpoint(),
        names={spec.entity: (keys, (b"ann",))},
        tables={spec.name: Rows(keys, values)},
        sizes={spec.name: 1, f"names:{spec.entity}": 1},
    )
    store.checkpoint(written, owner="a")
    loaded = store.load(0).checkpoint.tables[spec.name]
    assert loaded.values.tobytes() == values.tobytes()
    assert loaded.keys.tolist() == keys.tolist()


# --- a layout that changes ------------------------------------------------------------------------

GIVEN_UP = TABLES[-1]
OTHER = replace(GIVEN_UP, name=f"{GIVEN_UP.name}@1", width=3)
BEFORE = replace(
    LAYOUT, generations=(Generation(models={"negatives": ModelSettings({"n": 8}, (GIVEN_UP,))}),)
)
AFTER = replace(
    BEFORE,
    tables=(*TABLES, OTHER),
    generations=(
        *BEFORE.generations,
        Generation(
            models={"negatives": ModelSettings({"n": 2}, (replace(GIVEN_UP, width=3),), since=1)}
        ),
    ),
)


def test_a_layout_is_replaced_by_one_who_knows_it(stored: StoreUnderTest) -> None:
    store, other = stored.open(), stored.open()
    assert not store.replace_layout(AFTER, expected=BEFORE)
    assert store.replace_layout(BEFORE, expected=None)
    assert not other.replace_layout(AFTER, expected=None)
    assert other.layout() == BEFORE
    assert other.replace_layout(AFTER, expected=BEFORE)
    assert not store.replace_layout(AFTER, expected=BEFORE)
    assert store.layout() == AFTER
    assert AFTER.given_up == (GIVEN_UP.name,)


def test_the_next_checkpoint_drops_the_rows_of_a_table_that_was_given_up(
    stored: StoreUnderTest,
) -> None:
    store = stored.open()
    store.replace_layout(BEFORE, expected=None)
    worlds = [World(0), World(1)]
    for world in worlds:
        store.acquire(world.partition, "a")
        commit_some(store, world, 6)
        store.checkpoint(world.checkpoint(), owner="a")
        assert len(store.load(world.partition).checkpoint.tables[GIVEN_UP.name])
    store.replace_layout(AFTER, expected=BEFORE)
    schedule = Schedule(7, {}, {}, {}, generation=1)
    rows = Rows(np.zeros(1, np.uint64), np.full((1, 3), 5, np.uint64))
    entry = replace(
        worlds[0].next_entry(), change=Change({}, {}, {OTHER.name: rows}), schedule=schedule
    )
    store.commit(entry, owner="a")
    assert store.load(0).generation == 1
    made = Checkpoint(0, 7, {}, worlds[0].watermark_ms, {}, {}, {OTHER.name: rows}, generation=1)
    store.checkpoint(made, owner="a")
    loaded = store.load(0).checkpoint
    assert (loaded.version, loaded.generation) == (7, 1)
    assert len(loaded.tables[GIVEN_UP.name]) == 0
    assert loaded.tables[OTHER.name].values.tolist() == [[5, 5, 5]]
    assert len(loaded.tables["user_meta"]), "the others stay"
    assert [each.generation for each in store.schedule(0)][-2:] == [0, 1]
    untouched = store.load(1)
    assert untouched.generation == 0
    assert len(untouched.checkpoint.tables[GIVEN_UP.name])
