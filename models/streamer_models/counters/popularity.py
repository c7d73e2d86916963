"""Popularity: positive feedback counted in all, and decayed by several half-lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.counters.decay import add_decayed, decayed_values, half_lives_ms
from streamer_models.state.decayed_cells import CELLS_WIDTH
from streamer_models.state.inputs import Batch, Inputs
from streamer_models.state.model import NothingPrepared, Prepared, StepwiseModel
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable, ReadColumns, ReadDecayed, ReadRows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import ITEM, Merge, Slots, Table, TableSpec
from streamer_models.state.top_rows import Ranked

DAY_S = 86_400.0
HALF_LIVES_S = (DAY_S / 4, 4 * DAY_S, 64 * DAY_S, 256 * DAY_S)
"""A geometric grid: some of it suits a stream that is fast, some of it one that is slow."""


class Popularity(StepwiseModel):
    """Counts of positive feedback by item; the reward is an event's weight in the decayed ones.

    What all items have together is counted beside them, evicted items included.

    Parameters
    ----------
    half_lives_s
        Half-lives in seconds of event time, in the order of the columns of :meth:`trending`.

    Attributes
    ----------
    counts, decayed
        Its tables of items as readers look through them.
    count_rows, decayed_rows
        The same as rows, and ranked.
    total_count, total_decayed
        Tables of one row: of all items together.
    """

    def __init__(self, *, half_lives_s: Sequence[float] = HALF_LIVES_S) -> None:
        self.half_lives = half_lives_ms(half_lives_s)
        width = CELLS_WIDTH * len(self.half_lives)
        counts = TableSpec("item_counts", ITEM, Merge.SUM, "i8", 1)
        decayed = TableSpec("item_popularity", ITEM, Merge.DECAYED, "i8", width)
        self.counts = ReadColumns(counts)
        self.decayed = ReadDecayed(decayed, tuple(self.half_lives.tolist()))
        self.count_rows = ReadRows(counts, many_at_once=True, ranked=Ranked())
        self.decayed_rows = ReadRows(decayed, many_at_once=True, ranked=Ranked(decayed=True))
        self.total_count = ReadRows(TableSpec("popularity_count", "slot", Merge.SUM, "i8", 1))
        self.total_decayed = ReadRows(
            TableSpec("popularity_totals", "slot", Merge.DECAYED, "i8", width)
        )

    def settings(self) -> Mapping[str, Any]:
        return {"half_lives_ms": self.half_lives.tolist()}

    def tables(self) -> Sequence[TableSpec]:
        return (
            self.counts.spec,
            self.decayed.spec,
            self.total_count.spec,
            self.total_decayed.spec,
        )

    def readable(self) -> Sequence[Readable]:
        return (
            self.counts,
            self.decayed,
            self.count_rows,
            self.decayed_rows,
            self.total_count,
            self.total_decayed,
        )

    def prepare(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> Prepared:
        """Positive rewards will be counted: in the merged rows, but for decayed counts of items,
        which are this partition's contribution (see :meth:`SharedState.taken`)."""
        batch = inputs.feedback
        liked = batch.rewards > 0
        if not liked.any():
            return NothingPrepared()
        counts, merged, total, totals = (shared.tables[spec.name] for spec in self.tables())
        decayed = state.contributions[self.decayed.spec.name]
        counts.touch(batch.item_rows[liked])
        decayed.touch(batch.item_slots[liked])
        for table in (total, totals):
            table.reserve(1)
            table.touch(_FIRST)
        return _Counted(batch, self.half_lives, counts, decayed, merged, total, totals)

    def trending(self, cells: NDArray[np.int64], at_ms: int) -> NDArray[np.float64]:
        """``(n, n_half_lives)`` decayed counts at a time of merged ``item_popularity`` rows."""
        return decayed_values(cells, self.half_lives, at_ms)


_FIRST: Slots = np.zeros(1, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class _Counted:
    batch: Batch
    half_lives: NDArray[np.int64]
    counts: Table
    decayed: Table
    merged: Table
    total: Table
    totals: Table

    def run(self, start: int, stop: int) -> None:
        batch, piece = self.batch, slice(start, stop)
        rows, ts_ms, rewards = batch.item_rows[piece], batch.ts_ms[piece], batch.rewards[piece]
        _count(self.counts.values, self.total.values, rows, rewards)
        slots = batch.item_slots[piece]
        add_decayed(self.decayed.values, slots, ts_ms, rewards, self.half_lives)
        add_decayed(self.totals.values, np.zeros_like(rows), ts_ms, rewards, self.half_lives)
        self.counts.note(rows)
        self.merged.note(rows)


@numba.njit(cache=True, nogil=True)
def _count(
    counts: NDArray[np.int64],
    total: NDArray[np.int64],
    rows: Slots,
    rewards: NDArray[np.float32],
) -> None:
    for i in range(len(rows)):
        if rewards[i] > 0:
            counts[rows[i], 0] += 1
            total[0, 0] += 1
