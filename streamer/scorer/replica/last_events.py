"""Times of last events of all partitions: the latest of what each of them says.

A maximum cannot be withdrawn from, so what each partition says is kept apart, and the latest of it
is made anew where a partition drops an id. What is known is then a function of what the partitions
hold, however and in whatever order a replica came to know it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.scorer.replica.row_store import RowStore, RowView
from streamer_models.state.shared import SharedIds
from streamer_models.state.table import Keys, Slots, TableSpec

Times = NDArray[np.int64]


class LastEvents:
    """Times of last events of one kind of entity, by row; for the follower thread alone.

    Beside the rows it holds some 40 B and 8 B a time for each id and partition that has it: a user
    is in one partition, an item in all.

    Parameters
    ----------
    spec
        The table that partitions own.
    chunk_bits
        Of the rows, as :class:`streamer.scorer.replica.row_store.RowStore` has it.
    """

    def __init__(self, spec: TableSpec, *, chunk_bits: int) -> None:
        self._width = spec.width
        self._rows = RowStore(spec, chunk_bits=chunk_bits)
        self._said: dict[int, _Partition] = {}

    def reserve(self, n_rows: int) -> None:
        """Have at least ``n_rows`` rows, absent at first."""
        self._rows.reserve(n_rows)

    def put(self, partition: int, keys: Keys, rows: Slots, times: Times) -> None:
        """Take what a partition says now, ``(n, width)``, of ids that are alive, none twice.

        It only rises while the partition has the id.
        """
        said = self._said.setdefault(partition, _Partition(self._width))
        said.put(keys, times)
        self._rows.put(rows, np.maximum(self._rows.take(rows), times))

    def withdraw(self, partition: int, keys: Keys, rows: Slots) -> None:
        """A partition has dropped ids; their rows, -1 where nobody has them any more."""
        if partition in self._said:
            self._said[partition].drop(keys)
        alive = rows >= 0
        keys, rows = keys[alive], rows[alive]
        latest = np.zeros((len(keys), self._width), dtype=np.int64)
        for said in self._said.values():
            np.maximum(latest, said.times(keys), out=latest)
        self._rows.put(rows, latest)

    def drop(self, rows: Slots) -> None:
        """Forget the rows of ids that nobody has any more."""
        self._rows.drop(rows)

    def pack(self, kept: Slots) -> None:
        """Renumber: row ``kept[i]`` becomes row ``i``."""
        self._rows.pack(kept)

    def publish(self, n_rows: int) -> RowView:
        """The rows as they are now, immutable."""
        return self._rows.publish(n_rows)


class _Partition:
    """What one partition says."""

    def __init__(self, width: int) -> None:
        self._ids = SharedIds()
        self._times: Times = np.zeros((0, width), dtype=np.int64)

    def put(self, keys: Keys, times: Times) -> None:
        at = self._ids.map.find(keys)
        if (new := at < 0).any():
            at[new], _ = self._ids.acquire(keys[new])
            n_more = len(self._ids.keys) - len(self._times)
            if n_more:
                more = np.zeros((n_more, self._times.shape[1]), dtype=np.int64)
                self._times = np.concatenate([self._times, more])
        self._times[at] = times

    def drop(self, keys: Keys) -> None:
        self._ids.release(keys[self._ids.map.find(keys) >= 0])

    def times(self, keys: Keys) -> Times:
        """``(n, width)``, zeros of ids that it does not have."""
        found = np.zeros((len(keys), self._times.shape[1]), dtype=np.int64)
        at = self._ids.map.find(keys)
        found[at >= 0] = self._times[at[at >= 0]]
        return found
