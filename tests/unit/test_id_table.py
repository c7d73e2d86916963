"""Admission, eviction and reloading of ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamer_models.state.ids.id_table
from streamer_models.state.ids.id_table import (
    META_FIRST_OFFSET,
    META_LAST_OFFSET,
    META_LAST_TS,
    IdTable,
    id_key,
)
from streamer_models.state.table import Rows


def _admit(table: IdTable, names: Sequence[str], *, offset: int = 0) -> list[int]:
    """Plan, evicting where that is due, and apply, as the learner does; the slots."""
    slots: list[int] = []
    rest = list(names)
    while rest:
        plan = table.plan(rest)
        if plan.n_ready == 0:
            table.evict(table.evictable())
            plan = table.plan(rest)
        n = plan.n_ready
        offsets = np.arange(offset, offset + n)
        table.apply(plan, n, offsets)
        admitted = plan.slots[:n] >= 0
        table.seen(plan.slots[:n][admitted], offsets[admitted], 1_000 * offsets[admitted])
        slots.extend(plan.slots[:n].tolist())
        rest, offset = rest[n:], offset + n
    return slots


def _reloaded(table: IdTable) -> IdTable:
    """The table as a reload from its stored rows would have it."""
    fresh = IdTable("user", rows_max=table.rows_max, sightings_min=table.sightings_min)
    slots = table.live_slots()[::-1]
    names = [table.name(slot) for slot in slots.tolist()]
    fresh.load(table.keys[slots], names, table.meta.values[slots])
    fresh.sightings.reserve(len(table.sightings))
    fresh.sightings.values[:] = table.sightings.values
    return fresh


def test_keys_are_digests_that_any_program_can_compute() -> None:
    # The digest is what `b2sum -l 64` prints of an empty file; a key reads it as little endian.
    assert id_key(b"") == int.from_bytes(bytes.fromhex("e4a6a0577479b2b4"), "little")


def test_the_lowest_free_slot_is_taken() -> None:
    table = IdTable("user", rows_max=8)
    assert _admit(table, ["a", "b", "a", "c", "d"]) == [0, 1, 0, 2, 3]
    table.evict(np.array([1, 2], dtype=np.int32))
    assert [table.find(name) for name in "abcd"] == [0, -1, -1, 3]
    assert _admit(table, ["e", "f", "g"], offset=10) == [1, 2, 4]
    assert table.meta.values[table.find("e"), META_FIRST_OFFSET] == 10


def test_slots_beyond_the_last_live_one_are_forgotten() -> None:
    table = IdTable("user", rows_max=8)
    _admit(table, ["a", "b", "c"])
    table.evict(np.array([1, 2], dtype=np.int32))
    assert table.n_slots == 1
    assert _admit(table, ["d"], offset=5) == [1]


def test_new_slots_are_handed_out_once_and_while_their_ids_live() -> None:
    table = IdTable("user", rows_max=8)
    _admit(table, ["a", "b", "c", "d"])
    table.evict(np.array([0, 1], dtype=np.int32))
    assert _admit(table, ["e"], offset=5) == [0]  # taken twice, and by now it holds another id
    assert table.take_unmapped().tolist() == [0, 2, 3]
    assert table.take_unmapped().tolist() == []
    assert _reloaded(table).take_unmapped().tolist() == [0, 2, 3]


def test_planning_changes_nothing() -> None:
    table = IdTable("user", rows_max=4, sightings_min=2)
    table.plan(["a", "b", "a", "a"])
    assert len(table) == 0
    assert table.n_slots == 0
    assert _admit(table, ["a"]) == [-1]


def test_ids_are_admitted_at_their_second_sighting() -> None:
    table = IdTable("user", rows_max=4, sightings_min=2)
    assert _admit(table, ["a", "b", "a", "a"]) == [-1, -1, 0, 0]
    assert _admit(table, ["b"], offset=4) == [1]


def test_those_idle_longest_go_first() -> None:
    table = IdTable("user", rows_max=3)
    _admit(table, ["a", "b", "c", "a"])
    assert _admit(table, ["d"], offset=4) == [1]
    assert table.find("b") == -1
    assert table.find("a") == 0
    assert table.n_evicted == 1
    assert table.idle(3_000).tolist() == [2]  # c at offset 2, so at 2,000 ms
    assert table.meta.values[table.find("a"), META_LAST_OFFSET] == 3
    assert table.meta.values[table.find("a"), META_LAST_TS] == 3_000


def test_a_late_event_does_not_turn_back_the_last_time() -> None:
    table = IdTable("user", rows_max=3)
    _admit(table, ["a"], offset=7)
    table.seen(np.zeros(2, np.int32), np.array([8, 9]), np.array([6_000, 5_000]))
    assert table.meta.values[0, META_LAST_TS] == 7_000
    assert table.meta.values[0, META_LAST_OFFSET] == 9


def test_two_ids_with_one_key_are_never_both_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        streamer_models.state.ids.id_table,
        "keys_of",
        lambda ids: np.array([len(name) for name in ids], np.uint64),
    )
    table = IdTable("user", rows_max=4)
    assert _admit(table, ["a", "b", "cc"]) == [0, -1, 1]
    assert _admit(table, ["b"], offset=3) == [-1]
    assert table.find("b") == -1


NAMES = st.lists(st.integers(0, 30).map("id-{}".format), max_size=40)


@settings(deadline=None)
@given(st.lists(NAMES, max_size=5), st.integers(1, 3))
def test_batches_and_reloads_change_nothing(batches: list[list[str]], sightings_min: int) -> None:
    """At once, one by one, and reloaded between batches: the same slots for the same names."""
    names = [name for batch in batches for name in batch]
    tables = [IdTable("user", rows_max=9, sightings_min=sightings_min) for _ in range(3)]
    at_once = _admit(tables[0], names)
    one_by_one = [_admit(tables[1], [name], offset=i)[0] for i, name in enumerate(names)]
    offset, reloaded = 0, []
    for batch in batches:
        reloaded.extend(_admit(tables[2], batch, offset=offset))
        offset += len(batch)
        tables[2] = _reloaded(tables[2])
    assert at_once == one_by_one == reloaded
    live = tables[0].live_slots()
    assert len(live) <= 9
    for table in tables[1:]:
        np.testing.assert_array_equal(table.live_slots(), live)
        np.testing.assert_array_equal(table.meta.values[live], tables[0].meta.values[live])
        assert table.n_slots == tables[0].n_slots


@pytest.mark.parametrize("n_names", [40, 58, 5_000])
def test_a_full_table_plans_many_ids_as_it_does_one_by_one(n_names: int) -> None:
    """Whether all of them stay, a few come anew, or nearly all do."""
    drawn = np.random.default_rng(1).integers(0, n_names, 3_000)
    names = [f"id-{name}" for name in drawn]
    at_once, one_by_one = (IdTable("user", rows_max=50) for _ in range(2))
    slots = _admit(at_once, names)
    assert slots == [_admit(one_by_one, [name], offset=i)[0] for i, name in enumerate(names)]
    assert at_once.n_evicted == one_by_one.n_evicted
    assert (at_once.n_evicted > 0) == (n_names > 50)


def test_recorded_changes_are_restored_at_their_slots() -> None:
    table, follower = IdTable("user", rows_max=9), IdTable("user", rows_max=9)
    for names, evicted in ((["a", "b", "c", "d"], [0, 2]), (["e"], [1]), (["f", "g", "h"], [])):
        _admit(table, names)
        change = table.changes()
        slots = table.meta.changes()[0]
        meta = Rows(table.keys[slots], table.meta.values[slots].copy())
        table.settle()
        follower.restore(change, meta)
        for dropping in (table, follower):
            dropping.evict(np.array(evicted, dtype=np.int32))
            dropping.settle()
    np.testing.assert_array_equal(follower.live_slots(), table.live_slots())
    assert [follower.find(name) for name in "abcdefgh"] == [table.find(n) for n in "abcdefgh"]
    assert _admit(follower, ["x", "y"]) == _admit(table, ["x", "y"])


def test_many_are_restored_among_many_free_slots() -> None:
    table, follower = IdTable("user", rows_max=500), IdTable("user", rows_max=500)
    old = [f"old-{i}" for i in range(300)]
    gone = np.arange(0, 290, 2, dtype=np.int32)
    for each in (table, follower):
        _admit(each, old)
        each.settle()
        each.evict(gone)
        each.settle()
    new = [f"new-{i}" for i in range(len(gone) + 20)]  # into every free slot, and beyond
    _admit(table, new)
    slots = table.meta.changes()[0]
    follower.restore(table.changes(), Rows(table.keys[slots], table.meta.values[slots]))
    assert [follower.find(name) for name in new] == [table.find(name) for name in new]
    assert follower.find("old-0") == -1
    for each in (table, follower):
        each.evict(gone[3:5])
    assert _admit(follower, ["x", "y", "z"]) == _admit(table, ["x", "y", "z"]) == [6, 8, 320]


def test_bounds_are_checked() -> None:
    with pytest.raises(ValueError, match="rows_max=1 must be at least 2"):
        IdTable("user", rows_max=1)
    with pytest.raises(ValueError, match="sightings_min=0"):
        IdTable("user", rows_max=2, sightings_min=0)
