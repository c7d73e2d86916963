"""The columns that candidates are ranked by: which there are, and what stands in them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import numpy as np
import pytest
from msgspec.structs import replace

from streamer.config import BanditConfig, Config, FeatureConfig, PopularityConfig
from streamer.errors import ConfigError
from streamer.events import FeatureEntity
from streamer.ranking.columns import (
    feature_names,
    followed_definitions,
    prior_mean,
    ranking_columns,
    registry,
)
from streamer.ranking.columns.bias import BiasColumn
from streamer.ranking.recall import registry as recall_registry
from streamer.ranking.recall.trending import TrendingChannel
from streamer.scorer.funnel import Slate
from tests.scoring import HOUR_MS, START_MS, Click, Shop, Shown, crowd, recalling, two_tastes

CONFIG = Config(popularity=PopularityConfig(half_lives_s=(3_600.0, 86_400.0)))


def test_the_configuration_alone_says_which_features_there_are() -> None:
    names = feature_names(CONFIG)
    assert names[0] == "bias"
    assert len(set(names)) == len(names)
    assert "ctr_3600s" in names
    assert 22 <= len(feature_names(Config())) <= 48
    without = replace(Config(), features={}, bandit=BanditConfig(time_features=False))
    assert 12 <= len(feature_names(without)) <= 20
    assert "blend_z" in feature_names(without)
    blended = {"log_count", "known", "trending_3600s", "mf_score", "trending_z"}
    assert not blended & {*feature_names(Config()), *names}
    unblended = feature_names(replace(CONFIG, recall=recalling()))
    assert {"log_count", "known", "trending_3600s", "trending_86400s"} <= {*unblended}
    assert all(feature.meaning for feature in ranking_columns(CONFIG))


def test_context_adds_one_feature_a_value_and_channel_and_hashing_its_buckets() -> None:
    bandit = BanditConfig(
        context=("surface=home", "device=phone"), context_hashed=("hour",), hash_buckets=4
    )
    more = feature_names(Config(popularity=CONFIG.popularity, bandit=bandit))
    added = tuple(name for name in more if name not in feature_names(CONFIG))
    assert tuple(name for name in more if name not in added) == feature_names(CONFIG)
    assert len(added) == 2 + 4
    assert added[:2] == ("surface=home*blend_z", "device=phone*blend_z")


def test_configured_features_are_columns_by_their_names() -> None:
    entities = get_args(FeatureEntity)
    features = {
        f"of_{each}": FeatureConfig(entity=each, numerator="click", window="1h")
        for each in entities
    }
    features["kept_aside"] = FeatureConfig(numerator="click", window="1h", ranks=False)
    columns = ranking_columns(replace(CONFIG, features=features))
    of_candidates = ["of_category", "of_item", "of_user_category"]
    crossed = ["of_global", "of_surface", "of_user"]
    expected = {name for each in of_candidates for name in (each, f"{each}_missing")}
    expected |= {f"{each}*blend_z" for each in crossed}
    assert {each.name for each in columns if each.from_topic} == expected
    without = feature_names(replace(CONFIG, features={}))
    assert {each.name for each in columns} == {*without, *expected}


def test_a_scorer_follows_what_ranks_or_recalls_and_is_not_the_learners() -> None:
    of_window = FeatureConfig(numerator="click", window="1h")
    aside = replace(of_window, ranks=False)
    fading = FeatureConfig(numerator="click", half_life="1h")
    features = {"ranks": of_window, "aside": aside, "recalls": aside, "fades": fading}
    recall = recalling(trending_feature={"feature": "recalls"})
    config = replace(CONFIG, features=features, recall=recall)
    assert [each.name for each in followed_definitions(config)] == ["ranks", "recalls"]
    topic = {each.name for each in ranking_columns(config) if each.from_topic}
    assert topic == {"ranks", "ranks_missing", "trending_feature_rank"}
    assert {"fades", "fades_missing"} <= set(feature_names(config))


def test_a_feature_must_not_have_the_name_of_another_column() -> None:
    clicks = FeatureConfig(numerator="click", window="1h")
    for names in (["age"], ["ctr_3600s"], ["mine", "mine_missing"]):
        complaint = rf"^{names[-1]}: two columns have this name; give the feature of \[features"
        with pytest.raises(ConfigError, match=complaint):
            feature_names(replace(CONFIG, features=dict.fromkeys(names, clicks)))


def test_a_channel_or_a_family_that_is_registered_twice_is_refused_with_its_registry() -> None:
    class Trending(TrendingChannel):
        """Of the same name."""

    class Bias(BiasColumn):
        """Of the same column."""

    complaint = "^{}: two columns have this name; name each channel in streamer/ranking/recall/reg"
    names = ", ".join(sorted(f"trending_{kind}" for kind in Trending.columns))
    with (
        recall_registry.registered_for_now(Trending),
        pytest.raises(ConfigError, match=complaint.format(names)),
    ):
        feature_names(replace(CONFIG, recall=recalling()))
    with (
        registry.registered_for_now(Bias),
        pytest.raises(ConfigError, match=complaint.format("bias")),
    ):
        feature_names(CONFIG)


def test_too_many_columns_are_refused() -> None:
    clicks = FeatureConfig(numerator="click", window="1h")
    many = {f"clicks_{n}": clicks for n in range(125)}
    with pytest.raises(ConfigError, match="over the bound of 256; set ranks = false"):
        feature_names(replace(CONFIG, features=many))
    aside = {name: replace(clicks, ranks=False) for name in many}
    assert len(feature_names(replace(CONFIG, features=aside))) < 40


def test_the_prior_is_the_blend() -> None:
    config = Config(
        recall=recalling(mf={"weight": 2.0}, trending={"weight": 0.5}),
        bandit=BanditConfig(prior_reward=0.1),
    )
    mean = dict(zip(feature_names(config), prior_mean(config).tolist(), strict=True))
    assert mean.pop("mf_z") == pytest.approx(0.2)
    assert mean.pop("trending_z") == pytest.approx(0.05)
    assert not np.any(list(mean.values()))


def test_a_decision_can_name_as_many_features_as_can_be_configured() -> None:
    config = Config(
        popularity=PopularityConfig(half_lives_s=tuple(3_600.0 * 2**i for i in range(8))),
        bandit=BanditConfig(
            context=tuple(f"field={i}" for i in range(32)),
            context_hashed=("hour",),
            hash_buckets=64,
        ),
    )
    assert len(feature_names(config)) <= 256


# --- what stands in them -------------------------------------------------------------------------


def of(slate: Slate, feature: str) -> dict[str, float]:
    """Values of a feature by candidate."""
    return dict(zip(slate.candidates, slate.features.column(feature).tolist(), strict=True))


def test_channels_are_standardized_over_the_candidates_and_places_fall_from_one() -> None:
    shop = Shop()
    two_tastes(shop)
    slate = shop.ask("u3")
    assert slate.features.column("bias").tolist() == [1.0] * len(slate.candidates)
    for feature in ("mf_z", "trending_z"):
        z = slate.features.column(feature)
        assert (z.mean(), z.std()) == pytest.approx((0, 1), abs=1e-5)
    scores, places = of(slate, "mf_score"), of(slate, "mf_rank")
    by_score = sorted(scores, key=lambda item_id: -scores[item_id])
    assert [places[item_id] for item_id in by_score[:3]] == pytest.approx([1, 10 / 11, 10 / 12])
    stranger = shop.ask("nobody")
    assert not stranger.features.column("mf_rank").any()
    assert sorted(of(stranger, "trending_rank").values())[-2:] == pytest.approx([10 / 11, 1])


def test_rates_are_smoothed_towards_those_of_all_items() -> None:
    shop = Shop()
    shop.click(*crowd("a", 1), *crowd("b", 1), *crowd("c", 1))
    shop.show(*[Shown("a", float(n < 30)) for n in range(60)], *[Shown("b", 0.0)] * 40)
    slate = shop.ask("new")
    overall = (30 + 1) / (100 + 20)
    expected = {
        "a": np.log((30 + 20 * overall) / 80 / overall),
        "b": np.log(20 * overall / 60 / overall),
        "c": 0.0,
    }
    assert of(slate, "ctr_86400s") == pytest.approx(expected, rel=1e-3, abs=1e-6)
    shown = {"a": np.log(61) / 4, "b": np.log(41) / 4, "c": 0.0}
    assert of(slate, "exposures_86400s") == pytest.approx(shown, rel=1e-3)
    later = shop.ask("new", ts=START_MS + 86_400_000)
    assert of(later, "exposures_86400s")["a"] == pytest.approx(np.log(31) / 4, rel=1e-3)


def test_the_catalogue_says_how_old_items_are_and_what_a_user_has_a_taste_for() -> None:
    shop = Shop()
    shop.publish("a", created_ts=START_MS - 3 * 86_400_000, categories=["drama", "war"])
    shop.publish("b", categories=["comedy", "comedy"])
    shop.publish("met", categories=["drama"])
    shop.click(*crowd("a", 1), *crowd("b", 1), *crowd("c", 1))
    shop.click(Click("ann", "met"), Click("ann", "also met"))
    slate = shop.ask("ann")
    assert of(slate, "age") == pytest.approx({"a": np.log(4) / 4, "b": 0, "c": 0})
    assert of(slate, "age_known") == {"a": 1.0, "b": 0.0, "c": 0.0}
    assert of(slate, "category_affinity") == {"a": 0.25, "b": 0.0, "c": 0.0}
    shop.publish("a", categories=["drama"])
    assert of(shop.ask("ann"), "category_affinity")["a"] == 0.5
    shop.catalogue.apply(b"a", None)
    shop.publish("a")
    assert of(shop.ask("ann"), "age_known")["a"] == 0.0


def test_what_a_user_is_new_to_leans_on_what_trends() -> None:
    shop = Shop()
    two_tastes(shop)
    shop.click(*crowd("i0", 5))
    n_events = 5 * 8
    for user, n in (("u3", n_events), ("nobody", 0)):
        slate = shop.ask(user)
        trending = slate.features.column("trending_z") * 2.0 ** (-n / 8)
        assert slate.features.column("new_user*trending_z") == pytest.approx(trending)
        active = slate.features.column("mf_z") * np.log1p(n) / 4
        assert slate.features.column("active_user*mf_z") == pytest.approx(active, rel=1e-5)


def test_context_is_crossed_with_the_channels() -> None:
    bandit = BanditConfig(
        context=("surface=home", "premium=true", "hour=7"),
        context_hashed=("device",),
        hash_buckets=4,
    )
    shop = Shop(bandit=bandit)
    shop.click(*crowd("a", 5), *crowd("b", 1))
    context: dict[str, object] = {"premium": True, "hour": 7, "device": "phone"}
    slate = shop.ask("new", surface="home", context=context)
    z = slate.features.column("trending_z").tolist()
    for feature in ("surface=home", "premium=true", "hour=7"):
        assert slate.features.column(f"{feature}*trending_z").tolist() == z
    hashed = [slate.features.column(f"hashed_{bucket}*trending_z").tolist() for bucket in range(4)]
    assert sorted(hashed, key=lambda column: column == z)[-1] == z
    assert sum(any(column) for column in hashed) == 1
    other = shop.ask("new", surface="search", context=context | {"premium": "yes"})
    assert not other.features.column("surface=home*trending_z").any()
    assert not other.features.column("premium=true*trending_z").any()


@pytest.mark.parametrize("day", [14, 18, 19, 20])  # of November 2023: Tuesday, then a weekend
def test_the_hour_and_the_day_of_the_week_are_crossed_with_the_channels(day: int) -> None:
    shop = Shop(bandit=BanditConfig(time_features=True))
    two_tastes(shop)
    asked = datetime(2023, 11, day, 22, 30, tzinfo=UTC)
    slate = shop.ask("u3", ts=int(asked.timestamp() * 1000))
    angle = 2 * np.pi * 22.5 / 24
    since_sunday = (asked.isoweekday() % 7 + 22.5 / 24) * 2 * np.pi / 7
    expected = {
        "hour_sin": np.sin(angle),
        "hour_cos": np.cos(angle),
        "week_sin": np.sin(since_sunday),
        "week_cos": np.cos(since_sunday),
    }
    for feature, value in expected.items():
        for z in ("mf_z", "trending_z"):
            column = slate.features.column(f"{feature}*{z}")
            assert column == pytest.approx(value * slate.features.column(z), rel=1e-5, abs=1e-6)
    assert any(slate.features.column("mf_z"))


def test_the_recency_of_a_user_falls_from_one_with_the_hours_since_the_last_event() -> None:
    shop = Shop(bandit=BanditConfig(time_features=True))
    two_tastes(shop)
    shop.click(Click("u3", "i1", START_MS + HOUR_MS))
    for hours, value in ((1, 1.0), (2, 0.5), (25, 0.04)):
        slate = shop.ask("u3", ts=START_MS + hours * HOUR_MS)
        column = slate.features.column("user_recency*mf_z")
        assert column == pytest.approx(value * slate.features.column("mf_z"), rel=1e-6)
    assert not shop.ask("nobody").features.column("user_recency*trending_z").any()


def test_without_features_of_time_there_are_no_columns_of_it() -> None:
    shop = Shop(bandit=BanditConfig(time_features=False))
    shop.click(*crowd("a", 1))
    assert not [name for name in shop.ask("b").features.names if name.startswith("hour")]


def test_features_stay_within_what_exact_statistics_take() -> None:
    fields = tuple(f"field {n}" for n in range(16))
    shop = Shop(bandit=BanditConfig(context_hashed=fields, hash_buckets=1))
    shop.click(*(click for n in range(10) for click in crowd(f"i{n}", 1)), *crowd("hit", 50))
    slate = shop.ask("new", context=dict.fromkeys(fields, "x"))
    column = slate.features.column("hashed_0*trending_z")
    assert column.max() == 8.0  # 16 * 3.2
    assert np.abs(slate.features.values).max() <= 8.0
    assert slate.features.values.dtype == np.float32
