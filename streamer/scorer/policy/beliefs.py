"""What a policy may believe of candidates' rewards: what it draws from, and what it logs of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
Floats = NDArray[np.float64]


class Belief(Protocol):
    """Of ``n`` candidates' rewards, given their features; ``packed`` holds all of it."""

    def expected(self, x: Values) -> Floats:
        """``(n,)`` mean rewards."""

    def deviations(self, x: Values) -> Floats:
        """``(n,)`` widths of confidence bounds."""

    def sample(self, x: Values, n_draws: int, *, scale: float, rng: np.random.Generator) -> Floats:
        """``(n_draws, n)`` rewards as they may be; ``scale`` widens or narrows the spread."""

    def packed(self) -> bytes:
        """As little-endian float64; the same bits draw the same."""


@dataclass(frozen=True, slots=True, eq=False)
class IndependentBelief:
    """Of each candidate by itself.

    Attributes
    ----------
    means, widths
        ``(n,)``; a sample is ``N(mean, (scale * noise * width)²)``.
    noise
        Standard deviation of rewards.
    """

    means: Floats
    widths: Floats
    noise: float

    def expected(self, x: Values) -> Floats:
        return self.means

    def deviations(self, x: Values) -> Floats:
        return self.widths

    def sample(self, x: Values, n_draws: int, *, scale: float, rng: np.random.Generator) -> Floats:
        normal = rng.standard_normal((n_draws, len(self.means)))
        drawn: Floats = self.means + scale * self.noise * self.widths * normal
        return drawn

    def packed(self) -> bytes:
        return np.concatenate([self.means, self.widths, [self.noise]]).astype("<f8").tobytes()

    @classmethod
    def unpacked(cls, packed: bytes, n: int) -> Self:
        numbers = _numbers(packed, 2 * n + 1)
        return cls(numbers[:n], numbers[n : 2 * n], float(numbers[-1]))


@dataclass(frozen=True, slots=True, eq=False)
class BetaBelief:
    """``Beta(positive, negative)`` of each candidate's share of positive outcomes.

    Attributes
    ----------
    positive, negative
        ``(n,)``, above 0.
    """

    positive: Floats
    negative: Floats

    def expected(self, x: Values) -> Floats:
        return self.positive / (self.positive + self.negative)

    def deviations(self, x: Values) -> Floats:
        mean = self.expected(x)
        widths: Floats = np.sqrt(mean * (1 - mean) / (self.positive + self.negative + 1))
        return widths

    def sample(self, x: Values, n_draws: int, *, scale: float, rng: np.random.Generator) -> Floats:
        """Draws of as many outcomes as ``1 / scale²`` of those there were."""
        shape = (n_draws, len(self.positive))
        return rng.beta(self.positive / scale**2, self.negative / scale**2, size=shape)

    def packed(self) -> bytes:
        return np.concatenate([self.positive, self.negative]).astype("<f8").tobytes()

    @classmethod
    def unpacked(cls, packed: bytes, n: int) -> Self:
        numbers = _numbers(packed, 2 * n)
        return cls(numbers[:n], numbers[n:])


def _numbers(packed: bytes, n: int) -> Floats:
    if len(packed) != 8 * n:
        raise ValueError(
            f"policy_state holds {len(packed)} bytes where this policy packs {8 * n}: it is not"
            " the state of this decision"
        )
    return np.frombuffer(packed, dtype="<f8").astype(np.float64)
