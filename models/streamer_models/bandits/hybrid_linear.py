"""Parameters that all arms share beside parameters of each arm."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.arms import ArmRows
from streamer_models.bandits.hybrid_kernels import (
    learn_hybrid,
    refresh_arm,
    refresh_hybrid,
    residuals,
)
from streamer_models.bandits.linear_kernels import (
    Matrix,
    Vector,
    draw_parameters,
    means_and_squares,
    products,
)
from streamer_models.bandits.linear_model import bounds
from streamer_models.bandits.linear_statistics import STATISTICS_BITS, statistics_width
from streamer_models.bandits.merging import check_settings_agree
from streamer_models.bandits.policy import Contexts
from streamer_models.state.table import Array, Keys, Slots

Floats = NDArray[np.float64]


class HybridLinear:
    """Ridge regression ``z·β + x·θ_a`` (Li et al. 2010, Algorithm 2), exact in any order.

    Kept are integer statistics over (z, x) by arm; inverses follow by Sherman-Morrison steps
    (:mod:`streamer_models.bandits.hybrid_kernels`). What an arm that has to go had said of β stays,
    rounded to integers, so β remembers all arms there were. Evidence does not fade here.

    Parameters
    ----------
    n_features
        Columns of a context, z and x together.
    n_shared_features
        The first ones are z, the others x; a feature may be in both.
    prior_strength, arms_max, sightings_min
        As in :class:`~streamer_models.bandits.disjoint_linear.DisjointLinear`; λ is that of β too.
    refresh_every
        Examples (of all arms) between two computations of everything from the statistics; at
        least ``8 arms_max``, so that a computation is shared by enough of them.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    name = "hybrid"
    fades = False

    def __init__(
        self,
        n_features: int,
        *,
        n_shared_features: int,
        prior_strength: float = 1.0,
        arms_max: int = 10_000,
        sightings_min: int = 1,
        refresh_every: int = 10_000,
    ) -> None:
        if not 1 <= n_shared_features < n_features:
            raise ValueError(
                f"n_shared_features={n_shared_features} must be within 1 and"
                f" n_features - 1 = {n_features - 1}: a model of one kind alone is not hybrid"
            )
        if not 0 < prior_strength < np.inf or refresh_every < 1:
            raise ValueError(
                f"prior_strength={prior_strength} must be above 0 and finite,"
                f" refresh_every={refresh_every} at least 1"
            )
        self.n_features = n_features
        self.n_shared_features = n_shared_features
        self.prior_strength = float(prior_strength)
        self._refresh_every = max(refresh_every, 8 * arms_max)
        self.arms = ArmRows(arms_max=arms_max, sightings_min=sightings_min)
        k, d = n_shared_features, n_features - n_shared_features
        self._values: Array = np.zeros((0, statistics_width(n_features)), dtype=np.int64)
        self._inverse: Array = np.zeros((0, d, d))
        self._slopes: Array = np.zeros((0, d, k))
        self._own: Array = np.zeros((0, d))
        self._retired = np.zeros(statistics_width(k), dtype=np.int64)
        self._shared_inverse = np.eye(k) / self.prior_strength
        self._beta = np.zeros(k)
        self._n_since = 0
        self._scratch = np.zeros((4, n_features))

    def means(self, x: Contexts, arms: Keys) -> Floats:
        """``(n,)`` mean rewards."""
        rest, means, _ = self._residuals(x, arms)
        summed: Floats = means + products(rest, self._beta[None])[0]
        return summed

    def means_and_squares(self, x: Contexts, arms: Keys) -> tuple[Floats, Floats]:
        """``(n,)`` ``z·β + x·θ_a``, and the variance of that over a reward's."""
        rest, means, squares = self._residuals(x, arms)
        shared_means, shared_squares = means_and_squares(rest, self._beta, self._shared_inverse)
        return means + shared_means, squares + shared_squares

    def upper_bounds(self, x: Contexts, arms: Keys, alpha: float) -> Floats:
        """``(n,)`` ``mean + α √square`` of :meth:`means_and_squares`."""
        return bounds(*self.means_and_squares(x, arms), alpha)

    def sample(
        self, x: Contexts, arms: Keys, n_draws: int, scale: float, rng: np.random.Generator
    ) -> Floats:
        """``(n_draws, n)``: one β a draw for all actions, and given it each arm on its own."""
        rest, means, squares = self._residuals(x, arms)
        normal = rng.standard_normal((n_draws, self.n_shared_features + len(x)))
        shared, own = normal[:, : self.n_shared_features], normal[:, self.n_shared_features :]
        betas = draw_parameters(self._beta, self._shared_inverse, shared.copy(), scale)
        drawn: Floats = products(rest, betas) + means
        return drawn + scale * np.sqrt(np.maximum(squares, 0.0)) * own

    def _residuals(self, x: Contexts, arms: Keys) -> tuple[Matrix, Vector, Vector]:
        rows = self.arms.find(arms)
        found: tuple[Matrix, Vector, Vector] = residuals(
            x, rows, self._inverse, self._slopes, self._own, self.prior_strength
        )
        return found

    def learn(
        self, x: Contexts, arms: Keys, before: Floats, after: Floats, ts_ms: NDArray[np.int64]
    ) -> None:
        """Bring examples from ``before`` to ``after``, admitting arms and letting others go."""
        at = 0
        while at < len(x):
            rows, n_ready = self.arms.resolve(arms[at:], ts_ms[at:])
            self._reserve(self.arms.n_rows)
            run = slice(at, at + n_ready)
            self._n_since = learn_hybrid(
                self._values, self._inverse, self._slopes, self._own, self._retired,
                self._shared_inverse, self._beta, rows, x[run], before[run], after[run],
                self.prior_strength, self._n_since,
                self._refresh_every, self._scratch,
            )  # fmt: skip
            at += n_ready
            if at < len(x):
                self._retire(self.arms.expire())

    def _reserve(self, n_rows: int) -> None:
        size = len(self._own)
        if n_rows <= size:
            return
        n_more = max(n_rows, 2 * size) - size
        _, d, k = self._slopes.shape
        prior = np.broadcast_to(np.eye(d) / self.prior_strength, (n_more, d, d))
        more = np.zeros((n_more, self._values.shape[1]), dtype=np.int64)
        self._values = np.concatenate([self._values, more])
        self._inverse = np.concatenate([self._inverse, prior])
        self._slopes = np.concatenate([self._slopes, np.zeros((n_more, d, k))])
        self._own = np.concatenate([self._own, np.zeros((n_more, d))])

    def _retire(self, rows: Slots) -> None:
        k = self.n_shared_features
        upper = np.triu_indices(k)
        for row in rows.tolist():
            shared, rewards = np.zeros((k, k)), np.zeros(k)
            refresh_arm(
                self._values[row], self.prior_strength,
                self._inverse[row], self._slopes[row], self._own[row], shared, rewards,
            )  # fmt: skip
            units = np.concatenate([rewards, shared[upper]]) * 2.0**STATISTICS_BITS
            self._retired[:2] += self._values[row, :2]
            self._retired[2:] += np.rint(units).astype(np.int64)
        self._values[rows] = 0
        self._inverse[rows] = np.eye(self.n_features - k) / self.prior_strength
        self._slopes[rows] = 0.0
        self._own[rows] = 0.0

    def statistics_rows(self) -> tuple[Keys, NDArray[np.int64]]:
        """Keys of the arms, rising, and the integers of their statistics over (z, x), a row each;
        what arms that went had said of β is in neither."""
        rows = self.arms.live()
        return self.arms.keys[rows], self._values[rows]

    def refresh(self) -> None:
        """Compute everything afresh from the statistics, arm by arm in the order of the keys."""
        refresh_hybrid(
            self._values, self._inverse, self._slopes, self._own, self._retired,
            self._shared_inverse, self._beta, self.arms.live(), self.prior_strength,
        )  # fmt: skip
        self._n_since = 0

    def merge(self, other: Self) -> None:
        """Add the statistics of another model, arm by arm, and refresh.

        Raises
        ------
        ValueError
            Where the settings differ, or all arms together are more than ``arms_max``.
        """
        settings = ("n_features", "n_shared_features", "prior_strength")
        check_settings_agree(self, other, settings)
        theirs, ours = self.arms.absorb(other.arms)
        self._reserve(self.arms.n_rows)
        self._values[ours] += other._values[theirs]
        self._retired += other._retired
        self.refresh()
