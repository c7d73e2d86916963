"""Tables of parameters: rows in columns, what changed, how contributions of partitions merge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.decayed_cells import merge_cell
from streamer_models.state.neighbour_lists import fold_neighbours

Array = NDArray[Any]
Keys = NDArray[np.uint64]
Slots = NDArray[np.int32]

FIXED_POINT_BITS = 24
"""Shared factors are int32 in units of 2^-24: range ±128, resolution 6e-8."""
FIXED_POINT_UNIT = 2.0**-FIXED_POINT_BITS


USER, ITEM, ARM = "user", "item", "arm"
"""Entities with ids: an arm is an item as a bandit knows it, kept while it is shown."""
PROFILE = "profile"
"""Users as they are described, whether they have events or not."""
FEATURE_USER, FEATURE_ITEM, FEATURE_SURFACE = "feature_user", "feature_item", "feature_surface"
"""Users, items and surfaces as fading features know them, kept while their events are counted."""
FEATURE_ENTITIES = (FEATURE_USER, FEATURE_ITEM, FEATURE_SURFACE)
OWNED_ENTITIES = (USER, PROFILE)
"""Those whose ids are in one partition each."""
SHARED_ENTITIES = (ITEM, ARM, *FEATURE_ENTITIES)
"""Those whose rows several partitions contribute to."""
ID_ENTITIES = (*OWNED_ENTITIES, *SHARED_ENTITIES)
"""All whose rows belong to an id, and go with it."""


class Merge(StrEnum):
    """How what several partitions contributed to one row becomes one row.

    Attributes
    ----------
    REPLACE
        Only the partition that owns the row writes it; a change is the new row.
    SUM
        Integers: value = initial value of the id + sum over partitions. A change is a difference.
    DECAYED
        Cells ``(epoch, mantissa)``: within an epoch mantissas add up, a newer epoch replaces an
        older one. Associative and commutative like SUM; see
        :mod:`streamer_models.state.decayed_cells`.
    RECENT
        A ring of the last keys, owned by one partition; a change appends one key.
    NEIGHBOURS
        Each partition owns its bounded list of weighted neighbours of an id, and who reads several
        adds up what they say; a change is a cell ``(key, weight)``. See
        :mod:`streamer_models.state.neighbour_lists`.
    MAX
        Each partition owns its row, at least 0, and who reads several takes the greatest of each
        element. A maximum cannot be taken back, so readers keep what each partition says.
    """

    REPLACE = "replace"
    SUM = "sum"
    DECAYED = "decayed"
    RECENT = "recent"
    NEIGHBOURS = "neighbours"
    MAX = "max"


_NOTED_MAX = 1 << 16
"""Beyond so many changed rows all are ranked anew: who practises no more asks for none of them."""
_CHANGE_WIDTHS = {Merge.RECENT: 1, Merge.NEIGHBOURS: 2}
"""Of the kinds whose changes are not rows: those that know no differences."""


@dataclass(frozen=True, slots=True)
class TableSpec:
    """What a table holds.

    Attributes
    ----------
    name
        Lower-case name, unique in a model set.
    entity
        One of ``ID_ENTITIES``: a row belongs to an id of that entity and goes when the id goes.
        Anything else (``"slot"``): the key is a plain index and the row stays.
    merge
        How contributions merge.
    dtype
        numpy type code of one element: ``f4 f8 i4 i8 u8``.
    width
        Elements a row. RECENT: 1 count + the ring's length. DECAYED: 2 a cell. NEIGHBOURS: the
        keys and then the weights of a list.
    """

    name: str
    entity: str
    merge: Merge
    dtype: str
    width: int

    @property
    def shared(self) -> bool:
        """Whether several partitions contribute to a row."""
        return self.merge in (Merge.SUM, Merge.DECAYED)

    @property
    def change_width(self) -> int:
        """Elements a row of a *change* has."""
        return _CHANGE_WIDTHS.get(self.merge, self.width)

    @property
    def row_bytes(self) -> int:
        return int(np.dtype(self.dtype).itemsize * self.width)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows (or changes of rows) of one table, in columns.

    Attributes
    ----------
    keys
        ``(n,)`` uint64: :func:`streamer_models.state.ids.id_table.id_key` of the id, or a plain
        index.
    values
        ``(n, width)`` or, for changes, ``(n, change_width)`` of the table's dtype.
    """

    keys: Keys
    values: Array

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class IdChange:
    """Ids of one entity that a batch admitted or dropped. What is dropped goes first."""

    added: Keys
    names: tuple[bytes, ...]
    removed: Keys


@dataclass(frozen=True, slots=True)
class Change:
    """All that one batch of one partition changed; readers apply it in this order.

    Attributes
    ----------
    withdrawn
        For shared tables, minus what the partition had contributed to the ids it dropped.
    ids
        By entity: ids dropped and admitted.
    tables
        By table: changed rows.
    """

    withdrawn: dict[str, Rows]
    ids: dict[str, IdChange]
    tables: dict[str, Rows]

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays and names."""
        tables = (*self.withdrawn.values(), *self.tables.values())
        rows = sum(rows.keys.nbytes + rows.values.nbytes for rows in tables)
        return rows + sum(
            change.added.nbytes + sum(map(len, change.names)) + change.removed.nbytes
            for change in self.ids.values()
        )


class TouchedSlots:
    """A set of slots in order of first touch: a flag a slot and a list, so adding costs ns."""

    def __init__(self) -> None:
        self._flags = np.zeros(0, dtype=np.uint8)
        self.order: Slots = np.zeros(0, dtype=np.int32)  # meaningful up to ``n``
        self.n = 0

    def __len__(self) -> int:
        return self.n

    def reserve(self, n_slots: int) -> None:
        if n_slots > len(self._flags):
            self._flags = grown(self._flags, n_slots)
            self.order = grown(self.order, n_slots)

    def add(self, slots: Slots) -> None:
        """Add slots; negative ones are passed over."""
        self.n = _touch(slots, self._flags, self.order, self.n)

    def slots(self) -> Slots:
        return self.order[: self.n].copy()

    def clear(self) -> None:
        if self.n == 0:
            return
        self._flags[self.order[: self.n]] = 0
        self.n = 0


@numba.njit(cache=True, nogil=True)
def _touch(slots: Slots, flags: NDArray[np.uint8], touched: Slots, n_touched: int) -> int:
    for slot in slots:
        if slot >= 0 and flags[slot] == 0:
            flags[slot] = 1
            touched[n_touched] = slot
            n_touched += 1
    return n_touched


@numba.njit(cache=True, nogil=True)
def _keep(before: Array, values: Array, order: Slots, start: int, end: int) -> None:
    for at in range(start, end):
        for j in range(values.shape[1]):
            before[at, j] = values[order[at], j]


class Table:
    """Rows of a :class:`TableSpec` by slot, growing by doubling, which knows what changed.

    Models either call :meth:`touch` and then write ``values`` in a kernel, or give changes to
    :meth:`merge`. :meth:`changes` says what became of it since the last :meth:`settle`.

    Parameters
    ----------
    spec
        What the table holds.
    rows_max
        The bound; growing beyond it is an error of the caller (id tables evict first).
    """

    def __init__(self, spec: TableSpec, *, rows_max: int) -> None:
        self.spec = spec
        self.rows_max = rows_max
        self.values: Array = np.zeros((0, spec.width), dtype=spec.dtype)
        self._keep_before = spec.merge in (Merge.SUM, Merge.DECAYED)
        self._before: Array = self.values
        self._touched = TouchedSlots()
        self._merged: list[tuple[Slots, Array]] = []
        self._noted: list[Slots] | None = None
        self._n_noted = 0

    def __len__(self) -> int:
        return len(self.values)

    def reserve(self, n_rows: int) -> None:
        """Have at least ``n_rows`` rows, zero at first.

        Raises
        ------
        ValueError
            Beyond ``rows_max``.
        """
        size = len(self.values)
        if n_rows <= size:
            return
        if n_rows > self.rows_max:
            raise ValueError(
                f"table {self.spec.name}: {n_rows} rows asked for, at most {self.rows_max} allowed;"
                " evict first or raise the bound"
            )
        new_size = min(self.rows_max, max(n_rows, 2 * size, 256))
        self.values = grown(self.values, new_size)
        self._touched.reserve(new_size)
        if self._keep_before:
            self._before = grown(self._before, new_size)

    def touch(self, slots: Slots) -> None:
        """Say that rows ``slots`` (repeats allowed, negative ones skipped) are about to change."""
        touched = self._touched
        start = touched.n
        touched.add(slots)
        if self._keep_before:
            _keep(self._before, self.values, touched.order, start, touched.n)

    def note(self, rows: Slots) -> None:
        """Say that rows have other values now, for those who rank them."""
        if self._noted is not None:
            self._noted.append(rows)
            self._n_noted += len(rows)
            if self._n_noted > _NOTED_MAX:
                self._noted = None

    def take_noted(self) -> list[Slots] | None:
        """Return the rows noted since the last call; None where they are too many, or where nobody
        asked before."""
        noted, self._noted, self._n_noted = self._noted, [], 0
        return noted

    def touched(self) -> Slots:
        """``(n,)`` rows touched since :meth:`settle`, in order of first touch."""
        return self._touched.slots()

    def scale_changes(self, positions: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
        """Keep a share of what was added to rows of a SUM table since :meth:`settle`.

        Parameters
        ----------
        positions
            ``(n,)`` positions in :meth:`touched`.
        shares
            ``(n, width)``; changes are rounded to whole units.
        """
        assert self.spec.merge is Merge.SUM, self.spec
        rows = self._touched.slots()[positions]
        before = self._before[positions]
        # In int64: from -64 to 64 is more than an int32 of unit 2^-24 can say.
        changes = np.rint((self.values[rows].astype(np.int64) - before) * shares)
        self.values[rows] = before + changes.astype(self.values.dtype)

    def merge(self, slots: Slots, changes: Array) -> None:
        """Apply changes (RECENT and NEIGHBOURS tables, which know no differences) and remember
        them; slots may repeat."""
        assert self.spec.merge in _CHANGE_WIDTHS, self.spec
        fold(self.spec, self.values, slots, changes)
        self._merged.append((slots, changes))

    @property
    def changed(self) -> bool:
        """Whether rows were touched or merged since :meth:`settle`."""
        return len(self._touched) > 0 or len(self._merged) > 0

    def changes(self) -> tuple[Slots, Array]:
        """What changed since :meth:`settle`: ``(n,)`` slots and ``(n, change_width)`` changes."""
        spec = self.spec
        if spec.merge in _CHANGE_WIDTHS:
            slots = [slots for slots, _ in self._merged]
            changes = [changes for _, changes in self._merged]
            none = empty_rows(spec).values
            return np.concatenate([_NO_SLOTS, *slots]), np.concatenate([none, *changes])
        touched = self._touched.slots()
        if not self._keep_before:
            return touched, self.values.take(touched, axis=0)
        added = np.empty((len(touched), spec.width), spec.dtype)
        subtract = _subtract_decayed if spec.merge is Merge.DECAYED else _subtract
        subtract(added, self.values, self._before, touched)
        return touched, added

    def settle(self) -> None:
        """Forget what changed."""
        self._touched.clear()
        self._merged.clear()


_NO_SLOTS = np.zeros(0, dtype=np.int32)


def grown(array: Array, n_rows: int) -> Array:
    """Return a copy with more rows, zeros."""
    larger: Array = np.zeros((n_rows, *array.shape[1:]), dtype=array.dtype)
    larger[: len(array)] = array
    return larger


def fold(spec: TableSpec, values: Array, slots: Slots, changes: Array) -> None:
    """Apply changes to rows in place: ``values[slots[i]] <- merge(values[slots[i]], changes[i])``.

    Slots may repeat; changes are applied in order (which matters for REPLACE, RECENT and NEIGHBOURS
    alone).

    Parameters
    ----------
    spec
        The table.
    values
        ``(n_rows, width)``.
    slots
        ``(n,)`` int32, each inside ``values``.
    changes
        ``(n, change_width)``.
    """
    if spec.merge is Merge.REPLACE:
        values[slots] = changes
    elif spec.merge is Merge.SUM:
        _fold_sum(values, slots, changes)
    elif spec.merge is Merge.DECAYED:
        _fold_decayed(values, slots, changes)
    elif spec.merge is Merge.RECENT:
        _fold_recent(values, slots, changes)
    elif spec.merge is Merge.MAX:
        _fold_max(values, slots, changes)
    else:
        fold_neighbours(values, slots, changes)


@numba.njit(cache=True, nogil=True)
def _fold_sum(values: Array, slots: Slots, changes: Array) -> None:
    for i in range(len(slots)):
        row = slots[i]
        for j in range(values.shape[1]):
            values[row, j] += changes[i, j]


@numba.njit(cache=True, nogil=True)
def _subtract(changes: Array, values: Array, before: Array, rows: Slots) -> None:
    """What was added to rows."""
    for i in range(len(rows)):
        for j in range(values.shape[1]):
            changes[i, j] = values[rows[i], j] - before[i, j]


@numba.njit(cache=True, nogil=True)
def _subtract_decayed(changes: Array, values: Array, before: Array, rows: Slots) -> None:
    """What was added to rows: all there is where a newer epoch has begun."""
    for i in range(len(rows)):
        for j in range(0, values.shape[1], 2):
            epoch, mantissa = values[rows[i], j], values[rows[i], j + 1]
            changes[i, j] = epoch
            changes[i, j + 1] = mantissa - before[i, j + 1] if epoch == before[i, j] else mantissa


@numba.njit(cache=True, nogil=True)
def _fold_decayed(values: Array, slots: Slots, changes: Array) -> None:
    for i in range(len(slots)):
        row = slots[i]
        for j in range(0, values.shape[1], 2):
            merge_cell(values[row], j, changes[i, j], changes[i, j + 1])


@numba.njit(cache=True, nogil=True)
def _fold_recent(values: Array, slots: Slots, changes: Array) -> None:
    length = values.shape[1] - 1
    for i in range(len(slots)):
        row = slots[i]
        n = values[row, 0]
        values[row, 1 + int(n) % length] = changes[i, 0]
        values[row, 0] = n + np.uint64(1)


@numba.njit(cache=True, nogil=True)
def _fold_max(values: Array, slots: Slots, changes: Array) -> None:
    for i in range(len(slots)):
        for j in range(values.shape[1]):
            values[slots[i], j] = max(values[slots[i], j], changes[i, j])


def recent_keys(row: NDArray[np.uint64]) -> Keys:
    """Keys of one RECENT row, the newest first."""
    n, length = int(row[0]), len(row) - 1
    ages = np.arange(min(n, length))
    return row[1 + (n - 1 - ages) % length]


def empty_rows(spec: TableSpec, *, change: bool = True) -> Rows:
    """No rows, with the right shapes."""
    width = spec.change_width if change else spec.width
    return Rows(np.zeros(0, dtype=np.uint64), np.zeros((0, width), dtype=spec.dtype))


def check_specs(specs: Sequence[TableSpec]) -> None:
    """Raise ValueError where two tables have one name or a width cannot be."""
    names = [spec.name for spec in specs]
    for spec in specs:
        if names.count(spec.name) > 1:
            raise ValueError(f"table name {spec.name!r} is used twice")
        if spec.merge in (Merge.DECAYED, Merge.NEIGHBOURS) and spec.width % 2:
            raise ValueError(f"table {spec.name}: width {spec.width} must be even ({spec.merge})")
        if spec.merge is Merge.NEIGHBOURS and (
            spec.dtype != "u8" or spec.entity not in ID_ENTITIES
        ):
            raise ValueError(
                f"table {spec.name}: neighbour lists are u8 rows of ids ({', '.join(ID_ENTITIES)}),"
                f" not {spec.dtype} rows of {spec.entity!r}"
            )
