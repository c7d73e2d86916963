"""The greatest rows of a table by each of its counters, kept while the counters change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.decayed_cells import CELLS_WIDTH, log_of_counter
from streamer_models.state.table import Array, Keys, Slots, grown

_NOTHING = -np.inf
_FEW = 64
"""Of so few rows it is quicker to look at some twice."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """Declares that a table's rows are ranked by its counters.

    Attributes
    ----------
    length
        Rows that are known of each order.
    decayed
        Whether each counter is four elements of decayed cells; otherwise each element is one.
    """

    length: int = 256
    decayed: bool = False


@dataclass(frozen=True, slots=True)
class Tops:
    """The greatest rows at one moment.

    Attributes
    ----------
    rows
        ``(n_counters, length)``: of each counter the rows above 0, greatest first, equal ones in
        the order of their keys; -1 where there are fewer.
    n_above
        Rows whose first counter is above 0.
    """

    rows: Slots
    n_above: int


class TopRows:
    """Orders rows by counters that all decay alike, so that an order holds until a row changes.

    A list holds between ``length`` and twice as many rows and is exact: whatever is outside is
    behind its last row. Where rows leave and it would become shorter, it is made anew of all rows.

    Parameters
    ----------
    width
        Elements of a row.
    """

    def __init__(self, ranked: Ranked, width: int) -> None:
        self._length = ranked.length
        self._cell = CELLS_WIDTH if ranked.decayed else 1
        n_counters = width // self._cell
        self._rows: Slots = np.full((n_counters, 2 * ranked.length + 1), np.int32(-1))
        self._scores = np.zeros((n_counters, 2 * ranked.length + 1))
        # As of when they were put in order: a row may have passed to another key since.
        self._keys: Keys = np.zeros((n_counters, 2 * ranked.length + 1), dtype=np.uint64)
        self._n = np.zeros(n_counters, dtype=np.int64)
        self._complete = np.ones(n_counters, dtype=np.bool_)
        self._listed = np.zeros((0, n_counters), dtype=np.bool_)
        self._above = np.zeros(0, dtype=np.bool_)
        self._n_above = 0
        self._tops: Tops | None = None

    def current(
        self,
        changed: Sequence[Slots] | None,
        n_rows: int,
        read: Callable[[Slots], Array],
        keys: Keys,
    ) -> Tops:
        """Return the greatest rows now.

        Parameters
        ----------
        changed
            Rows that changed since the last call; None: look at all.
        n_rows
            How many there are.
        read
            Returns ``(n, width)`` rows as they are now.
        keys
            Of all rows, by row.
        """
        short = changed is None
        if changed:
            rows = np.concatenate(changed)
            rows = np.unique(rows) if len(rows) > _FEW else rows
            self.update(rows, read(rows), keys)
            short = self.is_short()
        if short:
            self.remake(read(np.arange(n_rows, dtype=np.int32)), keys)
        return self.tops()

    def update(self, rows: Slots, values: Array, keys: Keys) -> None:
        """Take rows as they are now.

        Parameters
        ----------
        rows
            ``(n,)``, better none twice.
        values
            ``(n, width)``.
        keys
            Of all rows, by row.
        """
        if not len(rows):
            return
        if len(keys) > len(self._above):
            n_rows = max(len(keys), 2 * len(self._above))
            self._above, self._listed = grown(self._above, n_rows), grown(self._listed, n_rows)
        self._tops = None
        self._n_above += _put_in_order(
            rows, values, keys, self._cell, self._above, self._rows, self._scores, self._keys,
            self._n, self._complete, self._listed,
        )  # fmt: skip

    def is_short(self) -> bool:
        """Whether a list has become too short and all rows must be looked at."""
        return any(
            n < self._length and not complete
            for n, complete in zip(self._n.tolist(), self._complete.tolist(), strict=True)
        )

    def remake(self, values: Array, keys: Keys) -> None:
        """Look at all rows: ``(n_rows, width)`` and their keys."""
        self._above, self._n_above = np.zeros(len(values), dtype=np.bool_), 0
        self._listed = np.zeros((len(values), len(self._n)), dtype=np.bool_)
        self._tops = None
        rows = np.arange(len(values), dtype=np.int32)
        self._n_above = _count_above(rows, values, self._cell, self._above)
        for c in range(len(self._n)):
            scores = _all_scores(values, c, self._cell)
            found = np.flatnonzero(scores > _NOTHING)
            n_max = 2 * self._length
            self._complete[c] = len(found) <= n_max
            if len(found) > n_max:
                bound = np.partition(scores[found], len(found) - n_max)[len(found) - n_max]
                found = found[scores[found] >= bound]
            order = np.lexsort((keys[found], -scores[found]))[:n_max]
            n = self._n[c] = len(order)
            self._rows[c, :n], self._scores[c, :n] = found[order], scores[found[order]]
            self._keys[c, :n] = keys[found[order]]
            self._rows[c, n:] = -1
            self._listed[found[order], c] = True

    def tops(self) -> Tops:
        """Return the greatest rows now."""
        if self._tops is None:
            self._tops = Tops(self._rows[:, : self._length].copy(), self._n_above)
        return self._tops


@numba.njit(cache=True, nogil=True)
def _score(row: Array, counter: int, cell: int) -> float:
    """What rows are ordered by: the counter, or the logarithm of what it decays from, which does
    not change with time; -inf where it is not above 0."""
    if cell == 1:
        return float(row[counter]) if row[counter] > 0 else _NOTHING
    return log_of_counter(row, counter)


@numba.njit(cache=True, nogil=True)
def _all_scores(values: Array, counter: int, cell: int) -> NDArray[np.float64]:
    scores = np.empty(len(values))
    for i in range(len(values)):
        scores[i] = _score(values[i], counter, cell)
    return scores


@numba.njit(cache=True, nogil=True)
def _count_above(rows: Slots, values: Array, cell: int, above: NDArray[np.bool_]) -> int:
    """Mark rows whose first counter is above 0; how many more there are than before."""
    n_more = 0
    for i in range(len(rows)):
        now = _score(values[i], 0, cell) > _NOTHING
        n_more += int(now) - int(above[rows[i]])
        above[rows[i]] = now
    return n_more


@numba.njit(cache=True, nogil=True)
def _put_in_order(
    rows: Slots,
    values: Array,
    keys: Keys,
    cell: int,
    above: NDArray[np.bool_],
    tops: Slots,
    scores: NDArray[np.float64],
    top_keys: Keys,
    lengths: NDArray[np.int64],
    complete: NDArray[np.bool_],
    listed: NDArray[np.bool_],
) -> int:
    """Move rows to where they belong in each order; how many more are above 0 than before."""
    n_max = tops.shape[1] - 1
    for c in range(len(tops)):
        for i in range(len(rows)):
            row, n = rows[i], lengths[c]
            if listed[row, c]:
                listed[row, c] = False
                at = 0
                while tops[c, at] != row:
                    at += 1
                for j in range(at, n - 1):
                    tops[c, j], scores[c, j] = tops[c, j + 1], scores[c, j + 1]
                    top_keys[c, j] = top_keys[c, j + 1]
                n -= 1
                tops[c, n] = -1
            score = _score(values[i], c, cell)
            if score > _NOTHING:
                at = n
                while at > 0 and (
                    scores[c, at - 1] < score
                    or (scores[c, at - 1] == score and top_keys[c, at - 1] > keys[row])
                ):
                    at -= 1
                if at < n or complete[c]:
                    for j in range(n, at, -1):
                        tops[c, j], scores[c, j] = tops[c, j - 1], scores[c, j - 1]
                        top_keys[c, j] = top_keys[c, j - 1]
                    tops[c, at], scores[c, at], top_keys[c, at] = row, score, keys[row]
                    listed[row, c] = True
                    n += 1
                    if n > n_max:
                        n, complete[c] = n_max, False
                        listed[tops[c, n_max], c] = False
                        tops[c, n_max] = -1
            lengths[c] = n
    return _count_above(rows, values, cell, above)
