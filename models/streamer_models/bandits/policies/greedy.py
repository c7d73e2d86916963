"""Greedy: the best expected reward, always."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from streamer_models.bandits.estimates import RewardEstimate
from streamer_models.bandits.policies.base import draw_best
from streamer_models.bandits.policies.linear import LinearPolicy
from streamer_models.bandits.policies.settings import ExploringSettings, LinearSettings

if TYPE_CHECKING:
    from streamer_models.bandits.composition import Composition
    from streamer_models.bandits.slates import Draw

_NEVER = ExploringSettings(uniform_share=0.0)


class Greedy(LinearPolicy[LinearSettings]):
    """Choose the best ``x·θ``; a yardstick, whose log cannot be evaluated for other policies."""

    name = "greedy"
    takes = "the best `x·θ`"
    source = ""
    settings_type = LinearSettings
    published: ClassVar[Mapping[str, Any]] = {
        name: value for name, value in LinearPolicy.published.items() if name != "uniform_share"
    }

    def draw(self, estimate: RewardEstimate, k: int, seed: int, composition: Composition) -> Draw:
        return draw_best(estimate.expected, k, seed, _NEVER, composition)
