"""ε-greedy: the best expected reward, or anything."""

from __future__ import annotations

from streamer_models.bandits.over_model import Model, OverModel
from streamer_models.bandits.policy import Contexts
from streamer_models.bandits.slates import Draw, draw_best
from streamer_models.state.table import Keys


class EpsilonGreedy(OverModel[Model]):
    """Each slot takes the best remaining by expected reward, with ε a uniform one.

    Parameters
    ----------
    model
        What expects rewards: :class:`streamer_models.bandits.counting.MeanReward`, or any other
        policy.
    uniform_share
        ε.
    explore_slots
        Slots that explore; empty: all.

    Examples
    --------
    >>> import numpy as np
    >>> from streamer_models.bandits.counting import MeanReward
    >>> policy = EpsilonGreedy(MeanReward(), uniform_share=0.2)
    >>> arms, contexts = np.array([7, 8], dtype=np.uint64), np.zeros((2, 0))
    >>> policy.update(contexts, arms, np.array([0.0, 1.0]), np.zeros(2, dtype=np.int64))
    >>> policy.choose(contexts, arms, 1, seed=1).propensities.tolist()
    [0.9]
    """

    name = "epsilon-greedy"

    def choose(self, contexts: Contexts, arms: Keys, k: int, seed: int) -> Draw:
        """A slate with its exact propensities; see `draw_best`."""
        return draw_best(
            self.expected(contexts, arms),
            k,
            seed,
            uniform_share=self.uniform_share,
            slots=self.explore_slots,
        )
