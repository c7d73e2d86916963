"""The policies of the registry, learning while they are evaluated."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from streamer.config import Config
from streamer.config.specs import Spec
from streamer.errors import ConfigError, LogRefused
from streamer.ope.bandit_log import BanditLog, Floats, LoggedRow, Survey
from streamer.ranking.columns import feature_names
from streamer.ranking.policy import configured_policy
from streamer_models.bandits.in_memory import InMemoryBandit, published_policy
from streamer_models.bandits.linear_statistics import WEIGHT_MAX
from streamer_models.bandits.policies.base import ContextColumns, Policy
from streamer_models.bandits.policies.linear import LinearPolicy
from streamer_models.bandits.policies.registry import POLICIES
from streamer_models.state.ids.id_table import keys_of

_OF_STATISTICS: Final = {"half_life_s": float, "arms_max": int, "propensity_weight_max": float}
"""Parameters of the statistics, beside the settings of the policy."""


class LearningPolicy:
    """A policy that learns from the rows it is told of, in their order.

    Each row is one choice among its candidates. The probabilities are those of its draw, 0 or 1:
    over its draws that is unbiased.

    Parameters
    ----------
    propensity_weight_max
        A row counts as ``1 / propensity`` examples in linear models, as so many at most: the
        propensity of who drew it.
    **bounds
        Of the statistics: see :class:`streamer_models.bandits.in_memory.InMemoryBandit`.

    Attributes
    ----------
    bandit
        The policy, and what it has learned.

    Raises
    ------
    ValueError
        Where a parameter is out of its range.
    """

    needs_features = True

    def __init__(
        self,
        policy: Policy[Any],
        survey: Survey,
        *,
        seed: int,
        propensity_weight_max: float | None = None,
        **bounds: Any,
    ) -> None:
        parameters = dataclasses.asdict(policy.settings) | bounds
        if propensity_weight_max is not None:
            parameters["propensity_weight_max"] = propensity_weight_max
            if not 1 <= propensity_weight_max <= WEIGHT_MAX:
                raise ValueError(
                    f"propensity_weight_max={propensity_weight_max} must be from 1 to"
                    f" {WEIGHT_MAX:g}"
                )
        self.parameters: Mapping[str, object] = parameters
        self.bandit = InMemoryBandit(policy, **bounds)
        self._weight_max = propensity_weight_max or 1.0
        self._drawn = 1.0
        self._arms = keys_of(survey.actions)
        self._seeds = np.random.default_rng(seed)

    def probabilities(self, row: LoggedRow) -> Floats:
        seed = int(self._seeds.integers(1 << 62))
        draw = self.bandit.choose(
            row.features, self._arms[row.candidates], 1, seed, row.composition
        )
        drawn = np.zeros(len(row.candidates))
        drawn[draw.order] = 1.0
        self._drawn = float(draw.propensities[0])
        return drawn

    def learn(self, row: LoggedRow, *, drawn: bool = False) -> None:
        propensity = self._drawn if drawn else row.propensity
        weights = None
        if self._weight_max > 1.0:  # as the learner has it: all count alike otherwise
            weights = np.array([min(1.0 / propensity, self._weight_max)])
        try:
            self.bandit.update(
                row.learned[None],
                self._arms[row.candidates[row.chosen : row.chosen + 1]],
                np.array([row.reward]),
                np.array([row.ts_ms], dtype=np.int64),
                weights,
            )
        except ValueError as error:
            raise LogRefused(f"{self.bandit.name} can't learn from this log: {error}") from error

    def remarks(self) -> Iterator[str]:
        """Nothing."""
        return iter(())


def open_learner(
    spec: Spec, log: BanditLog, survey: Survey, config: Config, *, seed: int
) -> LearningPolicy:
    """Return a policy that has learned nothing yet.

    On a log of decisions with the columns of the configuration it is the live policy: its settings,
    and those of its statistics, are those of ``[bandit]`` and its prior is the blend, but for the
    parameters given. On any other log its settings are those of its publication, its prior is 0,
    and all rows count alike.

    Raises
    ------
    ConfigError
        When a parameter is unknown or out of its range.
    """
    kind = POLICIES[spec.name]
    described = kind.settings_type.described()
    converters = {name: each.read for name, each in described.items()}
    given = spec.parameters({**converters, **_OF_STATISTICS})
    learned = {name: given.pop(name) for name in _OF_STATISTICS if name in given}
    try:
        if log.feature_names == feature_names(config):
            policy = configured_policy(config, spec.name, **given)
            learned = {name: getattr(config.bandit, name) for name in _OF_STATISTICS} | learned
        else:
            policy = published_policy(
                spec.name, ContextColumns.plain(len(log.feature_names)), given
            )
        if isinstance(policy, LinearPolicy) and not log.feature_names:
            raise ValueError("the log has no columns for a linear model")
        return LearningPolicy(policy, survey, seed=seed, **learned)
    except ValueError as error:
        raise ConfigError(f"policy {spec.text!r}: {error}") from error
