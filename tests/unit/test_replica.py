"""A replica equals what was learned, to the bit, however it came to know it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from streamer.replica.factorized import FactorizedView
from streamer.replica.items import COUNT, ItemView
from streamer.replica.metrics import ReplicaMetrics
from streamer.replica.replica import Replica
from streamer.replica.version import Version
from streamer.simulation.broker import ManualClock
from streamer_models.counters.decay import decayed_values, half_lives_ms
from streamer_models.counters.history import UserHistory
from streamer_models.counters.popularity import Popularity
from streamer_models.factorization.biased_mf import BiasedMF
from streamer_models.state.ids.id_table import id_key
from streamer_models.state.model import Model
from streamer_models.state.partition import Bounds
from streamer_models.state.table import FIXED_POINT_UNIT, recent_keys
from tests.scoring import HOUR_MS, START_MS, Click, Partitions


def replica_of(
    learned: Partitions,
    clock: ManualClock | None = None,
    registry: CollectorRegistry | None = None,
) -> Replica:
    return Replica(
        store=learned.store,
        models=learned.models,
        n_partitions=len(learned.states),
        clock=clock or ManualClock(START_MS),
        metrics=ReplicaMetrics(registry or CollectorRegistry()),
    )


def some_clicks(rng: np.random.Generator, partition: int, n: int) -> list[Click]:
    """Of users of a partition's own, on items of all."""
    n_users, n_items = 40, 60
    return [
        Click(f"u{40 * partition + user}", f"i{item}", START_MS + int(ms))
        for user, item, ms in zip(
            rng.integers(n_users, size=n),
            rng.integers(n_items, size=n),
            rng.integers(30 * HOUR_MS, size=n),
            strict=True,
        )
    ]


def contents(version: Version, *, n_users: int = 200) -> dict[str, dict[str, bytes]]:
    """Everything a version says, by item and by user key, as bytes; row numbers left out."""
    items, users, factors = version.items, version.users, factors_of(version)
    told: dict[str, dict[str, bytes]] = {"items": {}, "users": {}}
    for row in np.flatnonzero(items.live).tolist():
        assert items.popularity is not None
        of_item = [factors.items.blocks[row // 1024][row % 1024], factors.items.biases[row]]
        of_item += [items.counts.values[row], items.popularity.values[row]]
        told["items"][items.names[row]] = b"".join(each.tobytes() for each in of_item)
    for user in range(n_users):
        row = users.map.find_one(id_key(f"u{user}".encode()))
        if row >= 0:
            p = factors.user(row)
            said = b"" if p is None else p.tobytes()
            told["users"][f"u{user}"] = said + users.history(row).tobytes()
    return told


def factors_of(version: Version) -> FactorizedView:
    factors = version.factors()
    assert factors is not None
    return factors


def followed(learned: Partitions, replica: Replica) -> Version:
    while replica.follow(timeout_s=0):
        pass
    return replica.current()


def run_with_evictions(learned: Partitions, replica: Replica) -> Iterator[None]:
    """Clicks on many more ids than there are rows for, with a checkpoint now and then."""
    rng = np.random.default_rng(5)
    for step in range(30):
        partition = step % len(learned.states)
        learned.commit(partition, some_clicks(rng, partition, 25))
        if step % 7 == 3:
            learned.checkpoint(partition)
        yield


SMALL = Bounds(users_max=16, items_max=24)


def test_following_equals_loading_to_the_bit_through_evictions_and_checkpoints() -> None:
    learned = Partitions(3, bounds=SMALL)
    replica = replica_of(learned)
    replica.load()
    n_evicted = 0
    for _ in run_with_evictions(learned, replica):
        followed(learned, replica)
        n_evicted = sum(ids.n_evicted for state in learned.states for ids in state.ids.values())
    assert n_evicted > 50
    fresh = replica_of(learned)
    fresh.load()
    assert contents(replica.current()) == contents(fresh.current())
    assert replica.current().model_version == fresh.current().model_version
    assert len(contents(fresh.current())["users"]) == sum(len(s.users) for s in learned.states)


def test_the_position_says_what_is_served_whether_followed_or_loaded() -> None:
    learned = Partitions(2)
    followed_metrics, loaded_metrics = CollectorRegistry(), CollectorRegistry()
    replica = replica_of(learned, registry=followed_metrics)
    replica.load()
    for n in (3, 4):
        learned.commit(1, some_clicks(np.random.default_rng(n), 1, n))
    followed(learned, replica)
    replica_of(learned, registry=loaded_metrics).load()
    (topic,) = learned.store.load(1).offsets
    for registry in (followed_metrics, loaded_metrics):
        labels = {"topic": topic, "partition": "1"}
        assert registry.get_sample_value("streamer_scorer_position", labels) == 7
        labels["partition"] = "0"
        assert registry.get_sample_value("streamer_scorer_position", labels) is None


def test_items_are_initial_values_plus_the_sum_of_contributions() -> None:
    learned = Partitions(3, bounds=SMALL)
    replica = replica_of(learned)
    replica.load()
    for _ in run_with_evictions(learned, replica):
        pass
    version = followed(learned, replica)
    items, item_factors = version.items, factors_of(version).items
    n_by_many = 0
    for row in np.flatnonzero(items.live).tolist():
        key = np.array([id_key(items.names[row].encode())], dtype=np.uint64)
        slots = [(s, int(s.items.map.find(key)[0])) for s in learned.states]
        owners = [(state, slot) for state, slot in slots if slot >= 0]
        n_by_many += len(owners) > 1
        initial = learned.models[2].initial("item_factors", key)
        assert initial is not None
        fixed = initial[0] + sum(s.contributions["item_factors"].values[at] for s, at in owners)
        floats = fixed.astype(np.float32) * np.float32(FIXED_POINT_UNIT)
        assert np.array_equal(item_factors.blocks[row // 1024][row % 1024], floats[:-1])
        assert item_factors.biases[row] == floats[-1]
        count = sum(int(s.contributions["item_counts"].values[at, 0]) for s, at in owners)
        assert items.column(COUNT)[row] == count
    assert n_by_many > 5


def test_decayed_counts_are_those_of_all_partitions_at_any_later_time() -> None:
    learned = Partitions(2)
    replica = replica_of(learned)
    replica.load()
    # 26 hours are more than an epoch of the half-life of an hour.
    for hour in range(26):
        learned.commit(hour % 2, [Click("u1", "a", START_MS + hour * HOUR_MS)])
        version = followed(learned, replica)
    at_ms = version.watermark_ms + 3 * HOUR_MS
    ages_h = np.arange(26) + 3
    expected = [np.sum(0.5**ages_h), np.sum(0.5 ** (ages_h / 24))]
    row = version.items.map.find(np.array([id_key(b"a")], dtype=np.uint64))
    np.testing.assert_allclose(version.items.decayed(row, at_ms)[0], expected, rtol=1e-3)
    cells = sum_of_cells(learned)
    exact = decayed_values(cells, half_lives_ms((3_600, 86_400)), at_ms)
    np.testing.assert_allclose(version.items.decayed(row, at_ms), exact, rtol=1e-3)


def sum_of_cells(learned: Partitions) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Merged popularity cells of the only item."""
    merged = learned.states[0].contributions["item_popularity"].values[:1].copy()
    other = learned.states[1].contributions["item_popularity"].values[:1]
    for cell in range(0, merged.shape[1], 2):
        if other[0, cell] == merged[0, cell]:
            merged[0, cell + 1] += other[0, cell + 1]
        elif other[0, cell] > merged[0, cell]:
            merged[0, cell : cell + 2] = other[0, cell : cell + 2]
    return merged


def test_users_have_the_factors_and_the_history_of_their_partition() -> None:
    learned = Partitions(1)
    replica = replica_of(learned)
    learned.commit(0, [Click("u1", item) for item in "abc"])
    replica.load()
    learned.commit(0, [Click("u1", item) for item in "de"])
    version = followed(learned, replica)
    users = version.users
    row = users.map.find_one(id_key(b"u1"))
    slot = learned.states[0].users.find("u1")
    own = learned.states[0].own
    p = factors_of(version).user(row)
    assert p is not None
    assert np.array_equal(p, own["user_factors"].values[slot, :-1])
    expected = recent_keys(own["user_history"].values[slot])
    assert users.history(row).tolist() == expected.tolist()
    assert users.map.find_one(id_key(b"nobody")) == -1
    assert users.history(-1).tolist() == []


def test_an_explicit_model_is_followed_alike() -> None:
    models: list[Model] = [UserHistory(length=8), Popularity(), BiasedMF(n_factors=4)]
    learned = Partitions(2, models=models)
    replica = replica_of(learned)
    replica.load()
    rng = np.random.default_rng(2)
    for step in range(6):
        ratings = rng.integers(1, 6, size=20).tolist()
        clicks = some_clicks(rng, step % 2, 20)
        learned.commit(
            step % 2, [replace(c, rating=r) for c, r in zip(clicks, ratings, strict=True)]
        )
        version = followed(learned, replica)
    fresh = replica_of(learned)
    fresh.load()
    assert contents(version) == contents(fresh.current())
    state = learned.states[0]
    slot = int(state.users.live_slots()[0])
    factors = factors_of(version).user(version.users.map.find_one(int(state.users.keys[slot])))
    assert factors is not None
    assert np.array_equal(factors, state.own["user_rating_factors"].values[slot, :-1])
    assert np.abs(factors).max() > 0


def test_a_version_never_changes() -> None:
    learned = Partitions(2, bounds=SMALL)
    replica = replica_of(learned)
    replica.load()
    kept = []
    for _ in run_with_evictions(learned, replica):
        version = followed(learned, replica)
        kept.append((version, contents(version)))
    assert len({version.model_version for version, _ in kept}) == len(kept)
    for version, told in kept:
        assert contents(version) == told


def test_readers_see_whole_versions_while_the_follower_applies_deltas() -> None:
    """Every commit adds one click to each of 3,000 items: in a whole version all counts agree."""
    n_items = 3_000
    learned = Partitions(1, bounds=Bounds(users_max=10, items_max=4_000))
    replica = replica_of(learned)
    everything = [Click("u1", f"i{item}") for item in range(n_items)]
    learned.commit(0, everything)
    replica.load()
    commits = [learned.commit(0, everything) for _ in range(6)]
    torn: list[str] = []
    done = threading.Event()
    n_reads = [0, 0]

    def read(reader: int) -> None:
        while not done.is_set():
            version = replica.current()
            items, blocks = version.items, factors_of(version).items.blocks
            first = items.column(COUNT).copy(), [block.copy() for block in blocks]
            if len(set(first[0].tolist())) != 1:
                torn.append("counts of one version differ")
            version_no = int(version.model_version.partition(":")[2])
            if first[0][0] != version_no:
                torn.append("a version has the counts of another")
            same = np.array_equal(first[0], items.column(COUNT))
            for block, before in zip(blocks, first[1], strict=True):
                same = same and np.array_equal(block, before)
            if not same:
                torn.append("a version changed while it was read")
            n_reads[reader] += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=read, args=(reader,)) for reader in range(2)]
    try:
        for thread in threads:
            thread.start()
        for entries in commits:
            before = sum(n_reads)
            replica.apply(entries)
            while sum(n_reads) < before + 2 and not torn:
                done.wait(0.001)
    finally:
        done.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert torn == []
    assert replica.current().items.column(COUNT)[0] == 7


def test_untouched_blocks_are_shared_between_versions() -> None:
    learned = Partitions(1, bounds=Bounds(users_max=10, items_max=8_000))
    replica = replica_of(learned)
    learned.commit(0, [Click("u1", f"i{item}") for item in range(6_000)])
    replica.load()
    before = factors_of(replica.current()).items.blocks
    entries = learned.commit(0, [Click("u1", "i0")])
    touched = {
        int(row) // 1024
        for row in replica.current().items.map.find(entries[0].change.tables["item_factors"].keys)
    }
    replica.apply(entries)
    after = factors_of(replica.current()).items.blocks
    changed = {i for i in range(6) if before[i] is not after[i]}
    assert changed == touched
    assert len(changed) <= 3  # an item and two negatives


def test_a_replica_that_fell_behind_the_log_loads_everything_again() -> None:
    learned = Partitions(1, log_entries_kept=1)
    replica = replica_of(learned)
    learned.commit(0, [Click("u1", "a")])
    replica.load()
    for item in "bcdef":
        learned.commit(0, [Click("u1", item)])
    learned.checkpoint(0)
    learned.commit(0, [Click("u1", "g")])
    replica.follow(timeout_s=0)
    fresh = replica_of(learned)
    fresh.load()
    assert replica.current().model_version == "p0:7"
    assert contents(replica.current()) == contents(fresh.current())


def names_of(items: ItemView) -> list[str]:
    return sorted(items.names[row] for row in np.flatnonzero(items.live).tolist())


def test_dead_rows_are_not_reused_and_are_packed_when_they_are_many() -> None:
    learned = Partitions(1, bounds=Bounds(users_max=2_048, items_max=2_048))
    replica = replica_of(learned)
    replica.load()
    seen_generations = set()
    for start in range(0, 6_000, 500):
        learned.commit(0, [Click(f"u{i}", f"i{i}") for i in range(start, start + 500)])
        items = followed(learned, replica).items
        seen_generations.add(items.generation)
        n_dead = items.n_rows - int(items.live.sum())
        assert n_dead <= max(1_024, 0.25 * items.n_rows)
        slots = learned.states[0].items.live_slots().tolist()
        assert names_of(items) == sorted(learned.states[0].items.name(s).decode() for s in slots)
    assert len(seen_generations) > 1
    fresh = replica_of(learned)
    fresh.load()
    told = contents(replica.current(), n_users=6_000)
    assert told == contents(fresh.current(), n_users=6_000)
    assert len(told["users"]) == len(learned.states[0].users)


def test_users_that_come_and_go_take_no_more_than_those_who_stay() -> None:
    learned = Partitions(1, bounds=Bounds(users_max=1_024, items_max=16))
    replica = replica_of(learned)
    replica.load()
    for start in range(0, 20_000, 1_000):
        learned.commit(0, [Click(f"u{i}", "a") for i in range(start, start + 1_000)])
        version = followed(learned, replica)
    users = version.users
    assert users.n_users <= 1_024
    for view in (users.meta, users.met, factors_of(version).users):
        assert view is not None
        n_chunks = sum(chunk is not None for chunk in view.chunks)
        assert n_chunks <= 3  # 4,096 rows each; 20,000 users would fill five


def test_freshness_is_the_age_of_events_when_their_version_is_in_place() -> None:
    learned = Partitions(1)
    clock = ManualClock(START_MS)
    replica = replica_of(learned, clock)
    replica.load()
    assert replica.freshness.summary().n_samples == 0
    for age_ms in (10, 20, 400):
        learned.commit(0, [Click("u1", "a")], published_ms=clock.now_ms())
        clock.sleep(age_ms / 1000)
        followed(learned, replica)
    fresh = replica.freshness.summary()
    assert (fresh.p50_ms, fresh.n_samples) == (20, 12)
    assert fresh.p99_ms == pytest.approx(400)


def test_the_name_of_a_version_fits_into_a_message() -> None:
    learned = Partitions(1)
    replica = replica_of(learned)
    assert replica.current().model_version == "p0:0"
    many = Replica(
        store=learned.store,
        models=learned.models,
        n_partitions=100,
        clock=ManualClock(),
        metrics=ReplicaMetrics(CollectorRegistry()),
    )
    assert many.current().model_version.startswith("sum:0,")
    assert len(many.current().model_version) <= 256
