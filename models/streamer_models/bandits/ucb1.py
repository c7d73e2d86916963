"""UCB1: optimism by how seldom an arm was shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.counting import MeanReward
from streamer_models.bandits.policy import Contexts
from streamer_models.state.table import Keys

NEVER_SHOWN = 1e12
"""Score of an arm of which nothing is known: above every other, and finite."""


class UCB1(MeanReward):
    """Choose the highest upper confidence bound.

    ``score = mean + α √(2 ln N / n)`` with n outcomes of the arm and N of all (Auer, Cesa-Bianchi
    & Fischer 2002, figure 1, where α = 1 and rewards are within 0 and 1); an arm that was never
    shown comes before all others. A prior of strength s counts as s outcomes of every arm in its
    mean and in n, so new arms have no such precedence. Where evidence fades, n, N and the means do:
    discounted UCB (Garivier & Moulines 2011).

    Parameters
    ----------
    alpha
        α, at least 0: width of the bound, in units of the rewards.
    prior_mean, prior_strength, half_life_s, arms_max, sightings_min
        As of :class:`streamer_models.bandits.counting.MeanReward`.
    uniform_share, explore_slots
        Likewise.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    name = "ucb1"

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        prior_mean: float = 0.0,
        prior_strength: float = 0.0,
        half_life_s: float = 0.0,
        arms_max: int = 50_000,
        sightings_min: int = 1,
        uniform_share: float = 0.0,
        explore_slots: Sequence[int] = (),
    ) -> None:
        super().__init__(
            prior_mean=prior_mean,
            prior_strength=prior_strength,
            half_life_s=half_life_s,
            arms_max=arms_max,
            sightings_min=sightings_min,
            uniform_share=uniform_share,
            explore_slots=explore_slots,
        )
        if not 0 <= alpha < np.inf:
            raise ValueError(f"alpha={alpha} must be finite and at least 0")
        self.alpha = alpha

    def scores(
        self, contexts: Contexts, arms: Keys, *, n_draws: int, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """``(1, n_actions)``: the upper bounds."""
        counts = self.outcomes.counts(arms)
        weight = counts.n + self.prior_strength
        known = weight > 0
        squares = 2.0 * np.log(max(self.outcomes.n_total(), 1.0)) / np.where(known, weight, 1.0)
        bounds = self._means(counts) + self.alpha * np.sqrt(squares)
        # Evidence that has all but faded away is as good as none.
        return np.where(known, np.minimum(bounds, NEVER_SHOWN), NEVER_SHOWN)[None]
