"""The policies of the registry, learning while they are evaluated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from streamer.config import Config
from streamer.config.specs import Spec
from streamer.errors import ConfigError, LogRefused
from streamer.ope.bandit_log import BanditLog, Floats, LoggedRow, Survey
from streamer.ranking.columns import feature_names, prior_mean
from streamer_models.bandits.in_memory import InMemoryBandit, published_policy
from streamer_models.bandits.policies import POLICIES
from streamer_models.bandits.policies.base import ContextColumns, Policy
from streamer_models.bandits.policies.linear import LinearPolicy
from streamer_models.bandits.policies.settings import settings_from
from streamer_models.state.id_table import keys_of

_BOUNDS: Final = {"half_life_s": float, "arms_max": int}
"""Parameters of the statistics, beside the settings of the policy."""


class LearningPolicy:
    """A policy that learns from the rows it is told of, in their order.

    Each row is one choice among its candidates. The probabilities are those of its draw, 0 or 1:
    over its draws that is unbiased.
    """

    needs_features = True

    def __init__(self, policy: Policy[Any], survey: Survey, *, seed: int, **bounds: Any) -> None:
        self.parameters: Mapping[str, object] = dataclasses.asdict(policy.settings) | bounds
        self._bandit = InMemoryBandit(policy, **bounds)
        self._arms = keys_of(survey.actions)
        self._seeds = np.random.default_rng(seed)

    def probabilities(self, row: LoggedRow) -> Floats:
        seed = int(self._seeds.integers(1 << 62))
        draw = self._bandit.choose(
            row.features, self._arms[row.candidates], 1, seed, row.composition
        )
        drawn = np.zeros(len(row.candidates))
        drawn[draw.order] = 1.0
        return drawn

    def learn(self, row: LoggedRow) -> None:
        chosen = slice(row.chosen, row.chosen + 1)
        try:
            self._bandit.update(
                row.features[chosen],
                self._arms[row.candidates[chosen]],
                np.array([row.reward]),
                np.array([row.ts_ms], dtype=np.int64),
            )
        except ValueError as error:
            raise LogRefused(f"{self._bandit.name} can't learn from this log: {error}") from error


def open_learner(
    spec: Spec, log: BanditLog, survey: Survey, config: Config, *, seed: int
) -> LearningPolicy:
    """Return a policy that has learned nothing yet.

    On a log of decisions with the columns of the configuration it is the live policy: its settings
    are those of ``[bandit]`` and its prior is the blend, but for the parameters given. On any other
    log its settings are those of its publication, and its prior is 0.

    Raises
    ------
    ConfigError
        When a parameter is unknown or out of its range.
    """
    kind = POLICIES[spec.name]
    described = kind.settings_type.described()
    converters = {name: each.read for name, each in described.items()}
    given = spec.parameters({**converters, **_BOUNDS})
    bounds = {name: given.pop(name) for name in _BOUNDS if name in given}
    try:
        if log.feature_names == feature_names(config):
            policy = _live(spec.name, given, config)
            bounds = {"half_life_s": config.bandit.half_life_s, **bounds}
        else:
            policy = published_policy(
                spec.name, ContextColumns.plain(len(log.feature_names)), given
            )
        if isinstance(policy, LinearPolicy) and not log.feature_names:
            raise ValueError("the log has no columns for a linear model")
        return LearningPolicy(policy, survey, seed=seed, **bounds)
    except ValueError as error:
        raise ConfigError(f"policy {spec.text!r}: {error}") from error


def _live(name: str, given: dict[str, Any], config: Config) -> Policy[Any]:
    kind = POLICIES[name]
    settings = dataclasses.replace(settings_from(kind.settings_type, config.bandit), **given)
    return kind(settings, ContextColumns(prior_mean(config), standardized=True))
