"""Linear models by row: exact statistics are the truth, inverses are kept beside them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.linear_kernels import Matrix, Vector
from streamer_models.bandits.linear_statistics import (
    LinearStatistics,
    fading_statistics,
    statistics,
    statistics_width,
)
from streamer_models.bandits.merging import check_settings_agree
from streamer_models.bandits.row_kernels import learn_rows, refresh_rows, step_start
from streamer_models.counters.decay import CELLS_WIDTH
from streamer_models.state.table import ARM, Array, Merge, Slots, TableSpec, fold

_LONG_AGO = -(1 << 62)


class LinearRows:
    """Statistics, inverse and mean of each model (``A = Σ x xᵀ + s I``, ``θ = A⁻¹ Σ r x``).

    The statistics are integers: what they add up to depends on the examples alone. The inverse
    follows them by Sherman-Morrison steps and is computed afresh from them every
    ``refresh_every`` examples of a row, which bounds the drift; where evidence fades, all rows are
    also computed afresh whenever the newest event time enters another 1/32 of the half-life.

    Parameters
    ----------
    n_features
        d.
    prior_strength
        s, in examples.
    half_life_s
        In event time; 0: evidence does not fade.
    refresh_every
        Examples of a row between two fresh computations.

    Attributes
    ----------
    values
        ``(n_rows, statistics_width(d))`` int64, or four times as wide (cells) where evidence fades.
    squares
        Cells of the statistics with half the half-life; no rows where evidence does not fade.
    inverse, theta
        ``(n_rows, d, d)`` and ``(n_rows, d)``.
    spread
        ``(n_rows, d, d)``, what deviations are measured by: W of D-LinUCB where evidence fades,
        else the inverse itself.
    """

    def __init__(
        self, n_features: int, *, prior_strength: float, half_life_s: float, refresh_every: int
    ) -> None:
        if n_features < 1 or not 0 < prior_strength < np.inf or refresh_every < 1:
            raise ValueError(
                f"n_features={n_features} and refresh_every={refresh_every} must be at least 1,"
                f" prior_strength={prior_strength} above 0 and finite"
            )
        if half_life_s and not 0.002 <= half_life_s < 1e12:
            raise ValueError(
                f"half_life_s={half_life_s} must be 0 (evidence does not fade) or at least 0.002"
            )
        self.n_features = n_features
        self.prior_strength = float(prior_strength)
        self.refresh_every = refresh_every
        # Even, so that half of it is a whole number of milliseconds too.
        self.half_life_ms = 2 * round(half_life_s * 500)
        self.newest_ms = _LONG_AGO
        width = statistics_width(n_features) * (CELLS_WIDTH if self.half_life_ms else 1)
        self.values: Array = np.zeros((0, width), dtype=np.int64)
        self.squares: Array = np.zeros((0, width), dtype=np.int64)
        self.inverse: Array = np.zeros((0, n_features, n_features))
        self.spread: Array = self.inverse
        self.theta: Matrix = np.zeros((0, n_features))
        self._n_since: Array = np.zeros(0, dtype=np.int64)
        self._none = np.zeros((0, 0, 0))
        self._scratch = np.zeros((2, n_features))
        self._added = np.zeros(statistics_width(n_features), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.theta)

    def reserve(self, n_rows: int) -> None:
        """Have at least ``n_rows`` rows, of models that know nothing."""
        n_more = max(n_rows, 2 * len(self)) - len(self)
        if n_rows <= len(self):
            return
        d = self.n_features
        prior = np.broadcast_to(np.eye(d) / self.prior_strength, (n_more, d, d))
        more = np.zeros((n_more, self.values.shape[1]), dtype=np.int64)
        self.values = np.concatenate([self.values, more])
        self.theta = np.concatenate([self.theta, np.zeros((n_more, d))])
        self.inverse = np.concatenate([self.inverse, prior])
        self._n_since = np.concatenate([self._n_since, np.zeros(n_more, dtype=np.int64)])
        if self.half_life_ms:
            self.squares = np.concatenate([self.squares, more])
            # With no evidence, W = V⁻¹ s V⁻¹ = I / s.
            self.spread = np.concatenate([self.spread, prior])
        else:
            self.spread = self.inverse

    def clear(self, rows: Slots) -> None:
        """Let rows know nothing again."""
        self.values[rows] = 0
        self.theta[rows] = 0.0
        self.inverse[rows] = np.eye(self.n_features) / self.prior_strength
        self._n_since[rows] = 0
        if self.half_life_ms:
            self.squares[rows] = 0
            self.spread[rows] = np.eye(self.n_features) / self.prior_strength

    def learn(
        self,
        rows: Slots,
        x: NDArray[np.float32] | NDArray[np.float64],
        before: Vector,
        after: Vector,
        ts_ms: NDArray[np.int64],
    ) -> None:
        """Bring rows from outcomes ``before`` to ``after``, example by example; negative rows are
        passed over."""
        self.newest_ms = learn_rows(
            self.values, self.squares, self.inverse,
            self.spread if self.half_life_ms else self._none, self.theta, self._n_since,
            rows, x, before, after, ts_ms,
            self.half_life_ms, self.newest_ms, self.prior_strength, self.refresh_every,
            self._scratch, self._added,
        )  # fmt: skip

    def check_addable(self, other: LinearRows) -> None:
        """Raise ValueError where features, prior or half-life differ."""
        settings = ("n_features", "prior_strength", "half_life_ms")
        check_settings_agree(self, other, settings)

    def absorb(self, other: LinearRows, other_rows: Slots, rows: Slots) -> None:
        """Add statistics of rows of another table to rows of this one; refresh afterwards.

        Raises
        ------
        ValueError
            As :meth:`check_addable`.
        """
        self.check_addable(other)
        merge = Merge.DECAYED if self.half_life_ms else Merge.SUM
        spec = TableSpec("linear_statistics", ARM, merge, "i8", self.values.shape[1])
        fold(spec, self.values, rows, other.values[other_rows])
        if self.half_life_ms:
            fold(spec, self.squares, rows, other.squares[other_rows])
        self.newest_ms = max(self.newest_ms, other.newest_ms)

    def refresh(self) -> None:
        """Compute all inverses and means afresh from the statistics: they are functions of them
        (and of the newest event time) from here on, to the bit."""
        refresh_rows(
            self.values, self.squares, self.inverse, self.spread, self.theta, self._n_since,
            self.half_life_ms, self.as_of_ms, self.prior_strength,
        )  # fmt: skip

    @property
    def as_of_ms(self) -> int:
        """The time that fading evidence is weighed at."""
        return int(step_start(self.newest_ms, self.half_life_ms)) if self.half_life_ms else 0

    def statistics(self, row: int) -> LinearStatistics:
        """The sums of one row, as of :attr:`as_of_ms` where they fade."""
        if not self.half_life_ms:
            return statistics(self.values[row], self.n_features)
        return fading_statistics(
            self.values[row],
            self.n_features,
            half_life_ms=self.half_life_ms,
            at_ms=self.as_of_ms,
        )
