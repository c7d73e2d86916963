"""LinUCB: the best by an upper confidence bound of a linear model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from streamer_models.bandits.estimates import RewardEstimate
from streamer_models.bandits.policies.base import draw_by_bounds
from streamer_models.bandits.policies.linear import LinearPolicy
from streamer_models.bandits.policies.settings import BoundSettings, LinearSettings

if TYPE_CHECKING:
    from streamer_models.bandits.composition import Composition
    from streamer_models.bandits.slates import Draw


@dataclass(frozen=True, kw_only=True)
class LinUCBSettings(LinearSettings, BoundSettings):
    """Settings of :class:`LinUCB`."""


class LinUCB(LinearPolicy[LinUCBSettings]):
    """Choose by ``x·θ + alpha √(xᵀ A⁻¹ x)`` (Li, Chu, Langford & Schapire 2010).

    Disjoint and not pooled it is their Algorithm 1. Where evidence decays, A and b are discounted
    sums.
    """

    name = "linucb"
    takes = "the best `x·θ + alpha √(xᵀ A⁻¹ x)`"
    source = "Li, Chu, Langford & Schapire 2010"
    settings_type = LinUCBSettings
    published: ClassVar[Mapping[str, Any]] = {**LinearPolicy.published, "alpha": 1.0}

    def draw(self, estimate: RewardEstimate, k: int, seed: int, composition: Composition) -> Draw:
        return draw_by_bounds(estimate, k, seed, self.settings, composition)
