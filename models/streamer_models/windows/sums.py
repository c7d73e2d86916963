"""Sums by key and pane: counts and values over tumbling, hopping and fading windows."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from streamer_models.windows.panes import UNIT, Amounts, Closed, PaneState, PaneWindow, Rows, Times


class PaneSums(PaneState):
    """Sums by key and pane, in sparse columns, and the results of the windows over them.

    A pane is kept until the window after its last one has closed: so it is known which keys have
    left. Memory: 16 bytes and 8 a measure for each key of each pane that has events.
    """

    def __init__(
        self, window: PaneWindow, *, n_measures: int, lateness_ms: int, cells_max: int
    ) -> None:
        super().__init__(window, lateness_ms=lateness_ms)
        self._n_measures = n_measures
        self._cells_max = cells_max
        self._panes: dict[int, _Pane] = {}

    @property
    def n_cells(self) -> int:
        """Sums that are kept, an upper bound until panes are put in order."""
        return sum(pane.n for pane in self._panes.values())

    def add(self, rows: Rows, ts_ms: Times, amounts: Amounts) -> NDArray[np.bool_]:
        """Count events, in any order; returns ``(n,)`` which were taken."""
        return self.add_cells(rows, self.window.panes(ts_ms), self.window.weighed(ts_ms, amounts))

    def add_cells(
        self, rows: Rows, panes: NDArray[np.int64], amounts: Amounts
    ) -> NDArray[np.bool_]:
        """Add what is weighed already, such as events that were added up before."""
        taken = self._in_time(panes)
        if self.n_cells + len(rows) > self._cells_max:
            for pane in self._panes.values():
                pane.in_order()
            room = max(0, self._cells_max - self.n_cells)
            n_before = int(taken.sum())
            taken &= np.cumsum(taken) <= room
            self.n_refused += n_before - int(taken.sum())
        self.restore(rows[taken], panes[taken], amounts[taken])
        return taken

    def restore(self, rows: Rows, panes: NDArray[np.int64], amounts: Amounts) -> None:
        """Add without a look at the time, as sums that were kept elsewhere come back."""
        for pane in np.unique(panes).tolist():
            of_pane = panes == pane
            if pane not in self._panes:
                self._panes[pane] = _Pane(self._n_measures)
            self._panes[pane].add(rows[of_pane], amounts[of_pane])

    def _kept(self) -> Collection[int]:
        return self._panes.keys()

    def _result(self, end: int) -> Closed:
        first = end - self.window.n_panes
        # A window has at most as many panes as there are; both may be the smaller number.
        panes = sorted(pane for pane in self._panes if first <= pane < end)
        rows, sums = self._window_sums(panes, end)
        old = [pane for pane in sorted(self._panes) if pane < first]
        dropped = {pane: self._panes.pop(pane).rows() for pane in old}
        forgotten = left = np.empty(0, np.int64)
        if dropped:
            forgotten = np.setdiff1d(np.concatenate(list(dropped.values())), rows)
            kept = [left, *(pane.rows() for pane in self._panes.values())]
            left = np.setdiff1d(forgotten, np.concatenate(kept))
        hop = self.window.hop_ms
        return Closed(
            rows=rows,
            start_ms=np.full(len(rows), first * hop, np.int64),
            end_ms=np.full(len(rows), end * hop, np.int64),
            sums=sums,
            forgotten=forgotten,
            left=left,
            dropped=dropped,
        )

    def _window_sums(self, panes: list[int], end: int) -> tuple[Rows, NDArray[np.float64]]:
        if not panes:
            return np.empty(0, np.int64), np.empty((0, self._n_measures))
        cells = [self._panes[pane].in_order() for pane in panes]
        rows, places = np.unique(np.concatenate([each for each, _ in cells]), return_inverse=True)
        amounts = np.concatenate([each for _, each in cells])
        if not self.window.half_life_ms:
            totals = np.zeros((len(rows), self._n_measures), np.int64)
            np.add.at(totals, places, amounts)
            return rows, np.asarray(totals * UNIT, np.float64)
        # Added in the order of the panes: floats, but the same ones every time.
        ages_ms = (end - 1 - np.array(panes)) * self.window.hop_ms
        each = np.repeat(ages_ms, [len(of_pane) for of_pane, _ in cells])
        faded = amounts * np.exp2(-each / self.window.half_life_ms)[:, None]
        sums = np.zeros((len(rows), self._n_measures))
        np.add.at(sums, places, faded)
        return rows, sums * UNIT


class _Pane:
    """Sums by key: one part in order, and what came since, put in order when it is as much."""

    _SMALL = 1_000

    def __init__(self, n_measures: int) -> None:
        self._rows: Rows = np.empty(0, np.int64)
        self._sums: Amounts = np.empty((0, n_measures), np.int64)
        self._new: list[tuple[Rows, Amounts]] = []
        self._n_new = 0

    @property
    def n(self) -> int:
        return len(self._rows) + self._n_new

    def add(self, rows: Rows, amounts: Amounts) -> None:
        self._new.append((rows, amounts))
        self._n_new += len(rows)
        if self._n_new > len(self._rows) + self._SMALL:
            self.in_order()

    def in_order(self) -> tuple[Rows, Amounts]:
        if self._new:
            rows = np.concatenate([self._rows, *(rows for rows, _ in self._new)])
            amounts = np.concatenate([self._sums, *(amounts for _, amounts in self._new)])
            self._rows, places = np.unique(rows, return_inverse=True)
            self._sums = np.zeros((len(self._rows), amounts.shape[1]), np.int64)
            np.add.at(self._sums, places, amounts)
            self._new, self._n_new = [], 0
        return self._rows, self._sums

    def rows(self) -> Rows:
        return self.in_order()[0]
