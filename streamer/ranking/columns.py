"""The registry of what candidates are ranked by: names, in the order of the columns, and meanings.

The configuration alone says which features there are, so learner and scorer agree on the columns
without asking each other. Every value is a float32 within ±8, which the exact statistics of
:mod:`streamer_models.bandits.linear_statistics` rely on.

What all candidates of a request share (who asks, from where) cannot change their order in a linear
model that they share either. So such things appear *crossed*: times the standardized score of a
channel, they say for whom, where and when that channel is to be trusted more or less. The position
in the slate is no feature: it is not known before the slate is drawn.

Features of the configuration (``[features.NAME]``) that rank are columns under their own names.
What is missing is not zero: a column of a candidate is 0 there and ``NAME_missing`` is 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.config import Config, FeatureDefinition, feature_definitions
from streamer.errors import ConfigError
from streamer.events import FeatureEntity

BIAS: Final = "bias"
MF_Z: Final = "mf_z"
TRENDING_Z: Final = "trending_z"
MF_SCORE: Final = "mf_score"
MF_RANK: Final = "mf_rank"
TRENDING_RANK: Final = "trending_rank"
FEATURE_RANK: Final = "trending_feature_rank"
LOG_COUNT: Final = "log_count"
KNOWN: Final = "known"
AGE: Final = "age"
AGE_KNOWN: Final = "age_known"
NEW_USER_TRENDING: Final = "new_user*trending_z"
ACTIVE_USER_MF: Final = "active_user*mf_z"
AFFINITY: Final = "category_affinity"
PASSED_BY: Final = "passed_by"
TRENDING: Final = "trending"
EXPOSURES: Final = "exposures"
CTR: Final = "ctr"
"""The last three stand for one feature a half-life, such as ``ctr_3600s``."""
HASHED: Final = "hashed"
HOUR_SIN: Final = "hour_sin"
HOUR_COS: Final = "hour_cos"
WEEK_SIN: Final = "week_sin"
WEEK_COS: Final = "week_cos"
USER_RECENCY: Final = "user_recency"
TIMES: Final = (HOUR_SIN, HOUR_COS, WEEK_SIN, WEEK_COS, USER_RECENCY)
"""Of a request; crossed with the channels."""

OF_CANDIDATES: Final[tuple[FeatureEntity, ...]] = ("item", "category", "user_category")
"""Entities whose features differ between candidates; those of the others are crossed."""
FEATURES_MAX: Final = 256
"""Bound of the columns a decision can name."""


@dataclass(frozen=True, slots=True)
class RankingFeature:
    """One column.

    Attributes
    ----------
    name
        As decisions carry it.
    meaning
        What its numbers say, transformation included.
    from_topic
        Whether it is read from the features topic, whose past nobody keeps; all others follow from
        the request, the catalogue and the commits that a decision was made from.
    """

    name: str
    meaning: str
    from_topic: bool = False


def ranking_features(config: Config) -> tuple[RankingFeature, ...]:
    """The columns under a configuration, in their order; the first is 1 everywhere.

    Raises
    ------
    ConfigError
        Where a feature has the name of another column, or there are too many for a decision.
    """
    features = (
        *(RankingFeature(*each) for each in (*_CHANNELS, *_counted(config), *_about(config))),
        *_recalled(config),
        *_defined(config),
        *(RankingFeature(*each) for each in (*_times(config), *_crossed_context(config))),
    )
    _check(config, [each.name for each in features])
    return features


def feature_names(config: Config) -> tuple[str, ...]:
    """Names of the columns under a configuration, in their order."""
    return tuple(feature.name for feature in ranking_features(config))


def by_half_life(feature: str, half_life_s: float) -> str:
    """Name of the column of one half-life.

    >>> by_half_life(CTR, 3_600.0)
    'ctr_3600s'
    """
    return f"{feature}_{half_life_s:.12g}s"


def crossed(feature: str, channel: str) -> str:
    """Name of a feature of the request times the standardized score of a channel.

    >>> crossed("device=phone", MF_Z)
    'device=phone*mf_z'
    """
    return f"{feature}*{channel}"


def context_features(config: Config) -> tuple[str, ...]:
    """Names of the features of a request that are crossed with the channels."""
    bandit = config.bandit
    n_buckets = bandit.hash_buckets if bandit.context_hashed else 0
    return (*bandit.context, *(f"{HASHED}_{bucket}" for bucket in range(n_buckets)))


def ranking_definitions(config: Config) -> list[FeatureDefinition]:
    """The configured features that rank, in the order of their columns."""
    return [each for each in feature_definitions(config) if each.ranks]


def followed_definitions(config: Config) -> list[FeatureDefinition]:
    """The configured features whose values a scorer needs of the features topic."""
    recalled_by = config.scorer.trending_feature
    return [
        each
        for each in feature_definitions(config)
        if each.held_by == "windows" and (each.ranks or each.name == recalled_by)
    ]


def missing(name: str) -> str:
    """Name of the column that says where a feature of a candidate is missing."""
    return f"{name}_missing"


def prior_mean(config: Config) -> NDArray[np.float64]:
    """``(d,)`` rewards that a step of each feature is worth before anything is learned.

    It is the blend of ``[scorer]``: a standard deviation of the factorization is worth
    ``bandit.prior_reward * scorer.weight_mf``, one of popularity
    ``bandit.prior_reward * scorer.weight_trending``, anything else nothing.
    """
    names = feature_names(config)
    mean = np.zeros(len(names))
    mean[names.index(MF_Z)] = config.bandit.prior_reward * config.scorer.weight_mf
    mean[names.index(TRENDING_Z)] = config.bandit.prior_reward * config.scorer.weight_trending
    return mean


_CHANNELS: Final = (
    (BIAS, "1: the reward to expect of no item in particular"),
    (MF_Z, "score of the factorization, standardized over the candidates"),
    (TRENDING_Z, "ln(1 + what the trending channel orders by), standardized over the candidates"),
    (MF_SCORE, "score of the factorization; 0 for a user or an item not known to it"),
    (MF_RANK, "10 / (10 + place in the channel of the factorization); 0: it did not bring it"),
    (TRENDING_RANK, "10 / (10 + place in the trending channel); 0: it did not bring it"),
    (LOG_COUNT, "ln(1 + positive feedback ever) / 4"),
    (KNOWN, "1 for an item that has parameters, 0 for one that nobody has met"),
)
_ABOUT: Final = (
    (AGE, "ln(1 + days since the item's created_ts) / 4; 0 where the catalogue has none"),
    (AGE_KNOWN, "1 where it has one"),
    (NEW_USER_TRENDING, "trending_z * 2^(-events of the user / 8)"),
    (ACTIVE_USER_MF, "mf_z * ln(1 + events of the user) / 4"),
    (AFFINITY, "share of the user's last items that are in the item's categories, their mean"),
)


def _about(config: Config) -> list[tuple[str, str]]:
    passed_by = [(PASSED_BY, "ln(1 + times shown to the user among the last items shown)")]
    return [*_ABOUT, *(passed_by if config.bandit.impressions else [])]


def _counted(config: Config) -> list[tuple[str, str]]:
    """By half-life; counts of slots shown come from what the bandit has learned."""
    kinds = (
        (TRENDING, "ln(1 + faded positive feedback) / 4"),
        (EXPOSURES, "ln(1 + faded times shown) / 4"),
        (CTR, "ln of the faded share of positive outcomes when shown over that of all items"),
    )
    return [
        (by_half_life(kind, half_life_s), meaning)
        for kind, meaning in kinds
        for half_life_s in config.popularity.half_lives_s
    ]


def _crossed_context(config: Config) -> list[tuple[str, str]]:
    return [
        (crossed(feature, channel), f"{channel} where the request says so, 0 elsewhere")
        for feature in context_features(config)
        for channel in (MF_Z, TRENDING_Z)
    ]


_TIME_MEANINGS: Final = (
    (HOUR_SIN, "{} * sin(2 pi * hour of day in UTC / 24)"),
    (HOUR_COS, "{} * cos(2 pi * hour of day in UTC / 24)"),
    (WEEK_SIN, "{} * sin(2 pi * days since Sunday, 0:00 UTC / 7)"),
    (WEEK_COS, "{} * cos(2 pi * days since Sunday, 0:00 UTC / 7): 1 within the weekend"),
    (USER_RECENCY, "{} / (1 + hours since the user's last event); 0 for a new user"),
)


def _times(config: Config) -> list[tuple[str, str]]:
    if not config.bandit.time_features:
        return []
    return [
        (crossed(feature, channel), meaning.format(channel))
        for feature, meaning in _TIME_MEANINGS
        for channel in (MF_Z, TRENDING_Z)
    ]


_OF: Final[dict[FeatureEntity, str]] = {
    "item": "the item",
    "category": "the item's categories, their mean",
    "user_category": "the user in the item's categories, their mean",
    "user": "the user",
    "surface": "the surface",
    "global": "the whole",
}


def _defined(config: Config) -> list[RankingFeature]:
    """Columns of the configured features."""
    columns = []
    for each in ranking_definitions(config):
        name = each.name
        formula = "ln(1 + 100 x) - ln 6" if each.denominator else "ln(1 + x) / 4"
        if each.measure == "recency":
            formula = "ln(1 + seconds) / 4"
        meaning = f"{formula} of the feature `{name}` of {_OF[each.entity]}; 0 where it is missing"
        if each.entity in OF_CANDIDATES:
            described = [(name, meaning), (missing(name), "1 where it is missing")]
        else:
            described = [
                (crossed(name, channel), f"{channel} * ({meaning})")
                for channel in (MF_Z, TRENDING_Z)
            ]
        from_topic = each.held_by == "windows"
        columns += [RankingFeature(*column, from_topic=from_topic) for column in described]
    return columns


def _recalled(config: Config) -> list[RankingFeature]:
    by = config.scorer.trending_feature
    meaning = f"10 / (10 + place in the channel of `{by}`); 0: it did not bring it"
    return [
        RankingFeature(FEATURE_RANK, meaning, from_topic=each.held_by == "windows")
        for each in feature_definitions(config)
        if each.name == by
    ]


def _check(config: Config, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"{', '.join(twice)}: two columns have this name; give the feature of"
            " [features.NAME] another one"
        )
    if len(names) > FEATURES_MAX:
        raise ConfigError(
            f"candidates would be ranked by {len(names)} columns, over the bound of"
            f" {FEATURES_MAX}; set ranks = false for some of the {len(config.features)} features"
        )
