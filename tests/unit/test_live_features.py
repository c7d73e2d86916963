"""What the learner has counted a moment ago is what the next request is ranked by."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from streamer.config import load_config
from streamer.events import Event, Item
from streamer.simulation.live import LiveSystem
from tests.scoring import TWO_CHANNELS

START_MS = 1_700_000_000_000
CONFIG = load_config(
    env={},
    flags={
        **TWO_CHANNELS,
        "topics.partitions": "2",
        "learner.sync_interval_ms": "100",
        "mf.factors": "4",
    },
)


def met(user_id: str, item_id: str, kind: str, n: int, ts: int) -> list[Event]:
    ids = (f"{user_id}-{item_id}-{kind}-{i}-{ts}" for i in range(n))
    return [Event(event_id=i, type=kind, user_id=user_id, item_id=item_id, ts=ts) for i in ids]


def column(live: LiveSystem, user_id: str, name: str) -> dict[str, float]:
    decision = live.request(user_id).decision
    values = decision.feature_matrix()[:, decision.feature_names.index(name)]
    return dict(zip(decision.candidates, values.tolist(), strict=True))


def test_counts_of_a_moment_ago_rank_the_next_request() -> None:
    live = LiveSystem(CONFIG, start_ms=START_MS)
    live.publish(*(Item(item_id=each) for each in "abc"))
    live.publish(*met("ann", "a", "impression", 10, START_MS))
    live.publish(*met("bob", "a", "click", 4, START_MS))  # of another partition
    live.publish(
        *met("ann", "b", "impression", 30, START_MS), *met("ann", "b", "click", 1, START_MS)
    )
    live.advance(START_MS + 100)
    overall = 5 / 40
    found = column(live, "new", "item_ctr_5m")
    for item, n_clicks, n_shown in (("a", 4, 10), ("b", 1, 30)):
        ratio = (n_clicks + 20 * overall) / (n_shown + 20)
        assert found[item] == pytest.approx(math.log((1 + 100 * ratio) / 6), abs=1e-3)
    assert column(live, "new", "item_ctr_5m_missing") == {"a": 0.0, "b": 0.0, "c": 1.0}
    live.advance(START_MS + 100 + 600_000)  # two half-lives: a quarter is left
    ratio = (4 / 4 + 20 * overall) / (10 / 4 + 20)
    later = column(live, "new", "item_ctr_5m")["a"]
    assert later == pytest.approx(math.log((1 + 100 * ratio) / 6), abs=1e-3)


def test_the_time_since_an_items_last_click_is_a_column_whoever_clicked() -> None:
    live = LiveSystem(CONFIG, start_ms=START_MS)
    live.publish(*(Item(item_id=each) for each in "abc"))
    live.publish(
        *met("ann", "a", "click", 2, START_MS - 900),
        *met("bob", "a", "click", 1, START_MS - 500),  # of another partition
        *met("ann", "b", "impression", 3, START_MS),
    )
    for ahead_s in (10, 600):
        live.advance(START_MS - 500 + 1_000 * ahead_s)
        expected = {"a": math.log(1 + ahead_s) / 4, "b": 0.0, "c": 0.0}
        assert column(live, "new", "item_recency") == pytest.approx(expected, rel=1e-6)
        assert column(live, "new", "item_recency_missing") == {"a": 0.0, "b": 1.0, "c": 1.0}


def test_what_was_taken_up_last_is_recalled_first() -> None:
    flags = {
        **TWO_CHANNELS,
        "recall.trending_feature.feature": "item_recency",
        "recall.trending_feature.candidates": "2",
        "recall.trending.candidates": "2",
    }
    live = LiveSystem(load_config(env={}, flags=flags), start_ms=START_MS)
    items = "abcdefgh"
    live.publish(*(Item(item_id=each) for each in items))
    for n, each in enumerate(items):
        live.publish(*met("ann", each, "click", 9 - n, START_MS - 100 + n))
    live.advance(START_MS + 1_000)
    places = column(live, "new", "trending_feature_rank")
    assert sorted(places, key=lambda item: -places[item])[:2] == ["h", "g"]


def test_a_users_own_clicks_count_for_that_user_alone() -> None:
    ranks = replace(CONFIG.features["user_clicks_30m"], ranks=True)
    config = replace(CONFIG, features={**CONFIG.features, "user_clicks_30m": ranks})
    live = LiveSystem(config, start_ms=START_MS)
    live.publish(*(Item(item_id=each) for each in "abc"))
    live.publish(*met("ann", "a", "click", 3, START_MS), *met("bob", "b", "click", 1, START_MS))
    live.advance(START_MS + 100)
    z = column(live, "ann", "trending_z")
    assert max(z.values()) - min(z.values()) > 1
    expected = {item: math.log(1 + 3) / 4 * each for item, each in z.items()}
    assert column(live, "ann", "user_clicks_30m*trending_z") == pytest.approx(expected, abs=1e-3)
    assert not any(column(live, "new", "user_clicks_30m*trending_z").values())
