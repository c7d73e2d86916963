"""Policies that know an arm by its outcomes alone and read no features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.arm_counts import ArmCounts, Counts
from streamer_models.bandits.policy import Contexts
from streamer_models.bandits.slates import Draw, draw_best
from streamer_models.state.table import Keys


class MeanReward:
    """The mean reward of each arm, shrunk towards a prior mean; chooses the best mean.

    ``mean = (Σ r + s m₀) / (n + s)`` with the prior's mean m₀ and strength s; m₀ where n + s is 0.
    Alone it is the greedy policy; :class:`streamer_models.bandits.epsilon_greedy.EpsilonGreedy` and
    :class:`streamer_models.bandits.plackett_luce.PlackettLuce` explore over it.

    Parameters
    ----------
    prior_mean, prior_strength
        m₀, and s in examples, at least 0.
    half_life_s
        After which evidence counts half, in event time; 0: it does not fade.
    arms_max, sightings_min
        Bound of arms, and the examples at which one is admitted; see
        :class:`streamer_models.bandits.arm_counts.ArmCounts`.
    uniform_share
        Of each exploring slot, drawn uniformly from what remains.
    explore_slots
        Slots that explore; empty: all.

    Attributes
    ----------
    outcomes
        What was learned, by arm.

    Raises
    ------
    ValueError
        Where a setting is out of its range.

    Examples
    --------
    >>> policy = MeanReward(prior_mean=0.5, prior_strength=2.0)
    >>> arms, contexts = np.array([7, 8], dtype=np.uint64), np.zeros((2, 0))
    >>> policy.update(contexts, arms, np.array([1.0, 0.0]), np.zeros(2, dtype=np.int64))
    >>> policy.expected(contexts, arms).round(3).tolist()
    [0.667, 0.333]
    """

    name = "greedy"

    def __init__(
        self,
        *,
        prior_mean: float = 0.0,
        prior_strength: float = 0.0,
        half_life_s: float = 0.0,
        arms_max: int = 50_000,
        sightings_min: int = 1,
        uniform_share: float = 0.0,
        explore_slots: Sequence[int] = (),
    ) -> None:
        if not (np.isfinite(prior_mean) and 0 <= prior_strength < np.inf):
            raise ValueError(
                f"prior_mean={prior_mean} must be finite and prior_strength={prior_strength}"
                " finite and at least 0"
            )
        if not 0 <= uniform_share <= 1:
            raise ValueError(f"uniform_share={uniform_share} must be within 0 and 1")
        self.prior_mean = prior_mean
        self.prior_strength = prior_strength
        self.uniform_share = uniform_share
        self.explore_slots = tuple(explore_slots)
        self.outcomes = ArmCounts(
            arms_max=arms_max, sightings_min=sightings_min, half_life_s=half_life_s
        )

    def expected(self, contexts: Contexts, arms: Keys) -> NDArray[np.float64]:
        """``(n_actions,)`` mean rewards."""
        return self._means(self.outcomes.counts(arms))

    def scores(
        self, contexts: Contexts, arms: Keys, *, n_draws: int, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """``(1, n_actions)``: the means."""
        return self.expected(contexts, arms)[None]

    def choose(self, contexts: Contexts, arms: Keys, k: int, seed: int) -> Draw:
        """The best by :meth:`scores`, mixed with ``uniform_share``."""
        scores = self.scores(contexts, arms, n_draws=1, rng=generator(seed))[0]
        return draw_best(
            scores, k, seed, uniform_share=self.uniform_share, slots=self.explore_slots
        )

    def update(
        self,
        contexts: Contexts,
        arms: Keys,
        rewards: NDArray[np.float64],
        ts_ms: NDArray[np.int64],
    ) -> None:
        """Learn first outcomes, ``(n,)`` columns; NaN is passed over."""
        self.amend(contexts, arms, np.full(len(rewards), np.nan), rewards, ts_ms)

    def amend(
        self,
        contexts: Contexts,
        arms: Keys,
        before: NDArray[np.float64],
        after: NDArray[np.float64],
        ts_ms: NDArray[np.int64],
    ) -> None:
        """Bring outcomes from ``before`` to ``after``, exactly; NaN: not learned.

        Raises
        ------
        ValueError
            Where a reward is infinite or out of bounds; nothing is learned then.
        """
        self.outcomes.amend(arms, before, after, ts_ms)

    def merge(self, other: Self) -> None:
        """Add what another has learned from other examples, to the same bits in any order.

        Raises
        ------
        ValueError
            Where its evidence fades otherwise, or all arms together are too many.
        """
        self.outcomes.merge(other.outcomes)

    def _means(self, counts: Counts) -> NDArray[np.float64]:
        weight = counts.n + self.prior_strength
        known = weight > 0
        sums = counts.rewards + self.prior_strength * self.prior_mean
        means: NDArray[np.float64] = np.where(
            known, sums / np.where(known, weight, 1.0), self.prior_mean
        )
        return means


def generator(seed: int) -> np.random.Generator:
    """The generator of one decision, for any int."""
    return np.random.Generator(np.random.PCG64(seed & 0xFFFFFFFFFFFFFFFF))
