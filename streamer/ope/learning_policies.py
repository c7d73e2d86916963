"""Bandits that learn while they are evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from streamer.config.specs import Spec
from streamer.errors import ConfigError, LogRefused
from streamer.ope.bandit_log import BanditLog, Floats, LoggedRow, Survey
from streamer_models.bandits.beta_bernoulli import BetaBernoulli
from streamer_models.bandits.counting import MeanReward
from streamer_models.bandits.disjoint_linear import DisjointLinear
from streamer_models.bandits.epsilon_greedy import EpsilonGreedy
from streamer_models.bandits.linear_model import LinearModel
from streamer_models.bandits.linear_thompson import LinearThompson
from streamer_models.bandits.linucb import LinUCB
from streamer_models.bandits.plackett_luce import PlackettLuce
from streamer_models.bandits.policy import Policy
from streamer_models.bandits.shared_linear import SharedLinear
from streamer_models.bandits.ucb1 import UCB1
from streamer_models.state.id_table import keys_of

Parameters = dict[str, Any]


class LearningPolicy:
    """One of our bandits; learns from the rows it is told of, in their order.

    Each row is one choice among its candidates. The probabilities are those of its draw, 0 or 1:
    over its draws that is unbiased.
    """

    needs_features = True

    def __init__(self, policy: Policy, survey: Survey, *, seed: int) -> None:
        self._policy = policy
        self._arms = keys_of(survey.actions)
        self._seeds = np.random.default_rng(seed)

    def probabilities(self, row: LoggedRow) -> Floats:
        seed = int(self._seeds.integers(1 << 62))
        draw = self._policy.choose(row.features, self._arms[row.candidates], 1, seed)
        drawn = np.zeros(len(row.candidates))
        drawn[draw.order] = 1.0
        return drawn

    def learn(self, row: LoggedRow) -> None:
        chosen = slice(row.chosen, row.chosen + 1)
        try:
            self._policy.update(
                row.features[chosen],
                self._arms[row.candidates[chosen]],
                np.array([row.reward]),
                np.array([row.ts_ms], dtype=np.int64),
            )
        except ValueError as error:
            raise LogRefused(f"{self._policy.name} can't learn from this log: {error}") from error


def open_learner(spec: Spec, log: BanditLog, survey: Survey, *, seed: int) -> LearningPolicy:
    """A bandit that has learned nothing yet.

    Raises
    ------
    ConfigError
        When a parameter is unknown or out of its range.
    """
    converters, make = LEARNERS[spec.name]
    parameters = spec.parameters(converters)
    try:
        policy = make(parameters, len(log.feature_names))
    except ValueError as error:
        raise ConfigError(f"policy {spec.text!r}: {error}") from error
    return LearningPolicy(policy, survey, seed=seed)


def _linear(parameters: Parameters, n_features: int) -> LinearModel:
    """Takes what is the model's out of ``parameters``."""
    form = parameters.pop("form", "disjoint")
    settings = {
        key: parameters.pop(key) for key in ("prior_strength", "half_life_s") if key in parameters
    }
    if form == "disjoint":
        return DisjointLinear(n_features, **settings)
    if form == "shared":
        return SharedLinear(n_features, **settings)
    raise ValueError(f"form={form!r} must be disjoint (an own model for each item) or shared")


def _linucb(parameters: Parameters, n_features: int) -> Policy:
    model = _linear(parameters, n_features)
    return LinUCB(model, **parameters)


def _linear_thompson(parameters: Parameters, n_features: int) -> Policy:
    model = _linear(parameters, n_features)
    return LinearThompson(model, **{"n_draws": 1, **parameters})


def _beta_thompson(parameters: Parameters, n_features: int) -> Policy:
    return BetaBernoulli(**{"n_draws": 1, **parameters})


def _ucb1(parameters: Parameters, n_features: int) -> Policy:
    return UCB1(**parameters)


def _epsilon_greedy(parameters: Parameters, n_features: int) -> Policy:
    return EpsilonGreedy(MeanReward(), uniform_share=parameters.get("epsilon", 0.1))


def _plackett_luce(parameters: Parameters, n_features: int) -> Policy:
    return PlackettLuce(MeanReward(), **{"temperature": 0.05, **parameters})


_FORM = {"form": str, "prior_strength": float, "half_life_s": float}
_SHARE = {"uniform_share": float}

LEARNERS: Final[
    Mapping[str, tuple[Mapping[str, Callable[[str], Any]], Callable[[Parameters, int], Policy]]]
] = {
    "linucb": ({"alpha": float, **_FORM, **_SHARE}, _linucb),
    "linear-thompson": ({"noise_scale": float, **_FORM, **_SHARE}, _linear_thompson),
    "beta-thompson": (
        {"alpha": float, "beta": float, "half_life_s": float, **_SHARE},
        _beta_thompson,
    ),
    "ucb1": ({"alpha": float, "half_life_s": float, **_SHARE}, _ucb1),
    "epsilon-greedy": ({"epsilon": float}, _epsilon_greedy),
    "plackett-luce": ({"temperature": float, **_SHARE}, _plackett_luce),
}
"""Name of a bandit → its parameters, and what makes it for a number of features."""
