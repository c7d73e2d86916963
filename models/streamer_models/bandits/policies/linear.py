"""Policies over linear models: ridge regression of rewards on the columns of contexts."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from streamer_models.bandits.estimates import IndependentEstimate, RewardEstimate, SharedEstimate
from streamer_models.bandits.policies.base import LinearLearned, Policy
from streamer_models.bandits.policies.settings import LinearSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamer_models.bandits.linear_posterior import LinearPrior
    from streamer_models.bandits.protocols import Contexts
    from streamer_models.state.table import Keys

L = TypeVar("L", bound=LinearSettings)


class LinearPolicy(Policy[L]):
    """Base of the policies over a linear posterior.

    ``A = Σ x xᵀ + s D``, ``A θ = Σ r x + s D m₀``, with the prior's mean m₀ and strength s; D are
    the variances of the columns where they are standardized, else 1.

    - ``form = "shared"``: one model for all items, which differ by their columns alone;
    - ``form = "disjoint"``: one more for each item. ``pooled``: its prior mean is the posterior
      mean of the shared model; otherwise it is m₀ (Li et al. 2010, Algorithm 1).
    """

    published: ClassVar[Mapping[str, Any]] = {
        "form": "disjoint",
        "pooled": False,
        "prior_strength": 1.0,
        "blend_strength": 1.0,
        "prior_reward": 1.0,
        "uniform_share": 0.0,
    }

    @cached_property
    def prior(self) -> LinearPrior:
        """Prior of the linear models."""
        from streamer_models.bandits.linear_posterior import LinearPrior

        return LinearPrior(
            mean=self.columns.prior_mean,
            strength=self.settings.blend_strength,
            reward=self.settings.prior_reward,
            arm_strength=self.settings.prior_strength,
            standardized=self.columns.standardized,
        )

    def estimate(self, contexts: Contexts, arms: Keys, learned: LinearLearned) -> RewardEstimate:
        prior = self.prior
        if self.settings.form == "shared":
            return SharedEstimate(learned.posterior(prior), contexts)
        mean = learned.posterior(prior).mean if self.settings.pooled else prior.mean
        means, widths = learned.arm_estimates(contexts, arms, prior, mean)
        return IndependentEstimate(means, widths, lambda: learned.posterior(prior).noise)

    def unpacked(self, state: bytes, contexts: Contexts) -> RewardEstimate:
        from streamer_models.bandits.linear_posterior import LinearPosterior

        n, n_features = contexts.shape
        if self.settings.form == "shared":
            return SharedEstimate(LinearPosterior.unpacked(state, n_features), contexts)
        return IndependentEstimate.unpacked(state, n)
