"""When something last happened: over partitions, in any order, after evictions, years apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamer.replica.decayed_features import DecayedView
from streamer.replica.merged_state import MergedState
from streamer_models.counters.decayed_counters import DecayedFeature
from streamer_models.counters.decayed_features import DecayedFeatures
from streamer_models.counters.last_events import LastEvent
from streamer_models.state.ids.id_table import keys_of
from streamer_models.state.inputs import Events
from streamer_models.state.partition import PartitionState
from streamer_models.state.shared import SharedState
from streamer_models.state.table import FEATURE_ITEM, Change
from tests.unit.test_decayed_features import LARGE, NOW_MS, count, new_state

CLICK, SHOWN, LIKE = 0, 1, 2
YEAR_MS = 365 * 86_400_000
CLICKED = LastEvent(name="clicked", entity="item", types=(CLICK,))
MET = LastEvent(name="met", entity="item", types=(LIKE, CLICK))
OF_ALL = LastEvent(name="of_all", entity="global", types=(SHOWN,))
ALONE = DecayedFeatures([CLICKED, MET, OF_ALL])
BESIDE = DecayedFeatures(
    [
        CLICKED,
        MET,
        OF_ALL,
        DecayedFeature(name="shown", entity="item", numerator=(SHOWN,), half_life_ms=60_000),
    ]
)
ITEMS = [f"i{n}" for n in range(40)]
KEYS = keys_of(ITEMS)

Log = Sequence[tuple[str, int, int]]
"""Item, type and time of events of a partition, in the order of their offsets."""


def counted(log: Log) -> Events:
    return Events(
        offsets=np.arange(len(log)),
        ts_ms=np.array([ts_ms for _, _, ts_ms in log], dtype=np.int64),
        types=np.array([kind for _, kind, _ in log], dtype=np.int8),
        values=np.full(len(log), np.nan),
        user_ids=[""] * len(log),
        item_ids=[item for item, _, _ in log],
        surfaces=[""] * len(log),
    )


def brute_force(logs: Sequence[Log], types: Sequence[int], at_ms: int) -> NDArray[np.float64]:
    """Seconds since the last event of each item, over all partitions."""
    found = []
    for item in ITEMS:
        times = [ts for log in logs for each, kind, ts in log if each == item and kind in types]
        found.append(max(at_ms - max(times), 0) / 1000 if times else np.nan)
    return np.array(found)


def followed(
    model: DecayedFeatures, changes: Sequence[list[Change]], rng: np.random.Generator
) -> DecayedView:
    """A view that has seen the commits of each partition in order, the partitions at random."""
    state = MergedState([model])
    turns = rng.permutation([p for p, each in enumerate(changes) for _ in each]).tolist()
    rest = [iter(each) for each in changes]
    for p in turns:
        state.apply(p, next(rest[p]))
        state.publish(0)  # versions in between share what they can
    return DecayedView.of(state.publish(0), [model])


def loaded(model: DecayedFeatures, states: Sequence[PartitionState]) -> DecayedView:
    """A view of what the partitions hold now, as from their checkpoints."""
    merged = MergedState([model])
    for state in states:
        names, _, tables = state.take_checkpoint()
        merged.load(state.partition, names, tables)
    return DecayedView.of(merged.publish(0), [model])


def since(view: DecayedView, name: str, at_ms: int) -> NDArray[np.float64]:
    return view.values("item", KEYS, [name], at_ms)[:, 0]


events = st.tuples(
    st.sampled_from(ITEMS[:5]),
    st.sampled_from((CLICK, SHOWN, LIKE)),
    st.one_of(
        st.integers(NOW_MS - 200_000, NOW_MS + 1_000),
        st.integers(NOW_MS - 30 * YEAR_MS, NOW_MS),
        st.just(NOW_MS),
    ),
)


@given(
    logs=st.lists(st.lists(events, max_size=12), min_size=1, max_size=3),
    ahead_ms=st.integers(-500_000, 3 * YEAR_MS),
    seed=st.integers(0, 99),
)
@pytest.mark.parametrize("model", [ALONE, BESIDE])
def test_it_is_the_latest_of_the_whole_log(
    model: DecayedFeatures, logs: list[Log], ahead_ms: int, seed: int
) -> None:
    states = [new_state(model, p) for p in range(len(logs))]
    changes = [count(model, counted(log), state) for log, state in zip(logs, states, strict=True)]
    at_ms = NOW_MS + ahead_ms
    for view in (followed(model, changes, np.random.default_rng(seed)), loaded(model, states)):
        for feature in (CLICKED, MET):
            expected = brute_force(logs, feature.types, at_ms)
            np.testing.assert_array_equal(since(view, feature.name, at_ms), expected)
        shown = [ts for log in logs for _, kind, ts in log if kind == SHOWN]
        of_all = max(at_ms - max(shown), 0) / 1000 if shown else np.nan
        found = view.values("global", KEYS[:2], ["of_all"], at_ms)
        np.testing.assert_array_equal(found, [[of_all], [of_all]])


def test_repeated_and_late_events_change_nothing_and_the_first_millisecond_is_no_gap() -> None:
    log = [("i0", CLICK, NOW_MS), ("i1", CLICK, 0)]
    late = [*log, ("i0", CLICK, NOW_MS - YEAR_MS), *log, ("i0", SHOWN, NOW_MS + 5)]
    for each in (log, late):
        changes = count(ALONE, counted(each), new_state(ALONE))
        view = followed(ALONE, [changes], np.random.default_rng(0))
        assert since(view, "clicked", NOW_MS + 1_500)[:2].tolist() == [1.5, NOW_MS / 1000 + 1.499]


def test_what_a_partition_drops_leaves_the_latest_of_the_others() -> None:
    """However long before it that was, and whoever read which partition first."""
    states = [new_state(ALONE, p) for p in range(2)]
    logs: list[Log] = [[("i0", CLICK, NOW_MS - YEAR_MS)], [("i0", CLICK, NOW_MS)]]
    changes = [count(ALONE, counted(log), state) for log, state in zip(logs, states, strict=True)]
    state = states[1]
    state.evict(FEATURE_ITEM, state.ids[FEATURE_ITEM].live_slots())
    changes[1].append(state.collect())
    at_ms = NOW_MS + 1_000
    for seed in range(4):
        view = followed(ALONE, changes, np.random.default_rng(seed))
        assert since(view, "clicked", at_ms)[0] == YEAR_MS / 1000 + 1
    assert since(loaded(ALONE, states), "clicked", at_ms)[0] == YEAR_MS / 1000 + 1
    states[0].evict(FEATURE_ITEM, states[0].ids[FEATURE_ITEM].live_slots())
    changes[0].append(states[0].collect())
    view = followed(ALONE, changes, np.random.default_rng(4))
    assert np.isnan(since(view, "clicked", at_ms)).all()


@pytest.mark.parametrize("model", [ALONE, BESIDE])
def test_with_evictions_it_is_what_partitions_hold_whoever_was_read_first(
    model: DecayedFeatures,
) -> None:
    rng = np.random.default_rng(11)
    bounds = replace(LARGE, feature_rows_max=12)
    states = [new_state(model, p, bounds) for p in range(3)]
    changes: list[list[Change]] = [[], [], []]
    for at in range(0, 15 * 40, 40):
        for p, state in enumerate(states):
            log = [
                (ITEMS[int(40 * rng.random() ** 2)], int(rng.integers(3)), NOW_MS + int(ts))
                for ts in rng.integers(-YEAR_MS, YEAR_MS, 40)
            ]
            events = replace(counted(log), offsets=np.arange(at, at + 40))
            changes[p] += count(model, events, state)
    assert all(state.ids[FEATURE_ITEM].n_evicted > 50 for state in states)
    at_ms = NOW_MS + 2 * YEAR_MS
    latest = np.zeros((len(ITEMS), 2), dtype=np.int64)
    for state in states:
        slots = state.ids[FEATURE_ITEM].map.find(KEYS)
        held = state.own["last_item"].values[slots]
        np.maximum(latest, np.where(slots[:, np.newaxis] < 0, 0, held), out=latest)
    expected = np.where(latest == 0, np.nan, (at_ms - latest) / 1000)
    assert 12 < np.isfinite(expected[:, 1]).sum() < len(ITEMS)
    views = [followed(model, changes, rng) for _ in range(4)]
    for view in [*views, loaded(model, states)]:
        for column, name in enumerate(("clicked", "met")):
            np.testing.assert_array_equal(since(view, name, at_ms), expected[:, column])


def test_at_the_bound_those_go_whose_last_event_is_the_oldest() -> None:
    rng = np.random.default_rng(12)
    state = new_state(ALONE, bounds=replace(LARGE, feature_rows_max=15))
    ages_ms = rng.permutation(np.concatenate([np.arange(20), YEAR_MS * np.arange(1, 20)]))
    log = [(ITEMS[n], CLICK, NOW_MS - int(age_ms)) for n, age_ms in enumerate(ages_ms)]
    count(ALONE, counted(log[:15]), state)
    for at in range(15, len(log)):  # one goes for each that comes
        held = state.ids[FEATURE_ITEM].map.find(KEYS) >= 0
        oldest = max(np.flatnonzero(held).tolist(), key=lambda n: int(ages_ms[n]))
        newcomer = replace(counted([log[at]]), offsets=np.array([at]))
        count(ALONE, newcomer, state)
        assert state.ids[FEATURE_ITEM].find(ITEMS[oldest]) < 0
        assert state.ids[FEATURE_ITEM].find(ITEMS[at]) >= 0


def test_what_has_faded_is_worth_less_than_what_last_happened() -> None:
    """A count of long ago has faded to nothing; of two such the older one goes, and both before
    what happened today."""
    model = BESIDE
    state = new_state(model, bounds=replace(LARGE, feature_rows_max=4))
    log = [
        ("i0", CLICK, NOW_MS - 9 * 86_400_000),
        *[("i1", SHOWN, NOW_MS - 3_600_000)] * 50,
        ("i2", CLICK, NOW_MS - 3_600_000),
        ("i3", SHOWN, NOW_MS),
        ("i4", SHOWN, NOW_MS),
        ("i5", SHOWN, NOW_MS),
    ]
    count(model, counted(log), state)
    held = {item for item in ITEMS if state.ids[FEATURE_ITEM].find(item) >= 0}
    assert held == {"i2", "i3", "i4", "i5"}


def test_a_learner_merges_only_what_can_be_taken_back() -> None:
    assert not [name for name in SharedState([BESIDE]).tables if name.startswith("last_")]
    assert {"last_item", "last_global"} <= new_state(BESIDE).own.keys()
