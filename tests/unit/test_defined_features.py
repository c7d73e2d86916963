"""What stands in the columns of configured features, computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from streamer.config import FeatureConfig
from streamer.events import FeatureEntity
from streamer.events.messages import ANYBODY
from streamer.ranking.features import Logged
from streamer.scorer.funnel import Slate
from streamer.windows.entities import WHOLE, pair_id
from tests.scoring import HOUR_MS, START_MS, Shop, Told, crowd

RATE = {"numerator": "click", "denominator": "impression", "window": "1h"}
COUNT = {"numerator": "click", "window": "1h"}


def shop_with(entity: FeatureEntity) -> tuple[Shop, Told]:
    """Three items, and a rate and a count of one kind of entity."""
    features = {
        "rate": FeatureConfig(entity=entity, **RATE),  # type: ignore[arg-type]
        "count": FeatureConfig(entity=entity, **COUNT),  # type: ignore[arg-type]
    }
    shop = Shop(features=features)
    shop.publish("a", categories=["drama", "war"])
    shop.publish("b", categories=["comedy"])
    shop.publish("c")
    shop.click(*crowd("a", 3), *crowd("b", 2), *crowd("c", 1))
    return shop, Told(shop)


def of(slate: Slate, feature: str) -> dict[str, float]:
    """Values of a feature by candidate."""
    return dict(zip(slate.candidates, slate.features.column(feature).tolist(), strict=True))


def rate(ratio: float) -> float:
    return math.log((1 + 100 * ratio) / 6)


def count(n: float) -> float:
    return math.log(1 + n) / 4


def test_an_item_has_its_own_value_and_what_is_missing_is_not_zero() -> None:
    shop, told = shop_with("item")
    told.tell("item", "rate", {"a": 0.05, "b": 0.0})
    told.tell("item", "count", {"a": 7.0, "c": 0.0})
    slate = shop.ask("ann")
    assert of(slate, "rate") == pytest.approx({"a": 0.0, "b": -math.log(6), "c": 0.0}, abs=1e-6)
    assert of(slate, "rate_missing") == {"a": 0.0, "b": 0.0, "c": 1.0}
    assert of(slate, "count") == pytest.approx({"a": count(7), "b": 0.0, "c": 0.0})
    assert of(slate, "count_missing") == {"a": 0.0, "b": 1.0, "c": 0.0}


def test_a_value_that_is_too_old_is_missing() -> None:
    shop, told = shop_with("item")
    told.tell("item", "rate", {"a": 0.5})
    told.tell("item", "rate", {"b": 0.5}, end_ms=START_MS - HOUR_MS)
    assert of(shop.ask("ann"), "rate_missing") == {"a": 0.0, "b": 0.0, "c": 1.0}
    later = shop.ask("ann", ts=START_MS + 1)
    assert of(later, "rate_missing") == {"a": 0.0, "b": 1.0, "c": 1.0}
    assert of(later, "rate")["b"] == 0.0


def test_items_no_one_has_met_have_values_too() -> None:
    shop, told = shop_with("item")
    shop.publish("new")
    told.tell("item", "rate", {"new": 0.11})
    slate = shop.ask("ann", candidates=["a", "new"])
    assert of(slate, "rate") == pytest.approx({"a": 0.0, "new": rate(0.11)})


def test_a_sum_below_zero_keeps_its_sign() -> None:
    shop, told = shop_with("item")
    told.tell("item", "count", {"a": -7.0})
    assert of(shop.ask("ann"), "count")["a"] == pytest.approx(-count(7))


def test_an_item_has_the_mean_of_the_categories_that_are_known() -> None:
    shop, told = shop_with("category")
    told.tell("category", "rate", {"drama": 0.1, "war": 0.2, "comedy": 0.3})
    told.tell("category", "count", {"war": 3.0, "else": 9.0})
    slate = shop.ask("ann")
    assert of(slate, "rate") == pytest.approx({"a": rate(0.15), "b": rate(0.3), "c": 0.0})
    assert of(slate, "rate_missing") == {"a": 0.0, "b": 0.0, "c": 1.0}
    assert of(slate, "count") == pytest.approx({"a": count(3), "b": 0.0, "c": 0.0})
    assert of(slate, "count_missing") == {"a": 0.0, "b": 1.0, "c": 1.0}


def test_a_user_has_values_in_the_items_categories() -> None:
    shop, told = shop_with("user_category")
    told.tell("user_category", "rate", {pair_id("ann", "war"): 0.2, pair_id("bob", "drama"): 0.4})
    slate = shop.ask("ann")
    assert of(slate, "rate") == pytest.approx({"a": rate(0.2), "b": 0.0, "c": 0.0})
    assert of(slate, "rate_missing") == {"a": 0.0, "b": 1.0, "c": 1.0}
    assert of(shop.ask("bob"), "rate")["a"] == pytest.approx(rate(0.4))


@pytest.mark.parametrize(
    ("entity", "entity_id"), [("user", "ann"), ("surface", "home"), ("global", WHOLE)]
)
def test_what_all_candidates_share_is_crossed_with_the_channels(
    entity: FeatureEntity, entity_id: str
) -> None:
    shop, told = shop_with(entity)
    told.tell(entity, "rate", {entity_id: 0.2})
    slate = shop.ask("ann", surface="home")
    z = slate.features.column("trending_z")
    assert np.ptp(z) > 1
    assert slate.features.column("rate*trending_z") == pytest.approx(rate(0.2) * z, rel=1e-5)
    assert not slate.features.column("count*trending_z").any()
    assert "rate" not in slate.features.names
    other = shop.ask("bob", surface="search")
    assert other.features.column("rate*trending_z").any() == (entity == "global")


def test_a_surface_that_the_context_names_counts_too() -> None:
    shop, told = shop_with("surface")
    told.tell("surface", "rate", {"home": 0.2})
    assert shop.ask("ann", context={"surface": "home"}).features.column("rate*trending_z").any()
    assert not shop.ask("ann").features.column("rate*trending_z").any()


def test_with_nothing_known_all_is_missing() -> None:
    shop = Shop(features={"rate": FeatureConfig(**RATE)})  # type: ignore[arg-type]
    shop.click(*crowd("a", 1))
    slate = shop.ask("ann")
    assert (of(slate, "rate"), of(slate, "rate_missing")) == ({"a": 0.0}, {"a": 1.0})


def test_a_decision_made_again_takes_what_the_topic_said_from_what_was_logged() -> None:
    shop, told = shop_with("item")
    told.tell("item", "rate", {"a": 0.2, "b": 0.1})
    first = shop.ask("ann")
    told.tell("item", "rate", {"a": 0.9}, end_ms=START_MS + 1)
    shop.click(*crowd("c", 4))

    def again(logged: Logged | None) -> Slate:
        request = shop.request("ann")
        return shop.funnel.recommend(request, shop.version(), shop.catalogue, logged=logged)

    assert of(again(None), "rate_missing") == {"a": 1.0, "b": 1.0, "c": 1.0}
    logged = again(Logged(first.candidates, first.features))
    for feature in ("rate", "rate_missing"):
        assert of(logged, feature) == of(first, feature)
    assert of(logged, "log_count") != of(first, "log_count")


@pytest.mark.parametrize("entity", ["user", "user_category"])
def test_a_visitor_without_a_name_has_no_values_of_a_user(entity: FeatureEntity) -> None:
    shop, told = shop_with(entity)
    values = {
        user: {user: 9.0} if entity == "user" else {pair_id(user, "war"): 9.0}
        for user in ("ann", ANYBODY)
    }
    for each in values.values():
        told.tell(entity, "count", each)
    named, visitor = (shop.ask(user) for user in values)
    column = "count*trending_z" if entity == "user" else "count"
    assert any(of(named, column).values())
    assert not any(of(visitor, column).values())
