"""Tables that are looked through as a whole: merged rows, and narrow columns of floats of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from streamer.replica.dense_rows import DenseRows
from streamer.replica.id_rows import IdView
from streamer_models.counters.decay import decayed_values
from streamer_models.state.decayed_cells import EPOCH_HALF_LIVES
from streamer_models.state.readable import ReadColumns, ReadDecayed
from streamer_models.state.table import Array, Keys, Slots, fold, grown

TOP_MIN: Final = 2_048
"""Rows of an order that is kept, so that what is ruled out leaves enough."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ColumnView:
    """Numbers of one version; nothing in it ever changes but what it remembers of its answers.

    Attributes
    ----------
    ids
        Whose rows these are.
    values
        ``(n_rows, n_columns)`` float32.
    totals
        ``(n_columns,)`` float64 sums over all rows; zeros where they are not declared.
    """

    ids: IdView
    values: Floats
    totals: NDArray[np.float64]
    _tops: dict[int, Slots] = field(default_factory=dict)

    def of(self, keys: Keys) -> NDArray[np.float64]:
        """``(n, n_columns)`` numbers of ids, zeros where absent."""
        found = np.zeros((len(keys), self.values.shape[1]))
        _gather(self.values, self.ids.map.find(keys), found)
        return found

    def top(self, column: int, n: int) -> Slots:
        """Live rows with the greatest values in a column, best first, at least ``n``.

        Decayed counts of a half-life decay alike, so the order holds at any time: it is found once
        a version.
        """
        top = self._tops.get(column)
        if top is None or (len(top) < n and len(top) < self.ids.n_live):
            values = np.where(self.ids.live, self.values[:, column], np.float32(-np.inf))
            top = best(values, max(n, TOP_MIN), self.ids.keys)
            self._tops[column] = top
        return top


@dataclass(frozen=True, slots=True)
class DecayedColumnView(ColumnView):
    """Decayed counts of one version as of ``at_ms``, a column a counter.

    Attributes
    ----------
    half_lives
        ``(n_columns,)`` ms.
    """

    at_ms: int = 0
    half_lives: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def shares(self, at_ms: int) -> NDArray[np.float64]:
        """``(n_columns,)`` what is left at a time not before ``self.at_ms`` of the values."""
        left: NDArray[np.float64] = np.exp2((self.at_ms - at_ms) / self.half_lives)
        return left

    def at(self, rows: Slots, at_ms: int) -> Floats:
        """``(n, n_columns)`` decayed counts of rows at a time not before ``self.at_ms``."""
        values: Floats = self.values[rows] * self.shares(at_ms).astype(np.float32)
        return values


@numba.njit(cache=True, nogil=True)
def _gather(values: Floats, rows: Slots, found: NDArray[np.float64]) -> None:
    for i in range(len(rows)):
        if rows[i] >= 0:
            for c in range(values.shape[1]):
                found[i, c] = values[rows[i], c]


def best(values: Floats, n: int, keys: Keys) -> Slots:
    """At most ``n`` rows with the greatest values, best first, those of -inf left out.

    Equal values are in the order of their keys, so that row numbers do not show.
    """
    if n < len(values):
        rows = np.argpartition(values, len(values) - n)[len(values) - n :]
    else:
        rows = np.arange(len(values))
    rows = rows[values[rows] > -np.inf]
    order = np.lexsort((keys[rows], -values[rows]))
    found: Slots = rows[order].astype(np.int32)
    return found


class ColumnStore(DenseRows):
    """Merged rows of a table that is read in columns; for the follower thread alone, but for what
    :meth:`publish` makes.

    A version whose rows or ids changed copies all columns: 4 B a row and column.
    """

    def __init__(self, reading: ReadColumns | ReadDecayed) -> None:
        super().__init__(reading.spec)
        self._reading = reading
        half_lives = reading.half_lives_ms if isinstance(reading, ReadDecayed) else ()
        self._half_lives = np.array(half_lives, dtype=np.int64)
        # Of all rows, kept as one more row: exact, whatever order changes come in.
        self._total: Array = np.zeros((1, reading.spec.width), dtype=reading.spec.dtype)
        n_columns = len(half_lives) or reading.spec.width
        self._floats: Floats = np.zeros((0, n_columns), dtype=np.float32)
        self._at_ms = 0
        self._view: ColumnView | None = None

    def merge(self, rows: Slots, changes: Array) -> None:
        """Apply changes ``(n, width)``; rows may repeat."""
        super().merge(rows, changes)
        if self._reading.totalled:
            fold(self.spec, self._total, np.zeros_like(rows), changes)

    def pack(self, kept: Slots) -> None:
        """Renumber: row ``kept[i]`` becomes row ``i``."""
        super().pack(kept)
        self._floats = np.zeros((0, self._floats.shape[1]), dtype=np.float32)
        self._view = None

    def publish(self, ids: IdView, watermark_ms: int) -> ColumnView:
        """The numbers as they are now, immutable."""
        at_ms = decay_reference(self._half_lives, watermark_ms)
        if at_ms > self._at_ms:
            self._at_ms = at_ms
            self._touch(np.arange(ids.n_rows, dtype=np.int32))
        rows = self._take_touched(ids.n_rows)
        view = self._view
        if view is None or len(rows):
            values = self._refreshed(rows, ids.n_rows)
        elif view.ids is ids:
            return view
        else:
            values = view.values
        self._view = self._viewed(ids, values)
        return self._view

    def _refreshed(self, rows: Slots, n_rows: int) -> Floats:
        if len(self._floats) < len(self.values):
            self._floats = grown(self._floats, len(self.values))
        self._floats[rows] = self._read(self.values[rows])
        return self._floats[:n_rows].copy()

    def _read(self, values: Array) -> NDArray[np.float64]:
        """Numbers that merged rows stand for."""
        if isinstance(self._reading, ReadDecayed):
            return decayed_values(values, self._half_lives, self._at_ms)
        read: NDArray[np.float64] = values * np.array(self._reading.units or (1.0,))
        return read

    def _viewed(self, ids: IdView, values: Floats) -> ColumnView:
        totals = self._read(self._total)[0]
        if not isinstance(self._reading, ReadDecayed):
            return ColumnView(ids, values, totals)
        return DecayedColumnView(
            ids, values, totals, at_ms=self._at_ms, half_lives=self._half_lives
        )


def decay_reference(half_lives: NDArray[np.int64], watermark_ms: int) -> int:
    """Time that decayed counts are kept for, so that rows nobody touched stay as they are.

    It is the start of the present epoch of the shortest half-life: a function of the watermark,
    not of when it was looked at. All current epochs are at most one ahead of it.
    """
    if not len(half_lives):
        return 0
    length = int(half_lives.min()) * EPOCH_HALF_LIVES
    return watermark_ms // length * length
