"""One table merged over all partitions by its merge kind, kept in the way in which it is read."""

from __future__ import annotations

import numpy as np

from streamer.replica.columns import ColumnStore, ColumnView
from streamer.replica.factor_blocks import FactorStore, FactorView
from streamer.replica.id_rows import IdView
from streamer.replica.list_rows import ListView
from streamer.replica.row_store import RowStore, RowView, chunk_bits
from streamer_models.state.keyed_rows import KeyedRows
from streamer_models.state.model import Model
from streamer_models.state.readable import MergedReading, ReadFactors, ReadRows
from streamer_models.state.table import ID_ENTITIES, Array, Keys, Merge, Slots, TableSpec

TableView = RowView | ColumnView | FactorView | ListView


class MergedTable:
    """Merged rows of one table: initial value and what the partitions contributed, or what the
    partition wrote that owns the row. For the follower thread alone.

    Parameters
    ----------
    reading
        The table, and how it is read.
    model
        What new rows start from; None: zeros.
    """

    def __init__(self, reading: MergedReading, model: Model | None) -> None:
        self.reading = reading
        self.spec = reading.spec
        self._model = model
        self._rows = _store(reading)
        self._said = _Said(self.spec) if self.spec.merge is Merge.MAX else None

    def reserve(self, n_rows: int) -> None:
        """Have at least ``n_rows`` rows."""
        self._rows.reserve(n_rows)

    def start(self, rows: Slots, keys: Keys) -> None:
        """Bring rows of new ids to their initial values."""
        if self.spec.shared and self._model is not None and len(rows):
            initial = self._model.initial(self.spec.name, keys)
            if initial is not None:
                self._rows.put(rows, initial)

    def add(self, partition: int, keys: Keys, rows: Slots, changes: Array) -> None:
        """Take what a partition changed, of ids that are alive."""
        if self._said is not None:
            self._said.put(partition, keys, changes)
        self._rows.merge(rows, changes)

    def load(self, partition: int, keys: Keys, rows: Slots, values: Array) -> None:
        """Take whole rows of a partition's checkpoint: its own rows, or its contributions."""
        if self.spec.merge in (Merge.REPLACE, Merge.RECENT):
            self._rows.put(rows, values)
        else:
            self.add(partition, keys, rows, values)

    def release(self, partition: int, keys: Keys, rows: Slots) -> None:
        """A partition has dropped ids, its contributions already withdrawn; ``rows`` are -1 of
        those that nobody has any more."""
        if self._said is None:
            return
        self._said.drop(partition, keys)
        alive = rows >= 0
        self._rows.put(rows[alive], self._said.greatest(keys[alive]))

    def drop(self, dead: Slots) -> None:
        """Forget the rows of ids that nobody has any more."""
        self._rows.drop(dead)

    def pack(self, kept: Slots) -> None:
        """Renumber: row ``kept[i]`` becomes row ``i``."""
        self._rows.pack(kept)

    def publish(self, ids: IdView, watermark_ms: int) -> TableView:
        """The rows as they are now, immutable; the view before where nothing changed since."""
        if isinstance(self._rows, RowStore):
            return self._rows.publish(ids.n_rows, ids.keys)
        return self._rows.publish(ids, watermark_ms)


def _store(reading: MergedReading) -> RowStore | ColumnStore | FactorStore:
    if isinstance(reading, ReadRows):
        bits = chunk_bits(reading.spec, many_at_once=reading.many_at_once)
        return RowStore(reading.spec, chunk_bits=bits, ranked=reading.ranked)
    if isinstance(reading, ReadFactors):
        return FactorStore(reading)
    return ColumnStore(reading)


class _Said:
    """What each partition says of a MAX table: some 40 B and the row for each id and partition that
    has it.

    A maximum cannot be withdrawn from, so it is made anew of what the others say where a partition
    drops an id. What is known is then a function of what the partitions hold, however and in
    whatever order a replica came to know it. Rows that stay (plain indices) need none of it.
    """

    def __init__(self, spec: TableSpec) -> None:
        self._spec = spec
        self._of: dict[int, KeyedRows] = {}
        self._needed = spec.entity in ID_ENTITIES

    def put(self, partition: int, keys: Keys, values: Array) -> None:
        """Take what a partition says now; it only rises while the partition has the id."""
        if self._needed:
            self._of.setdefault(partition, KeyedRows(self._spec)).put(keys, values)

    def drop(self, partition: int, keys: Keys) -> None:
        if partition in self._of:
            self._of[partition].drop(keys)

    def greatest(self, keys: Keys) -> Array:
        """``(n, width)`` over all partitions, zeros of ids that none has."""
        greatest: Array = np.zeros((len(keys), self._spec.width), dtype=self._spec.dtype)
        found = np.empty_like(greatest)
        for of in self._of.values():
            of.take(keys, found)
            np.maximum(greatest, found, out=greatest)
        return greatest
