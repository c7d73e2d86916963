"""The registry of what candidates are ranked by: one line a family, in the order of the columns.

The configuration alone says which columns there are, so learner and scorer agree on them without
asking each other. Every value is a float32 within ±8, which the exact statistics of
:mod:`streamer_models.bandits.linear_statistics` rely on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamer.config import Config, FeatureDefinition, feature_definitions
from streamer.errors import ConfigError
from streamer.ranking.columns.affinity import AffinityColumn
from streamer.ranking.columns.age import AgeColumns
from streamer.ranking.columns.bias import BiasColumn
from streamer.ranking.columns.channels import RankColumns, ScoreColumns, StandardizedScoreColumns
from streamer.ranking.columns.defined import DefinedFeatureColumns
from streamer.ranking.columns.family import Column, Family
from streamer.ranking.columns.feedback import DecayedFeedbackColumns, FeedbackColumns
from streamer.ranking.columns.objective_rates import ObjectiveRateColumns
from streamer.ranking.columns.outcomes import OutcomeColumns
from streamer.ranking.columns.passed_by import PassedByColumn
from streamer.ranking.columns.position import PositionColumn
from streamer.ranking.columns.request_context import RequestContextColumns
from streamer.ranking.columns.times import TimeColumns
from streamer.ranking.columns.user_activity import UserActivityColumns
from streamer.ranking.recall.channel import Channel
from streamer.ranking.recall.registry import channels_on

_FAMILIES: Final[list[type[Family]]] = [
    BiasColumn,  # first: 1 everywhere
    StandardizedScoreColumns,
    ScoreColumns,
    RankColumns,
    FeedbackColumns,
    DecayedFeedbackColumns,
    OutcomeColumns,
    ObjectiveRateColumns,
    AgeColumns,
    UserActivityColumns,
    AffinityColumn,
    PassedByColumn,
    PositionColumn,
    DefinedFeatureColumns,
    TimeColumns,
    RequestContextColumns,
]
FEATURES_MAX: Final = 256
"""Bound of the columns a decision can name."""


def families(config: Config, channels: Sequence[Channel[Any]]) -> list[Family]:
    """Return the families that have columns, bound to a configuration.

    Raises
    ------
    ConfigError
        Where two columns have one name, or there are too many for a decision.
    """
    found = [family for each in _FAMILIES if (family := each(config, channels)).columns]
    names = [column.name for family in found for column in family.columns]
    twice = sorted(name for name, n in Counter(names).items() if n > 1)
    if twice:
        remedy = _remedy(twice, found)
        raise ConfigError(f"{', '.join(twice)}: two columns have this name; {remedy}")
    if len(names) > FEATURES_MAX:
        raise ConfigError(
            f"candidates would be ranked by {len(names)} columns, over the bound of"
            f" {FEATURES_MAX}; set ranks = false for some of the {len(config.features)} features"
        )
    return found


def _remedy(twice: Sequence[str], found: Sequence[Family]) -> str:
    """Return what to do about names that two columns have."""
    configured = (each for each in found if isinstance(each, DefinedFeatureColumns))
    if {column.name for each in configured for column in each.columns} & {*twice}:
        return "give the feature of [features.NAME] another one"
    return (
        "name each channel in streamer/ranking/recall/registry.py, and each family in"
        " streamer/ranking/columns/registry.py, once, and no two columns alike"
    )


def ranking_columns(config: Config) -> tuple[Column, ...]:
    """Return the columns under a configuration, in their order; the first is 1 everywhere.

    Raises
    ------
    ConfigError
        As :func:`families`.
    """
    found = families(config, channels_on(config))
    return tuple(column for family in found for column in family.columns)


def feature_names(config: Config) -> tuple[str, ...]:
    """Return the names of the columns under a configuration, in their order."""
    return tuple(column.name for column in ranking_columns(config))


def prior_mean(config: Config) -> NDArray[np.float64]:
    """Return ``(d,)`` rewards that a step of each column is worth before anything is learned.

    It is the blend of the recall channels: a standard deviation of the score of one is worth
    ``bandit.prior_reward`` times its weight, anything else nothing. What the blend would choose is
    expected to bring every objective that is sought.
    """
    weights = np.array([column.prior_weight for column in ranking_columns(config)])
    sought = sum(max(each.weight, 0.0) for each in config.objectives.values())
    mean: NDArray[np.float64] = config.bandit.prior_reward * weights
    return mean * sought if config.objectives else mean


def followed_definitions(config: Config) -> list[FeatureDefinition]:
    """Return the configured features whose values a scorer needs of the features topic."""
    recalled_by = {name for channel in channels_on(config) for name in channel.follows()}
    return [
        each
        for each in feature_definitions(config)
        if each.held_by == "windows" and (each.ranks or each.name in recalled_by)
    ]


@contextmanager
def registered_for_now(family: type[Family]) -> Iterator[None]:
    """Have one more family, behind the others, while the context lasts: for tests of one."""
    _FAMILIES.append(family)
    try:
        yield
    finally:
        _FAMILIES.remove(family)
