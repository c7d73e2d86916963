"""Slates: who is recommended what, why, and that asking changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.errors import ConfigError
from streamer.ranking.features import Features
from streamer.replica.version import Version
from streamer.scorer.funnel import Funnel
from streamer.scorer.policy.choice import Choice, Parameters
from streamer.scorer.policy.knowledge import Knowledge
from streamer_models.factorization.mf import item_scores
from streamer_models.state.ids.id_table import keys_of
from streamer_models.state.partition import Bounds
from streamer_models.state.table import FIXED_POINT_UNIT
from tests.scoring import (
    CONFIG,
    HOUR_MS,
    START_MS,
    Click,
    Partitions,
    Shop,
    crowd,
    recalling,
    two_tastes,
)


def stats_of(version: Version) -> NDArray[np.float32]:
    """A copy of each item's bias, count and decayed counts."""
    items, factors = version.items, version.factors()
    assert factors is not None
    assert items.popularity is not None
    parts = factors.items.biases[:, np.newaxis], items.counts.values, items.popularity.values
    return np.hstack(parts)


def test_a_known_user_gets_what_the_like_minded_like() -> None:
    shop = Shop(recalling(trending={"weight": 0.0}))
    two_tastes(shop)
    hits = []
    for user in range(20):
        slate = shop.ask(f"u{user}", k=3)
        assert set(slate.reasons) <= {"for you", "trending"}
        hits += [int(item[1:]) % 2 == user % 2 for item in slate.item_ids]
    assert np.mean(hits) > 0.8


def test_scores_are_those_of_the_model() -> None:
    shop = Shop()
    two_tastes(shop)
    state = shop.learned.states[0]
    items = state.shared.tables["item_factors"].values
    user = state.own["user_factors"].values[state.users.find("u7"), :-1]
    slate = shop.ask("u7")
    logged = slate.features.column("mf_score")
    for candidate, score in zip(slate.candidates, logged, strict=True):
        row = items[state.item_rows[[state.items.find(candidate)]]]
        floats = row.astype(np.float32) * np.float32(FIXED_POINT_UNIT)
        expected = item_scores(user, floats[:, :-1], floats[:, -1])
        assert score == pytest.approx(float(expected[0]), rel=1e-5, abs=1e-6)


def test_seen_excluded_and_unavailable_items_are_left_out() -> None:
    shop = Shop()
    shop.click(*crowd("a", 5), *crowd("b", 4), *crowd("c", 3), *crowd("d", 2), *crowd("e", 1))
    assert shop.ask("new").item_ids == ["a", "b", "c", "d", "e"]
    shop.click(Click("ann", "a"))
    shop.publish("b", available=False)
    assert sorted(shop.ask("ann").item_ids) == ["c", "d", "e"]
    assert sorted(shop.ask("ann", exclude=["c", "unheard of"]).item_ids) == ["d", "e"]
    shop.publish("b")
    shop.catalogue.apply(b"d", None)
    assert sorted(shop.ask("ann").item_ids) == ["b", "c", "e"]


def test_an_item_is_recommended_until_it_ends() -> None:
    shop = Shop()
    shop.click(*crowd("a", 5), *crowd("b", 4), *crowd("c", 3))
    shop.publish("a", expires_ts=START_MS + HOUR_MS)
    shop.publish("unmet", expires_ts=START_MS + 2 * HOUR_MS)
    by_hours = {0: ["a", "b", "c", "unmet"], 1: ["b", "c", "unmet"], 2: ["b", "c"]}
    for hours, expected in by_hours.items():
        assert shop.ask("new", ts=START_MS + hours * HOUR_MS).item_ids == expected
    shop.publish("a", expires_ts=START_MS + 3 * HOUR_MS)
    assert "a" in shop.ask("new", ts=START_MS + 2 * HOUR_MS).item_ids
    shop.publish("a")
    assert "a" in shop.ask("new", ts=START_MS + 9 * HOUR_MS).item_ids
    # An item that ended before anybody met it has no row then, and gets one later.
    shop.publish("late", expires_ts=START_MS)
    assert "late" not in shop.ask("new", ts=START_MS).item_ids
    shop.click(*crowd("late", 9))
    assert "late" not in shop.ask("new", ts=START_MS).item_ids


def test_an_item_is_recommended_from_when_it_comes_out() -> None:
    shop = Shop()
    shop.click(*crowd("a", 5), *crowd("b", 4), *crowd("c", 3))
    shop.publish("a", created_ts=START_MS + HOUR_MS)
    shop.publish("unmet", created_ts=START_MS + 2 * HOUR_MS)
    by_hours = {0: ["b", "c"], 1: ["a", "b", "c"], 2: ["a", "b", "c", "unmet"], 0.5: ["b", "c"]}
    for hours, expected in by_hours.items():
        ts = START_MS + round(hours * HOUR_MS)
        assert shop.ask("new", ts=ts).item_ids == expected
        named = shop.ask("new", ts=ts, candidates=["a", "unmet"]).item_ids
        assert named == [each for each in expected if each in ("a", "unmet")]
    shop.publish("a", created_ts=START_MS)
    assert "a" in shop.ask("new", ts=START_MS).item_ids, "a wrong date is mended by a right one"
    shop.publish("b", created_ts=START_MS + HOUR_MS)
    assert "b" not in shop.ask("new", ts=START_MS).item_ids
    shop.publish("b")
    assert "b" in shop.ask("new", ts=START_MS).item_ids


def test_candidates_of_the_request_are_the_only_choice() -> None:
    shop = Shop()
    shop.click(*crowd("a", 5), *crowd("b", 4), *crowd("c", 3))
    assert shop.ask("new", candidates=["c", "b"]).item_ids == ["b", "c"]
    slate = shop.ask("new", candidates=["fresh", "c", "gone"], exclude=["gone"])
    assert (slate.item_ids, slate.reasons) == (["c", "fresh"], ["trending", "new"])


def test_what_is_new_among_the_candidates_of_a_request_is_shown_sometimes() -> None:
    shop = Shop(recalling(random={"candidates": 20}))
    known, new = [f"known{n}" for n in range(10)], [f"new{n}" for n in range(10)]
    for n, item_id in enumerate(known):
        shop.click(*crowd(item_id, 20 - n))
    for item_id in new:
        shop.publish(item_id)
    drawn: set[str] = set()
    for n in range(40):
        slate = shop.ask(f"q{n}", request_id=f"r{n}", candidates=[*known, *new, "unheard of"])
        found = set(slate.candidates) & set(new)
        assert 0 < len(found) <= 10
        assert set(known) <= set(slate.candidates)
        assert "unheard of" not in slate.candidates
        drawn |= found
    assert drawn == set(new)


def test_new_users_get_what_trends() -> None:
    shop = Shop()
    shop.click(
        *crowd("old hit", 30, ts_ms=START_MS), *crowd("hit", 8, ts_ms=START_MS + 9 * HOUR_MS)
    )
    slate = shop.ask("new", ts=START_MS + 9 * HOUR_MS)
    assert slate.item_ids == ["hit", "old hit"]
    assert slate.reasons == ["trending", "trending"]
    assert slate.expected[0] > slate.expected[1]


@pytest.mark.parametrize(
    ("hours", "first"),
    [(9, "hit"), (9 + 12, "old hit"), (9 + 24 * 30, "old hit")],
    ids=["the last hour", "it is silent: the last day", "all is silent: counts"],
)
def test_a_silent_half_life_gives_way_to_longer_ones_and_then_to_counts(
    hours: int, first: str
) -> None:
    shop = Shop()
    shop.click(
        *crowd("old hit", 30, ts_ms=START_MS), *crowd("hit", 8, ts_ms=START_MS + 9 * HOUR_MS)
    )
    assert shop.ask("new", ts=START_MS + hours * HOUR_MS).item_ids[0] == first


def test_a_request_before_the_newest_event_is_answered_as_of_that_event() -> None:
    shop = Shop()
    shop.click(*crowd("a", 3), *crowd("b", 2))
    slate = shop.ask("new", ts=0)
    assert slate.item_ids == ["a", "b"]
    assert slate.features.column("trending_3600s").max() == pytest.approx(np.log1p(3) / 4, rel=1e-3)


def test_before_anything_is_known_the_answer_is_empty_or_the_newest_of_the_catalogue() -> None:
    shop = Shop()
    slate = shop.ask("ann")
    assert (slate.item_ids, slate.candidates, len(slate.features)) == ([], [], 0)
    for item_id in ("a", "b", "c"):
        shop.publish(item_id)
    shop.publish("d", available=False)
    slate = shop.ask("ann", k=2, exclude=["b"])
    assert (slate.item_ids, slate.reasons) == (["c", "a"], ["new", "new"])


def test_items_nobody_has_met_fill_a_slate_that_is_short() -> None:
    shop = Shop()
    for item_id in ("a", "b", "c"):
        shop.publish(item_id)
    shop.click(*crowd("b", 1))
    slate = shop.ask("ann", k=3)
    assert slate.item_ids == ["b", "c", "a"]
    assert slate.features.column("known").tolist() == [1, 0, 0]


def test_k_is_the_requests_or_the_configured_one() -> None:
    shop = Shop()
    shop.click(*(click for i in range(300) for click in crowd(f"i{i}", 1)))
    shop.click(*crowd("i0", 1), Click("ann", "i1"))
    assert len(shop.ask("new").item_ids) == CONFIG.scorer.k_default
    assert len(shop.ask("new", k=3).item_ids) == 3
    assert len(shop.ask("new", k=250).item_ids) == 250
    assert len(shop.ask("ann", k=250).item_ids) == 250


def test_more_is_ruled_out_than_is_remembered_of_what_trends() -> None:
    learned = Partitions(1, bounds=Bounds(users_max=10, items_max=4_000))
    shop = Shop(learned=learned, features={})
    everything = [f"i{i}" for i in range(2_100)]
    shop.click(*(Click("u", item) for item in everything), *(Click("u", "i7") for _ in range(2)))
    assert shop.ask("new", k=1).item_ids == ["i7"]
    kept = ["i3", "i9"]
    excluded = [item for item in everything if item not in kept]
    assert sorted(shop.ask("new", exclude=excluded).item_ids) == kept


def test_asking_changes_nothing_and_answers_alike() -> None:
    shop = Shop()
    two_tastes(shop)
    version = shop.version()
    stats, names = stats_of(version), list(version.items.names)
    n_users = version.users.n_users
    first = shop.ask("u3", request_id="q")
    for user in ("u1", "nobody", "u3"):
        again = shop.ask(user, request_id="q", candidates=["i1", "unheard of"], exclude=["i2"])
        assert "unheard of" in again.item_ids
    again = shop.ask("u3", request_id="q")
    assert again.item_ids == first.item_ids
    assert again.expected == first.expected
    assert again.seed == first.seed
    assert np.array_equal(again.features.values, first.features.values)
    assert shop.ask("u3", request_id="other").seed != first.seed
    assert np.array_equal(stats_of(version), stats)
    assert list(version.items.names) == names
    assert shop.version().users.n_users == n_users


def test_a_decision_can_be_evaluated() -> None:
    shop = Shop()
    two_tastes(shop)
    slate = shop.ask("u3", k=4)
    assert len(slate.candidates) == len(set(slate.candidates)) == len(slate.features)
    assert set(slate.item_ids) <= set(slate.candidates)
    assert slate.propensities == [1.0] * 4
    assert (slate.policy, slate.policy_parameters) == ("greedy", {"form": "shared"})
    assert slate.explored == [False] * 4
    assert np.isfinite(slate.features.values).all()
    # The blend: what the prior is, before anything was learned of slates.
    mf_z, trending_z = (slate.features.column(name) for name in ("mf_z", "trending_z"))
    blend = 0.05 * (mf_z.astype(np.float64) + 0.3 * trending_z)
    places = [slate.candidates.index(item_id) for item_id in slate.item_ids]
    assert slate.expected == pytest.approx(blend[places].tolist())
    assert places == np.argsort(-blend, kind="stable")[:4].tolist()


class LastFirst:
    """Ranks by how little an item trends, and draws the rest from the seed."""

    name = "last-first"

    def __init__(self) -> None:
        self.parameters: Parameters = {"upside": "down"}

    def choose(self, features: Features, knowledge: Knowledge, k: int, seed: int) -> Choice:
        expected = -features.column("trending_z").astype(np.float64)
        order = np.argsort(-expected)[:k]
        n = len(order)
        return Choice(order, np.ones(n), np.zeros(n, bool), expected, knowledge.keys.tobytes())


def test_the_policy_is_a_seam() -> None:
    shop = Shop()
    shop.click(*crowd("a", 3), *crowd("b", 2), *crowd("c", 1))
    shop.funnel = Funnel(shop.config, policy=LastFirst())
    slate = shop.ask("new")
    assert slate.item_ids == ["c", "b", "a"]
    assert (slate.policy, slate.policy_parameters) == ("last-first", {"upside": "down"})
    assert slate.policy_state == keys_of(slate.candidates).tobytes()


def test_more_candidates_than_a_decision_holds_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"12000: a decision\s+holds at most 9500"):
        Shop(recalling(mf={"candidates": 10_000}, trending={"candidates": 2_000}))
