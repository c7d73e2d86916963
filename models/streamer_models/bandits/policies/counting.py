"""Policies over counts of outcomes: items are known by what they earned, contexts are not read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from streamer_models.bandits.policies.base import CountedLearned, Policy
from streamer_models.bandits.policies.settings import LearnedSettings

if TYPE_CHECKING:
    from streamer_models.bandits.estimates import RewardEstimate
    from streamer_models.bandits.protocols import Contexts
    from streamer_models.state.table import Keys

C = TypeVar("C", bound=LearnedSettings)


class CountingPolicy(Policy[C]):
    """Base of the policies over counts of outcomes by item."""

    published: ClassVar[Mapping[str, Any]] = {"pooled": False, "uniform_share": 0.0}

    def estimate(self, contexts: Contexts, arms: Keys, learned: CountedLearned) -> RewardEstimate:
        return self.estimate_counts(arms, learned)

    def estimate_counts(self, arms: Keys, learned: CountedLearned) -> RewardEstimate:
        """Return what counts say of ``(n,)`` arms."""
        raise NotImplementedError
