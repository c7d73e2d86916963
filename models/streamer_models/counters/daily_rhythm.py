"""Positive feedback counted by the time of day: what is taken up in the morning, and at night."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.inputs import Batch, Inputs
from streamer_models.state.model import NothingPrepared, Prepared, StepwiseModel
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable, ReadRows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import ITEM, Array, Merge, Slots, Table, TableSpec
from streamer_models.state.top_rows import Ranked

TIMES: Final = 12
"""Parts of a day, of two hours each."""
UNITS: Final = 256
"""One event."""
_PART_MS: Final = 86_400_000 // TIMES
_EXPECTED: Final = 5.0
"""Events that what is observed and what is expected are both raised by: so few say little."""


class DailyRhythm(StepwiseModel):
    """Counts of positive feedback by item and part of the day, in units of 2^-8.

    An event counts in the two parts whose middles are nearest, more in the nearer one, so that
    nothing changes at once when a part begins. Days are those of UTC; any other clock that never
    changes would do as well.

    Attributes
    ----------
    items, all_items
        Its tables as they are read: a row an item, ranked by each part, and one row for all.
    """

    def __init__(self) -> None:
        self.items = ReadRows(
            TableSpec("item_times_of_day", ITEM, Merge.SUM, "i8", TIMES),
            many_at_once=True,
            ranked=Ranked(),
        )
        self.all_items = ReadRows(TableSpec("times_of_day", "slot", Merge.SUM, "i8", TIMES))

    def settings(self) -> Mapping[str, Any]:
        return {"times": TIMES}

    def tables(self) -> Sequence[TableSpec]:
        return (self.items.spec, self.all_items.spec)

    def readable(self) -> Sequence[Readable]:
        return (self.items, self.all_items)

    def prepare(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> Prepared:
        """Touch the rows of what has a positive reward."""
        batch = inputs.feedback
        liked = batch.rewards > 0
        if not liked.any():
            return NothingPrepared()
        items, all_items = (shared.tables[spec.name] for spec in self.tables())
        items.touch(batch.item_rows[liked])
        all_items.reserve(1)
        all_items.touch(np.zeros(1, dtype=np.int32))
        return _CountedTimes(batch, items, all_items.values)


@dataclass(frozen=True, slots=True)
class _CountedTimes:
    batch: Batch
    items: Table
    all_items: Array

    def run(self, start: int, stop: int) -> None:
        batch, piece = self.batch, slice(start, stop)
        rows = batch.item_rows[piece]
        _count(self.items.values, self.all_items[0], rows, batch.ts_ms[piece], batch.rewards[piece])
        self.items.note(rows)


@numba.njit(cache=True, nogil=True, inline="always")
def _parts(ts_ms: int) -> tuple[int, int, int]:
    """The parts of the day with the two nearest middles, and how much of :data:`UNITS` is of the
    second one."""
    since_middle = (ts_ms - _PART_MS // 2) % 86_400_000
    first = since_middle // _PART_MS
    return first, (first + 1) % TIMES, (since_middle - first * _PART_MS) * UNITS // _PART_MS


@numba.njit(cache=True, nogil=True)
def _count(
    items: NDArray[np.int64],
    all_items: NDArray[np.int64],
    rows: Slots,
    ts_ms: NDArray[np.int64],
    rewards: NDArray[np.float32],
) -> None:
    for i in range(len(rows)):
        if rewards[i] > 0:
            first, second, share = _parts(ts_ms[i])
            for counts in (items[rows[i]], all_items):
                counts[first] += UNITS - share
                counts[second] += share


@numba.njit(cache=True, nogil=True)
def part_of(at_ms: int) -> int:
    """The part of the day whose middle is nearest."""
    first, second, share = _parts(at_ms)
    return first if 2 * share < UNITS else second


@numba.njit(cache=True, nogil=True)
def rhythm_scores(
    items: NDArray[np.int64], all_items: NDArray[np.int64], at_ms: int
) -> NDArray[np.float64]:
    """``(n,)`` logarithms of how many times as often each item is taken up at this time of day as
    at any, ``log((observed + 5) / (expected + 5))``; 0: as often as any, or nothing is known.

    Expected is the item's count over the day times the share that this time has of all events: the
    ratio of the two, shrunk by a gamma prior (DuMouchel 1999, Bayesian data mining in large
    frequency tables).

    Parameters
    ----------
    items
        ``(n, 12)`` counts.
    all_items
        ``(12,)`` counts of all items together.
    at_ms
        Time of day, ms since the epoch.
    """
    first, second, share = _parts(at_ms)
    scores = np.zeros(len(items))
    total = float(all_items.sum())
    if total <= 0.0:
        return scores
    now = (all_items[first] * (UNITS - share) + all_items[second] * share) / UNITS / total
    for i in range(len(items)):
        observed = (items[i, first] * (UNITS - share) + items[i, second] * share) / UNITS / UNITS
        expected = items[i].sum() / UNITS * now
        scores[i] = np.log((max(observed, 0.0) + _EXPECTED) / (max(expected, 0.0) + _EXPECTED))
    return scores
