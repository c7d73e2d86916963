"""The seams where learning to rank and exploration go, and the plain ones that stand there."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.scorer.features import MF, TRENDING, Features

Parameters = dict[str, str | int | float | bool]
"""What a policy is set to, as decisions log it."""


class Ranker(Protocol):
    """Scores candidates from their features."""

    def rank(self, features: Features) -> NDArray[np.float32]:
        """``(n_candidates,)`` finite scores, more is better; a function of the features alone."""

    def parameters(self) -> Parameters: ...


class Explorer(Protocol):
    """Draws the slate from the scores.

    Attributes
    ----------
    name
        Of the policy, as decisions log it.
    """

    name: str

    def draw(
        self, scores: NDArray[np.float32], k: int, seed: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """At most ``k`` candidates in the order shown, and for each the probability, in (0, 1],
        that its slot got it given the slots before; a function of the arguments alone."""

    def parameters(self) -> Parameters: ...


class BlendRanker:
    """Weighted sum of the channels' scores, each standardized over the candidates.

    Parameters
    ----------
    weight_mf, weight_trending
        Of a standard deviation of each channel.
    """

    def __init__(self, *, weight_mf: float, weight_trending: float) -> None:
        self._weights = {MF: weight_mf, TRENDING: weight_trending}

    def rank(self, features: Features) -> NDArray[np.float32]:
        scores = np.zeros(len(features), dtype=np.float32)
        for name, weight in self._weights.items():
            scores += np.float32(weight) * _standardized(features.column(name))
        return scores

    def parameters(self) -> Parameters:
        return {f"weight_{name}": weight for name, weight in self._weights.items()}


class Greedy:
    """The best first: no exploration, so every propensity is 1."""

    name = "greedy"

    def draw(
        self, scores: NDArray[np.float32], k: int, seed: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Equal scores stay in the order of the candidates; the seed is not used."""
        order = np.argsort(-scores, kind="stable")[:k]
        return order, np.ones(len(order))

    def parameters(self) -> Parameters:
        return {}


def _standardized(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Zero mean and unit deviation; all zero where the channel tells nothing apart."""
    if not len(values):
        return values
    deviation = values.std()
    centred: NDArray[np.float32] = values - values.mean()
    return centred / deviation if deviation > 0 else np.zeros_like(values)
