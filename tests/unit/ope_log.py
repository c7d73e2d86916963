"""A synthetic log of bandit feedback with a policy and a reward model to evaluate it by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer_models.evaluation.ope import WeighedLog

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class OpeLog:
    """``n`` rows over ``m`` actions.

    Attributes
    ----------
    actions, rewards, propensities
        ``(n,)``.
    target
        ``(n, m)`` probabilities of the evaluation policy.
    model
        ``(n, m)`` expected rewards by a model.
    """

    actions: NDArray[np.int64]
    rewards: Floats
    propensities: Floats
    target: Floats
    model: Floats

    def greedy(self) -> Floats:
        """``(n, m)``: 1 for the likeliest action of ``target``."""
        certain = np.zeros_like(self.target)
        certain[np.arange(len(self.actions)), self.target.argmax(axis=1)] = 1.0
        return certain

    def weighed(self) -> WeighedLog:
        rows = np.arange(len(self.actions))
        return WeighedLog(
            rewards=self.rewards,
            propensities=self.propensities,
            target=self.target[rows, self.actions],
            matched=self.greedy()[rows, self.actions] == 1,
            model_logged=self.model[rows, self.actions],
            model_target=(self.target * self.model).sum(axis=1),
        )


def synthetic_log(n: int = 2_000, n_actions: int = 6, seed: int = 7) -> OpeLog:
    """Contexts, a softmax logging policy, another softmax policy, a model that is half right."""
    rng = np.random.default_rng(seed)
    contexts = rng.normal(size=(n, 4))
    tastes, logging, other = rng.normal(size=(3, 4, n_actions))
    chances = 1 / (1 + np.exp(-(contexts @ tastes - 1)))
    drawn_with = _softmax(contexts @ logging)
    actions = (rng.random((n, 1)) > drawn_with.cumsum(axis=1)).sum(axis=1).clip(max=n_actions - 1)
    rows = np.arange(n)
    return OpeLog(
        actions=actions.astype(np.int64),
        rewards=(rng.random(n) < chances[rows, actions]).astype(np.float64),
        propensities=drawn_with[rows, actions],
        target=_softmax(contexts @ (0.5 * logging + other)),
        model=0.5 * chances + 0.2,
    )


def _softmax(scores: Floats) -> Floats:
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Floats = weights / weights.sum(axis=1, keepdims=True)
    return shares
