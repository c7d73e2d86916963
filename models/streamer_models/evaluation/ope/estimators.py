"""Estimators of a policy's value from another policy's log.

Notation: row i has action a, context x, reward r and propensity p; ``w = π(a | x) / p`` is its
importance weight, ``q̂`` a reward model and ``q̂_π = Σ_a π(a | x) q̂(x, a)``.

They trade bias against variance. Replay matching and IPS are unbiased; clipping and
self-normalisation lower the variance for some bias; the direct method has the least variance and
the whole bias of its model; doubly robust estimators are unbiased where either the propensities or
the model are right.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from streamer_models.evaluation.ope.intervals import Estimate, Interval, estimate
from streamer_models.evaluation.ope.weighed_log import Floats, Terms, WeighedLog


class Estimator(ABC):
    """One way to estimate a policy's value, in units of reward a row."""

    name: ClassVar[str]

    @abstractmethod
    def terms(self, log: WeighedLog) -> Terms:
        """What each row adds to the estimate.

        Raises
        ------
        ValueError
            Where the log lacks a column that the estimator needs.
        """

    def estimate(self, log: WeighedLog, interval: Interval | None = None) -> Estimate:
        """Value and interval; by default the normal interval at 95 %.

        Raises
        ------
        ValueError
            As :meth:`terms`.
        """
        return estimate([self.terms(log)], log.requests, interval or Interval())[0]


@dataclass(frozen=True, slots=True)
class ReplayMatching(Estimator):
    """Keep the rows where the policy draws the logged action; average their rewards.

    ``V = Σ r 1{drawn = a} / Σ 1{drawn = a}``: unbiased where actions were logged uniformly at
    random, also for policies that learn from the matched rows as they go.

    References
    ----------
    Li, Chu, Langford & Wang (2011), Unbiased offline evaluation of contextual-bandit-based news
    article recommendation algorithms, Algorithm 2.

    Examples
    --------
    >>> log = WeighedLog(np.array([1.0, 0.0, 1.0]), np.full(3, 0.5), np.full(3, 0.5),
    ...                  matched=np.array([True, True, False]))
    >>> ReplayMatching().estimate(log).value
    0.5
    """

    name = "replay"

    def terms(self, log: WeighedLog) -> Terms:
        if log.matched is None:
            raise ValueError("replay matching needs what the policy drew: give `matched`")
        matched = log.matched.astype(np.float64)
        return Terms(log.rewards * matched, matched, float(matched.sum()))


@dataclass(frozen=True, slots=True)
class IPS(Estimator):
    """Inverse propensity score: ``V = mean(min(w, clip) r)``.

    References
    ----------
    Horvitz & Thompson (1952); Strehl, Langford, Li & Kakade (2010); clipping: Bottou et al. (2013).

    Examples
    --------
    The policy takes the action that was logged with probability ½, and was rewarded half the time:

    >>> log = WeighedLog(np.array([1.0, 0.0]), np.full(2, 0.5), np.array([1.0, 1.0]))
    >>> IPS().estimate(log).value, IPS(clip=1.5).estimate(log).value
    (1.0, 0.75)
    """

    name = "ips"
    clip: float = np.inf

    def __post_init__(self) -> None:
        _require_positive("clip", self.clip)

    def terms(self, log: WeighedLog) -> Terms:
        weights, clipped_share = _clipped(log, self.clip)
        return Terms(
            weights * log.rewards, np.ones(len(log)), effective_sample_size(weights), clipped_share
        )


@dataclass(frozen=True, slots=True)
class SNIPS(Estimator):
    """Self-normalised IPS: ``V = Σ w r / Σ w``, within the range of the rewards.

    References
    ----------
    Swaminathan & Joachims (2015), The self-normalized estimator for counterfactual learning.

    Examples
    --------
    >>> log = WeighedLog(np.array([1.0, 0.0]), np.full(2, 0.5), np.array([1.0, 1.0]))
    >>> SNIPS().estimate(log).value
    0.5
    """

    name = "snips"
    clip: float = np.inf

    def __post_init__(self) -> None:
        _require_positive("clip", self.clip)

    def terms(self, log: WeighedLog) -> Terms:
        weights, clipped_share = _clipped(log, self.clip)
        return Terms(weights * log.rewards, weights, effective_sample_size(weights), clipped_share)


@dataclass(frozen=True, slots=True)
class DM(Estimator):
    """Direct method: ``V = mean(q̂_π)``, what the reward model expects of the policy.

    Its interval says nothing of the model's bias.

    References
    ----------
    Beygelzimer & Langford (2009); Dudík, Langford & Li (2011), section 2.
    """

    name = "dm"

    def terms(self, log: WeighedLog) -> Terms:
        _, model_target = _model(log)
        return Terms(model_target, np.ones(len(log)), float(len(log)))


@dataclass(frozen=True, slots=True)
class DR(Estimator):
    """Doubly robust: ``V = mean(q̂_π + min(w, clip) (r - q̂(x, a)))``.

    References
    ----------
    Dudík, Langford & Li (2011); Dudík, Erhan, Langford & Li (2014), equation 3.1.

    Examples
    --------
    A model that knows the rewards leaves nothing to the weights:

    >>> log = WeighedLog(np.array([1.0, 0.0]), np.full(2, 0.5), np.array([1.0, 1.0]),
    ...                  model_logged=np.array([1.0, 0.0]), model_target=np.array([1.0, 0.0]))
    >>> DR().estimate(log).value
    0.5
    """

    name = "dr"
    clip: float = np.inf

    def __post_init__(self) -> None:
        _require_positive("clip", self.clip)

    def terms(self, log: WeighedLog) -> Terms:
        model_logged, model_target = _model(log)
        weights, clipped_share = _clipped(log, self.clip)
        corrected = model_target + weights * (log.rewards - model_logged)
        return Terms(corrected, np.ones(len(log)), effective_sample_size(weights), clipped_share)


@dataclass(frozen=True, slots=True)
class SwitchDR(Estimator):
    """Doubly robust where the weight is small, the model alone elsewhere:
    ``V = mean(q̂_π + w 1{w ≤ threshold} (r - q̂(x, a)))``.

    References
    ----------
    Wang, Agarwal & Dudík (2017), Optimal and adaptive off-policy evaluation in contextual bandits,
    section 4; in the form of Saito et al. (2021), Open bandit dataset and pipeline.
    """

    name = "switch-dr"
    threshold: float = 10.0

    def __post_init__(self) -> None:
        _require_positive("threshold", self.threshold)

    def terms(self, log: WeighedLog) -> Terms:
        model_logged, model_target = _model(log)
        weights = log.weights()
        too_large = weights > self.threshold
        weights[too_large] = 0.0
        corrected = model_target + weights * (log.rewards - model_logged)
        share = float(too_large.mean()) if len(log) else 0.0
        return Terms(corrected, np.ones(len(log)), effective_sample_size(weights), share)


def effective_sample_size(weights: Floats) -> float:
    """``(Σ w)² / Σ w²`` (Kish 1965): n for equal weights, 1 where one row carries all.

    >>> effective_sample_size(np.array([1.0, 1.0, 0.0]))
    2.0
    """
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def _clipped(log: WeighedLog, clip: float) -> tuple[Floats, float]:
    weights = log.weights()
    share = float((weights > clip).mean()) if len(log) else 0.0
    return np.minimum(weights, clip), share


def _model(log: WeighedLog) -> tuple[Floats, Floats]:
    if log.model_logged is None or log.model_target is None:
        raise ValueError(
            "this estimator needs a reward model: give `model_logged` and `model_target`"
        )
    return log.model_logged, log.model_target


def _require_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name}={value} must be above 0; inf is no bound")
