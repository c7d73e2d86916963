"""Thompson sampling of shares of positive outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from streamer_models.bandits.estimates import BetaEstimate, RewardEstimate
from streamer_models.bandits.policies.base import CountedLearned
from streamer_models.bandits.policies.counting import CountingPolicy
from streamer_models.bandits.policies.settings import LearnedSettings, SampledSettings
from streamer_models.bandits.policies.thompson import draw_thompson

if TYPE_CHECKING:
    from streamer_models.bandits.composition import Composition
    from streamer_models.bandits.protocols import Contexts
    from streamer_models.bandits.slates import Draw
    from streamer_models.state.table import Keys

SHARE_MIN = 1e-6


@dataclass(frozen=True, kw_only=True)
class BetaThompsonSettings(LearnedSettings, SampledSettings):
    """Settings of :class:`BetaThompson`."""


class BetaThompson(CountingPolicy[BetaThompsonSettings]):
    """Draw each item's share of positive outcomes from its Beta posterior and choose the best.

    ``Beta(positive + s p, n - positive + s (1 - p))`` (Thompson 1933; Chapelle & Li 2011, algorithm
    2), where a reward above 0 is positive. Pooled, p is the share over all items, to which the
    prior adds one positive outcome in ``1 / prior_reward``; otherwise p is ``prior_reward``. Where
    evidence decays, outcomes do and the prior stays (Raj & Kalyani 2017).
    """

    name = "beta-thompson"
    takes = (
        "the best draw of `Beta(successes + s p, failures + s (1 - p))`, `p` the share of successes"
        " of all items"
    )
    source = "Thompson 1933, Chapelle & Li 2011"
    settings_type = BetaThompsonSettings
    published: ClassVar[Mapping[str, Any]] = {
        **CountingPolicy.published,
        "prior_strength": 2.0,  # Beta(1, 1)
        "prior_reward": 0.5,
        "n_draws": 1,
    }

    def estimate_counts(self, arms: Keys, learned: CountedLearned) -> BetaEstimate:
        counts, strength = learned.counts(arms), self.settings.prior_strength
        share = self.settings.prior_reward
        if self.settings.pooled:
            total = learned.total()
            share = (float(total.n_positive[0]) + 1) / (float(total.n[0]) + 1 / share)
        share = min(max(share, SHARE_MIN), 1 - SHARE_MIN)
        return BetaEstimate(
            np.maximum(counts.n_positive, 0.0) + strength * share,
            np.maximum(counts.n - counts.n_positive, 0.0) + strength * (1 - share),
        )

    def unpacked(self, state: bytes, contexts: Contexts) -> BetaEstimate:
        return BetaEstimate.unpacked(state, len(contexts))

    def draw(self, estimate: RewardEstimate, k: int, seed: int, composition: Composition) -> Draw:
        return draw_thompson(estimate, k, seed, self.settings, composition)
