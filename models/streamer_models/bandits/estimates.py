"""Estimates of candidates' rewards: what policies draw from and decisions log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from streamer_models.bandits.linear_posterior import LinearPosterior
    from streamer_models.bandits.protocols import Contexts

Floats = NDArray[np.float64]
Noise = float | Callable[[], float]
"""A standard deviation of rewards, or what computes it: bounds and means do without."""


class RewardEstimate(Protocol):
    """Estimated rewards of ``n`` candidates; with their contexts, ``packed`` holds all of it."""

    @property
    def expected(self) -> Floats:
        """``(n,)`` mean rewards."""

    def deviations(self) -> Floats:
        """Return ``(n,)`` widths of confidence bounds."""

    def sample(self, n_draws: int, *, scale: float, rng: np.random.Generator) -> Floats:
        """Return ``(n_draws, n)`` posterior draws; ``scale`` widens or narrows their spread."""

    def packed(self) -> bytes:
        """Return it as little-endian float64; the same bits draw the same slate."""


class SharedEstimate:
    """Estimates of candidates under one linear model of all.

    Parameters
    ----------
    posterior
        Posterior of the model.
    contexts
        ``(n, d)``.
    """

    __slots__ = ("_expected", "contexts", "posterior")

    def __init__(self, posterior: LinearPosterior, contexts: Contexts) -> None:
        self.posterior = posterior
        self.contexts = contexts
        self._expected: Floats | None = None

    @property
    def expected(self) -> Floats:
        """``(n,)`` mean rewards."""
        if self._expected is None:
            self._expected = self.posterior.expected(self.contexts)
        return self._expected

    def deviations(self) -> Floats:
        """Return ``(n,)`` ``√(xᵀ A⁻¹ x)``."""
        self._expected, deviations = self.posterior.expected_and_deviations(self.contexts)
        return deviations

    def sample(self, n_draws: int, *, scale: float, rng: np.random.Generator) -> Floats:
        """Return ``(n_draws, n)`` rewards, one draw of the parameters a row."""
        return self.posterior.sample(self.contexts, n_draws, scale=scale, rng=rng)

    def packed(self) -> bytes:
        """Return the posterior, packed."""
        return self.posterior.packed()


class ShiftedEstimate:
    """An estimate with something added to the reward of each candidate, which is not learned: what
    slates are drawn from where rules boost and bury.

    Parameters
    ----------
    estimate
        Of the rewards.
    shifts
        ``(n,)``.
    """

    __slots__ = ("estimate", "shifts")

    def __init__(self, estimate: RewardEstimate, shifts: Floats) -> None:
        self.estimate = estimate
        self.shifts = shifts

    @property
    def expected(self) -> Floats:
        """``(n,)`` mean rewards, shifted."""
        return self.estimate.expected + self.shifts

    def deviations(self) -> Floats:
        """Return those of the estimate."""
        return self.estimate.deviations()

    def sample(self, n_draws: int, *, scale: float, rng: np.random.Generator) -> Floats:
        """Return ``(n_draws, n)`` posterior draws, shifted."""
        return self.estimate.sample(n_draws, scale=scale, rng=rng) + self.shifts

    def packed(self) -> bytes:
        """Return the estimate, packed, without the shifts."""
        return self.estimate.packed()


class IndependentEstimate:
    """Estimates of candidates by themselves.

    Parameters
    ----------
    expected, widths
        ``(n,)``; a draw is ``N(expected, (scale * noise * width)²)``.
    noise
        Standard deviation of rewards, or what finds it once it is asked for.
    """

    __slots__ = ("_noise", "expected", "widths")

    def __init__(self, expected: Floats, widths: Floats, noise: Noise) -> None:
        self.expected = expected
        self.widths = widths
        self._noise = noise

    @property
    def noise(self) -> float:
        """Standard deviation of rewards."""
        if not isinstance(self._noise, float):
            self._noise = self._noise()
        return self._noise

    def deviations(self) -> Floats:
        """Return ``(n,)`` widths."""
        return self.widths

    def sample(self, n_draws: int, *, scale: float, rng: np.random.Generator) -> Floats:
        """Return ``(n_draws, n)`` independent normal draws."""
        normal = rng.standard_normal((n_draws, len(self.expected)))
        drawn: Floats = self.expected + scale * self.noise * self.widths * normal
        return drawn

    def packed(self) -> bytes:
        """Return means, widths and noise as little-endian float64."""
        return np.concatenate([self.expected, self.widths, [self.noise]]).astype("<f8").tobytes()

    @classmethod
    def unpacked(cls, packed: bytes, n: int) -> Self:
        """Return the estimate that :meth:`packed` wrote.

        Raises
        ------
        ValueError
            Where it is not one of ``n`` candidates.
        """
        numbers = _numbers(packed, 2 * n + 1)
        return cls(numbers[:n], numbers[n : 2 * n], float(numbers[-1]))


@dataclass(frozen=True, slots=True, eq=False)
class BetaEstimate:
    """``Beta(positive, negative)`` of each candidate's share of positive outcomes.

    Attributes
    ----------
    positive, negative
        ``(n,)``, above 0.
    """

    positive: Floats
    negative: Floats

    @property
    def expected(self) -> Floats:
        """``(n,)`` mean shares."""
        return self.positive / (self.positive + self.negative)

    def deviations(self) -> Floats:
        """Return ``(n,)`` standard deviations of the shares."""
        mean = self.expected
        widths: Floats = np.sqrt(mean * (1 - mean) / (self.positive + self.negative + 1))
        return widths

    def sample(self, n_draws: int, *, scale: float, rng: np.random.Generator) -> Floats:
        """Return draws from as many outcomes as ``1 / scale²`` of those there were."""
        shape = (n_draws, len(self.positive))
        return rng.beta(self.positive / scale**2, self.negative / scale**2, size=shape)

    def packed(self) -> bytes:
        """Return both parameters as little-endian float64."""
        return np.concatenate([self.positive, self.negative]).astype("<f8").tobytes()

    @classmethod
    def unpacked(cls, packed: bytes, n: int) -> Self:
        """Return the estimate that :meth:`packed` wrote.

        Raises
        ------
        ValueError
            Where it is not one of ``n`` candidates.
        """
        numbers = _numbers(packed, 2 * n)
        return cls(numbers[:n], numbers[n:])


def _numbers(packed: bytes, n: int) -> Floats:
    if len(packed) != 8 * n:
        raise ValueError(
            f"policy_state holds {len(packed)} bytes where this policy packs {8 * n}: it is not"
            " the state of this decision"
        )
    return np.frombuffer(packed, dtype="<f8").astype(np.float64)
