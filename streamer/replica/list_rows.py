"""Neighbour lists in immutable versions: those of each partition, side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamer.replica.id_rows import IdView
from streamer.replica.row_store import RowStore, RowView, chunk_bits
from streamer_models.state.readable import ReadLists
from streamer_models.state.table import Array, Keys, Slots, TableSpec


@dataclass(frozen=True, slots=True)
class ListView:
    """The lists of one version.

    Attributes
    ----------
    ids
        Whose lists these are.
    partitions
        The rows of each partition that has any, by rising number.
    """

    ids: IdView
    spec: TableSpec
    partitions: tuple[RowView, ...]

    def lists(self, keys: Keys) -> Array:
        """``(n_partitions, n, width)`` lists of ids, zeros where a partition has none; see
        :mod:`streamer_models.state.neighbour_lists`."""
        rows = self.ids.map.find(keys)
        found: Array = np.zeros((len(self.partitions), len(keys), self.spec.width), self.spec.dtype)
        for view, lists in zip(self.partitions, found, strict=True):
            view.copy(rows, lists)
        return found


class ListTable:
    """Neighbour lists of one table, a row store a partition. For the follower thread alone.

    A list that a commit changed is copied, once a commit: no version copies the others.
    """

    def __init__(self, reading: ReadLists) -> None:
        self.reading = reading
        self.spec = reading.spec
        self._stores: dict[int, RowStore] = {}
        self._n_rows = 0

    def reserve(self, n_rows: int) -> None:
        """Have at least ``n_rows`` rows."""
        self._n_rows = max(self._n_rows, n_rows)
        for store in self._stores.values():
            store.reserve(n_rows)

    def start(self, rows: Slots, keys: Keys) -> None:
        """Lists of new ids are empty."""

    def add(self, partition: int, keys: Keys, rows: Slots, changes: Array) -> None:
        """Take the cells that a partition added, in order; rows may repeat."""
        self._store(partition).merge(rows, changes)

    def load(self, partition: int, keys: Keys, rows: Slots, values: Array) -> None:
        """Take whole rows of a partition's checkpoint."""
        self._store(partition).put(rows, values)

    def release(self, partition: int, keys: Keys, rows: Slots) -> None:
        """A partition has dropped ids; ``rows`` are -1 of those that no partition has any more."""
        if partition in self._stores:
            self._stores[partition].drop(rows[rows >= 0])

    def drop(self, dead: Slots) -> None:
        """Forget the rows of ids that no partition has any more."""
        for store in self._stores.values():
            store.drop(dead)

    def pack(self, kept: Slots) -> None:
        """Renumber: row ``kept[i]`` becomes row ``i``."""
        self._n_rows = len(kept)
        for store in self._stores.values():
            store.pack(kept)

    def publish(self, ids: IdView, watermark_ms: int) -> ListView:
        """The lists as they are now, immutable."""
        stores = (self._stores[partition] for partition in sorted(self._stores))
        return ListView(ids, self.spec, tuple(store.publish(ids.n_rows) for store in stores))

    def _store(self, partition: int) -> RowStore:
        if partition not in self._stores:
            store = RowStore(self.spec, chunk_bits=chunk_bits(self.spec, many_at_once=True))
            store.reserve(self._n_rows)
            self._stores[partition] = store
        return self._stores[partition]
