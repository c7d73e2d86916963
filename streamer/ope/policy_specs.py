"""Policies by name: ``uniform``, ``best-fixed``, ``bts:FILE``, ``linucb:alpha=0.05`` …"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from streamer.config import Config
from streamer.config.specs import Spec, parse_specs
from streamer.errors import ConfigError
from streamer.ope.bandit_log import BanditLog, Survey
from streamer.ope.beta_priors import read_beta_prior
from streamer.ope.decision_log import LoggedSlates
from streamer.ope.evaluation_policies import (
    ColumnPolicy,
    EvaluationPolicy,
    FixedPolicy,
    LoggedPolicy,
    SlotPolicy,
    UniformPolicy,
)
from streamer.ope.learning_policies import open_learner
from streamer.ope.obd_log import OpenBanditLog
from streamer.ranking.recall.blend import BlendChannel
from streamer_models.bandits.policies.registry import POLICIES


def open_policy(
    text: str, log: BanditLog, survey: Survey, *, seed: int = 0, config: Config | None = None
) -> Callable[[], EvaluationPolicy]:
    """Return what makes the policy that a SPEC names, afresh at each call.

    Parameters
    ----------
    config
        Where the policies of the registry have their settings from, on logs with its columns;
        None: the defaults.

    Raises
    ------
    ConfigError
        When there is no such policy, or it does not go with the log.
    """
    specs = parse_specs([text])
    if len(specs) != 1:
        raise ConfigError(f"policy {text!r} names {len(specs)} policies; evaluate one at a time")
    spec = specs[0]
    if spec.name in POLICIES:
        settings = config or Config()
        return lambda: open_learner(spec, log, survey, settings, seed=seed)
    if spec.name not in _OTHERS:
        known = ", ".join((*_OTHERS, *POLICIES))
        raise ConfigError(f"policy {text!r} is unknown; there are {known}")
    policy = _OTHERS[spec.name](spec, log, survey, seed)
    return lambda: policy


def best_fixed(survey: Survey) -> int:
    """The action of the highest rate ``Σ r/p / Σ 1/p`` over its rows, in hindsight; of equal ones
    the first. On a uniform log that is its mean reward."""
    n_actions = len(survey.actions)
    weights = np.bincount(survey.chosen, 1 / survey.propensities, n_actions)
    sums = np.bincount(survey.chosen, survey.rewards / survey.propensities, n_actions)
    rates = np.full(n_actions, -np.inf)
    np.divide(sums, weights, out=rates, where=weights > 0)
    return int(rates.argmax())


def _uniform(spec: Spec, log: BanditLog, survey: Survey, seed: int) -> EvaluationPolicy:
    spec.parameters({})
    return UniformPolicy()


def _best_fixed(spec: Spec, log: BanditLog, survey: Survey, seed: int) -> EvaluationPolicy:
    spec.parameters({})
    return FixedPolicy(best_fixed(survey))


def _fixed(spec: Spec, log: BanditLog, survey: Survey, seed: int) -> EvaluationPolicy:
    if spec.rest not in survey.actions:
        shown = ", ".join(survey.actions[:10]) + (" …" if len(survey.actions) > 10 else "")
        raise ConfigError(f"policy {spec.text!r}: the log has no such item; it has {shown}")
    return FixedPolicy(survey.actions.index(spec.rest))


def _bts(spec: Spec, log: BanditLog, survey: Survey, seed: int) -> EvaluationPolicy:
    if log.format == "decisions":
        raise ConfigError(
            f"policy {spec.text!r}: a prior numbers its items, and those of decisions have names;"
            " use it with the format obd or mab"
        )
    path, _, rest = spec.rest.partition(",")
    parameters = Spec(spec.text, spec.name, rest).parameters({"campaign": str, "draws": int})
    logged = log.campaign if isinstance(log, OpenBanditLog) else None
    prior = read_beta_prior(Path(path), parameters.get("campaign", logged))
    if len(prior) != len(survey.actions):
        raise ConfigError(
            f"policy {spec.text!r}: a prior of {len(prior)} items for a log of"
            f" {len(survey.actions)}; name the campaign of the log: bts:{path},campaign=NAME"
        )
    n_slots, n_draws = len(survey.positions), parameters.get("draws")
    if n_draws is None:
        return SlotPolicy(prior.slot_probabilities(n_slots))
    if n_draws < 1:
        raise ConfigError(f"policy {spec.text!r}: draws={n_draws} must be at least 1")
    return SlotPolicy(prior.drawn_slot_probabilities(n_slots, n_draws=n_draws, seed=seed))


def _blend(spec: Spec, log: BanditLog, survey: Survey, seed: int) -> EvaluationPolicy:
    spec.parameters({})
    column = BlendChannel.column("z")
    if column not in log.feature_names:
        raise ConfigError(
            f"policy {spec.text!r} needs the column {column}, which decisions have where"
            f" {BlendChannel.key('weight')} is above 0; this log has none"
        )
    return ColumnPolicy(log.feature_names.index(column))


def _logged(spec: Spec, log: BanditLog, survey: Survey, seed: int) -> EvaluationPolicy:
    if log.format != "decisions":
        raise ConfigError(
            f"policy {spec.text!r} needs a log of decisions, whose requests it shares; this one is"
            f" of format {log.format}"
        )
    return LoggedPolicy(LoggedSlates(Path(spec.rest), log, strict=log.strict), survey)


_OTHERS: Final[dict[str, Callable[[Spec, BanditLog, Survey, int], EvaluationPolicy]]] = {
    "uniform": _uniform,
    "best-fixed": _best_fixed,
    "fixed": _fixed,
    "bts": _bts,
    "blend": _blend,
    "logged": _logged,
}
