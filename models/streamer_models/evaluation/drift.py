"""Drift: what a monitor of live losses says, and what a learning rate makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PROBABILITY_MIN: Final = 1e-3
"""Predicted probabilities are taken within [0.001, 0.999]: one surprise costs at most 6.9."""


@dataclass(frozen=True, slots=True)
class DriftEvent:
    """The mean loss is no longer what it was.

    Attributes
    ----------
    n_observed
        Observations of the monitor up to and with the one that showed it.
    n_since
        Observations since the last event, or since the start.
    before, after
        Mean loss of the older part of the window, now dropped, and of the newer part.
    n_before, n_after
        Observations in those parts.
    """

    n_observed: int
    n_since: int
    before: float
    after: float
    n_before: int
    n_after: int

    @property
    def rose(self) -> bool:
        """Whether predictions got worse. A loss falls while a new model learns, and also where
        rewards simply become rarer."""
        return self.after > self.before


class DriftMonitor(Protocol):
    """Watches predictions against what came of them, in event order."""

    def observe(self, predicted: Floats, observed: Floats) -> list[DriftEvent]:
        """Take ``(n,)`` predicted and observed rewards; events in order, usually none.

        When events are found doesn't depend on how observations are divided into calls.

        Raises
        ------
        ValueError
            Where the lengths differ or a value is not finite; nothing is taken then.
        """


def log_losses(predicted: Floats, observed: Floats) -> Floats:
    """``-ln p`` where there was a positive reward, ``-ln(1 - p)`` where not.

    Parameters
    ----------
    predicted
        ``(n,)`` probabilities p; taken within ``PROBABILITY_MIN`` of 0 and 1.
    observed
        ``(n,)`` rewards; what counts is whether they are above 0.

    Examples
    --------
    >>> log_losses(np.array([0.5, 0.9, 7.0]), np.array([1.0, 0.0, 2.0])).round(3).tolist()
    [0.693, 2.303, 0.001]
    """
    probability = np.clip(predicted, PROBABILITY_MIN, 1.0 - PROBABILITY_MIN)
    return -np.log(np.where(observed > 0, probability, 1.0 - probability))


def squared_errors(predicted: Floats, observed: Floats) -> Floats:
    """``(observed - predicted)²``, for rewards that are more than clicks.

    Examples
    --------
    >>> squared_errors(np.array([0.5, 2.0]), np.array([0.0, 3.0])).tolist()
    [0.25, 1.0]
    """
    errors: Floats = np.square(observed - predicted)
    return errors


LOSSES: Final = MappingProxyType[str, Callable[[Floats, Floats], Floats]](
    {"log": log_losses, "squared": squared_errors}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateBoost:
    """A learning rate that is raised by a drift and falls back.

    n examples after the one that showed the drift, the rate is multiplied by
    ``1 + (boost - 1) * 2^(-n / half_life_examples)``. A further drift starts it anew: it is never
    above ``boost``.

    Parameters
    ----------
    boost
        Factor at the drift; at least 1.
    half_life_examples
        Examples after which what is above 1 is half.

    Examples
    --------
    >>> RateBoost(boost=5.0, half_life_examples=100).factors(0, 301, [100])[::100].tolist()
    [1.0, 5.0, 3.0, 2.0]
    """

    boost: float = 4.0
    half_life_examples: float = 5_000.0

    def __post_init__(self) -> None:
        if not 1 <= self.boost < np.inf or not 0 < self.half_life_examples < np.inf:
            raise ValueError(
                f"boost={self.boost} must be at least 1 (1: no boost) and"
                f" half_life_examples={self.half_life_examples} above 0, both finite"
            )

    def factors(self, first: int, n: int, drifts: Sequence[int]) -> Floats:
        """``(n,)`` factors of the examples numbered from ``first`` on.

        Parameters
        ----------
        first, n
            Examples by number, in the numbering of ``drifts``.
        drifts
            Numbers of the examples that showed a drift, rising; only the last one at or before an
            example matters to it, so one earlier than ``first`` is all that need be kept.
        """
        numbers = np.arange(first, first + n)
        latest = np.searchsorted(np.asarray(drifts, dtype=np.int64), numbers, side="right") - 1
        # Infinitely long ago, where there was none: 2^-inf is 0.
        found = np.array([*drifts, -np.inf])
        since = numbers - found[latest]
        factors: Floats = 1.0 + (self.boost - 1.0) * np.exp2(-since / self.half_life_examples)
        return factors
