"""Rows that a partition replaces all the time, kept so that old versions stay readable."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from streamer.replica.row_copies import copy_rows, numbered
from streamer_models.state.table import Array, Keys, Slots, TableSpec, fold
from streamer_models.state.top_rows import Ranked, TopRows, Tops

CHUNK_BITS = 12
"""By default 2^12 rows are allocated at once: 4,096 * 520 B (a history of 64) = 2 MB."""
_CHUNK_BYTES = 1 << 21
"""Of wider rows, such as 8 kB of statistics, fewer are allocated at once."""
_MANY_CHUNK_BITS = 17
_MANY_CHUNK_BYTES = 1 << 23
"""131,072 rows * 64 B (two counters) = 8 MB: some hundred rows are read from one or two chunks."""
_ABSENT = -1
_NO_KEYS: Keys = np.zeros(0, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class RowView:
    """The rows of one version.

    Attributes
    ----------
    positions
        ``(n_rows,)`` int32: where each row lies, -1 where it never was written.
    chunks
        Arrays of 2^``chunk_bits`` rows; None where nothing of this version lies.
    addresses
        Of the chunks' memory, for kernels.
    width, dtype
        Of a row.
    tops
        The greatest rows, where they are declared to be ranked.
    """

    positions: Slots
    chunks: tuple[Array | None, ...]
    addresses: NDArray[np.int64]
    chunk_bits: int
    width: int
    dtype: str
    tops: Tops | None = None

    def row(self, row: int) -> Array | None:
        """``(width,)`` one row, None where it is absent, as -1 is; do not write into it."""
        position = int(self.positions[row]) if 0 <= row < len(self.positions) else _ABSENT
        return None if position == _ABSENT else self._at(position)

    def take(self, rows: Slots) -> Array:
        """``(n, width)`` copies of rows, zeros where one was never written, and for negative
        ones."""
        found: Array = np.zeros((len(rows), self.width), dtype=self.dtype)
        self.copy(rows, found)
        return found

    def copy(self, rows: Slots, found: Array) -> None:
        """Write rows into ``(n, width)`` ``found``, but those that were never written."""
        copy_rows(found, rows, self.positions, self.addresses, self.chunk_bits)

    def _at(self, position: int) -> Array:
        chunk = self.chunks[position >> self.chunk_bits]
        assert chunk is not None, position
        found: Array = chunk[position & ((1 << self.chunk_bits) - 1)]
        return found

    def rows(self, rows: Slots) -> tuple[NDArray[np.intp], Array]:
        """Positions among ``rows`` that were ever written, and ``(n, width)`` copies of them;
        negative rows are absent."""
        found: Array = np.empty((len(rows), self.width), dtype=self.dtype)
        present = copy_rows(
            found, rows, self.positions, self.addresses, self.chunk_bits, close_up=True
        )
        return present, found[: len(present)]


def chunk_bits(spec: TableSpec, *, many_at_once: bool) -> int:
    """Return the ``chunk_bits`` that suit a table, and how it is read."""
    bits, n_bytes = (
        (_MANY_CHUNK_BITS, _MANY_CHUNK_BYTES) if many_at_once else (CHUNK_BITS, _CHUNK_BYTES)
    )
    return max(0, min(bits, round(math.log2(n_bytes / spec.row_bytes))))


class RowStore:
    """Rows by number, each change of which is written to a new place (log-structured).

    A written place is never written again while a version can see it, so publishing a version
    copies the positions alone (4 B a row), however wide the rows are and however many changed.
    When less than half of the chunks is alive, the emptiest ones are copied together: at most one
    more write a write.

    Parameters
    ----------
    chunk_bits
        2^``chunk_bits`` rows are allocated at once. Larger chunks make reading many rows at once
        faster and the copies longer.
    ranked
        Whether versions know the greatest rows.
    """

    def __init__(
        self, spec: TableSpec, *, chunk_bits: int = CHUNK_BITS, ranked: Ranked | None = None
    ) -> None:
        self._spec = spec
        self._ranked = ranked
        self._tops: TopRows | None = None
        self._noted: list[Slots] | None = None  # rows to be ranked anew; None: all
        self._chunk_bits = chunk_bits
        self._chunk_rows = 1 << chunk_bits
        self._positions: Slots = np.zeros(0, dtype=np.int32)
        self._chunks: list[Array | None] = []
        self._owners: list[Slots] = []  # which row lies at each place of a chunk
        self._n_live = np.zeros(0, dtype=np.int64)  # rows alive in each chunk
        self._tail = -1
        self._n_tail = self._chunk_rows
        self._addresses = np.zeros(0, dtype=np.int64)
        self._view: RowView | None = None
        self.take(self._positions)  # compiled here, so that no request waits for it

    def reserve(self, n_rows: int) -> None:
        """Have at least ``n_rows`` rows, absent at first."""
        n_more = max(n_rows, 2 * len(self._positions), 256) - len(self._positions)
        if n_rows > len(self._positions):
            absent = np.full(n_more, _ABSENT, dtype=np.int32)
            self._positions = np.concatenate([self._positions, absent])

    def merge(self, rows: Slots, changes: Array) -> None:
        """Apply changes ``(n, change_width)`` in order; rows may repeat."""
        unique, at = numbered(rows)

        def write(start: int, end: int, places: Array) -> None:
            """Fold changes into copies that are made where they stay."""
            self._copy(unique[start:end], places)
            if end - start == len(unique):
                fold(self._spec, places, at, changes)
                return
            here = np.flatnonzero((at >= start) & (at < end))
            fold(self._spec, places, at[here] - np.int32(start), changes[here])

        self._note(unique)
        self._append(unique, write)
        self._clean()

    def take(self, rows: Slots) -> Array:
        """``(n, width)`` copies, zeros where absent."""
        values: Array = np.zeros((len(rows), self._spec.width), dtype=self._spec.dtype)
        self._copy(rows, values)
        return values

    def _copy(self, rows: Slots, found: Array) -> None:
        """Copy rows to ``found``, but absent ones."""
        copy_rows(found, rows, self._positions, self._addresses, self._chunk_bits)

    def put(self, rows: Slots, values: Array) -> None:
        """Replace rows, none of them twice, by ``(n, width)`` values."""
        self._note(rows)
        self._append(rows, lambda start, end, places: np.copyto(places, values[start:end]))
        self._clean()

    def drop(self, rows: Slots) -> None:
        """Forget rows; they are absent again."""
        if not len(rows):
            return
        self._view = None
        self._note(rows)
        self._abandon(rows)
        self._positions[rows] = _ABSENT

    def pack(self, kept: Slots) -> None:
        """Renumber: row ``kept[i]`` becomes row ``i``, the others are gone (and were dropped)."""
        self._view = None
        self._tops = self._noted = None  # both know rows by their old numbers
        self._positions = self._positions[kept]
        numbers = np.arange(len(kept), dtype=np.int32)
        present = self._positions >= 0
        chunks = self._positions >> self._chunk_bits
        for chunk in range(len(self._chunks)):
            here = present & (chunks == chunk)
            owners = np.full(self._chunk_rows, _ABSENT, dtype=np.int32)
            owners[self._positions[here] & (self._chunk_rows - 1)] = numbers[here]
            self._owners[chunk] = owners

    def publish(self, n_rows: int, keys: Keys = _NO_KEYS) -> RowView:
        """The rows as they are now, immutable; the view before where nothing was written since.

        Parameters
        ----------
        keys
            Of rows, by which equal ones are ordered where they are ranked.
        """
        if self._view is None:
            self.reserve(n_rows)
            self._view = RowView(
                self._positions[:n_rows].copy(),
                tuple(self._chunks),
                self._addresses.copy(),
                self._chunk_bits,
                self._spec.width,
                self._spec.dtype,
                None if self._ranked is None else self._order(self._ranked, n_rows, keys),
            )
        return self._view

    def _order(self, ranked: Ranked, n_rows: int, keys: Keys) -> Tops:
        if self._tops is None:
            self._tops = TopRows(ranked, self._spec.width)
        noted, self._noted = self._noted, []
        return self._tops.current(noted, n_rows, self.take, keys)

    def _note(self, rows: Slots) -> None:
        if self._noted is not None:
            self._noted.append(rows)

    def _append(self, rows: Slots, write: Callable[[int, int, Array], None]) -> None:
        """Give rows new places, which are written for ``rows[start:end]`` at a time; they are zeros
        before."""
        if not len(rows):
            return
        self._view = None
        start = 0
        while start < len(rows):
            if self._n_tail == self._chunk_rows:
                self._new_tail()
            n = min(len(rows) - start, self._chunk_rows - self._n_tail)
            places = slice(self._n_tail, self._n_tail + n)
            chunk, some = self._chunks[self._tail], rows[start : start + n]
            assert chunk is not None
            write(start, start + n, chunk[places])
            owners = self._owners[self._tail][places]
            first = (self._tail << self._chunk_bits) + self._n_tail
            _place(some, first, self._positions, owners, self._n_live, self._chunk_bits)
            self._n_tail += n
            start += n

    def _abandon(self, rows: Slots) -> None:
        positions = self._positions[rows]
        chunks = positions[positions >= 0] >> self._chunk_bits
        self._n_live -= np.bincount(chunks, minlength=len(self._n_live))

    def _new_tail(self) -> None:
        # Chunks given up hold no place of any later version: their numbers may be used again.
        free = [i for i, chunk in enumerate(self._chunks) if chunk is None]
        if not free:
            free = [len(self._chunks)]
            self._chunks.append(None)
            self._owners.append(np.zeros(0, dtype=np.int32))
            self._n_live = np.append(self._n_live, 0)
            self._addresses = np.append(self._addresses, 0)
        self._tail, self._n_tail = free[0], 0
        shape = (self._chunk_rows, self._spec.width)
        chunk: Array = np.zeros(shape, dtype=self._spec.dtype)
        self._chunks[self._tail], self._addresses[self._tail] = chunk, chunk.ctypes.data
        self._owners[self._tail] = np.full(self._chunk_rows, _ABSENT, dtype=np.int32)

    def _clean(self) -> None:
        while (chunk := self._emptiest()) is not None:
            owners = self._owners[chunk]
            places = np.flatnonzero(owners >= 0).astype(np.int32)
            here = self._positions[owners[places]] == (chunk << self._chunk_bits) + places
            rows = owners[places[here]]
            self._move(rows)
            self._chunks[chunk], self._addresses[chunk] = None, 0

    def _move(self, rows: Slots) -> None:
        """Copy rows to new places."""
        self._append(rows, lambda start, end, places: self._copy(rows[start:end], places))

    def _emptiest(self) -> int | None:
        """The full chunk with the fewest live rows, while over half of all places is dead."""
        if len(self._chunks) < 3:
            return None
        full = [i for i, each in enumerate(self._chunks) if each is not None and i != self._tail]
        n_live: NDArray[np.int64] = self._n_live[full]
        if len(full) < 2 or 2 * int(n_live.sum()) >= len(full) * self._chunk_rows:
            return None
        return full[int(n_live.argmin())]


@numba.njit(cache=True, nogil=True)
def _place(
    rows: Slots,
    first: int,
    positions: Slots,
    owners: Slots,
    n_live: NDArray[np.int64],
    chunk_bits: int,
) -> None:
    """Say of rows, none of them twice, that they lie at ``first`` and behind it now."""
    for i in range(len(rows)):
        before = positions[rows[i]]
        if before >= 0:
            n_live[before >> chunk_bits] -= 1
        positions[rows[i]] = first + i
        owners[i] = rows[i]
    n_live[first >> chunk_bits] += len(rows)
