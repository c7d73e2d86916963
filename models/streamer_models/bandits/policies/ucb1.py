"""UCB1: optimism by how seldom an item was shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from streamer_models.bandits.estimates import IndependentEstimate, RewardEstimate
from streamer_models.bandits.policies.base import CountedLearned, draw_by_bounds
from streamer_models.bandits.policies.counting import CountingPolicy
from streamer_models.bandits.policies.settings import BoundSettings, LearnedSettings

if TYPE_CHECKING:
    from streamer_models.bandits.composition import Composition
    from streamer_models.bandits.protocols import Contexts
    from streamer_models.bandits.slates import Draw
    from streamer_models.state.table import Keys

NEVER_SHOWN = 1e12
"""Width of the bound of an item that was never shown: above every other, and finite."""
_MADE_UP = 1.0


@dataclass(frozen=True, kw_only=True)
class UCB1Settings(LearnedSettings, BoundSettings):
    """Settings of :class:`UCB1`."""


class UCB1(CountingPolicy[UCB1Settings]):
    """Choose the highest ``mean + alpha √(2 ln N / n)`` (Auer, Cesa-Bianchi & Fischer 2002).

    n are the outcomes of the item and N those of all. Pooled, each item has one made-up outcome
    worth the mean of all, and N those of the prior, so that no bound is infinite; otherwise it is
    figure 1 of the paper, where alpha is 1: an item that was never shown comes before all others.
    Where evidence decays, n, N and the means do: discounted UCB (Garivier & Moulines 2011).
    """

    name = "ucb1"
    takes = (
        "the best `mean + alpha √(2 ln N / n)`, each item with one made-up outcome worth the mean"
        " of all"
    )
    source = "Auer, Cesa-Bianchi & Fischer 2002"
    settings_type = UCB1Settings
    published: ClassVar[Mapping[str, Any]] = {**CountingPolicy.published, "alpha": 1.0}

    def estimate_counts(self, arms: Keys, learned: CountedLearned) -> IndependentEstimate:
        counts, total = learned.counts(arms), learned.total()
        shown, rewards = np.maximum(counts.n, 0.0), counts.rewards
        all_shown, all_rewards = float(total.n[0]), float(total.rewards[0])
        if self.settings.pooled:
            all_shown, all_rewards = all_shown + 1 / self.settings.prior_reward, all_rewards + 1
            shown = shown + _MADE_UP
            means = (rewards + _MADE_UP * all_rewards / all_shown) / shown
            widths = np.sqrt(2 * math.log(max(all_shown, 2.0)) / shown)
            return IndependentEstimate(means, widths, 1.0)
        known = shown > 0
        n = np.where(known, shown, 1.0)
        means = np.where(known, rewards / n, 0.0)
        widths = np.sqrt(2 * math.log(max(all_shown, 1.0)) / n)
        # Evidence that has all but decayed is as good as none.
        widths = np.where(known, np.minimum(widths, NEVER_SHOWN), NEVER_SHOWN)
        return IndependentEstimate(means, widths, 1.0)

    def unpacked(self, state: bytes, contexts: Contexts) -> IndependentEstimate:
        return IndependentEstimate.unpacked(state, len(contexts))

    def draw(self, estimate: RewardEstimate, k: int, seed: int, composition: Composition) -> Draw:
        return draw_by_bounds(estimate, k, seed, self.settings, composition)
