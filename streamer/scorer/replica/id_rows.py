"""Id keys → rows: one map the follower writes, and immutable ones for the versions it publishes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.key_map import KeyMap
from streamer_models.state.table import Keys, Slots

_GONE = np.int32(np.iinfo(np.int32).max)
_CHANGES_MIN = 4_096
_CHANGES_SHARE = 16
_ROWS_MIN = 1_024
DEAD_SHARE_MAX = 0.25
"""Above this share of dead rows they are packed."""


class IdMap:
    """An immutable map: a large base that many versions share, and what changed since."""

    def __init__(self, base: KeyMap, changed: KeyMap) -> None:
        self._base = base
        self._changed = changed

    def find(self, keys: Keys) -> Slots:
        """``(n,)`` rows of ``keys``, -1 where absent."""
        rows = self._base.find(keys)
        if len(self._changed):
            later = self._changed.find(keys)
            rows = np.where(later >= 0, later, rows)
            rows[rows == _GONE] = -1
        return rows

    def find_one(self, key: int) -> int:
        """Row of one key, -1 where absent."""
        return int(self.find(np.array([key], dtype=np.uint64))[0])


class IdRows:
    """Rows of the live ids of one entity, taken in order of admission.

    An id lives while at least one partition has it admitted. The row of a dropped id is dead and
    is not given out again before :meth:`pack`, so ``keys`` and ``names`` of a row never change
    within a generation and versions share them.

    Parameters
    ----------
    keep_names
        Whether names are needed (items are published by name, users are only asked for).

    Attributes
    ----------
    map
        Live keys, for the writer alone.
    keys
        ``(capacity,)``; the first ``n_rows`` are set.
    names
        ``n_rows`` ids as text, or none.
    """

    def __init__(self, *, keep_names: bool) -> None:
        self.map = KeyMap()
        self.keys: Keys = np.zeros(0, dtype=np.uint64)
        self.names: list[str] = []
        self.n_rows = 0
        self._keep_names = keep_names
        self._n_owners = np.zeros(0, dtype=np.int32)
        self._base = KeyMap()
        self._changed_keys: Keys = np.zeros(0, dtype=np.uint64)
        self._changed_rows: Slots = np.zeros(0, dtype=np.int32)
        self._published: tuple[IdMap, NDArray[np.bool_]] | None = None

    def admit(self, keys: Keys, names: tuple[bytes, ...]) -> Slots:
        """A partition admits ids; the rows of those that were not alive, rising."""
        rows = self.map.find(keys)
        missing = np.flatnonzero(rows < 0)
        new: Slots = np.arange(self.n_rows, self.n_rows + len(missing), dtype=np.int32)
        if len(missing):
            self._reserve(self.n_rows + len(missing))
            self.n_rows += len(missing)
            rows[missing] = new
            self.keys[new] = keys[missing]
            if self._keep_names:
                self.names += [names[i].decode() for i in missing.tolist()]
            self.map.insert(keys[missing], new)
            self._change(keys[missing], new)
        self._n_owners[rows] += 1
        return new

    def release(self, keys: Keys) -> Slots:
        """A partition drops ids; the rows of those that nobody has any more: they are dead."""
        rows = self.map.find(keys)
        assert len(rows) == 0 or rows.min() >= 0, "an id is dropped that was not admitted"
        self._n_owners[rows] -= 1
        dead: Slots = rows[self._n_owners[rows] == 0]
        if len(dead):
            self.map.remove(self.keys[dead])
            self._change(self.keys[dead], np.full(len(dead), _GONE))
        return dead

    @property
    def too_many_dead(self) -> bool:
        n_dead = self.n_rows - len(self.map)
        return n_dead > max(_ROWS_MIN, DEAD_SHARE_MAX * self.n_rows)

    def pack(self) -> Slots:
        """Give live ids new rows without gaps, a new generation; ``(n,)`` their old rows."""
        kept: Slots = np.flatnonzero(self._n_owners[: self.n_rows] > 0).astype(np.int32)
        self.keys, self._n_owners = self.keys[kept], self._n_owners[kept]
        self.names = [self.names[row] for row in kept.tolist()] if self._keep_names else []
        self.n_rows = len(kept)
        self.map = KeyMap()
        self.map.insert(self.keys, np.arange(len(kept), dtype=np.int32))
        self._rebase()
        self._published = None
        return kept

    def publish(self) -> tuple[IdMap, NDArray[np.bool_]]:
        """The map as it is now, and ``(n_rows,)`` whether each row is alive; both immutable."""
        if self._published is None:
            if len(self._changed_keys) > max(_CHANGES_MIN, len(self.map) // _CHANGES_SHARE):
                self._rebase()
            changed = KeyMap()
            changed.insert(self._changed_keys, self._changed_rows)
            self._published = IdMap(self._base, changed), self._n_owners[: self.n_rows] > 0
        return self._published

    def _rebase(self) -> None:
        live = np.flatnonzero(self._n_owners[: self.n_rows] > 0).astype(np.int32)
        self._base = KeyMap()
        self._base.insert(self.keys[live], live)
        self._changed_keys, self._changed_rows = self._changed_keys[:0], self._changed_rows[:0]

    def _change(self, keys: Keys, rows: Slots) -> None:
        self._changed_keys = np.concatenate([self._changed_keys, keys])
        self._changed_rows = np.concatenate([self._changed_rows, rows])
        self._published = None

    def _reserve(self, n_rows: int) -> None:
        n_more = max(n_rows, 2 * len(self.keys), _ROWS_MIN) - len(self.keys)
        if n_rows > len(self.keys):
            self.keys = np.concatenate([self.keys, np.zeros(n_more, np.uint64)])
            self._n_owners = np.concatenate([self._n_owners, np.zeros(n_more, np.int32)])
