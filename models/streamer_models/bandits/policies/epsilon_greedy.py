"""ε-greedy: the best expected reward, or any candidate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from streamer_models.bandits.estimates import RewardEstimate
from streamer_models.bandits.policies.base import draw_best
from streamer_models.bandits.policies.linear import LinearPolicy
from streamer_models.bandits.policies.settings import ExploringSettings, LinearSettings

if TYPE_CHECKING:
    from streamer_models.bandits.composition import Composition
    from streamer_models.bandits.slates import Draw


@dataclass(frozen=True, kw_only=True)
class EpsilonGreedySettings(LinearSettings, ExploringSettings):
    """Settings of :class:`EpsilonGreedy`; ε is ``uniform_share``."""


class EpsilonGreedy(LinearPolicy[EpsilonGreedySettings]):
    """Choose the best ``x·θ``, with probability ε a uniformly drawn candidate."""

    name = "epsilon-greedy"
    takes = "the best `x·θ`; with probability `uniform_share` any"
    source = "Sutton & Barto 2018, section 2.2"
    settings_type = EpsilonGreedySettings
    published: ClassVar[Mapping[str, Any]] = {**LinearPolicy.published, "uniform_share": 0.1}

    def draw(self, estimate: RewardEstimate, k: int, seed: int, composition: Composition) -> Draw:
        return draw_best(estimate.expected, k, seed, self.settings, composition)
