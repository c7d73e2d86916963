"""Statistics of linear models by row, and posteriors that follow them example by example."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.factor_steps import (
    estimate_rows,
    learn_rows,
    mean_of,
    refresh_row,
    unexplained_squares,
)
from streamer_models.bandits.linear_kernels import Matrix, Vector
from streamer_models.bandits.linear_posterior import LinearPosterior, LinearPrior, noise_of
from streamer_models.bandits.linear_statistics import (
    STATISTICS_BITS,
    LinearStatistics,
    amend_statistics,
    fading_statistics,
    read_sums,
    statistics_spec,
)
from streamer_models.bandits.protocols import Contexts
from streamer_models.state.table import ARM, Array, Slots, fold

_LONG_AGO = -(1 << 62)


class LinearRows:
    """Statistics of linear models in rows: integers, as a partition's tables hold them.

    What they add up to depends on the examples alone. Posteriors under a fixed prior may be *kept*
    beside them: they follow by O(d²) steps and are solved afresh from the integers every
    ``refresh_every`` examples of a row, which bounds the drift. A prior that depends on the
    statistics (standardized columns) or evidence that decays changes with every example: such
    posteriors are solved when they are asked for.

    Parameters
    ----------
    n_features
        d.
    half_life_s
        In event time; 0: evidence does not decay.
    kept
        Prior of the posteriors that are kept; None: none are.
    of_arms
        Whether a row is an arm's own model, and not that of all arms.
    refresh_every
        Examples of a row between two solutions.

    Attributes
    ----------
    values
        ``(n_rows, statistics_width(d))`` int64, or four times as wide (cells) where evidence
        decays.
    factors, z
        ``(n_rows, d, d)`` and ``(n_rows, d)`` of the kept posteriors; no rows where none are.
    newest_ms
        Newest event time learned where evidence decays: it is read as of then.
    """

    def __init__(
        self,
        n_features: int,
        *,
        half_life_s: float = 0.0,
        kept: LinearPrior | None = None,
        of_arms: bool = False,
        refresh_every: int = 10_000,
    ) -> None:
        if n_features < 1 or refresh_every < 1:
            raise ValueError(
                f"n_features={n_features} and refresh_every={refresh_every} must be at least 1"
            )
        if half_life_s and not 0.001 <= half_life_s < 1e12:
            raise ValueError(
                f"half_life_s={half_life_s} must be 0 (evidence does not decay) or at least 0.001"
            )
        self.n_features = n_features
        self.half_life_ms = round(1000 * half_life_s)
        self.refresh_every = refresh_every
        self.newest_ms = _LONG_AGO
        self._spec = statistics_spec("linear_statistics", ARM, n_features, self.half_life_ms)
        self.values: Array = np.zeros((0, self._spec.width), dtype=np.int64)
        self.factors: Array = np.zeros((0, n_features, n_features))
        self.z: Matrix = np.zeros((0, n_features))
        self._n_since: Array = np.zeros(0, dtype=np.int64)
        self.kept = None if self.half_life_ms or (kept and kept.standardized) else kept
        if self.kept is not None:
            self._mean = np.array(self.kept.mean)
            self._precisions = np.full(
                n_features, self.kept.arm_strength if of_arms else self.kept.strength
            )

    def reserve(self, n_rows: int) -> None:
        """Have at least ``n_rows`` rows, of models that know nothing."""
        size = len(self.values)
        if n_rows <= size:
            return
        n_more = max(n_rows, 2 * size) - size
        more = np.zeros((n_more, self.values.shape[1]), dtype=np.int64)
        self.values = np.concatenate([self.values, more])
        if self.kept is not None:
            shape = (n_more, self.n_features, self.n_features)
            self.factors = np.concatenate([self.factors, np.broadcast_to(self._prior(), shape)])
            self.z = np.concatenate([self.z, np.zeros((n_more, self.n_features))])
            self._n_since = np.concatenate([self._n_since, np.zeros(n_more, dtype=np.int64)])

    def clear(self, rows: Slots) -> None:
        """Let rows know nothing again."""
        self.values[rows] = 0
        if self.kept is not None:
            self.factors[rows] = self._prior()
            self.z[rows] = 0.0
            self._n_since[rows] = 0

    def _prior(self) -> Matrix:
        return np.diag(1 / np.sqrt(self._precisions))

    def learn(
        self,
        rows: Slots,
        x: Contexts,
        before: Vector,
        after: Vector,
        ts_ms: NDArray[np.int64],
        weights: Vector | None = None,
    ) -> None:
        """Bring rows from outcomes ``before`` to ``after``, example by example; negative rows are
        passed over. ``weights`` is ``(n,)``, as how many examples each counts; None: as one."""
        if self.half_life_ms and len(ts_ms):
            self.newest_ms = max(self.newest_ms, int(ts_ms.max()))
        if self.kept is None:
            amend_statistics(self.values, rows, x, before, after, ts_ms, self.half_life_ms, weights)
        else:
            learn_rows(
                self.values, self.factors, self.z, self._n_since, rows, x, before, after,
                self._mean, self._precisions, self.refresh_every, weights,
            )  # fmt: skip

    def refresh(self) -> None:
        """Solve all kept posteriors afresh: they are functions of the statistics from here on, to
        the bit."""
        if self.kept is not None:
            for row in range(len(self.values)):
                refresh_row(
                    self.values, self.factors, self.z, self._n_since, row,
                    self._mean, self._precisions,
                )  # fmt: skip

    def estimates(self, x: Contexts, rows: Slots) -> tuple[Vector, Vector]:
        """Return ``(n,)`` means and widths of candidates by kept posteriors; row -1: the prior."""
        means, widths = estimate_rows(x, rows, self.factors, self.z, self._mean, self._precisions)
        return means, widths

    def posterior(self, row: int) -> LinearPosterior:
        """Return the kept posterior of one row; valid until more is learned."""
        assert self.kept is not None, "no posteriors are kept"
        factor, prior = self.factors[row], self.kept
        mean = mean_of(factor, self.z[row], self._mean)

        def noise() -> float:
            values = self.values[row]
            n = int(values[0]) * 2.0**-STATISTICS_BITS
            return prior.noise(noise_of(unexplained_squares(values, mean), n), n)

        return LinearPosterior(mean, factor, noise)

    def absorb(self, other: LinearRows, other_rows: Slots, rows: Slots) -> None:
        """Add statistics of rows of another table to rows of this one; refresh afterwards.

        Raises
        ------
        ValueError
            Where features or half-lives differ.
        """
        self.check_addable(other)
        fold(self._spec, self.values, rows, other.values[other_rows])
        self.newest_ms = max(self.newest_ms, other.newest_ms)

    def check_addable(self, other: LinearRows) -> None:
        """Raise ValueError where features or half-lives differ."""
        for name in ("n_features", "half_life_ms"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                raise ValueError(
                    f"statistics with {name} of {ours} and {theirs} do not add up; merge those of"
                    " the same settings"
                )

    def statistics(self, row: int) -> LinearStatistics:
        """Return the sums of one row, as of the newest event time where they decay."""
        d = self.n_features
        if self.half_life_ms:
            return fading_statistics(
                self.values[row], d, half_life_ms=self.half_life_ms, at_ms=self.newest_ms
            )
        b, a = np.empty(d), np.empty((d, d))
        read_sums(self.values[row], b, a)
        n, squares = self.values[row, :2].astype(np.float64) * 2.0**-STATISTICS_BITS
        return LinearStatistics(float(n), float(squares), b, a)
