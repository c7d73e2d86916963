"""Linear Thompson sampling: the best under parameters drawn from the posterior."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from streamer_models.bandits.estimates import RewardEstimate
from streamer_models.bandits.policies.linear import LinearPolicy
from streamer_models.bandits.policies.settings import LinearSettings, SampledSettings, setting
from streamer_models.bandits.policies.thompson import draw_thompson

if TYPE_CHECKING:
    from streamer_models.bandits.composition import Composition
    from streamer_models.bandits.slates import Draw


@dataclass(frozen=True, kw_only=True)
class LinearThompsonSettings(LinearSettings, SampledSettings):
    """Settings of :class:`LinearThompson`."""

    noise_scale: float = setting(
        0.03,
        "1 is the posterior itself; 0.5 explores half of all slots at first",
        ge=0,
        le=100,
    )


class LinearThompson(LinearPolicy[LinearThompsonSettings]):
    """Choose by ``x·θ~`` with ``θ~ ~ N(θ, (noise_scale · σ)² A⁻¹)`` (Agrawal & Goyal 2013).

    σ is the standard deviation of rewards around the model, estimated from the same statistics.
    Each exploring slot takes the best remaining candidate of one of ``n_draws`` draws, and its
    propensity is exact given the draws.
    """

    name = "linear-thompson"
    takes = "the best `x·θ~`, `θ~ ~ N(θ, (noise_scale · σ)² A⁻¹)`; one of `n_draws` draws a slot"
    source = "Agrawal & Goyal 2013"
    settings_type = LinearThompsonSettings
    published: ClassVar[Mapping[str, Any]] = {
        **LinearPolicy.published,
        "noise_scale": 1.0,
        "n_draws": 1,
    }

    def draw(self, estimate: RewardEstimate, k: int, seed: int, composition: Composition) -> Draw:
        scale = self.settings.noise_scale
        return draw_thompson(estimate, k, seed, self.settings, composition, scale=scale)
