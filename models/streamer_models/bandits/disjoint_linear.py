"""A linear model for each arm, for as many arms as there is room."""

from __future__ import annotations

from typing import Self

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.arms import ArmRows
from streamer_models.bandits.linear_kernels import Matrix, Vector
from streamer_models.bandits.linear_model import bounds
from streamer_models.bandits.linear_rows import LinearRows
from streamer_models.bandits.linear_statistics import LinearStatistics
from streamer_models.bandits.policy import Contexts
from streamer_models.bandits.shared_linear import SharedLinear
from streamer_models.bandits.sherman_morrison import dot, symmetric_times
from streamer_models.state.table import Keys, Slots

Floats = NDArray[np.float64]


class DisjointLinear:
    """Ridge regression of rewards on features, arm by arm (Li et al. 2010, Algorithm 1).

    Parameters
    ----------
    n_features, prior_strength, half_life_s, refresh_every
        As in :class:`~streamer_models.bandits.shared_linear.SharedLinear`, for each arm.
    arms_max
        Bound of arms; see :class:`~streamer_models.bandits.arms.ArmRows` for who goes. An arm takes
        ``12 d² + 20 d`` bytes about, or ``48 d² + 80 d`` where evidence fades.
    sightings_min
        Examples at which an arm is admitted, 1: at once. Those before that are not learned.
    shrink_to_shared
        Whether an arm's prior mean is what a model of all arms, kept beside, has learned, instead
        of 0: ``θ = A⁻¹ (b + λ θ_shared)``, whatever θ_shared is when it is read. A new arm then
        starts from what its features promise, as uncertain as any new arm.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    name = "disjoint"

    def __init__(
        self,
        n_features: int,
        *,
        prior_strength: float = 1.0,
        half_life_s: float = 0.0,
        arms_max: int = 10_000,
        sightings_min: int = 1,
        shrink_to_shared: bool = False,
        refresh_every: int = 10_000,
    ) -> None:
        self.n_features = n_features
        self.fades = half_life_s > 0
        self.arms = ArmRows(arms_max=arms_max, sightings_min=sightings_min)
        self._rows = LinearRows(
            n_features,
            prior_strength=prior_strength,
            half_life_s=half_life_s,
            refresh_every=refresh_every,
        )
        self._shared: SharedLinear | None = None
        if shrink_to_shared:
            self._shared = SharedLinear(
                n_features,
                prior_strength=prior_strength,
                half_life_s=half_life_s,
                refresh_every=refresh_every,
            )
        self._no_mean = np.zeros(0)

    def means(self, x: Contexts, arms: Keys) -> Floats:
        """``(n,)`` mean rewards, an unknown arm's under the prior."""
        return self.means_and_squares(x, arms)[0]

    def means_and_squares(self, x: Contexts, arms: Keys) -> tuple[Floats, Floats]:
        """``(n,)`` ``x·θ_a``, and ``xᵀ A_a⁻¹ x`` or what it is where evidence fades."""
        rows = self._rows
        prior_mean = self._no_mean if self._shared is None else self._shared.mean
        means, squares = _means_and_squares(
            x, self.arms.find(arms), rows.theta, rows.inverse, rows.spread,
            prior_mean, rows.prior_strength,
        )  # fmt: skip
        return means, squares

    def upper_bounds(self, x: Contexts, arms: Keys, alpha: float) -> Floats:
        """``(n,)`` ``mean + α √square`` of :meth:`means_and_squares`."""
        return bounds(*self.means_and_squares(x, arms), alpha)

    def sample(
        self, x: Contexts, arms: Keys, n_draws: int, scale: float, rng: np.random.Generator
    ) -> Floats:
        """``(n_draws, n)``; arms have parameters of their own, so their rewards are independent:
        an arm that is there twice is drawn as two."""
        means, squares = self.means_and_squares(x, arms)
        deviations = np.sqrt(np.maximum(squares, 0.0))
        return means + scale * deviations * rng.standard_normal((n_draws, len(means)))

    def learn(
        self, x: Contexts, arms: Keys, before: Floats, after: Floats, ts_ms: NDArray[np.int64]
    ) -> None:
        """Bring examples from ``before`` to ``after``, admitting arms and letting others go."""
        if self._shared is not None:
            self._shared.learn(x, arms, before, after, ts_ms)
        at = 0
        while at < len(x):
            rows, n_ready = self.arms.resolve(arms[at:], ts_ms[at:])
            self._rows.reserve(self.arms.n_rows)
            run = slice(at, at + n_ready)
            self._rows.learn(rows, x[run], before[run], after[run], ts_ms[run])
            at += n_ready
            if at < len(x):
                self._rows.clear(self.arms.expire())

    def statistics(self, arm: int) -> LinearStatistics:
        """What was learned of one arm, by its key.

        Raises
        ------
        ValueError
            Where the arm is unknown.
        """
        return self._rows.statistics(self._row(arm))

    def statistics_rows(self) -> tuple[Keys, NDArray[np.int64]]:
        """Keys of the arms, rising, and the integers behind their statistics, a row each."""
        rows = self.arms.live()
        return self.arms.keys[rows], self._rows.values[rows]

    def _row(self, arm: int) -> int:
        row = self.arms.map.find_one(arm)
        if row < 0:
            raise ValueError(f"arm {arm:#x} is not among the {len(self.arms)} known ones")
        return row

    def refresh(self) -> None:
        """Compute inverses and means afresh."""
        self._rows.refresh()
        if self._shared is not None:
            self._shared.refresh()

    def merge(self, other: Self) -> None:
        """Add the statistics of another model, arm by arm, and refresh.

        Raises
        ------
        ValueError
            Where the settings differ, or all arms together are more than ``arms_max``.
        """
        if (self._shared is None) != (other._shared is None):
            raise ValueError("models with and without shrink_to_shared do not add up")
        self._rows.check_addable(other._rows)
        theirs, ours = self.arms.absorb(other.arms)
        self._rows.reserve(self.arms.n_rows)
        self._rows.absorb(other._rows, theirs, ours)
        self._rows.refresh()
        if self._shared is not None and other._shared is not None:
            self._shared.merge(other._shared)


@numba.njit(cache=True, nogil=True)
def _means_and_squares(
    x: NDArray[np.floating],
    rows: Slots,
    theta: Matrix,
    inverse: NDArray[np.float64],
    spread: NDArray[np.float64],
    prior_mean: Vector,
    prior_strength: float,
) -> tuple[Floats, Floats]:
    """``prior_mean`` is ``(0,)`` where it is 0."""
    n, d = x.shape
    means, squares = np.zeros(n), np.zeros(n)
    u = np.empty(d)
    for i in range(n):
        row = rows[i]
        if row < 0:
            for j in range(d):
                squares[i] += np.float64(x[i, j]) * np.float64(x[i, j])
            squares[i] /= prior_strength
            if len(prior_mean):
                means[i] = dot(x[i], prior_mean)
            continue
        symmetric_times(spread[row], x[i], u)
        squares[i] = dot(x[i], u)
        means[i] = dot(x[i], theta[row])
        if len(prior_mean):
            symmetric_times(inverse[row], x[i], u)
            means[i] += prior_strength * dot(prior_mean, u)
    return means, squares
