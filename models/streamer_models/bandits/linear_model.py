"""What the linear policies share: a model under them, and inputs checked before it learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.linear_kernels import kernel_rows
from streamer_models.bandits.linear_statistics import FEATURE_MAX, REWARD_MAX
from streamer_models.bandits.policy import Contexts
from streamer_models.state.table import Keys

RAW_FEATURE_MAX = 1_024.0
"""Bound of a feature where evidence does not fade: 2^20 * 2^24 = 2^44 an example at most."""

Floats = NDArray[np.float64]


class LinearModel(Protocol):
    """Beliefs on mean rewards that are linear in features: what is optimistic about them or draws
    from them is up to the policy.

    Attributes
    ----------
    name
        Part of the policy's name.
    n_features
        Columns of a context.
    fades
        Whether evidence fades.
    """

    name: str
    n_features: int
    fades: bool

    def means(self, x: Contexts, arms: Keys) -> Floats:
        """``(n,)`` mean rewards."""

    def upper_bounds(self, x: Contexts, arms: Keys, alpha: float) -> Floats:
        """``(n,)`` rewards as they are ``alpha`` standard deviations above the mean parameters."""

    def sample(
        self, x: Contexts, arms: Keys, n_draws: int, scale: float, rng: np.random.Generator
    ) -> Floats:
        """``(n_draws, n)`` mean rewards under draws of the parameters, each for all actions."""

    def learn(
        self,
        x: Contexts,
        arms: Keys,
        before: Floats,
        after: Floats,
        ts_ms: NDArray[np.int64],
    ) -> None:
        """Bring checked examples from ``before`` to ``after``."""

    def refresh(self) -> None:
        """Compute all that is derived from the statistics afresh."""

    def merge(self, other: Self) -> None:
        """Add the statistics of another model, and refresh."""


def bounds(means: Floats, squares: Floats, alpha: float) -> Floats:
    """``(n,)`` ``mean + α √square``; drift may leave a square a rounding below 0."""
    summed: Floats = means + alpha * np.sqrt(np.maximum(squares, 0.0))
    return summed


class OverLinear:
    """A policy over a linear model.

    Parameters
    ----------
    model
        What learns.
    uniform_share
        Of each exploring slot, drawn uniformly from what remains.
    explore_slots
        Slots that explore; empty: all.
    """

    def __init__(
        self, model: LinearModel, *, uniform_share: float, explore_slots: Sequence[int]
    ) -> None:
        if not 0 <= uniform_share <= 1:
            raise ValueError(f"uniform_share={uniform_share} must be within 0 and 1")
        self.model = model
        self.uniform_share = uniform_share
        self.explore_slots = tuple(explore_slots)

    def expected(self, contexts: Contexts, arms: Keys) -> Floats:
        """``(n_actions,)`` mean rewards."""
        return self.model.means(self._checked(contexts, arms), arms)

    def update(
        self, contexts: Contexts, arms: Keys, rewards: Floats, ts_ms: NDArray[np.int64]
    ) -> None:
        """Learn first outcomes, ``(n,)`` columns; NaN is passed over."""
        self.amend(contexts, arms, np.full(len(rewards), np.nan), rewards, ts_ms)

    def amend(
        self,
        contexts: Contexts,
        arms: Keys,
        before: Floats,
        after: Floats,
        ts_ms: NDArray[np.int64],
    ) -> None:
        """Bring outcomes from ``before`` to ``after``, exactly in the statistics; NaN: not learned.

        Raises
        ------
        ValueError
            Where a feature or a reward is out of bounds, or lengths differ; nothing is learned.
        """
        x = self._checked(contexts, arms)
        before = np.ascontiguousarray(before, dtype=np.float64)
        after = np.ascontiguousarray(after, dtype=np.float64)
        ts_ms = np.ascontiguousarray(ts_ms, dtype=np.int64)
        if not len(x) == len(before) == len(after) == len(ts_ms):
            raise ValueError(
                f"{len(x)} contexts, {len(before)} and {len(after)} rewards and {len(ts_ms)} times:"
                " an example has one of each"
            )
        feature_max = FEATURE_MAX if self.model.fades else RAW_FEATURE_MAX
        at, n_without_outcome = _first_out_of_bounds(x, before, after, feature_max)
        if at >= 0:
            raise ValueError(
                f"example {at} has features up to {np.abs(x[at]).max()} and reward {after[at]}"
                f" (before: {before[at]}): features within ±{feature_max:g} and rewards within"
                f" ±{REWARD_MAX:g} can be summed exactly; scale them"
            )
        if n_without_outcome:  # they must not even admit an arm
            taught = ~(np.isnan(before) & np.isnan(after))
            x, arms, ts_ms = x[taught], arms[taught], ts_ms[taught]
            before, after = before[taught], after[taught]
        self.model.learn(x, arms, before, after, ts_ms)

    def merge(self, other: Self) -> None:
        """Add what another has learned from other examples: in any order the same statistics, and
        from them the same beliefs, to the bit.

        Raises
        ------
        ValueError
            Where the models' settings differ.
        """
        self.model.merge(other.model)

    def refresh(self) -> None:
        """Compute what is derived from the statistics afresh: beliefs are a function of the
        examples alone then, as they are after :meth:`merge`."""
        self.model.refresh()

    def _checked(self, contexts: Contexts, arms: Keys) -> Contexts:
        if contexts.ndim != 2 or contexts.shape != (len(arms), self.model.n_features):
            raise ValueError(
                f"contexts of shape {contexts.shape} for {len(arms)} arms: expected"
                f" ({len(arms)}, {self.model.n_features}), a row an action"
            )
        return kernel_rows(contexts)


@numba.njit(cache=True, nogil=True)
def _first_out_of_bounds(
    x: NDArray[np.floating], before: Floats, after: Floats, feature_max: float
) -> tuple[int, int]:
    """Position of the first example that can't be learned, -1 where there is none; and the number
    of those that have no outcome before or after."""
    n_without_outcome = 0
    for i in range(len(x)):
        n_without_outcome += np.isnan(before[i]) and np.isnan(after[i])
        # NaN is no outcome, but no feature either: comparisons with it are false.
        inside = not (abs(before[i]) > REWARD_MAX or abs(after[i]) > REWARD_MAX)
        for j in range(x.shape[1]):
            inside &= abs(x[i, j]) <= feature_max
        if not inside:
            return i, n_without_outcome
    return -1, n_without_outcome
