"""The features a decision is made from and logged with: their names and where each stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MF: Final = "mf_score"
"""Score of the factorization; 0 for a user or an item not known to it."""
TRENDING: Final = "trending"
"""ln(1 + what the trending channel ordered by)."""
LOG_COUNT: Final = "log_count"
"""ln(1 + positive feedback ever)."""
KNOWN: Final = "known"
"""1 for an item that has parameters, 0 for one that nobody has met."""


class FeatureNames:
    """Names of the columns, in order; the half-lives are part of them.

    >>> FeatureNames([3_600_000, 86_400_000]).names
    ('mf_score', 'trending', 'log_count', 'known', 'trending_3600s', 'trending_86400s')
    """

    def __init__(self, half_lives_ms: Sequence[int]) -> None:
        each = (f"trending_{half_life / 1000:g}s" for half_life in half_lives_ms)
        self.names = (MF, TRENDING, LOG_COUNT, KNOWN, *each)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class Features:
    """One row a candidate.

    Attributes
    ----------
    names
        Of the columns.
    values
        ``(n_candidates, n_features)`` float32, finite.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)

    def column(self, name: str) -> NDArray[np.float32]:
        """``(n_candidates,)`` one feature."""
        found: NDArray[np.float32] = self.values[:, self.names.index(name)]
        return found
