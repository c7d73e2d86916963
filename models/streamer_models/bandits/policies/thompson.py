"""Slates of Thompson sampling, from whatever posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamer_models.bandits.estimates import RewardEstimate
from streamer_models.bandits.policies.settings import SampledSettings

if TYPE_CHECKING:
    from streamer_models.bandits.composition import Composition
    from streamer_models.bandits.slates import Draw


def draw_thompson(
    estimate: RewardEstimate,
    k: int,
    seed: int,
    settings: SampledSettings,
    composition: Composition,
    *,
    scale: float = 1.0,
) -> Draw:
    """Return a slate of which each slot takes the best remaining of one posterior draw.

    Parameters
    ----------
    scale
        Width of the draws: 1 is the posterior itself.
    """
    from streamer_models.bandits import slates

    rng = np.random.Generator(np.random.PCG64(seed & 0xFFFFFFFFFFFFFFFF))
    return slates.draw_thompson(
        estimate.sample(settings.n_draws, scale=scale, rng=rng),
        k,
        seed,
        scores=estimate.expected,
        uniform_share=settings.uniform_share,
        slots=settings.explore_slots,
        composition=composition,
    )
