"""The columns that candidates are ranked by: which there are, and what stands in them."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.config import BanditConfig, Config, PopularityConfig, ScorerConfig
from streamer.ranking_features import feature_names, prior_mean, ranking_features

CONFIG = Config(popularity=PopularityConfig(half_lives_s=(3_600.0, 86_400.0)))


def test_the_configuration_alone_says_which_features_there_are() -> None:
    names = feature_names(CONFIG)
    assert names[0] == "bias"
    assert len(set(names)) == len(names)
    assert "ctr_3600s" in names
    assert 20 <= len(feature_names(Config())) <= 28
    assert all(feature.meaning for feature in ranking_features(CONFIG))


def test_context_adds_one_feature_a_value_and_channel_and_hashing_its_buckets() -> None:
    bandit = BanditConfig(
        context=("surface=home", "device=phone"), context_hashed=("hour",), hash_buckets=4
    )
    more = feature_names(Config(popularity=CONFIG.popularity, bandit=bandit))
    assert more[: len(feature_names(CONFIG))] == feature_names(CONFIG)
    added = more[len(feature_names(CONFIG)) :]
    assert len(added) == 2 * (2 + 4)
    assert added[:2] == ("surface=home*mf_z", "surface=home*trending_z")


def test_the_prior_is_the_blend() -> None:
    config = Config(
        scorer=ScorerConfig(weight_mf=2.0, weight_trending=0.5),
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
