"""Columns of what was scored, until metrics are made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.replay.tally import BLOCK_EVENTS

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScoredColumns:
    """What was scored, an event a row; what is of a list or of a model has more dimensions.

    Attributes
    ----------
    tops, counts
        Items of each model's list, and how many had consumed them; of none where it is shorter.
    ranks, areas, losses
        Of the target, by model: its rank, the share of the others below it, the loss of the choice.
    n_users, popular, gains
        Users there were, whether the target was among the most popular, the gain of the event.
    wanted
        Shares of the categories in what the user consumed.
    """

    tops: NDArray[np.int32]
    counts: NDArray[np.int64]
    ranks: NDArray[np.int64]
    areas: Values
    losses: Values
    n_users: NDArray[np.int64]
    popular: NDArray[np.bool_]
    gains: Values
    wanted: Values

    def map(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> ScoredColumns:
        """Return other columns, each made of one of these."""
        return ScoredColumns(*(change(getattr(self, each.name)) for each in fields(self)))


class ScoredBlock:
    """What was scored since values were last taken."""

    def __init__(self, n_models: int, k: int, n_categories: int) -> None:
        n = BLOCK_EVENTS
        self._columns = ScoredColumns(
            tops=np.empty((n, n_models, k), dtype=np.int32),
            counts=np.empty((n, n_models, k), dtype=np.int64),
            ranks=np.empty((n, n_models), dtype=np.int64),
            areas=np.empty((n, n_models)),
            losses=np.empty((n, n_models)),
            n_users=np.empty(n, dtype=np.int64),
            popular=np.empty(n, dtype=np.bool_),
            gains=np.empty(n),
            wanted=np.empty((n, n_categories)),
        )
        self.scratch = np.empty(k, dtype=np.int32)
        self._n = 0

    def next(self) -> tuple[ScoredColumns, int]:
        """Return the columns, and the row of the event at hand, to be filled in."""
        if self._n == len(self._columns.ranks):
            self._columns = self._columns.map(lambda held: np.concatenate([held, held]))
        return self._columns, self._n

    def done(self) -> None:
        """Take the event at hand as complete."""
        self._n += 1

    def take(self) -> ScoredColumns:
        """Return the rows that are complete, and begin anew."""
        n, self._n = self._n, 0
        taken = self._columns.map(lambda held: held[:n])
        taken.counts[taken.tops < 0] = -1  # counts where a list has no item are of no item
        return taken
