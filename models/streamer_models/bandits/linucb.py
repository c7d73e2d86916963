"""LinUCB: the best by an upper confidence bound of a linear model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.linear_model import LinearModel, OverLinear
from streamer_models.bandits.policy import Contexts
from streamer_models.bandits.slates import Draw, draw_best
from streamer_models.state.table import Keys


class LinUCB(OverLinear):
    """Choose by ``x·θ + α √(xᵀ A⁻¹ x)`` (Li, Chu, Langford & Schapire 2010).

    Over :class:`~streamer_models.bandits.disjoint_linear.DisjointLinear` it is their Algorithm 1,
    over :class:`~streamer_models.bandits.hybrid_linear.HybridLinear` Algorithm 2, over
    :class:`~streamer_models.bandits.shared_linear.SharedLinear` the form with parameters that all
    arms share, which is D-LinUCB where evidence fades (Russac, Vernade & Cappé 2019).

    Parameters
    ----------
    model
        What learns.
    alpha
        α: how many standard deviations (of a reward of unit noise) to hope for.
    uniform_share
        Of each exploring slot, drawn uniformly from what remains. Above 0 no propensity is 0, so
        that the log can be evaluated for other policies.
    explore_slots
        Slots that explore; empty: all.

    Raises
    ------
    ValueError
        Where a setting is out of its range.

    Examples
    --------
    >>> from streamer_models.bandits.shared_linear import SharedLinear
    >>> policy = LinUCB(SharedLinear(2), alpha=1.0)
    >>> arms, contexts = np.array([7, 8], dtype=np.uint64), np.eye(2)
    >>> policy.update(contexts[:1], arms[:1], np.array([1.0]), np.zeros(1, dtype=np.int64))
    >>> policy.scores(contexts, arms, n_draws=1, rng=np.random.default_rng(0)).round(3)
    array([[1.207, 1.   ]])
    """

    def __init__(
        self,
        model: LinearModel,
        *,
        alpha: float = 1.0,
        uniform_share: float = 0.0,
        explore_slots: Sequence[int] = (),
    ) -> None:
        super().__init__(model, uniform_share=uniform_share, explore_slots=explore_slots)
        if not 0 <= alpha < np.inf:
            raise ValueError(f"alpha={alpha} must be at least 0 and finite")
        self.alpha = alpha
        self.name = f"linucb-{model.name}"

    def scores(
        self, contexts: Contexts, arms: Keys, *, n_draws: int, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """``(1, n_actions)``: the upper confidence bounds."""
        return self._bounds(contexts, arms)[None]

    def choose(self, contexts: Contexts, arms: Keys, k: int, seed: int) -> Draw:
        """The best bounds slot by slot, mixed with ``uniform_share``."""
        return draw_best(
            self._bounds(contexts, arms),
            k,
            seed,
            uniform_share=self.uniform_share,
            slots=self.explore_slots,
        )

    def _bounds(self, contexts: Contexts, arms: Keys) -> NDArray[np.float64]:
        return self.model.upper_bounds(self._checked(contexts, arms), arms, self.alpha)
