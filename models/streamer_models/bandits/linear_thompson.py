"""Linear Thompson sampling: the best under parameters drawn from the posterior."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.counting import generator
from streamer_models.bandits.linear_model import LinearModel, OverLinear
from streamer_models.bandits.policy import Contexts
from streamer_models.bandits.slates import Draw, draw_thompson
from streamer_models.state.table import Keys


class LinearThompson(OverLinear):
    """Choose by ``x·θ~`` with ``θ~ ~ N(θ, v² A⁻¹)`` (Agrawal & Goyal 2013).

    Where evidence fades, the covariance is ``v² V⁻¹ Ṽ V⁻¹``, that of D-LinUCB's bound.

    Parameters
    ----------
    model
        What learns: shared, disjoint or hybrid parameters.
    noise_scale
        v, in units of rewards: their standard deviation draws from the posterior itself, less
        explores less.
    n_draws
        Draws a decision; each exploring slot takes the best remaining of one of them, and its
        propensity is exact given the draws.
    uniform_share
        Of each exploring slot, drawn uniformly from what remains.
    explore_slots
        Slots that explore; empty: all.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    def __init__(
        self,
        model: LinearModel,
        *,
        noise_scale: float = 1.0,
        n_draws: int = 64,
        uniform_share: float = 0.0,
        explore_slots: Sequence[int] = (),
    ) -> None:
        super().__init__(model, uniform_share=uniform_share, explore_slots=explore_slots)
        if not 0 <= noise_scale < np.inf or n_draws < 1:
            raise ValueError(
                f"noise_scale={noise_scale} must be at least 0 and finite, n_draws={n_draws} at"
                " least 1"
            )
        self.noise_scale = noise_scale
        self.n_draws = n_draws
        self.name = f"linear-thompson-{model.name}"

    def scores(
        self, contexts: Contexts, arms: Keys, *, n_draws: int, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """``(n_draws, n_actions)`` rewards, each row under one draw of the parameters."""
        x = self._checked(contexts, arms)
        return self.model.sample(x, arms, n_draws, self.noise_scale, rng)

    def choose(self, contexts: Contexts, arms: Keys, k: int, seed: int) -> Draw:
        """Each slot takes the best remaining of one of ``n_draws`` draws."""
        return draw_thompson(
            self.scores(contexts, arms, n_draws=self.n_draws, rng=generator(seed)),
            k,
            seed,
            scores=self.expected(contexts, arms),
            uniform_share=self.uniform_share,
            slots=self.explore_slots,
        )
