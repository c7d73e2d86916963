"""Softmax exploration: the better a candidate is expected to be, the likelier it is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamer_models.bandits.estimates import RewardEstimate
from streamer_models.bandits.policies.linear import LinearPolicy
from streamer_models.bandits.policies.settings import ExploringSettings, LinearSettings, setting

if TYPE_CHECKING:
    from streamer_models.bandits.composition import Composition
    from streamer_models.bandits.slates import Draw


@dataclass(frozen=True, kw_only=True)
class PlackettLuceSettings(LinearSettings, ExploringSettings):
    """Settings of :class:`PlackettLuce`."""

    temperature: float = setting(
        0.05, "of the expected rewards: one better by so much is e times as likely", gt=0, le=1_000
    )


class PlackettLuce(LinearPolicy[PlackettLuceSettings]):
    """Draw each slot from the softmax of ``x·θ / temperature`` over what remains.

    For one slot this is the softmax (Boltzmann) policy, for a slate the model of Plackett (1975)
    and Luce (1959).
    """

    name = "plackett-luce"
    takes = "one drawn with probability `∝ exp(x·θ / temperature)`"
    source = "Plackett 1975, Luce 1959"
    settings_type = PlackettLuceSettings

    def draw(self, estimate: RewardEstimate, k: int, seed: int, composition: Composition) -> Draw:
        from streamer_models.bandits import slates

        return slates.draw_plackett_luce(
            estimate.expected,
            k,
            seed,
            temperature=self.settings.temperature,
            uniform_share=self.settings.uniform_share,
            slots=self.settings.explore_slots,
            composition=composition,
        )
