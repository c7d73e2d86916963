"""A learner's tables in the middle of a step, read as a scorer reads those of a version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import ReadLists, ReadRows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import Array, Keys, Slots, Table, TableSpec
from streamer_models.state.top_rows import Tops


@dataclass(frozen=True, slots=True)
class OwnRows:
    """Rows of a table as they are now."""

    table: Table
    shared: SharedState
    ranked: bool

    @property
    def tops(self) -> Tops | None:
        """The greatest rows now, where they are declared to be ranked."""
        return self.shared.tops(self.table.spec) if self.ranked else None

    def row(self, row: int) -> Array | None:
        """``(width,)`` one row, None where there is none; do not write into it."""
        found: Array = self.table.values
        return found[row] if 0 <= row < len(found) else None

    def take(self, rows: Slots) -> Array:
        """``(n, width)`` copies of rows, zeros for negative ones."""
        return self.shared.taken(self.table.spec, rows)


@dataclass(frozen=True, slots=True)
class OwnLists:
    """Neighbour lists of all partitions that are known, this one's as they are now."""

    shared: SharedState
    spec: TableSpec

    def lists(self, keys: Keys) -> Array:
        """``(n_partitions, n, width)`` lists of ids, zeros where a partition has none."""
        return self.shared.lists(self.spec, keys)


class OwnTables:
    """The tables of a partition and those it shares."""

    def __init__(self, state: PartitionState) -> None:
        self._state = state
        self._views: dict[str, OwnRows | OwnLists] = {}

    @overload
    def read(self, reading: ReadRows) -> OwnRows: ...

    @overload
    def read(self, reading: ReadLists) -> OwnLists: ...

    def read(self, reading: ReadRows | ReadLists) -> OwnRows | OwnLists:
        """Return a table as it is now, whenever it is looked at."""
        name = reading.spec.name
        view = self._views.get(name)
        if view is None:
            view = self._views[name] = self._view(reading)
        return view

    def _view(self, reading: ReadRows | ReadLists) -> OwnRows | OwnLists:
        spec, shared = reading.spec, self._state.shared
        if isinstance(reading, ReadLists):
            return OwnLists(shared, spec)
        table = shared.tables[spec.name] if spec.shared else self._state.own[spec.name]
        return OwnRows(table, shared, reading.ranked is not None)
