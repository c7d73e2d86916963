"""What a scorer reads of the learner's features is what it has counted, in every version."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from streamer.clock import SystemClock
from streamer.replica.decayed_features import DecayedView
from streamer.replica.metrics import ReplicaMetrics
from streamer.replica.replica import Replica
from streamer.store.memory import MemoryStore
from streamer_models.counters.decayed_counters import DecayedFeature
from streamer_models.counters.decayed_features import DecayedFeatures
from streamer_models.counters.last_events import LastEvent
from streamer_models.counters.popularity import Popularity
from streamer_models.state.ids.id_table import id_key
from streamer_models.state.model import Model
from streamer_models.state.table import Keys
from tests.default_types import CODES
from tests.event_log import (
    ITEM_RATE,
    ITEM_RECENCY,
    START_MS,
    USER_CLICKS,
    make_learner,
    make_log,
    messages,
    small_models,
    stored,
    with_settings,
)
from tests.unit.test_decayed_features import merged_values

N_PARTITIONS = 3
SETTINGS = with_settings(n_partitions=N_PARTITIONS)
LOGS = [make_log(900, seed=60 + p) for p in range(N_PARTITIONS)]
SHOWN = DecayedFeature(
    name="shown", entity="global", numerator=(CODES["impression"],), half_life_ms=30_000
)
LAST = LastEvent(name="last", entity="global", types=(CODES["skip"],))
FEATURES = DecayedFeatures([ITEM_RATE, USER_CLICKS, SHOWN, ITEM_RECENCY, LAST])
MODELS: list[Model] = [Popularity(half_lives_s=(60.0,)), FEATURES]
ITEMS = [f"item-{i}" for i in range(90)]
USERS = [f"user-{seed}-{i}" for seed in (60, 61, 62) for i in range(100)]


def keys(ids: list[str]) -> Keys:
    return np.array([id_key(each.encode()) for each in ids], dtype=np.uint64)


def replica_of(store: MemoryStore, models: list[Model] = MODELS) -> Replica:
    return Replica(
        store=store,
        models=models,
        n_partitions=N_PARTITIONS,
        clock=SystemClock(),
        metrics=ReplicaMetrics(CollectorRegistry()),
    )


def told(view: DecayedView, at_ms: int) -> dict[str, NDArray[np.float64]]:
    return {
        "item_rate": view.values("item", keys(ITEMS), ["item_rate"], at_ms)[:, 0],
        "user_clicks": view.values("user", keys(USERS), ["user_clicks"], at_ms)[:, 0],
        "shown": view.values("global", keys(["*"]), ["shown"], at_ms)[:, 0],
        "item_recency": view.values("item", keys(ITEMS), ["item_recency"], at_ms)[:, 0],
        "last": view.values("global", keys(["*"]), ["last"], at_ms)[:, 0],
    }


def told_by_partitions(store: MemoryStore, at_ms: int) -> dict[str, NDArray[np.float64]]:
    """Times of last events: the latest of what the partitions hold now."""
    latest = dict.fromkeys(keys(ITEMS).tolist(), 0)
    of_all = 0
    for contents in stored(store, MODELS, SETTINGS):
        held, times = contents.tables["last_item"]
        for key, time in zip(held.tolist(), times[:, 0].tolist(), strict=True):
            latest[key] = max(latest[key], time)
        of_all = max(of_all, int(contents.tables["last_global"][1].max(initial=0)))
    found = {"item_recency": np.array(list(latest.values())), "last": np.array([of_all])}
    return {
        name: np.where(each == 0, np.nan, np.maximum(at_ms - each, 0) / 1000)
        for name, each in found.items()
    }


def test_every_version_says_what_the_learner_had_counted_and_never_changes() -> None:
    store = MemoryStore()
    learner = make_learner(store, MODELS, SETTINGS)
    learner.assign(range(N_PARTITIONS))
    replica = replica_of(store)
    replica.load()
    seen = []
    for at in range(0, 900, 60):
        for p in range(N_PARTITIONS):
            learner.learn([messages(LOGS[p], p, at, at + 60)])
        if at == 480:
            learner.checkpoint_all()
        while replica.follow(timeout_s=0):
            pass
        view = replica.current().decayed
        at_ms = START_MS + 500 * at + 7_000
        now = told(view, at_ms)
        ids = {"item_rate": ITEMS, "user_clicks": USERS, "shown": ["*"]}
        expected = told_by_partitions(store, at_ms) | {
            name: merged_values(FEATURES, learner._shared, name, each, at_ms)
            for name, each in ids.items()
        }
        for name, found in now.items():
            np.testing.assert_array_equal(found, expected[name], err_msg=name)
            assert 0 < np.isfinite(found).sum() <= len(found)
        seen.append((view, at_ms, now))
    assert learner.counts.n_evicted["feature_user"] > 50
    assert learner.counts.n_evicted["feature_item"] > 50
    for view, at_ms, then in seen:
        for name, found in told(view, at_ms).items():
            np.testing.assert_array_equal(found, then[name])
    fresh = replica_of(store)
    fresh.load()
    view, at_ms, then = seen[-1]
    for name, found in told(fresh.current().decayed, at_ms).items():
        np.testing.assert_array_equal(found, then[name])
    known = np.flatnonzero(~np.isnan(then["item_rate"])).tolist()
    rates, of_items = then["item_rate"].tolist(), keys(ITEMS).tolist()
    best = sorted((-rates[place], of_items[place]) for place in known)
    since = then["item_recency"].tolist()
    met = [place for place, each in enumerate(since) if each == each]
    latest = sorted((since[place], of_items[place]) for place in met)
    for n in (3, 1_000):
        assert view.top("item_rate", n, at_ms).tolist() == [key for _, key in best[:n]]
        assert view.top("item_recency", n, at_ms).tolist() == [key for _, key in latest[:n]]


def test_values_fade_until_nothing_is_known() -> None:
    store = MemoryStore()
    learner = make_learner(store, MODELS, SETTINGS)
    learner.assign(range(N_PARTITIONS))
    learner.learn([messages(LOGS[0], 0, 0, 300)])
    replica = replica_of(store)
    replica.load()
    view, end_ms = replica.current().decayed, START_MS + 160_000
    now, later = told(view, end_ms), told(view, end_ms + 60_000)
    known = ~np.isnan(now["user_clicks"])
    np.testing.assert_allclose(later["user_clicks"][known], now["user_clicks"][known] / 2)
    assert np.isnan(told(view, end_ms + 86_400_000)["user_clicks"]).all()
    assert np.isnan(told(view, end_ms + 86_400_000)["item_rate"]).all()


def test_names_are_checked_and_without_features_there_are_none() -> None:
    view = replica_of(MemoryStore()).current().decayed
    assert np.isnan(view.values("item", keys(["a"]), ["item_rate"], 0)).all()
    assert np.isnan(view.values("global", keys(["*"]), ["shown"], 0)).all()
    with pytest.raises(ValueError, match="'user_clicks' is nothing that the learner holds"):
        view.values("item", keys(["a"]), ["user_clicks"], 0)
    none = replica_of(MemoryStore(), small_models()[:1]).current().decayed
    assert none.values("item", keys(["a", "b"]), [], 0).shape == (2, 0)
    assert len(none.top("item_rate", 5, 0)) == 0
    with pytest.raises(ValueError, match="it holds none"):
        none.values("item", keys(["a"]), ["item_rate"], 0)
