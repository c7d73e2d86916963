"""Who is recommended something, and what is known then: in a scorer, and in a learner that
practises."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from streamer.events.profiles import Profile
from streamer_models.counters.history import UserHistory
from streamer_models.state.items.item_embeddings import ItemEmbeddings
from streamer_models.state.items.item_tokens import ItemTokens
from streamer_models.state.readable import ReadLists, ReadRows
from streamer_models.state.table import Array, Keys, Slots, recent_keys
from streamer_models.state.top_rows import Tops

T = TypeVar("T")


class RowReader(Protocol):
    """Merged rows of one table."""

    @property
    def tops(self) -> Tops | None:
        """The greatest rows, where they are declared to be ranked."""

    def row(self, row: int) -> Array | None:
        """``(width,)`` one row, None where it is absent; do not write into it."""

    def take(self, rows: Slots) -> Array:
        """``(n, width)`` copies of rows, zeros where absent."""


class ListReader(Protocol):
    """Neighbour lists of one table."""

    def lists(self, keys: Keys) -> Array:
        """``(n_partitions, n, width)`` lists of ids, zeros where a partition has none."""


class TableReader(Protocol):
    """Tables, asked for by what their models declare."""

    @overload
    def read(self, reading: ReadRows) -> RowReader: ...

    @overload
    def read(self, reading: ReadLists) -> ListReader: ...


class Asked(Protocol):
    """What channels that practise are given: nothing else may tell the two apart."""

    @property
    def tables(self) -> TableReader:
        """What the models know."""

    @property
    def user_row(self) -> int:
        """Row of the user, -1 where there is none."""

    @property
    def profile(self) -> Profile:
        """What the user says of themselves."""

    @property
    def at_ms(self) -> int:
        """Time that counts are read at."""

    @property
    def item_keys(self) -> Keys:
        """Keys of items by row."""

    @property
    def item_tokens(self) -> ItemTokens:
        """What the catalogue says of items."""

    @property
    def item_embeddings(self) -> ItemEmbeddings:
        """Embeddings that the catalogue gives of items."""

    def item_rows(self, keys: Keys) -> Slots:
        """``(n,)`` rows of items, -1 where absent."""

    def may_be_shown(self, keys: Keys) -> NDArray[np.bool_]:
        """``(n,)`` whether items without parameters may be in the slate."""

    def new_ids(self, keys: Keys) -> Sequence[str]:
        """Ids of items of the catalogue; none where nothing is shown."""

    def excluded(self) -> Keys:
        """Keys of items that the user has met of late, or that the request excludes."""

    def seeds(self) -> Keys | None:
        """Keys of the items that a slate is to go with, the most important one first; None: with
        what the user met last."""

    def once(self, key: Hashable, find: Callable[[], T]) -> T:
        """Return what ``find`` returned when it was first called for ``key``."""


class FoundOnce:
    """What an :class:`Asked` remembers of what was found, in its ``_found``."""

    __slots__ = ()
    _found: dict[Hashable, Any]

    def once(self, key: Hashable, find: Callable[[], T]) -> T:
        """Return what ``find`` returned when it was first called for ``key``."""
        if key not in self._found:
            self._found[key] = find()
        found: T = self._found[key]
        return found


@dataclass(frozen=True, slots=True)
class Met:
    """What a user has met.

    Attributes
    ----------
    keys, ts_ms
        Of the last items, the newest first: ``(n,)`` keys, and int64 event times.
    n_events
        Items met ever.
    """

    keys: Keys
    ts_ms: NDArray[np.int64]
    n_events: int


_NOBODY = Met(np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64), 0)


@dataclass(frozen=True, slots=True)
class ComesAgain:
    """When what a user met may be recommended again.

    Attributes
    ----------
    after_ms
        How long ago an item must have been met.
    times_max
        How often it may have been met, among the user's last items, and come again; 0: however
        often.
    """

    after_ms: int
    times_max: int


def barred(keys: Keys, ts_ms: NDArray[np.int64], at_ms: int, comes_again: ComesAgain) -> Keys:
    """Return those of a user's last items that are not to be recommended again.

    Parameters
    ----------
    keys, ts_ms
        ``(n,)`` of the items, and when they were met.
    """
    kept_out = ts_ms > at_ms - comes_again.after_ms
    if comes_again.times_max:
        _, places, counts = np.unique(keys, return_inverse=True, return_counts=True)
        kept_out |= counts[places] > comes_again.times_max
    return keys[kept_out]


_SEEDS_AGE_MS: Final = 1_000
"""How long ago seeds count as met: a moment, but not the very one."""


def met(asked: Asked, history: UserHistory) -> Met:
    """Return what the user who asks has met, as the history knows it; of a request with seeds,
    these, as met just now by somebody who has met nothing else.

    Seeds of which nothing was learned are not counted: what is popular is right for who asks with
    them, and wrong for who is known by something that says more.
    """
    return asked.once("met", lambda: _met(asked, history))


def _met(asked: Asked, history: UserHistory) -> Met:
    seeds = asked.seeds()
    if seeds is not None:
        n_known = int(np.count_nonzero(asked.item_rows(seeds) >= 0))
        return Met(seeds, np.full(len(seeds), asked.at_ms - _SEEDS_AGE_MS), n_known)
    ring = asked.tables.read(history.ring).row(asked.user_row)
    times = asked.tables.read(history.times).row(asked.user_row)
    if ring is None or times is None:
        return _NOBODY
    return Met(recent_keys(ring), recent_keys(times).astype(np.int64), int(ring[0]))
