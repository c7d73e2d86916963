"""The interface of what orders candidates: a slate, and all that is needed to draw it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.ranking.features import Features
from streamer.scorer.policy.knowledge import Knowledge

Parameters = dict[str, str | int | float | bool]
"""Settings of a policy, as decisions log them."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A slate, and all that is needed to draw it again and to evaluate it.

    Attributes
    ----------
    order
        Candidates in the order shown, at most k.
    propensities
        Of each slot: the probability, in (0, 1], that it got its item given the slots before.
    explored
        Whether each slot got another item than the best that remained.
    expected
        ``(n_candidates,)`` rewards the policy expects, finite.
    state
        Its estimate, as :meth:`streamer_models.bandits.estimates.RewardEstimate.packed`.
    boosts
        ``(n_candidates,)`` what rules added before the draw; None: nothing.
    lifted
        ``(n_candidates,)`` what is expected with the boosts, which the best is the best by.
    """

    order: NDArray[np.intp]
    propensities: NDArray[np.float64]
    explored: NDArray[np.bool_]
    expected: NDArray[np.float64]
    state: bytes
    boosts: NDArray[np.float64] | None = None
    lifted: NDArray[np.float64] | None = None

    @property
    def ranked(self) -> NDArray[np.float64]:
        """``(n_candidates,)`` what they are in order of where nothing is explored."""
        return self.expected if self.lifted is None else self.lifted


class SlatePolicy(Protocol):
    """Ranks candidates and draws the slate; what a scorer is given to decide with.

    Attributes
    ----------
    name, parameters
        As decisions log them.
    """

    name: str
    parameters: Parameters

    def choose(self, features: Features, knowledge: Knowledge, k: int, seed: int) -> Choice:
        """Choose at most ``k`` of the candidates; a function of the arguments alone."""
