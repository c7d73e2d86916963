"""Merged item rows: exact integers for the follower, floats in immutable views for requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.scorer.replica.id_rows import IdMap, IdRows
from streamer_models.counters.decay import EPOCH_HALF_LIVES, decayed_values
from streamer_models.state.protocols import Model
from streamer_models.state.table import (
    FIXED_POINT_UNIT,
    Array,
    Change,
    IdChange,
    Keys,
    Rows,
    Slots,
    TableSpec,
    fold,
)

FACTOR_TABLES: Final = {
    "item_factors": "user_factors",
    "item_rating_factors": "user_rating_factors",
}
"""Tables of item factors (the last column is a bias) and the table of users' that goes with each:
its first columns are the user's factors, whatever follows."""

COUNTS: Final = "item_counts"
POPULARITY: Final = "item_popularity"
BLOCK_ROWS: Final = 1_024
"""Rows of factors that are copied together: 1,024 * 32 factors * 4 B = 131 kB, some 10 µs."""
BIAS, COUNT, DECAYED = range(3)
"""Columns of :attr:`ItemView.stats`; from ``DECAYED`` on, one a half-life."""
_BLOCK_BITS = 10
TOP_MIN: Final = 2_048
"""Looked for in an order that is kept, so that what is ruled out leaves enough."""


@dataclass(frozen=True, slots=True)
class ItemView:
    """Items of one version; nothing in it ever changes but what it remembers of its own answers.

    Attributes
    ----------
    generation
        Rows keep their meaning within one; see :class:`streamer.scorer.replica.id_rows.IdRows`.
    keys, names, live
        Of each row, the first ``n_rows`` alone; ``live`` is False where the id is gone.
    factors
        Blocks ``(BLOCK_ROWS, k)`` of float32; none where no factorization is learned.
    stats
        ``(n_rows, 2 + n_half_lives)`` float32: bias, count, decayed counts as of ``at_ms``.
    """

    generation: int
    n_rows: int
    map: IdMap
    keys: Keys
    names: Sequence[str]
    live: NDArray[np.bool_]
    factors: tuple[NDArray[np.float32], ...]
    stats: NDArray[np.float32]
    at_ms: int
    half_lives: NDArray[np.int64]
    _tops: dict[int, Slots] = field(default_factory=dict)

    def factor_scores(self, user_factors: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(n_rows,)`` ``p_u · q_i + b_i`` for all rows, dead ones too; ``user_factors`` is
        ``(k,)``."""
        scores = np.empty(len(self.factors) * BLOCK_ROWS, dtype=np.float32)
        for i, block in enumerate(self.factors):
            np.dot(block, user_factors, out=scores[i * BLOCK_ROWS : (i + 1) * BLOCK_ROWS])
        scores = scores[: self.n_rows]
        scores += self.stats[:, BIAS]
        return scores

    def decayed(self, rows: Slots, at_ms: int) -> NDArray[np.float32]:
        """``(n, n_half_lives)`` decayed counts of ``rows`` at a time not before ``self.at_ms``."""
        fade = np.exp2((self.at_ms - at_ms) / self.half_lives)
        values: NDArray[np.float32] = self.stats[rows, DECAYED:] * fade.astype(np.float32)
        return values

    def top(self, column: int, n: int) -> Slots:
        """Live rows with the greatest values in a column of ``stats``, best first, at least ``n``.

        All decayed counts of a half-life fade alike, so the order holds at any time: it is found
        once a version.
        """
        top = self._tops.get(column)
        if top is None or (len(top) < n and len(top) < int(self.live.sum())):
            values = np.where(self.live, self.stats[:, column], -np.inf).astype(np.float32)
            top = best(values, max(n, TOP_MIN), self.keys)
            self._tops[column] = top
        return top


def best(values: NDArray[np.float32], n: int, keys: Keys) -> Slots:
    """At most ``n`` rows with the greatest values, best first, those of -inf left out.

    Equal values are in the order of their keys, so that row numbers do not show.
    """
    if n < len(values):
        rows = np.argpartition(values, len(values) - n)[len(values) - n :]
    else:
        rows = np.arange(len(values))
    rows = rows[values[rows] > -np.inf]
    order = np.lexsort((keys[rows], -values[rows]))
    found: Slots = rows[order].astype(np.int32)
    return found


class ItemState:
    """Merged rows of the items all partitions know: initial value + sum of contributions.

    For the follower thread alone; :meth:`publish` makes views that others read.

    Parameters
    ----------
    models
        Whose tables these are, and who says what a new row starts from.
    half_lives
        ``(n,)`` ms, of the columns of ``item_popularity``.
    """

    def __init__(self, models: Sequence[Model], half_lives: NDArray[np.int64]) -> None:
        scored = {COUNTS, POPULARITY, *FACTOR_TABLES}
        self.ids = IdRows(keep_names=True)
        self.specs: dict[str, TableSpec] = {}
        self.values: dict[str, Array] = {}
        self._learned_by: dict[str, Model] = {}
        for model in models:
            for spec in model.tables():
                if spec.name in scored:
                    self.specs[spec.name] = spec
                    self.values[spec.name] = np.zeros((0, spec.width), dtype=spec.dtype)
                    self._learned_by[spec.name] = model
        self._factor_table = next((name for name in FACTOR_TABLES if name in self.specs), None)
        self._half_lives = half_lives
        self._stats = np.zeros((0, DECAYED + len(half_lives)), dtype=np.float32)
        self._blocks: list[NDArray[np.float32]] = []
        self._at_ms = 0
        self._touched: list[Slots] = []
        self._generation = 0

    # --- what partitions commit ------------------------------------------------------------------

    def apply(self, change: Change) -> None:
        """Withdrawals first, then ids dropped and admitted, then what was learned."""
        self.add(change.withdrawn)
        if "item" in change.ids:
            ids = change.ids["item"]
            self.ids.release(ids.removed)
            self.admit(ids)
        self.add(change.tables)

    def admit(self, ids: IdChange) -> None:
        """Give new ids a row each, at its initial value."""
        rows = self.ids.admit(ids.added, ids.names)
        if not len(rows):
            return
        self._reserve(self.ids.n_rows)
        for name, model in self._learned_by.items():
            initial = model.initial(name, self.ids.keys[rows])
            self.values[name][rows] = 0 if initial is None else initial
        self._touched.append(rows)

    def add(self, tables: Mapping[str, Rows]) -> None:
        """Add contributions, or differences of them, of ids that are admitted."""
        for name, rows in tables.items():
            if name in self.specs and len(rows):
                at = self.ids.map.find(rows.keys)
                assert at.min() >= 0, f"{name}: a change of an item that is not admitted"
                fold(self.specs[name], self.values[name], at, rows.values)
                self._touched.append(at)

    def _reserve(self, n_rows: int) -> None:
        size = len(self._stats)
        if n_rows <= size:
            return
        size = -(-max(n_rows, size + size // 2) // BLOCK_ROWS) * BLOCK_ROWS
        self._stats = grown(self._stats, size)
        self.values = {name: grown(values, size) for name, values in self.values.items()}

    # --- what requests see -----------------------------------------------------------------------

    def publish(self, watermark_ms: int) -> ItemView:
        """The items as they are now, immutable; only blocks of changed rows are copied."""
        if self.ids.too_many_dead:
            self._pack()
        at_ms = decay_reference(self._half_lives, watermark_ms)
        if at_ms > self._at_ms:
            self._at_ms = at_ms
            self._touched.append(np.arange(self.ids.n_rows, dtype=np.int32))
        if self._touched:
            self._refresh(np.unique(np.concatenate(self._touched)))
            self._touched.clear()
        ids, live = self.ids.publish()
        n_rows = self.ids.n_rows
        return ItemView(
            generation=self._generation,
            n_rows=n_rows,
            map=ids,
            keys=self.ids.keys[:n_rows],
            names=self.ids.names,
            live=live,
            factors=tuple(self._blocks),
            stats=self._stats[:n_rows].copy(),
            at_ms=self._at_ms,
            half_lives=self._half_lives,
        )

    def _refresh(self, rows: Slots) -> None:
        if COUNTS in self.values:
            self._stats[rows, COUNT] = self.values[COUNTS][rows, 0]
        if POPULARITY in self.values:
            cells = self.values[POPULARITY][rows]
            self._stats[rows, DECAYED:] = decayed_values(cells, self._half_lives, self._at_ms)
        if self._factor_table is None:
            return
        factors = self.values[self._factor_table]
        self._stats[rows, BIAS] = factors[rows, -1] * np.float32(FIXED_POINT_UNIT)
        for block in np.unique(rows >> _BLOCK_BITS).tolist():
            whole = factors[block * BLOCK_ROWS : (block + 1) * BLOCK_ROWS, :-1]
            fresh = whole.astype(np.float32, order="C")
            fresh *= np.float32(FIXED_POINT_UNIT)
            if block < len(self._blocks):
                self._blocks[block] = fresh
            else:
                assert block == len(self._blocks), (block, len(self._blocks))
                self._blocks.append(fresh)

    def _pack(self) -> None:
        kept = self.ids.pack()
        size = -(-len(kept) // BLOCK_ROWS) * BLOCK_ROWS
        self._stats = grown(self._stats[kept], size)
        self.values = {name: grown(values[kept], size) for name, values in self.values.items()}
        self._blocks = []
        self._touched = [np.arange(len(kept), dtype=np.int32)]
        self._generation += 1


def decay_reference(half_lives: NDArray[np.int64], watermark_ms: int) -> int:
    """Time that decayed counts are kept for, so that rows nobody touched stay as they are.

    It is the start of the present epoch of the shortest half-life: a function of the watermark,
    not of when it was looked at. All current epochs are at most one ahead of it.
    """
    if not len(half_lives):
        return 0
    length = int(half_lives.min()) * EPOCH_HALF_LIVES
    return watermark_ms // length * length


def grown(array: Array, n_rows: int) -> Array:
    """A copy with more rows, zeros."""
    larger: Array = np.zeros((n_rows, array.shape[1]), dtype=array.dtype)
    larger[: len(array)] = array
    return larger
