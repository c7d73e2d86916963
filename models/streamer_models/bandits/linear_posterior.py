"""Posteriors of linear models, from exact statistics: ridge regression with its spread."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.estimates import Noise
from streamer_models.bandits.linear_kernels import (
    explained_squares,
    inverse_factor,
    kernel_rows,
    products,
    products_and_deviations,
    times,
)
from streamer_models.bandits.linear_statistics import LinearStatistics
from streamer_models.bandits.protocols import Contexts

NOISE_MIN = 1e-3
"""Floor of the standard deviation of rewards."""
VARIANCE_MIN = 1e-6
"""Floor of a feature's variance where the prior is standardised."""


@lru_cache(maxsize=8)
def _lower(n: int) -> tuple[NDArray[np.intp], ...]:
    """Indices of the lower triangle of ``(n, n)``, row by row: each decision packs one."""
    return np.tril_indices(n)


class LinearPosterior:
    """Bayesian ridge regression: ``θ ~ N(mean, noise² A⁻¹)``.

    ``A = Σ x xᵀ + s D`` and ``A mean = Σ r x + s D m₀``, with the prior's mean m₀ and strength s:
    linear Thompson sampling draws θ (Agrawal & Goyal 2013), LinUCB adds ``α √(xᵀ A⁻¹ x)`` to the
    mean (Li et al. 2010). The same statistics give the same bits on every machine.

    Parameters
    ----------
    mean
        ``(d,)``.
    factor
        ``(d, d)``, lower-triangular, ``A⁻¹ = factor factorᵀ``.
    noise
        Standard deviation of rewards around the model, or what finds it once it is asked for.

    Examples
    --------
    >>> from streamer_models.bandits.linear_statistics import LinearStatistics
    >>> seen = LinearStatistics(n=3.0, reward_squares=3.0, b=np.array([3.0]), a=np.array([[3.0]]))
    >>> posterior = LinearPosterior.of(seen, prior_mean=np.zeros(1), prior_strength=1.0)
    >>> posterior.expected(np.ones((1, 1))), posterior.deviations(np.ones((1, 1)))
    (array([0.75]), array([0.5]))
    """

    __slots__ = ("_noise", "factor", "mean")

    def __init__(
        self, mean: NDArray[np.float64], factor: NDArray[np.float64], noise: Noise
    ) -> None:
        self.mean = mean
        self.factor = factor
        self._noise = noise

    @property
    def noise(self) -> float:
        """Standard deviation of rewards around the model, at least ``NOISE_MIN``."""
        if not isinstance(self._noise, float):
            self._noise = self._noise()
        return self._noise

    @classmethod
    def of(
        cls,
        statistics: LinearStatistics,
        *,
        prior_mean: NDArray[np.float64],
        prior_strength: float,
        standardize: bool = False,
    ) -> Self:
        """The posterior that statistics give.

        Parameters
        ----------
        statistics
            Sums over examples.
        prior_mean
            ``(d,)`` m₀.
        prior_strength
            s, in examples.
        standardize
            Whether D is the variance of each feature, estimated from the same statistics, instead
            of 1: the ridge that standardised features would have, while coordinates, and so what
            is summed, never change. The first feature must be a constant 1; its D is 1. One
            pseudo-observation of variance 1 a feature makes D the identity at the start.

        Raises
        ------
        ValueError
            Where ``prior_strength`` is not positive: A could be singular.
        """
        if not prior_strength > 0:
            raise ValueError(
                f"prior_strength={prior_strength} must be above 0: without a prior, features that"
                " were never seen apart have no posterior"
            )
        diagonal = feature_variances(statistics) if standardize else np.ones(len(statistics.b))
        a = statistics.a.copy()
        a.flat[:: len(a) + 1] += prior_strength * diagonal
        factor = inverse_factor(a)
        # What the prior's mean leaves unexplained: smaller numbers, so less is lost by rounding.
        residual = statistics.b - times(statistics.a, prior_mean)
        mean = prior_mean + times(factor, times(factor.T, residual))
        return cls(mean, factor, residual_noise(statistics, mean))

    def expected(self, x: Contexts) -> NDArray[np.float64]:
        """``(n,)`` mean rewards of rows ``(n, d)``."""
        means: NDArray[np.float64] = products(kernel_rows(x), self.mean[None])[0]
        return means

    def deviations(self, x: Contexts) -> NDArray[np.float64]:
        """``(n,)`` ``√(xᵀ A⁻¹ x)``; times ``noise``, the standard deviation of ``x·θ``."""
        return self.expected_and_deviations(x)[1]

    def expected_and_deviations(
        self, x: Contexts
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return :meth:`expected` and :meth:`deviations` at once."""
        means, deviations = products_and_deviations(kernel_rows(x), self.mean, self.factor)
        return means, deviations

    def sample(
        self, x: Contexts, n_draws: int, *, scale: float, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Rewards under draws of the parameters.

        Parameters
        ----------
        x
            ``(n, d)``.
        n_draws
            Draws of ``θ ~ N(mean, (scale * noise)² A⁻¹)``, each used for all rows.
        scale
            1 draws from the posterior, more explores more.
        rng
            Generator; ``n_draws * d`` standard normal numbers are taken.

        Returns
        -------
        ``(n_draws, n)``.
        """
        normal = rng.standard_normal((n_draws, len(self.mean)))
        # The draws are the many rows that `products` works on at once, not the parameters.
        deviations = products(normal, self.factor)
        parameters = self.mean + scale * self.noise * np.ascontiguousarray(deviations.T)
        drawn: NDArray[np.float64] = products(kernel_rows(x), parameters)
        return drawn

    def packed(self) -> bytes:
        """Little-endian float64: mean, the lower triangle of factor row by row, noise."""
        lower = self.factor[_lower(len(self.mean))]
        return np.concatenate([self.mean, lower, [self.noise]]).astype("<f8").tobytes()

    @classmethod
    def unpacked(cls, packed: bytes, n_features: int) -> Self:
        """The posterior that :meth:`packed` wrote: it draws the same bits.

        Raises
        ------
        ValueError
            Where the length is not that of a posterior over ``n_features``.
        """
        n_numbers = n_features + n_features * (n_features + 1) // 2 + 1
        if len(packed) != 8 * n_numbers:
            raise ValueError(
                f"a posterior of {n_features} features has {8 * n_numbers} bytes, not"
                f" {len(packed)}: it was packed with other features"
            )
        numbers = np.frombuffer(packed, dtype="<f8").astype(np.float64)
        factor = np.zeros((n_features, n_features))
        factor[_lower(n_features)] = numbers[n_features:-1]
        return cls(numbers[:n_features], factor, float(numbers[-1]))


@dataclass(frozen=True, slots=True, eq=False)
class LinearPrior:
    """Prior of a linear model: :class:`LinearPosterior` before and around what was learned.

    Attributes
    ----------
    mean
        ``(d,)`` m₀.
    strength
        s of the model of all arms, in examples.
    reward
        Deviation of rewards from the model before anything is learned; ``strength`` examples weigh
        this guess against what shows. With a wider one, exploration would drown the prior's mean.
    arm_strength
        s of each arm's own model.
    standardized
        Whether D is the variance of each feature, of which the first must be a constant 1.
    """

    mean: NDArray[np.float64]
    strength: float
    reward: float
    arm_strength: float
    standardized: bool = False

    def arm_precisions(self, statistics: LinearStatistics) -> NDArray[np.float64]:
        """Return ``(d,)`` ``s D`` of arms, given the statistics of all."""
        if not self.standardized:
            return np.full(len(self.mean), self.arm_strength)
        return self.arm_strength * feature_variances(statistics)

    def posterior(self, statistics: LinearStatistics) -> LinearPosterior:
        """Return the posterior that statistics give."""
        posterior = LinearPosterior.of(
            statistics,
            prior_mean=self.mean,
            prior_strength=self.strength,
            standardize=self.standardized,
        )
        noise = self.noise(posterior.noise, statistics.n)
        return LinearPosterior(posterior.mean, posterior.factor, noise)

    def noise(self, noise: float, n: float) -> float:
        """Return the noise of a posterior of ``n`` examples under this prior.

        The one pseudo-observation of variance 1 is undone and the prior's own put in its place.
        """
        squares = max(noise**2 * (n + 1) - 1, 0.0) + self.strength * self.reward**2
        return math.sqrt(squares / (n + self.strength))


def feature_variances(statistics: LinearStatistics) -> NDArray[np.float64]:
    """``(d,)`` variances of features, of which the first is a constant 1, so ``A[0]`` holds sums.

    One pseudo-observation of variance 1 is counted in; at least ``VARIANCE_MIN``; 1 for the first.
    """
    n = max(statistics.n, 1e-12)
    squares = np.diagonal(statistics.a) - statistics.a[0] ** 2 / n
    variances: NDArray[np.float64] = (np.maximum(squares, 0.0) + 1.0) / (statistics.n + 1.0)
    variances[0] = 1.0
    return np.maximum(variances, VARIANCE_MIN)


def residual_noise(statistics: LinearStatistics, mean: NDArray[np.float64]) -> float:
    """Return ``√`` of the mean square of ``r - x·mean``, one pseudo-observation of 1 counted in."""
    explained = explained_squares(statistics.a, statistics.b, mean)
    return noise_of(statistics.reward_squares - explained, statistics.n)


def noise_of(squares: float, n: float) -> float:
    """Return ``√`` of the mean of ``n`` squares, one pseudo-observation of 1 counted in."""
    return max(NOISE_MIN, math.sqrt((max(squares, 0.0) + 1.0) / (n + 1.0)))
