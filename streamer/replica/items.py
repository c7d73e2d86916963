"""Items of one version, and how popular each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.replica.columns import ColumnView, DecayedColumnView
from streamer.replica.id_rows import IdView, RowsOfKeys
from streamer.replica.tables import Tables
from streamer_models.counters.popularity import Popularity
from streamer_models.state.model import Model, model_of
from streamer_models.state.table import ITEM, Keys, Slots

COUNT, DECAYED = range(2)
"""Columns of :meth:`ItemView.column`; from ``DECAYED`` on, one a half-life."""


@dataclass(frozen=True, slots=True)
class ItemView:
    """Items of one version; nothing in it ever changes but what its columns remember of their own
    answers.

    Attributes
    ----------
    ids
        The items by row.
    counts
        One column: positive feedback ever.
    popularity
        A column a half-life; None where no popularity is learned.
    """

    ids: IdView
    counts: ColumnView
    popularity: DecayedColumnView | None

    @classmethod
    def of(cls, tables: Tables, models: Sequence[Model]) -> ItemView:
        """The items of a version."""
        ids = tables.of_entity(ITEM)
        popular = model_of(models, Popularity)
        nothing = ColumnView(ids, np.zeros((ids.n_rows, 1), dtype=np.float32), np.zeros(1))
        return cls(
            ids=ids,
            counts=nothing if popular is None else tables.read(popular.counts),
            popularity=None if popular is None else tables.read(popular.decayed),
        )

    @property
    def generation(self) -> int:
        """Rows keep their meaning within one."""
        return self.ids.generation

    @property
    def n_rows(self) -> int:
        return self.ids.n_rows

    @property
    def map(self) -> RowsOfKeys:
        return self.ids.map

    @property
    def keys(self) -> Keys:
        """Of each row."""
        return self.ids.keys

    @property
    def names(self) -> Sequence[str]:
        """Of each row, the first ``n_rows`` alone."""
        return self.ids.names

    @property
    def live(self) -> NDArray[np.bool_]:
        """``(n_rows,)``, False where the id is gone."""
        return self.ids.live

    @property
    def half_lives(self) -> NDArray[np.int64]:
        """``(n_half_lives,)`` ms of the decayed counts."""
        return np.zeros(0, np.int64) if self.popularity is None else self.popularity.half_lives

    @property
    def at_ms(self) -> int:
        """Time that the columns of decayed counts are of."""
        return 0 if self.popularity is None else self.popularity.at_ms

    def column(self, column: int) -> NDArray[np.float32]:
        """``(n_rows,)`` counts, or decayed counts as of ``at_ms``."""
        view, place = self._column(column)
        return view.values[:, place]

    def decayed(self, rows: Slots, at_ms: int) -> NDArray[np.float32]:
        """``(n, n_half_lives)`` decayed counts of ``rows`` at a time not before ``self.at_ms``."""
        if self.popularity is None:
            return np.zeros((len(rows), 0), dtype=np.float32)
        return self.popularity.at(rows, at_ms)

    def top(self, column: int, n: int) -> Slots:
        """Live rows with the greatest values in a column, best first, at least ``n``."""
        view, place = self._column(column)
        return view.top(place, n)

    def _column(self, column: int) -> tuple[ColumnView, int]:
        if column == COUNT:
            return self.counts, 0
        assert self.popularity is not None, "a half-life where no popularity is learned"
        return self.popularity, column - DECAYED
