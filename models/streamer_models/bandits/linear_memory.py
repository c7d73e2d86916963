"""Statistics of linear models that one process learns: of all items, and of single ones."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.arm_estimates import arm_estimates
from streamer_models.bandits.arms import ArmRows
from streamer_models.bandits.linear_kernels import kernel_rows
from streamer_models.bandits.linear_posterior import LinearPosterior, LinearPrior
from streamer_models.bandits.linear_rows import LinearRows
from streamer_models.bandits.linear_statistics import FEATURE_MAX, REWARD_MAX, WEIGHT_MAX
from streamer_models.bandits.policies.base import LinearLearned
from streamer_models.bandits.protocols import Contexts
from streamer_models.state.table import Keys

RAW_FEATURE_MAX = 1_024.0
"""Bound of a feature where evidence does not decay: 2^20 * 2^24 = 2^44 an example at most."""

Floats = NDArray[np.float64]


class LinearMemory(LinearLearned):
    """Statistics of linear models, in memory.

    Parameters
    ----------
    prior
        Of the policy that reads them.
    per_arm
        Whether each arm has a model of its own, beside the shared one.
    pooled
        Whether the shared posterior is the prior of those.
    half_life_s, refresh_every
        As of :class:`streamer_models.bandits.linear_rows.LinearRows`.
    arms_max, sightings_min
        As of :class:`streamer_models.bandits.arms.ArmRows`.

    Attributes
    ----------
    shared
        One row: the model of all.
    own
        A row an arm; None without.
    arms
        Which row is which arm's.
    """

    def __init__(
        self,
        prior: LinearPrior,
        *,
        per_arm: bool,
        pooled: bool,
        half_life_s: float = 0.0,
        arms_max: int = 10_000,
        sightings_min: int = 1,
        refresh_every: int = 10_000,
    ) -> None:
        d = len(prior.mean)
        self.prior = prior
        # By itself each item's model is read alone: of the shared one the integers do.
        self.shared = LinearRows(
            d,
            half_life_s=half_life_s,
            kept=prior if pooled or not per_arm else None,
            refresh_every=refresh_every,
        )
        self.shared.reserve(1)
        self.arms = ArmRows(arms_max=arms_max, sightings_min=sightings_min)
        self.own: LinearRows | None = None
        if per_arm:
            self.own = LinearRows(
                d,
                half_life_s=half_life_s,
                kept=None if pooled else prior,
                of_arms=True,
                refresh_every=refresh_every,
            )

    # --- reading ---------------------------------------------------------------------------------

    def posterior(self, prior: LinearPrior) -> LinearPosterior:
        if self.shared.kept is prior:
            return self.shared.posterior(0)
        return prior.posterior(self.shared.statistics(0))

    def arm_estimates(
        self, x: Contexts, arms: Keys, prior: LinearPrior, mean: Floats
    ) -> tuple[Floats, Floats]:
        assert self.own is not None, "models of single arms are not learned"
        x, rows = kernel_rows(x), self.arms.find(arms)
        if self.own.kept is prior and mean is prior.mean:
            return self.own.estimates(x, rows)
        known = np.flatnonzero(rows >= 0)
        return arm_estimates(
            x,
            known,
            self.own.values[rows[known]],
            prior_mean=mean,
            prior_precisions=prior.arm_precisions(self.shared.statistics(0)),
            half_life_ms=self.own.half_life_ms,
            at_ms=self.shared.newest_ms,
        )

    # --- learning --------------------------------------------------------------------------------

    def amend(
        self,
        x: Contexts,
        arms: Keys,
        before: Floats,
        after: Floats,
        ts_ms: NDArray[np.int64],
        weights: Floats | None = None,
    ) -> None:
        """Bring outcomes from ``before`` to ``after``, admitting arms and dropping others.

        Raises
        ------
        ValueError
            Where a feature, a reward or a weight is out of bounds, or lengths differ; nothing is
            learned.
        """
        x = self._checked(x, arms)
        before = np.ascontiguousarray(before, dtype=np.float64)
        after = np.ascontiguousarray(after, dtype=np.float64)
        ts_ms = np.ascontiguousarray(ts_ms, dtype=np.int64)
        if not len(x) == len(before) == len(after) == len(ts_ms):
            raise ValueError(
                f"{len(x)} contexts, {len(before)} and {len(after)} rewards and {len(ts_ms)} times:"
                " an example has one of each"
            )
        if weights is not None:
            weights = _checked_weights(weights, len(x))
        feature_max = FEATURE_MAX if self.shared.half_life_ms else RAW_FEATURE_MAX
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
            weights = None if weights is None else weights[taught]
        self.shared.learn(np.zeros(len(x), dtype=np.int32), x, before, after, ts_ms, weights)
        if self.own is not None:
            self._learn_own(self.own, x, arms, before, after, ts_ms, weights)

    def _learn_own(
        self,
        own: LinearRows,
        x: Contexts,
        arms: Keys,
        before: Floats,
        after: Floats,
        ts_ms: NDArray[np.int64],
        weights: Floats | None,
    ) -> None:
        at = 0
        while at < len(x):
            rows, n_ready = self.arms.resolve(arms[at:], ts_ms[at:])
            own.reserve(self.arms.n_rows)
            run = slice(at, at + n_ready)
            weighed = None if weights is None else weights[run]
            own.learn(rows, x[run], before[run], after[run], ts_ms[run], weighed)
            at += n_ready
            if at < len(x):
                own.clear(self.arms.expire())

    def refresh(self) -> None:
        """Solve the kept posteriors afresh."""
        self.shared.refresh()
        if self.own is not None:
            self.own.refresh()

    def merge(self, other: LinearMemory) -> None:
        """Add the statistics of another, arm by arm, and refresh.

        Raises
        ------
        ValueError
            Where features or half-lives differ, or all arms together are more than ``arms_max``.
        """
        self.shared.check_addable(other.shared)
        if self.own is not None and other.own is not None:
            theirs, ours = self.arms.absorb(other.arms)
            self.own.reserve(self.arms.n_rows)
            self.own.absorb(other.own, theirs, ours)
        first = np.zeros(1, dtype=np.int32)
        self.shared.absorb(other.shared, first, first)
        self.refresh()

    def _checked(self, x: Contexts, arms: Keys) -> Contexts:
        d = self.shared.n_features
        if x.ndim != 2 or x.shape != (len(arms), d):
            raise ValueError(
                f"contexts of shape {x.shape} for {len(arms)} arms: expected ({len(arms)}, {d}), a"
                " row an action"
            )
        return kernel_rows(x)


def _checked_weights(weights: Floats, n: int) -> Floats:
    """Return ``(n,)`` weights for the kernels.

    Raises
    ------
    ValueError
        Where there are not so many, or one is out of bounds.
    """
    weights = np.ascontiguousarray(weights, dtype=np.float64)
    if weights.shape != (n,):
        raise ValueError(f"weights of shape {weights.shape} for {n} examples: expected ({n},)")
    inside = (weights > 0) & (weights <= WEIGHT_MAX)
    if not inside.all():
        raise ValueError(
            f"a weight of {weights[~inside][0]:g} must be above 0 and at most {WEIGHT_MAX:g}: bound"
            " weights by inverse propensity"
        )
    return weights


@numba.njit(cache=True, nogil=True)
def _first_out_of_bounds(
    x: NDArray[np.floating], before: Floats, after: Floats, feature_max: float
) -> tuple[int, int]:
    """Return the index of the first example that can't be learned, -1 where there is none; and the
    number of those that have no outcome before or after."""
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
