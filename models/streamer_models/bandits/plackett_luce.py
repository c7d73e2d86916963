"""Softmax exploration: the better an action is expected to be, the likelier it is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamer_models.bandits.over_model import Model, OverModel
from streamer_models.bandits.policy import Contexts
from streamer_models.bandits.slates import Draw, draw_plackett_luce
from streamer_models.state.table import Keys


class PlackettLuce(OverModel[Model]):
    """Each slot is drawn from the softmax of the expected rewards of what remains.

    For one slot this is the softmax (Boltzmann) policy, for a slate the model of Plackett (1975)
    and Luce (1959).

    Parameters
    ----------
    model
        What expects rewards: :class:`streamer_models.bandits.counting.MeanReward`, or any other
        policy.
    temperature
        Above 0, in units of the rewards: an action better by so much is e times as likely.
    uniform_share
        Of each exploring slot, drawn uniformly from what remains.
    explore_slots
        Slots that explore; empty: all.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    name = "plackett-luce"

    def __init__(
        self,
        model: Model,
        *,
        temperature: float,
        uniform_share: float = 0.0,
        explore_slots: Sequence[int] = (),
    ) -> None:
        super().__init__(model, uniform_share=uniform_share, explore_slots=explore_slots)
        if not 0 < temperature < np.inf:
            raise ValueError(f"temperature={temperature} must be above 0 and finite")
        self.temperature = temperature

    def choose(self, contexts: Contexts, arms: Keys, k: int, seed: int) -> Draw:
        """A slate with its exact propensities."""
        return draw_plackett_luce(
            self.expected(contexts, arms),
            k,
            seed,
            temperature=self.temperature,
            uniform_share=self.uniform_share,
            slots=self.explore_slots,
        )
