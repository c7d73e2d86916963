"""Id keys → rows: one map the follower writes, and immutable ones for the versions it publishes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.key_map import KeyMap, find_slot
from streamer_models.state.shared_ids import SharedIds
from streamer_models.state.table import Keys, Slots

_GONE = np.int32(np.iinfo(np.int32).max)
_CHANGES_MIN = 4_096
_CHANGES_SHARE = 16
_ROWS_MIN = 1_024
DEAD_SHARE_MAX = 0.25
"""Above this share of dead rows they are packed."""


class RowsOfKeys(Protocol):
    """An immutable map of keys to rows."""

    def find(self, keys: Keys) -> Slots:
        """``(n,)`` rows of ``keys``, -1 where absent."""

    def find_one(self, key: int) -> int:
        """Row of one key, -1 where absent."""


@dataclass(frozen=True, slots=True)
class IdView:
    """Rows of one entity in one version.

    Attributes
    ----------
    generation
        Rows keep their meaning within one; see :class:`IdRows`.
    map
        Keys of what lives → rows.
    keys, names, live
        Of each row, the first ``n_rows`` alone; ``live`` is False where the id is gone. Names are
        there of items alone.
    """

    generation: int
    n_rows: int
    n_live: int
    map: RowsOfKeys
    keys: Keys
    names: Sequence[str]
    live: NDArray[np.bool_]


class IdMap:
    """An immutable map: a large base that many versions share, and what changed since."""

    def __init__(self, base: KeyMap, changed: KeyMap) -> None:
        self._base = base
        self._changed = changed

    def find(self, keys: Keys) -> Slots:
        """``(n,)`` rows of ``keys``, -1 where absent."""
        base, changed = self._base, self._changed
        rows: Slots = _find(base.buckets, base.slots, changed.buckets, changed.slots, keys)
        return rows

    def find_one(self, key: int) -> int:
        """Row of one key, -1 where absent."""
        base, changed, wanted = self._base, self._changed, np.uint64(key)
        return int(_row(base.buckets, base.slots, changed.buckets, changed.slots, wanted))


@numba.njit(cache=True, nogil=True)
def _row(base: Keys, rows: Slots, changed: Keys, later: Slots, key: np.uint64) -> int:
    """Row of one key, -1 where absent: as it was changed to, else as it was."""
    row = find_slot(changed, later, key)
    if row < 0:
        row = find_slot(base, rows, key)
    return -1 if row == _GONE else row


@numba.njit(cache=True, nogil=True)
def _find(base: Keys, rows: Slots, changed: Keys, later: Slots, keys: Keys) -> Slots:
    found = np.empty(len(keys), dtype=np.int32)
    for i in range(len(keys)):
        found[i] = _row(base, rows, changed, later, keys[i])
    return found


class IdRows(SharedIds):
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
    names
        ``n_rows`` ids as text, or none.
    """

    def __init__(self, *, keep_names: bool) -> None:
        super().__init__()
        self.names: list[str] = []
        self._keep_names = keep_names
        self._generation = 0
        self._base = KeyMap()
        self._changed_keys: Keys = np.zeros(0, dtype=np.uint64)
        self._changed_rows: Slots = np.zeros(0, dtype=np.int32)
        self._published: IdView | None = None

    def admit(self, keys: Keys, names: tuple[bytes, ...]) -> Slots:
        """A partition admits ids; the rows of those that were not alive, rising."""
        if self._keep_names:
            missing = np.flatnonzero(self.map.find(keys) < 0)
            self.names += [names[i].decode() for i in missing.tolist()]
        _, new = self.acquire(keys)
        self._change(self.keys[new], new)
        return new

    def release(self, keys: Keys) -> Slots:
        """A partition drops ids; the rows of those that nobody has any more: they are dead."""
        dead = super().release(keys)
        self._change(self.keys[dead], np.full(len(dead), _GONE))
        return dead

    def find(self, keys: Keys) -> Slots:
        """``(n,)`` rows of ids that are alive."""
        rows = self.map.find(keys)
        assert rows.min(initial=0) >= 0, "a change of an id that is not admitted"
        return rows

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
        self._generation += 1
        self._rebase()
        self._published = None
        return kept

    def publish(self) -> IdView:
        """The ids as they are now, immutable; the view before where nothing changed since."""
        if self._published is None:
            if len(self._changed_keys) > max(_CHANGES_MIN, len(self.map) // _CHANGES_SHARE):
                self._rebase()
            changed = KeyMap()
            changed.insert(self._changed_keys, self._changed_rows)
            self._published = IdView(
                generation=self._generation,
                n_rows=self.n_rows,
                n_live=len(self.map),
                map=IdMap(self._base, changed),
                keys=self.keys[: self.n_rows],
                names=self.names,
                live=self._n_owners[: self.n_rows] > 0,
            )
        return self._published

    def _give_back(self, unowned: Slots) -> None:
        """Rows that are dead until all are packed."""

    def _rebase(self) -> None:
        live = np.flatnonzero(self._n_owners[: self.n_rows] > 0).astype(np.int32)
        self._base = KeyMap()
        self._base.insert(self.keys[live], live)
        self._changed_keys, self._changed_rows = self._changed_keys[:0], self._changed_rows[:0]

    def _change(self, keys: Keys, rows: Slots) -> None:
        if len(keys):
            self._changed_keys = np.concatenate([self._changed_keys, keys])
            self._changed_rows = np.concatenate([self._changed_rows, rows])
            self._published = None


class IndexMap:
    """Keys that are plain indices: each is its own row."""

    def __init__(self, n_rows: int) -> None:
        self._n_rows = n_rows

    def find(self, keys: Keys) -> Slots:
        """``(n,)`` rows of ``keys``, -1 beyond the last."""
        return np.where(keys < self._n_rows, keys, np.uint64(0)).astype(np.int32) - (
            keys >= self._n_rows
        )

    def find_one(self, key: int) -> int:
        """Row of one key, -1 beyond the last."""
        return key if key < self._n_rows else -1


class IndexRows:
    """Rows of a table that is keyed by a plain index: as many as were ever written, all alive."""

    too_many_dead = False

    def __init__(self) -> None:
        self.n_rows = 0
        self._published: IdView | None = None

    def find(self, keys: Keys) -> Slots:
        """``(n,)`` rows, which are there from now on."""
        n_rows = int(keys.max(initial=np.uint64(0))) + 1 if len(keys) else 0
        if n_rows > self.n_rows:
            self.n_rows = n_rows
            self._published = None
        return keys.astype(np.int32)

    def publish(self) -> IdView:
        """The rows as they are now, immutable."""
        if self._published is None:
            n_rows = self.n_rows
            self._published = IdView(
                generation=0,
                n_rows=n_rows,
                n_live=n_rows,
                map=IndexMap(n_rows),
                keys=np.arange(n_rows, dtype=np.uint64),
                names=(),
                live=np.ones(n_rows, dtype=np.bool_),
            )
        return self._published
