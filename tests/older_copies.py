"""A store that goes back to an older copy of itself, as a server does after a failover."""

from __future__ import annotations

import copy
from typing import TypeAlias

import numpy as np

from streamer.replica.version import Version
from streamer.store.memory import MemoryStore, _Partition

Copy: TypeAlias = dict[int, _Partition]


class RevertibleStore(MemoryStore):
    """Kept in memory; whoever uses it is not told that it went back."""

    def copied(self) -> Copy:
        """Return all that was learned, as it is now."""
        with self._changed:
            return copy.deepcopy(self._partitions)

    def go_back(self, to: Copy) -> None:
        """Become what it was when it was copied."""
        with self._changed:
            self._partitions = copy.deepcopy(to)
            self._changed.notify_all()

    def set_back(self, partition: int, to: Copy) -> None:
        """Have one partition as it was when it was copied, or none where it was not there."""
        with self._changed:
            self._partitions.pop(partition, None)
            self._partitions |= copy.deepcopy({p: to[p] for p in to if p == partition})
            self._changed.notify_all()


def item_counts(version: Version) -> dict[str, bytes]:
    """What a version says of how often each item was met."""
    items = version.items
    rows = np.flatnonzero(items.live).tolist()
    return {items.names[row]: items.counts.values[row].tobytes() for row in rows}
