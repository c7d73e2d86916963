"""A log as an evaluation policy sees it, in columns."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

PROPENSITY_MIN: Final = 1e-100
"""Smaller propensities count as so much: a row of one is the whole estimate either way, and the
squares of 10^8 such weights are finite."""


@dataclass(frozen=True, slots=True, eq=False)
class WeighedLog:
    """Logged choices with what the evaluation policy π makes of them.

    A row is one action: of a slate, one item in one slot. Columns have equal length ``n``.

    Attributes
    ----------
    rewards
        ``r``, finite.
    propensities
        Probability that the logging policy took the logged action, in (0, 1].
    target
        π's probability of the logged action, in [0, 1].
    matched
        Whether the action that π drew is the logged one; None: π drew none.
    model_logged
        ``q̂(x, a)`` of the logged action by a reward model; None: there is none.
    model_target
        ``Σ_a π(a | x) q̂(x, a)``; None: there is none.
    requests
        int64; rows of one request depend on each other and are resampled together. None: each row
        is a request.

    Raises
    ------
    ValueError
        Where a column has another length, or a value is out of its range.
    """

    rewards: Floats
    propensities: Floats
    target: Floats
    matched: Flags | None = None
    model_logged: Floats | None = None
    model_target: Floats | None = None
    requests: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        n = len(self.rewards)
        for name in (field.name for field in fields(self)):
            column = getattr(self, name)
            if column is not None and column.shape != (n,):
                raise ValueError(f"{name} has shape {column.shape}; {n} rewards need ({n},)")
        for name in ("rewards", "model_logged", "model_target"):
            column = getattr(self, name)
            if column is not None:
                _require(name, column, np.isfinite(column), "must be finite")
        p, target = self.propensities, self.target
        _require("propensities", p, (p > 0) & (p <= 1), "must be in (0, 1]")
        # Probabilities that were added up may exceed 1 by their rounding.
        _require("target", target, (target >= 0) & (target <= 1 + 1e-9), "must be in [0, 1]")

    def __len__(self) -> int:
        return len(self.rewards)

    def where(self, rows: Flags) -> WeighedLog:
        """The rows that ``rows`` marks."""
        columns: dict[str, Any] = {}
        for name in (field.name for field in fields(self)):
            column = getattr(self, name)
            columns[name] = None if column is None else column[rows]
        return WeighedLog(**columns)

    def weights(self) -> Floats:
        """``w = π(a | x) / propensity``; their mean is 1 but for chance, where the logging policy
        gives every action of π a probability. At most ``1 / PROPENSITY_MIN``."""
        weights: Floats = self.target / np.maximum(self.propensities, PROPENSITY_MIN)
        return weights


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What each row adds to an estimate ``Σ numerators / Σ denominators``.

    Attributes
    ----------
    numerators, denominators
        ``(n,)``.
    effective_sample_size
        Rows of equal weight that would be worth as much.
    clipped_share
        Share of rows whose weight was too large and was cut, or left to the reward model.
    """

    numerators: Floats
    denominators: Floats
    effective_sample_size: float
    clipped_share: float = 0.0


def _require(name: str, column: Floats, good: Flags, bound: str) -> None:
    bad = np.flatnonzero(~good)
    if len(bad):
        raise ValueError(f"{name}[{bad[0]}]={column[bad[0]]} {bound}")
