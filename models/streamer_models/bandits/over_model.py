"""Exploration that is laid over any model of expected rewards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.policy import Contexts, Policy
from streamer_models.state.table import Keys

Model = TypeVar("Model", bound=Policy)


class OverModel(Generic[Model]):
    """What policies share that order actions by what another one expects.

    Parameters
    ----------
    model
        What learns and expects; how it would choose itself doesn't matter.
    uniform_share
        Of each exploring slot, drawn uniformly from what remains.
    explore_slots
        Slots that explore; empty: all.

    Raises
    ------
    ValueError
        Where ``uniform_share`` is out of its range.
    """

    def __init__(
        self, model: Model, *, uniform_share: float, explore_slots: Sequence[int] = ()
    ) -> None:
        if not 0 <= uniform_share <= 1:
            raise ValueError(f"uniform_share={uniform_share} must be within 0 and 1")
        self.model = model
        self.uniform_share = uniform_share
        self.explore_slots = tuple(explore_slots)

    def expected(self, contexts: Contexts, arms: Keys) -> NDArray[np.float64]:
        """``(n_actions,)`` mean rewards, the model's."""
        return self.model.expected(contexts, arms)

    def scores(
        self, contexts: Contexts, arms: Keys, *, n_draws: int, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """``(1, n_actions)``: the mean rewards."""
        return self.expected(contexts, arms)[None]

    def update(
        self,
        contexts: Contexts,
        arms: Keys,
        rewards: NDArray[np.float64],
        ts_ms: NDArray[np.int64],
    ) -> None:
        """Let the model learn first outcomes."""
        self.model.update(contexts, arms, rewards, ts_ms)

    def amend(
        self,
        contexts: Contexts,
        arms: Keys,
        before: NDArray[np.float64],
        after: NDArray[np.float64],
        ts_ms: NDArray[np.int64],
    ) -> None:
        """Let the model amend outcomes, as exactly as it does."""
        self.model.amend(contexts, arms, before, after, ts_ms)
