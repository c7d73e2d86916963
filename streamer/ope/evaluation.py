"""Off-policy evaluation: what a policy would have earned, by several estimators at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

import numpy as np

from streamer.errors import ConfigError, LogRefused
from streamer.ope.bandit_log import BanditLog, Survey
from streamer.ope.evaluation_policies import EvaluationPolicy
from streamer.ope.passes import RewardModel, Watch, match, weigh
from streamer_models.evaluation.ope import (
    DM,
    DR,
    IPS,
    SNIPS,
    Estimate,
    Estimator,
    Interval,
    ReplayMatching,
    SwitchDR,
    WeighedLog,
    estimate,
)

LOGGED: Final = "logged"
MODELLED: Final = ("dm", "dr", "switch-dr")
ESTIMATORS: Final = ("replay", "ips", "snips", *MODELLED)


@dataclass(frozen=True, slots=True)
class OpeSettings:
    """What is asked.

    Attributes
    ----------
    estimators
        Out of ``ESTIMATORS``.
    interval
        How intervals are made.
    clip
        Bound of the weights of ips, snips and dr.
    switch
        Weight above which switch-dr trusts the reward model alone.
    matches
        Replay matching stops after so many; None: at the end of the log.
    n_folds
        Of the reward model.
    seed
        Of draws, folds and resamples.
    """

    estimators: tuple[str, ...] = ESTIMATORS
    interval: Interval = field(default_factory=Interval)
    clip: float = np.inf
    switch: float = 10.0
    matches: int | None = None
    n_folds: int = 5
    seed: int = 0


@dataclass(slots=True)
class Evaluation:
    """What came out.

    Attributes
    ----------
    logged
        The mean reward of the log itself: the on-policy value of the policy that made it.
    policy_parameters
        Settings of the policy that were in effect.
    metrics
        By estimator.
    by_position
        Position as the log numbers it → by estimator; empty where there is one position alone.
    by_objective
        Objective → by estimator, what each brings; ``logged`` is what it brought. Of the estimators
        without a reward model.
    matched_share
        Of the rows that replay matching read, those where the policy drew what was logged.
    mean_weight
        About 1 where the log could show whatever the policy would; None without weights.
    policy_remarks
        What a reader should know of the policy, in sentences.
    """

    logged: Estimate
    policy_parameters: Mapping[str, object] = field(default_factory=dict)
    metrics: dict[str, Estimate] = field(default_factory=dict)
    by_position: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    by_objective: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    matched_share: float | None = None
    mean_weight: float | None = None
    policy_remarks: Sequence[str] = ()


def evaluate(
    log: BanditLog,
    survey: Survey,
    make_policy: Callable[[], EvaluationPolicy],
    settings: OpeSettings,
    *,
    watch: Watch = lambda doing, done, total: None,
) -> Evaluation:
    """Estimate what a policy would have earned a row.

    Replay matching tells a policy that learns of the rows it matched, as it would have seen them
    live. The weighing estimators tell it of every row, after it was asked: the value is that of the
    policies that it is from row to row.

    Raises
    ------
    ConfigError
        When an estimator is unknown or a setting is out of its range.
    LogRefused
        When the log can't answer an estimator.
    """
    estimators = _estimators(settings)
    _check_replay(settings, survey)
    logged = _on_policy(survey, settings.interval)
    policy = make_policy()
    evaluation = Evaluation(logged, policy.parameters)
    matching = [each for each in estimators if each.name == "replay"]
    weighing = [each for each in estimators if each.name != "replay"]
    if matching:
        policy = make_policy()
        matched = match(
            log, survey, policy, matches=settings.matches, seed=settings.seed, watch=watch
        )
        assert matched.matched is not None
        evaluation.matched_share = float(matched.matched.mean())
        _estimate(evaluation, matching, matched, survey, settings.interval, watch)
    if weighing:
        model = None
        if any(each.name in MODELLED for each in weighing):
            model = RewardModel(
                log, survey, n_folds=settings.n_folds, seed=settings.seed, watch=watch
            )
        policy = make_policy()
        weighed = weigh(log, survey, policy, model, watch=watch)
        evaluation.mean_weight = float(weighed.weights().mean())
        _estimate(evaluation, weighing, weighed, survey, settings.interval, watch)
        evaluation.by_objective = _by_objective(weighing, weighed, survey, settings.interval, watch)
    evaluation.policy_remarks = [*policy.remarks()]
    return evaluation


def _by_objective(
    estimators: list[Estimator],
    weighed: WeighedLog,
    survey: Survey,
    interval: Interval,
    watch: Watch,
) -> dict[str, dict[str, Estimate]]:
    plain = [each for each in estimators if each.name not in MODELLED]
    found = {}
    for name, gains in survey.gains.items():
        logged = _on_policy(replace(survey, rewards=gains), interval)
        log = replace(weighed, rewards=gains, model_logged=None, model_target=None)
        found[name] = {LOGGED: logged, **_estimates(plain, log, interval, watch)}
    return found


def _estimators(settings: OpeSettings) -> list[Estimator]:
    try:
        made: dict[str, Estimator] = {
            "replay": ReplayMatching(),
            "ips": IPS(clip=settings.clip),
            "snips": SNIPS(clip=settings.clip),
            "dm": DM(),
            "dr": DR(clip=settings.clip),
            "switch-dr": SwitchDR(threshold=settings.switch),
        }
    except ValueError as error:
        raise ConfigError(str(error)) from error
    names = settings.estimators
    if not names or len(set(names)) < len(names) or not set(names) <= set(made):
        raise ConfigError(
            f"estimators {', '.join(names) or 'none'}: name each once, out of {', '.join(made)}"
        )
    return [made[name] for name in names]


def _check_replay(settings: OpeSettings, survey: Survey) -> None:
    if settings.matches is not None and (
        settings.matches < 1 or "replay" not in settings.estimators
    ):
        raise ConfigError(
            f"matches={settings.matches} must be at least 1, and goes with the estimator replay"
        )
    if "replay" in settings.estimators and not survey.uniform:
        low, high = survey.propensities.min(), survey.propensities.max()
        raise LogRefused(
            f"replay matching needs a log drawn uniformly at random; its propensities go from"
            f" {low:.3g} to {high:.3g} and are not 1 / candidates. Use ips, snips or dr"
        )


def _estimate(
    evaluation: Evaluation,
    estimators: list[Estimator],
    log: WeighedLog,
    survey: Survey,
    interval: Interval,
    watch: Watch,
) -> None:
    """Add the estimates over all rows and, where there are several positions, over each."""
    evaluation.metrics |= _estimates(estimators, log, interval, watch)
    if len(survey.positions) > 1:
        slots = survey.slots[: len(log)]
        for slot, position in enumerate(survey.positions):
            found = _estimates(estimators, log.where(slots == slot), interval, watch)
            evaluation.by_position.setdefault(str(position), {}).update(found)


def _estimates(
    estimators: list[Estimator], log: WeighedLog, interval: Interval, watch: Watch
) -> dict[str, Estimate]:
    resamples = count(1)

    def resampled() -> None:
        watch("resampling", next(resamples), interval.n_resamples)

    terms = [each.terms(log) for each in estimators]
    found = estimate(terms, log.requests, interval, on_resample=resampled)
    return {each.name: value for each, value in zip(estimators, found, strict=True)}


def _on_policy(survey: Survey, interval: Interval) -> Estimate:
    certain = np.ones(len(survey))
    log = WeighedLog(survey.rewards, certain, certain, requests=survey.requests)
    return IPS().estimate(log, interval)
