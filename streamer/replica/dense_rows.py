"""Merged rows in one array, of a table whose readers look at all of them."""

from __future__ import annotations

import numpy as np

from streamer_models.state.table import Array, Slots, TableSpec, fold, grown

_ROWS_MIN = 1_024


class DenseRows:
    """Merged rows by number, which knows what was touched since it was last published.

    Rows are allocated in whole multiples of 1,024. For the follower thread alone.
    """

    def __init__(self, spec: TableSpec) -> None:
        self.spec = spec
        self.values: Array = np.zeros((0, spec.width), dtype=spec.dtype)
        self._touched: list[Slots] = []
        self._n_published = 0

    def reserve(self, n_rows: int) -> None:
        """Have at least ``n_rows`` rows, zeros at first."""
        size = len(self.values)
        if n_rows > size:
            size = -(-max(n_rows, size + size // 2) // _ROWS_MIN) * _ROWS_MIN
            self.values = grown(self.values, size)

    def put(self, rows: Slots, values: Array) -> None:
        """Replace rows by ``(n, width)`` values."""
        self.values[rows] = values
        self._touch(rows)

    def merge(self, rows: Slots, changes: Array) -> None:
        """Apply changes ``(n, width)``; rows may repeat."""
        fold(self.spec, self.values, rows, changes)
        self._touch(rows)

    def drop(self, rows: Slots) -> None:
        """Rows of ids that are gone stay as they are: readers are told which rows live."""

    def pack(self, kept: Slots) -> None:
        """Renumber: row ``kept[i]`` becomes row ``i``."""
        size = -(-len(kept) // _ROWS_MIN) * _ROWS_MIN
        self.values = grown(self.values[kept], size)
        self._touched.clear()
        self._n_published = 0

    def _touch(self, rows: Slots) -> None:
        if len(rows):
            self._touched.append(rows)

    def _take_touched(self, n_rows: int) -> Slots:
        """Rows to be read anew, some maybe twice: those touched, and those that are new."""
        new = np.arange(self._n_published, n_rows, dtype=np.int32)
        rows = np.concatenate([new, *self._touched])
        self._touched.clear()
        self._n_published = n_rows
        return rows
