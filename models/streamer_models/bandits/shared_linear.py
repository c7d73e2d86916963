"""One linear model for all arms: they differ by their features alone."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.linear_kernels import draw_parameters, means_and_squares, products
from streamer_models.bandits.linear_model import bounds
from streamer_models.bandits.linear_posterior import LinearPosterior
from streamer_models.bandits.linear_rows import LinearRows
from streamer_models.bandits.linear_statistics import LinearStatistics
from streamer_models.bandits.policy import Contexts
from streamer_models.state.table import Keys

Floats = NDArray[np.float64]


class SharedLinear:
    """Ridge regression of rewards on the features of actions; arms are not looked at.

    Parameters
    ----------
    n_features
        Columns of a context. There is no intercept but a feature that is always 1.
    prior_strength
        λ: the prior is that of λ examples of reward 0 along each axis.
    half_life_s
        After which evidence counts half, in event time; 0: it does not fade. Where it does,
        uncertainty is that of D-LinUCB (Russac, Vernade & Cappé 2019):
        ``xᵀ V⁻¹ Ṽ V⁻¹ x``, examples weighing γ^age in V and γ^2age in Ṽ. A late example gets the
        weight it would have had in time.
    refresh_every
        Examples between two computations of the inverse from the exact statistics.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    name = "shared"

    def __init__(
        self,
        n_features: int,
        *,
        prior_strength: float = 1.0,
        half_life_s: float = 0.0,
        refresh_every: int = 10_000,
    ) -> None:
        self.n_features = n_features
        self.fades = half_life_s > 0
        self._rows = LinearRows(
            n_features,
            prior_strength=prior_strength,
            half_life_s=half_life_s,
            refresh_every=refresh_every,
        )
        self._rows.reserve(1)

    @property
    def mean(self) -> Floats:
        """``(d,)`` θ."""
        theta: Floats = self._rows.theta[0]
        return theta

    def means(self, x: Contexts, arms: Keys) -> Floats:
        """``(n,)`` mean rewards."""
        means: Floats = products(x, self._rows.theta)[0]
        return means

    def means_and_squares(self, x: Contexts, arms: Keys) -> tuple[Floats, Floats]:
        """``(n,)`` ``x·θ``, and ``xᵀ A⁻¹ x`` or what it is where evidence fades."""
        rows = self._rows
        means, squares = means_and_squares(x, rows.theta[0], rows.spread[0])
        return means, squares

    def upper_bounds(self, x: Contexts, arms: Keys, alpha: float) -> Floats:
        """``(n,)`` ``mean + α √square`` of :meth:`means_and_squares`."""
        return bounds(*self.means_and_squares(x, arms), alpha)

    def sample(
        self, x: Contexts, arms: Keys, n_draws: int, scale: float, rng: np.random.Generator
    ) -> Floats:
        """``(n_draws, n)``: one θ a draw, for all actions."""
        normal = rng.standard_normal((n_draws, self.n_features))
        drawn: Floats = products(
            x, draw_parameters(self._rows.theta[0], self._rows.spread[0], normal, scale)
        )
        return drawn

    def learn(
        self, x: Contexts, arms: Keys, before: Floats, after: Floats, ts_ms: NDArray[np.int64]
    ) -> None:
        """Bring examples from ``before`` to ``after``."""
        self._rows.learn(np.zeros(len(x), dtype=np.int32), x, before, after, ts_ms)

    def statistics(self) -> LinearStatistics:
        """What was learned."""
        return self._rows.statistics(0)

    def statistics_row(self) -> NDArray[np.int64]:
        """The integers behind :meth:`statistics`, as `linear_statistics` has them."""
        row: NDArray[np.int64] = self._rows.values[0].copy()
        return row

    def posterior(self) -> LinearPosterior:
        """The belief, computed from the statistics: the same for the same examples, to the bit."""
        return LinearPosterior.of(
            self.statistics(),
            prior_mean=np.zeros(self.n_features),
            prior_strength=self._rows.prior_strength,
        )

    def refresh(self) -> None:
        """Compute inverse and mean afresh."""
        self._rows.refresh()

    def merge(self, other: Self) -> None:
        """Add the statistics of another model, and refresh.

        Raises
        ------
        ValueError
            Where the settings differ.
        """
        first = np.zeros(1, dtype=np.int32)
        self._rows.absorb(other._rows, first, first)
        self.refresh()
