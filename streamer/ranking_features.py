"""The registry of what candidates are ranked by: names, in the order of the columns, and meanings.

The configuration alone says which features there are, so learner and scorer agree on the columns
without asking each other. Every value is a float32 within ±8, which the exact statistics of
:mod:`models.linear_statistics` rely on.

What all candidates of a request share (who asks, from where) cannot change their order in a linear
model that they share either. So such things appear *crossed*: times the standardized score of a
channel, they say for whom and where that channel is to be trusted more or less. The position in
the slate is no feature: it is not known before the slate is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.config import Config

BIAS: Final = "bias"
MF_Z: Final = "mf_z"
TRENDING_Z: Final = "trending_z"
MF_SCORE: Final = "mf_score"
MF_RANK: Final = "mf_rank"
TRENDING_RANK: Final = "trending_rank"
LOG_COUNT: Final = "log_count"
KNOWN: Final = "known"
AGE: Final = "age"
AGE_KNOWN: Final = "age_known"
NEW_USER_TRENDING: Final = "new_user*trending_z"
ACTIVE_USER_MF: Final = "active_user*mf_z"
AFFINITY: Final = "category_affinity"
TRENDING: Final = "trending"
EXPOSURES: Final = "exposures"
CTR: Final = "ctr"
"""The last three stand for one feature a half-life, such as ``ctr_3600s``."""
HASHED: Final = "hashed"


@dataclass(frozen=True, slots=True)
class RankingFeature:
    """One column.

    Attributes
    ----------
    name
        As decisions carry it.
    meaning
        What its numbers say, transformation included.
    """

    name: str
    meaning: str


def ranking_features(config: Config) -> tuple[RankingFeature, ...]:
    """The columns under a configuration, in their order; the first is 1 everywhere."""
    return tuple(
        RankingFeature(name, meaning)
        for name, meaning in (*_CHANNELS, *_counted(config), *_ABOUT, *_crossed_context(config))
    )


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
