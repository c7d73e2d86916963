"""Windowed features equal a computation over the whole log, event by event, window by window."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from streamer.config import Config, FeatureConfig, FeatureDefinition, feature_definitions
from streamer.events import Event
from streamer.learner.dedup import DedupWindow
from streamer.windows.engine import windowed_features
from streamer_producers.simulator import Simulator, SimulatorConfig
from tests.default_types import TYPES
from tests.unit.windowed_logs import (
    DATA,
    as_values,
    by_pandas,
    columns,
    disordered,
    with_duplicates,
)

Log = tuple[list[Event], Callable[[str], Sequence[str]]]


def defined(**features: FeatureConfig) -> list[FeatureDefinition]:
    return feature_definitions(Config(features=dict(features)))


def of_all_kinds(unit: str, event_type: str, shown: str) -> list[FeatureDefinition]:
    """Each entity, each measure, each way to forget; windows are some ``unit`` long."""
    late = f"1{unit}"
    return defined(
        item_rate=FeatureConfig(
            entity="item", numerator=event_type, denominator=shown, window=f"6{unit}",
            hop=f"2{unit}", smoothing=5.0, lateness=late,
        ),
        item_count=FeatureConfig(
            entity="item", numerator=event_type, window=f"4{unit}", lateness=late
        ),
        item_value=FeatureConfig(
            entity="item", numerator=("watch", "rating"), measure="value",
            denominator=("watch", "rating"), window=f"8{unit}", hop=f"4{unit}", lateness=late,
        ),
        item_users=FeatureConfig(
            entity="item", numerator=event_type, measure="users", window=f"6{unit}",
            hop=f"3{unit}", lateness=late,
        ),
        user_session=FeatureConfig(
            entity="user", numerator=event_type, session_gap=f"2{unit}", lateness=late
        ),
        category_fading=FeatureConfig(
            entity="category", numerator=event_type, half_life=f"1{unit}", hop=f"1{unit}",
            lateness=late,
        ),
        fading_rate=FeatureConfig(
            entity="category", numerator=event_type, denominator=shown, half_life=f"2{unit}",
            hop=f"1{unit}", smoothing=3.0, lateness=late,
        ),
        taste_rate=FeatureConfig(
            entity="user_category", numerator=event_type, denominator=shown, window=f"4{unit}",
            smoothing=2.0, lateness=late,
        ),
        global_value=FeatureConfig(
            entity="global", numerator=("watch", "rating"), measure="value", window=f"2{unit}",
            hop=f"1{unit}", lateness=late,
        ),
    )  # fmt: skip


def simulated(n_steps: int = 160) -> Log:
    """Slates, reactions and browsing of 40 users, some seconds apart; 5 % late, 2 % repeated."""
    simulator = Simulator(SimulatorConfig(n_users=40, n_items=60, seed=3))
    rng = np.random.default_rng(3)
    ts_ms, events = simulator.config.start_ms, []
    for step in range(n_steps):
        ts_ms += int(rng.integers(1, 4_000))
        if step == n_steps // 2:
            ts_ms += 600_000  # nobody there: windows run empty
        shown = [simulator.item_ids[i] for i in rng.choice(60, 5, replace=False)]
        events += simulator.react(simulator.user_ids[step % 40], shown, ts_ms, f"r{step}")
        events += simulator.organic_events(np.array([ts_ms + 7], np.int64))
    kinds = {item.item_id: item.categories or [] for item in simulator.items()}
    late = disordered(events, late_share=0.05, late_ms_max=30_000, seed=4)
    return with_duplicates(late, share=0.02, seed=5), lambda item_id: kinds.get(item_id, ())


def movielens(n_events: int = 2_000) -> Log:
    folder = DATA / "ml-latest-small"
    if not folder.exists():
        pytest.skip(f"{folder} is not here: set STREAMER_DATA to the folder of the real logs")
    with (folder / "ratings.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["timestamp"]))[:n_events]
    with (folder / "movies.csv").open(encoding="utf-8") as file:
        genres = {row["movieId"]: row["genres"].split("|") for row in csv.DictReader(file)}
    events = [
        Event(
            event_id=str(i), type="rating", user_id=row["userId"], item_id=row["movieId"],
            ts=int(row["timestamp"]) * 1000, value=float(row["rating"]),
        )
        for i, row in enumerate(rows)
    ]  # fmt: skip
    late = disordered(events, late_share=0.05, late_ms_max=43_200_000, seed=1)
    return with_duplicates(late, share=0.02, seed=2), lambda item_id: genres.get(item_id, ())


def once(events: Sequence[Event], n_batch: int) -> list[Event]:
    """The events without the repetitions, found in batches."""
    window, kept, offset = DedupWindow(1_000), list[Event](), 0
    for each in columns(events, n_batch):
        offsets = np.arange(offset, offset + len(each))
        fresh = window.fresh(each.event_ids, offsets)
        kept += [events[offset + i] for i in np.flatnonzero(fresh).tolist()]
        offset += len(each)
    assert len(kept) < len(events)
    return kept


LOGS = {
    "simulated": (simulated, of_all_kinds("m", "click", "impression")),
    "movielens": (movielens, of_all_kinds("d", "rating", "rating")),
}


@pytest.mark.parametrize("log", LOGS)
def test_every_value_at_every_window_end(log: str) -> None:
    read, definitions = LOGS[log]
    events, categories = read()
    kept = once(events, 97)
    found = as_values(
        windowed_features(definitions, columns(kept, 97), TYPES, categories=categories)
    )
    for feature in definitions:
        expected = by_pandas(feature, kept, categories)
        of_feature = {key: value for key, value in found.items() if key[0] == feature.name}
        assert of_feature.keys() == expected.keys(), feature.name
        assert len(expected) > 5, feature.name
        tolerance = 0.1 if feature.measure == "users" else 2e-4 if feature.half_life_ms else 1e-6
        for key, value in expected.items():
            assert of_feature[key] == pytest.approx(value, rel=tolerance, abs=1e-4), key


def test_neither_order_nor_batches_change_a_bit() -> None:
    events, categories = simulated()
    definitions = of_all_kinds("m", "click", "impression")
    kept = once(events, 97)
    in_order = sorted(kept, key=lambda event: (event.ts, event.event_id))

    one = as_values(windowed_features(definitions, columns(kept, 13), TYPES, categories=categories))
    other = as_values(
        windowed_features(definitions, columns(in_order, 500), TYPES, categories=categories)
    )
    assert one == other
    assert len(one) > 1_000
