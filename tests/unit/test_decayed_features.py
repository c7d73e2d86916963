"""Fading features counted by partitions, against a computation over the whole log."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.events import Event, encode
from streamer.learner.batch import decode_batch
from streamer.learner.dedup import DedupWindow
from streamer.protocols import MessageBatch
from streamer_models.counters.decay import VALUE_MAX
from streamer_models.counters.decayed_counters import WHOLE, DecayedFeature
from streamer_models.counters.decayed_features import DecayedFeatures
from streamer_models.counters.decayed_layout import Remembered
from streamer_models.counters.last_events import LastEvent
from streamer_models.state.decayed_cells import CELLS_WIDTH, EPOCH_HALF_LIVES
from streamer_models.state.ids.id_table import id_key
from streamer_models.state.inputs import Events, Inputs
from streamer_models.state.partition import Bounds, PartitionState
from streamer_models.state.shared import SharedState
from streamer_models.state.table import FEATURE_ITEM, FEATURE_USER, Change
from tests.default_types import CODES, TYPES
from tests.event_log import default_rewards
from tests.unit.windowed_logs import disordered, with_duplicates

DATA = Path(os.environ.get("STREAMER_DATA", Path(__file__).parents[3] / "shared" / "data"))
CLICK, SHOWN, RATING = 0, 1, 2
HOUR_MS = 3_600_000
NOW_MS = 1_700_000_000_000
FEATURES = [
    DecayedFeature(
        name="rate", entity="item", numerator=(CLICK,), denominator=(SHOWN,),
        half_life_ms=HOUR_MS, smoothing=5.0,
    ),
    DecayedFeature(
        name="clicked", entity="item", numerator=(CLICK, RATING), half_life_ms=24 * HOUR_MS
    ),
    DecayedFeature(
        name="mean", entity="user", numerator=(RATING,), denominator=(RATING,),
        sums_values=True, half_life_ms=HOUR_MS,
    ),
    DecayedFeature(
        name="valued", entity="surface", numerator=(RATING,), sums_values=True,
        half_life_ms=HOUR_MS,
    ),
    DecayedFeature(name="all", entity="global", numerator=(CLICK, SHOWN), half_life_ms=HOUR_MS),
]  # fmt: skip
LARGE = Bounds(users_max=9, items_max=9, feature_rows_max=100_000)


def made_up(n: int, *, seed: int, span_ms: int = 6 * HOUR_MS, n_ids: int = 20) -> Events:
    """Events of all kinds over some hours, in any order; some name no surface."""
    rng = np.random.default_rng(seed)
    surfaces = ["", "home", "search"]
    return Events(
        offsets=np.cumsum(rng.integers(1, 4, n)),
        ts_ms=NOW_MS - rng.integers(0, span_ms, n),
        types=rng.integers(0, 4, n).astype(np.int8),
        values=np.where(rng.random(n) < 0.8, rng.normal(0, 2, n), np.nan),
        user_ids=[f"u{i}" for i in rng.integers(0, n_ids, n)],
        item_ids=[f"i{i}" for i in (n_ids * rng.random(n) ** 2).astype(int)],
        surfaces=[surfaces[i] for i in rng.integers(0, 3, n)],
    )


def part_of(events: Events, at: NDArray[np.intp]) -> Events:
    return Events(
        events.offsets[at],
        events.ts_ms[at],
        events.types[at],
        events.values[at],
        *([ids[i] for i in at.tolist()] for ids in ids_of(events).values()),
    )


def ids_of(events: Events) -> dict[str, Sequence[str]]:
    return {"user": events.user_ids, "item": events.item_ids, "surface": events.surfaces}


def count(model: DecayedFeatures, events: Events, state: PartitionState) -> list[Change]:
    """Count a batch as a learner does; the change of each commit."""
    return [change for _, change in steps_of(model, events, state)]


def steps_of(
    model: DecayedFeatures, events: Events, state: PartitionState
) -> Iterator[tuple[int, Change]]:
    """The same; the first event of each commit too."""
    at = 0
    while True:
        end = model.make_room(Inputs(events=events.slice(at, len(events))), state)
        to = len(events) if end is None else int(np.searchsorted(events.offsets, end))
        model.learn(Inputs(events=events.slice(at, to)), state, state.shared)
        yield at, state.collect()
        at = to
        if at == len(events):
            return


def new_state(model: DecayedFeatures, partition: int = 0, bounds: Bounds = LARGE) -> PartitionState:
    return PartitionState(partition, [model], SharedState([model]), bounds=bounds)


def merged_values(
    model: DecayedFeatures, shared: SharedState, name: str, ids: Sequence[str], at_ms: int
) -> NDArray[np.float64]:
    """``(n,)`` values of a counted feature of what a learner has merged; NaN for ids it does not
    have."""
    entity = model.features[name].entity
    whole = model.nothing(WHOLE, 1)
    if WHOLE in model.counters:
        whole = Remembered(shared.tables[model.table(WHOLE)].values[:1], whole.last_ms)
    table = shared.tables[model.table(entity)]
    keys = np.array([id_key(each.encode()) for each in ids], dtype=np.uint64)
    rows = keys.astype(np.int32) * 0 if entity == WHOLE else shared.rows(table.spec, keys)
    cells = np.where(rows[:, np.newaxis] < 0, 0, table.values[rows])
    asked = Remembered(cells, model.nothing(entity, len(ids)).last_ms)
    return model.values(entity, [name], asked, whole, at_ms)[:, 0]


def directly(
    feature: DecayedFeature, events: Events, ids: Sequence[str], at_ms: int
) -> NDArray[np.float64]:
    """The definition, event by event; NaN where nothing counts."""
    weights = np.exp2((events.ts_ms - at_ms) / feature.half_life_ms)
    above = np.isin(events.types, feature.numerator) * weights
    if feature.sums_values:
        above = above * np.nan_to_num(np.clip(events.values, -VALUE_MAX, VALUE_MAX))
    below = np.isin(events.types, feature.denominator) * weights
    own = np.array(ids_of(events).get(feature.entity, [""] * len(events)))
    found = np.full(len(ids), np.nan)
    for i, each in enumerate(ids):
        mine = own == each if feature.entity != WHOLE else np.ones(len(own), bool)
        n, d = above[mine].sum(), below[mine].sum()
        if not feature.denominator:
            found[i] = n if n else np.nan
        elif n or d:
            k = feature.smoothing if below.sum() else 0.0
            prior = k * above.sum() / below.sum() if k else 0.0
            found[i] = (n + prior) / (d + k) if d + k else np.nan
    return found


def assert_equal(
    features: Sequence[DecayedFeature],
    model: DecayedFeatures,
    shared: SharedState,
    events: Events,
    at_ms: int,
) -> None:
    # What is over 20 half-lives old may be forgotten: below 2^-20 of an event each.
    recent = part_of(events, np.flatnonzero(at_ms - events.ts_ms < 40 * 24 * HOUR_MS))
    for feature in features:
        ids = sorted(set(ids_of(recent).get(feature.entity, ["*"])) - {""})
        found = merged_values(model, shared, feature.name, ids, at_ms)
        expected = directly(feature, recent, ids, at_ms)
        forgotten = np.isnan(found)
        if not feature.denominator:
            assert np.abs(np.nan_to_num(expected[forgotten])).max(initial=0.0) < 0.01
        known = ~forgotten & ~np.isnan(expected)
        assert known.any(), feature.name
        np.testing.assert_allclose(
            found[known], expected[known], rtol=2e-3, atol=2e-3, err_msg=feature.name
        )


@pytest.mark.parametrize("at_ms", [NOW_MS, NOW_MS + 1_234_567, NOW_MS + 3 * HOUR_MS])
def test_values_are_those_of_the_definition(at_ms: int) -> None:
    model = DecayedFeatures(FEATURES)
    events = made_up(3_000, seed=1)
    state = new_state(model)
    count(model, events, state)
    assert_equal(FEATURES, model, state.shared, events, at_ms)


def test_three_partitions_merge_exactly_in_any_order() -> None:
    model = DecayedFeatures(FEATURES)
    events = made_up(2_000, seed=2)
    whole = new_state(model)
    count(model, events, whole)
    changes = []
    for p in range(3):
        part = part_of(events, np.arange(p, len(events), 3))
        changes.append(count(model, part, new_state(model, p)))
    for order in permutations(range(3)):
        merged = SharedState([model])
        for p in order:
            for change in changes[p]:
                merged.apply(p, change)
        for name, table in whole.shared.tables.items():
            rows = (
                np.arange(whole.shared.ids[table.spec.entity].n_rows)
                if (table.spec.entity in whole.shared.ids)
                else np.zeros(1, dtype=np.int64)
            )
            keys = whole.shared.keys(table.spec, rows.astype(np.int32))
            others = merged.tables[name].values[merged.rows(table.spec, keys)]
            np.testing.assert_array_equal(others, table.values[rows])


def test_a_late_event_counts_as_if_it_had_come_in_time() -> None:
    model = DecayedFeatures(FEATURES)
    events = made_up(1_000, seed=3, span_ms=100 * HOUR_MS)
    in_time = part_of(events, np.argsort(events.ts_ms))
    in_time = replace(in_time, offsets=events.offsets)
    contents = []
    for each in (events, in_time):
        state = new_state(model)
        count(model, each, state)
        ids = state.ids[FEATURE_ITEM]
        slots = ids.map.find(np.sort(ids.keys[ids.live_slots()]))
        contents.append(state.contributions["decayed_item"].values[slots])
    np.testing.assert_array_equal(contents[0], contents[1])


def test_years_apart_nothing_overflows_and_the_sums_stop_at_their_bound() -> None:
    feature = DecayedFeature(
        name="spent", entity="user", numerator=(CLICK,), sums_values=True, half_life_ms=1_000
    )
    model = DecayedFeatures([feature])
    length = 1_000 * EPOCH_HALF_LIVES
    last = NOW_MS // length * length + length - 1  # where an event weighs most
    years = np.arange(-50, 1) * 365 * 86_400_000
    n = 2_000
    for sign in (1.0, -1.0):
        state = new_state(model)
        for at_ms in (last + years).tolist():
            events = Events(
                offsets=np.arange(n),
                ts_ms=np.full(n, at_ms),
                types=np.full(n, CLICK, np.int8),
                values=np.full(n, sign * 1e30),
                user_ids=["ann"] * n,
                item_ids=[""] * n,
                surfaces=[""] * n,
            )
            count(model, events, state)
            cells = state.contributions["decayed_user"].values[0]
            assert cells.shape == (CELLS_WIDTH,)
            found = merged_values(model, state.shared, "spent", ["ann"], at_ms)[0]
            assert found == pytest.approx(sign * 2.0**30, rel=1e-3)  # not 2,000 * 1e6
            at_ms = merged_values(model, state.shared, "spent", ["ann"], at_ms + 2_000)[0]
            assert at_ms == pytest.approx(sign * 2.0**28, rel=1e-3)


# --- bounds ---------------------------------------------------------------------------------------


def test_rows_are_bounded_and_those_stay_of_whom_most_is_remembered() -> None:
    model = DecayedFeatures(FEATURES)
    state = new_state(model, bounds=replace(LARGE, feature_rows_max=40))
    events = made_up(4_000, seed=5, n_ids=500, span_ms=1_000)
    often = ["always"] * 4_000
    often[1::2] = events.item_ids[1::2]
    events = replace(
        events,
        item_ids=often,
        types=np.zeros(4_000, dtype=np.int8),
        ts_ms=NOW_MS + np.arange(4_000, dtype=np.int64),
    )
    changes = count(model, events, state)
    assert len(changes) > 100, "a commit ends where something must go"
    for entity in (FEATURE_ITEM, FEATURE_USER):
        assert len(state.ids[entity]) <= 40
    assert state.ids[FEATURE_ITEM].n_evicted > 1_000
    found = merged_values(model, state.shared, "clicked", ["always"], NOW_MS + 4_000)
    np.testing.assert_allclose(found, [2_000], rtol=1e-3)


@pytest.mark.parametrize("sizes", [[1, 3, 700], [50]])
def test_what_goes_does_not_depend_on_where_batches_end(sizes: Sequence[int]) -> None:
    model = DecayedFeatures(FEATURES)
    bounds = replace(LARGE, feature_rows_max=15)
    events = made_up(1_500, seed=6, n_ids=60)
    once, pieces = new_state(model, bounds=bounds), new_state(model, bounds=bounds)
    count(model, events, once)
    at, turn = 0, 0
    while at < len(events):
        end = min(len(events), at + sizes[turn % len(sizes)])
        count(model, part_of(events, np.arange(at, end)), pieces)
        at, turn = end, turn + 1
    assert once.ids[FEATURE_ITEM].n_evicted > 100
    of_pieces = {**pieces.own, **pieces.contributions}
    for name, table in {**once.own, **once.contributions}.items():
        np.testing.assert_array_equal(of_pieces[name].values, table.values)


def test_each_step_evicts_for_its_own_events_and_not_for_the_next_ones() -> None:
    """A store may be left, and verified, behind any step."""
    model = DecayedFeatures(FEATURES)
    bounds = replace(LARGE, feature_rows_max=15)
    events = made_up(300, seed=6, n_ids=60)
    one_by_one = new_state(model, bounds=bounds)
    changes = [count(model, events.slice(at, at + 1), one_by_one) for at in range(len(events))]
    dropped = {at for at, [change] in enumerate(changes) if any_dropped(change)}
    steps = steps_of(model, events, new_state(model, bounds=bounds))
    assert len(dropped) > 10
    assert {at for at, change in steps if any_dropped(change)} == dropped


def any_dropped(change: Change) -> bool:
    return any(len(ids.removed) for ids in change.ids.values())


def test_all_evicted_leaves_nothing_in_what_is_shared() -> None:
    model = DecayedFeatures(FEATURES)
    state = new_state(model)
    count(model, made_up(500, seed=7), state)
    table = state.shared.tables["decayed_item"]
    rows = state.shared.rows(table.spec, state.ids[FEATURE_ITEM].keys[:5])
    state.evict(FEATURE_ITEM, state.ids[FEATURE_ITEM].live_slots())
    assert not table.values[rows, 1::2].any()


@pytest.mark.parametrize(
    "features",
    [
        [],
        [DecayedFeature(name="a", entity="user", numerator=(), half_life_ms=1)],
        [LastEvent(name="a", entity="user", types=())],
    ],
)
def test_features_without_a_type_to_count_are_refused(
    features: list[DecayedFeature | LastEvent],
) -> None:
    with pytest.raises(ValueError, match="at least one feature is needed"):
        DecayedFeatures(features)


@pytest.mark.parametrize("code", [-1, 62])
def test_types_that_no_bit_is_left_for_are_refused(code: int) -> None:
    with pytest.raises(ValueError, match=f"event type {code}: codes are from 0 to 61"):
        DecayedFeatures([LastEvent(name="a", entity="user", types=(code,))])


# --- a real log -----------------------------------------------------------------------------------


def movielens() -> list[Event]:
    """Ratings of ml-latest-small: low ones are impressions, high ones clicks, some are ratings."""
    path = DATA / "ml-latest-small" / "ratings.csv"
    if not path.exists():
        pytest.skip(f"no {path}: set STREAMER_DATA")
    kinds: tuple[str, ...] = ("click", "impression", "rating")
    with path.open(newline="") as file:
        return [
            Event(
                event_id=str(i),
                type=kinds[RATING if i % 3 == 0 else SHOWN if float(row["rating"]) < 4 else CLICK],
                user_id=row["userId"],
                item_id=row["movieId"],
                ts=1_000 * int(row["timestamp"]),
                value=float(row["rating"]) - 3.0,
                context={"surface": "home"} if len(row["movieId"]) > 3 else None,
            )
            for i, row in enumerate(csv.DictReader(file))
        ]


def in_columns(events: Sequence[Event]) -> Events:
    return Events(
        offsets=np.arange(len(events)),
        ts_ms=np.array([event.ts for event in events]),
        types=np.array([CODES[event.type] for event in events], dtype=np.int8),
        values=np.array([event.value for event in events]),
        user_ids=[event.user_id for event in events],
        item_ids=[event.item_id for event in events],
        surfaces=["home" if event.context else "" for event in events],
    )


def test_movielens_with_late_and_repeated_events_equals_a_computation_over_the_whole_log() -> None:
    """5 % late by up to a day, 2 % sent twice, decoded as the learner does, three partitions."""
    events = sorted(movielens(), key=lambda event: event.ts)
    sent = with_duplicates(
        disordered(events, late_share=0.05, late_ms_max=24 * HOUR_MS, seed=8), share=0.02, seed=9
    )
    codes = [CODES[name] for name in ("click", "impression", "rating")]
    features = [
        replace(
            each,
            numerator=tuple(codes[kind] for kind in each.numerator),
            denominator=tuple(codes[kind] for kind in each.denominator),
        )
        for each in FEATURES
    ]
    model = DecayedFeatures(features)
    merged = SharedState([model])
    for p in range(3):
        state, dedup = new_state(model, p), DedupWindow(100_000)
        own = [event for event in sent if int(event.user_id) % 3 == p]
        n_counted = 0
        for start in range(0, len(own), 7_000):
            payloads = [encode(event) for event in own[start : start + 7_000]]
            offsets = np.arange(start, start + len(payloads), dtype=np.int64)
            batch = MessageBatch("events", p, [*payloads], offsets, np.full(len(offsets), -1))
            decoded = decode_batch(batch, types=TYPES, dedup=dedup, rewards=default_rewards)
            n_counted += len(decoded.events)
            for change in count(model, decoded.events, state):
                merged.apply(p, change)
        assert n_counted == len({event.event_id for event in own}) < len(own)
    assert_equal(features, model, merged, in_columns(events), events[-1].ts)
