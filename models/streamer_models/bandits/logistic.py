"""Logistic regression for rewards that are clicks, by an online Laplace approximation."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.arms import ArmRows
from streamer_models.bandits.laplace import fade, learn_laplace, logits_and_squares
from streamer_models.bandits.linear_kernels import products
from streamer_models.bandits.merging import check_settings_agree
from streamer_models.bandits.policy import Contexts
from streamer_models.state.table import Array, Keys, Slots

Floats = NDArray[np.float64]

_LONG_AGO = -(1 << 62)


class LogisticRegression:
    """``P(click) = σ(x·w)`` with independent normal beliefs on weights (Chapelle & Li 2011).

    A model for :class:`~streamer_models.bandits.linear_thompson.LinearThompson` (``noise_scale`` 1
    is their Algorithm 3, smaller ones explore less) and for
    :class:`~streamer_models.bandits.linucb.LinUCB`, whose bound is ``σ(x·m + α √(Σ x_i² / q_i))``.
    Rewards are in [0, 1]. What is learned is no sum: amended outcomes are followed to first order,
    which is close where they are amended soon (a hundred examples later: click rates differ by
    0.006 on average, a thousand later by 0.1), and merging is that of independent beliefs; both
    depend on the order.

    Parameters
    ----------
    n_features
        Columns of a context.
    prior_strength
        q₀: precision of a weight before any example; its mean is 0.
    half_life_s
        After which evidence counts half, in event time; 0: it does not fade.
    per_arm
        Whether each arm has weights of its own; else all share them.
    arms_max, sightings_min
        As in :class:`~streamer_models.bandits.disjoint_linear.DisjointLinear`.

    Raises
    ------
    ValueError
        Where a setting is out of its range.

    Examples
    --------
    >>> from streamer_models.bandits.linear_thompson import LinearThompson
    >>> policy = LinearThompson(LogisticRegression(1))
    >>> arms, contexts = np.zeros(9, dtype=np.uint64), np.ones((9, 1))
    >>> policy.update(contexts, arms, np.eye(9)[0], np.zeros(9, dtype=np.int64))
    >>> policy.expected(contexts[:1], arms[:1]).round(2)
    array([0.25])
    """

    def __init__(
        self,
        n_features: int,
        *,
        prior_strength: float = 1.0,
        half_life_s: float = 0.0,
        per_arm: bool = False,
        arms_max: int = 10_000,
        sightings_min: int = 1,
    ) -> None:
        if n_features < 1 or not 0 < prior_strength < np.inf:
            raise ValueError(
                f"n_features={n_features} must be at least 1, prior_strength={prior_strength}"
                " above 0 and finite"
            )
        if half_life_s and not 0.001 <= half_life_s < 1e12:
            raise ValueError(
                f"half_life_s={half_life_s} must be 0 (evidence does not fade) or at least 0.001"
            )
        self.name = "logistic-disjoint" if per_arm else "logistic"
        self.n_features = n_features
        self.fades = half_life_s > 0
        self.prior_strength = float(prior_strength)
        self.half_life_ms = round(half_life_s * 1_000)
        self.newest_ms = _LONG_AGO
        self.arms = ArmRows(arms_max=arms_max, sightings_min=sightings_min) if per_arm else None
        self._mean: Array = np.zeros((0, n_features))
        self._precision: Array = np.zeros((0, n_features))
        self._as_of_ms: Array = np.zeros(0, dtype=np.int64)
        if self.arms is None:
            self._reserve(1)

    def means(self, x: Contexts, arms: Keys) -> Floats:
        """``(n,)`` click probabilities under the mean weights."""
        return _sigmoids(self._logits_and_squares(x, arms)[0])

    def upper_bounds(self, x: Contexts, arms: Keys, alpha: float) -> Floats:
        """``(n,)`` click probabilities ``alpha`` standard deviations up in the logit."""
        logits, squares = self._logits_and_squares(x, arms)
        return _sigmoids(logits + alpha * np.sqrt(squares))

    def sample(
        self, x: Contexts, arms: Keys, n_draws: int, scale: float, rng: np.random.Generator
    ) -> Floats:
        """``(n_draws, n)`` click probabilities; shared weights are drawn once a draw, those of
        arms arm by arm."""
        if self.arms is None:
            mean, precision = self._faded(np.zeros(1, dtype=np.int32))
            normal = rng.standard_normal((n_draws, self.n_features))
            return _sigmoids(products(x, mean + scale * normal / np.sqrt(precision)))
        logits, squares = self._logits_and_squares(x, arms)
        normal = rng.standard_normal((n_draws, len(logits)))
        return _sigmoids(logits + scale * np.sqrt(squares) * normal)

    def _logits_and_squares(self, x: Contexts, arms: Keys) -> tuple[Floats, Floats]:
        logits, squares = logits_and_squares(
            x, self._mean, self._precision, self._as_of_ms, self._find(arms),
            self.prior_strength, self.half_life_ms, self.newest_ms,
        )  # fmt: skip
        return logits, squares

    def _find(self, arms: Keys) -> Slots:
        return np.zeros(len(arms), dtype=np.int32) if self.arms is None else self.arms.find(arms)

    def learn(
        self, x: Contexts, arms: Keys, before: Floats, after: Floats, ts_ms: NDArray[np.int64]
    ) -> None:
        """Bring examples from ``before`` to ``after``.

        Raises
        ------
        ValueError
            Where a reward is outside [0, 1]; nothing is learned then.
        """
        for rewards in (before, after):
            outside = (rewards < 0.0) | (rewards > 1.0)
            if outside.any():
                raise ValueError(
                    f"reward {rewards[outside][0]} is outside [0, 1], the range of a click"
                    " probability; scale it, or choose a linear model"
                )
        at = 0
        while at < len(x):
            rows, n_ready = self._find(arms), len(x)
            if self.arms is not None:
                rows, n_ready = self.arms.resolve(arms[at:], ts_ms[at:])
                self._reserve(self.arms.n_rows)
            run = slice(at, at + n_ready)
            self.newest_ms = learn_laplace(
                self._mean, self._precision, self._as_of_ms, rows,
                x[run], before[run], after[run], ts_ms[run],
                self.prior_strength, self.half_life_ms, self.newest_ms,
            )  # fmt: skip
            at += n_ready
            if self.arms is not None and at < len(x):
                gone = self.arms.expire()
                self._mean[gone] = 0.0
                self._precision[gone] = self.prior_strength

    def _reserve(self, n_rows: int) -> None:
        size = len(self._mean)
        if n_rows > size:
            n_more = max(n_rows, 2 * size) - size
            unknown = np.full((n_more, self.n_features), self.prior_strength)
            self._mean = np.concatenate([self._mean, np.zeros((n_more, self.n_features))])
            self._precision = np.concatenate([self._precision, unknown])
            self._as_of_ms = np.concatenate([self._as_of_ms, np.full(n_more, _LONG_AGO)])

    def _faded(self, rows: Slots) -> tuple[Floats, Floats]:
        """Copies of means and precisions, as of the newest event time."""
        mean, precision = self._mean[rows], self._precision[rows]
        if self.fades:
            for i, as_of_ms in enumerate(self._as_of_ms[rows].tolist()):
                share = 2.0 ** ((as_of_ms - self.newest_ms) / self.half_life_ms)
                fade(mean[i], precision[i], self.prior_strength, share)
        return mean, precision

    def refresh(self) -> None:
        """Nothing is derived from anything here."""

    def merge(self, other: Self) -> None:
        """Multiply beliefs, the prior once: exact for normal beliefs from independent examples,
        which these are approximately.

        Raises
        ------
        ValueError
            Where the settings differ, or all arms together are more than ``arms_max``.
        """
        settings = ("name", "n_features", "prior_strength", "half_life_ms")
        check_settings_agree(self, other, settings)
        their_rows = our_rows = np.zeros(1, dtype=np.int32)
        if self.arms is not None and other.arms is not None:
            their_rows, our_rows = self.arms.absorb(other.arms)
            self._reserve(self.arms.n_rows)
        self.newest_ms = max(self.newest_ms, other.newest_ms)
        their_mean, their_precision = other._faded(their_rows)
        if self.fades:
            share = 2.0 ** ((other.newest_ms - self.newest_ms) / self.half_life_ms)
            fade(their_mean.ravel(), their_precision.ravel(), self.prior_strength, share)
        mean, precision = self._faded(our_rows)
        both = precision + their_precision - self.prior_strength
        self._mean[our_rows] = (mean * precision + their_mean * their_precision) / both
        self._precision[our_rows] = both
        self._as_of_ms[our_rows] = self.newest_ms


def _sigmoids(logits: Floats) -> Floats:
    # Through exp(-|x|), which can't overflow.
    tail = np.exp(-np.abs(logits))
    sigmoids: Floats = np.where(logits >= 0, 1.0, tail) / (1.0 + tail)
    return sigmoids
