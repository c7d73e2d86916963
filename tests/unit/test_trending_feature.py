"""The channel of what a configured feature says is on the rise."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from streamer.config import FeatureConfig
from streamer.errors import ConfigError
from streamer.ranking.features import Logged
from streamer.scorer.funnel import Funnel
from tests.scoring import START_MS, Click, Shop, Told, crowd, recalling

CLICKS = {"rising": FeatureConfig(numerator="click", window="1h", ranks=False)}
SHORT = recalling(trending={"candidates": 3})
RISING = recalling(
    trending={"candidates": 3}, trending_feature={"candidates": 3, "feature": "rising"}
)


def shop_with_rising() -> tuple[Shop, Told]:
    """Ten items, the first the most popular; the last ones rise."""
    shop = Shop(RISING, features=CLICKS)
    shop.click(*(click for n in range(10) for click in crowd(f"i{n}", 20 - n)))
    told = Told(shop)
    told.tell("item", "rising", {f"i{n}": float(n) for n in range(5, 10)})
    return shop, told


def test_items_on_the_rise_are_recalled_beside_those_that_trend() -> None:
    shop, _ = shop_with_rising()
    slate = shop.ask("new", k=3)
    assert sorted(slate.candidates) == ["i0", "i1", "i2", "i7", "i8", "i9"]
    column = slate.features.column("trending_feature_rank")
    ranks = dict(zip(slate.candidates, column.tolist(), strict=True))
    assert ranks == pytest.approx(
        {"i0": 0, "i1": 0, "i2": 0, "i9": 1, "i8": 10 / 11, "i7": 10 / 12}
    )
    assert set(slate.reasons) == {"trending"}
    without = Shop(SHORT, features=CLICKS)
    without.click(*(click for n in range(10) for click in crowd(f"i{n}", 20 - n)))
    assert sorted(without.ask("new", k=3).candidates) == ["i0", "i1", "i2"]


def test_what_must_not_be_shown_makes_room_for_the_next() -> None:
    shop, _ = shop_with_rising()
    shop.publish("i9", available=False)
    shop.click(Click("ann", "i8"))
    slate = shop.ask("ann", exclude=["i7"], k=3)
    assert {"i5", "i6"} <= set(slate.candidates)
    assert not {"i7", "i8", "i9"} & set(slate.candidates)


def test_values_that_are_too_old_and_items_that_nobody_has_met_bring_nothing() -> None:
    shop, told = shop_with_rising()
    told.tell("item", "rising", {"unmet": 99.0})
    assert "unmet" not in shop.ask("new", k=3).candidates
    later = shop.ask("new", k=3, ts=START_MS + 3_600_001)
    assert sorted(later.candidates) == ["i0", "i1", "i2"]


def test_the_channel_of_a_decision_is_made_again_from_what_was_logged() -> None:
    shop, told = shop_with_rising()
    first = shop.ask("new", k=3)
    told.tell("item", "rising", {"i5": 99.0}, end_ms=START_MS + 1)
    logged = Logged(first.candidates, first.features)
    again = shop.funnel.recommend(
        shop.request("new", k=3), shop.version(), shop.catalogue, known=told, logged=logged
    )
    assert again.candidates == first.candidates
    assert again.features.values.tobytes() == first.features.values.tobytes()
    assert again.item_ids == first.item_ids


def test_more_candidates_than_a_decision_holds_are_refused() -> None:
    shop, _ = shop_with_rising()
    many = {"candidates": 5_000}
    recalled = recalling(trending=many, trending_feature={**many, "feature": "rising"})
    with pytest.raises(ConfigError, match="a decision holds at most 9500"):
        Funnel(replace(shop.config, recall=recalled))
