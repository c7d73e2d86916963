"""The features a decision is made from and logged with: what stands in the registry's columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Features:
    """One row a candidate.

    Attributes
    ----------
    names
        Of the columns; see :mod:`streamer.ranking.columns.registry`.
    values
        ``(n_candidates, n_features)`` float32, within ±8. What is logged, drawn with and learned
        from are these very numbers.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)

    def column(self, name: str) -> NDArray[np.float32]:
        """``(n_candidates,)`` one feature."""
        found: NDArray[np.float32] = self.values[:, self.names.index(name)]
        return found


@dataclass(frozen=True, slots=True)
class Logged:
    """What a decision was made from, as it was logged.

    Attributes
    ----------
    candidates
        Ids, one a row of ``features``.
    """

    candidates: list[str]
    features: Features

    def rows(self, item_ids: Sequence[str]) -> NDArray[np.intp]:
        """``(n,)`` rows of items, -1 where one was no candidate."""
        row_of = {item_id: row for row, item_id in enumerate(self.candidates)}
        return np.array([row_of.get(item_id, -1) for item_id in item_ids], dtype=np.intp)

    def channel(self, rank: str) -> list[str]:
        """Ids that a channel brought, best first, by the column of its ranks."""
        column = self.features.column(rank)
        order = np.argsort(-column, kind="stable")[: np.count_nonzero(column)]
        return [self.candidates[place] for place in order.tolist()]
