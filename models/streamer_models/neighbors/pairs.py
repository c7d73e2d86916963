"""Pairs of each item with those that its user met just before: what neighbour lists are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.counters.recent import recent_items
from streamer_models.state.inputs import Batch
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import ReadLists
from streamer_models.state.table import (
    FIXED_POINT_BITS,
    ITEM,
    Array,
    Keys,
    Merge,
    Slots,
    Table,
    TableSpec,
)

_MS_PER_H = 3_600_000.0


@dataclass(frozen=True, slots=True)
class PairLists:
    """Lists of the items that are met before and after an item, and what a pair weighs in them.

    When a user who has met n items takes item i, then for each of its last ones, h_k (k = 0 the
    newest, ``age`` hours old), ``x = (1 + n)^-1/4 · places[k] / (1 + aging · age)`` is added to i
    on the list of h_k, and ``back · x`` to h_k on the list of i.

    Square roots are exact on every machine; other powers are not, so n's is two of them.

    Attributes
    ----------
    places
        ``(window,)`` float64: the weight of a pair by how many items lie between.
    aging
        What an hour between the two takes off, 0: nothing.
    back
        Weight in the list of the later item, over that in the list of the earlier one.
    """

    table: str
    list_length: int
    places: NDArray[np.float64]
    aging: float
    back: float

    def __post_init__(self) -> None:
        if self.list_length < 1 or not len(self.places):
            raise ValueError(
                f"{self.table}: list_length={self.list_length} and window={len(self.places)} must"
                " be at least 1"
            )

    @property
    def reading(self) -> ReadLists:
        """Its table as it is read."""
        spec = TableSpec(self.table, ITEM, Merge.NEIGHBOURS, "u8", 2 * self.list_length)
        return ReadLists(spec)

    def settings(self) -> Mapping[str, Any]:
        """Return what the lists depend on beside the events."""
        return {"list_length": self.list_length, "window": len(self.places)}

    def prepare(self, batch: Batch, state: PartitionState) -> PreparedPairs:
        """Find the pairs of a step, before it is learned: they depend on its events alone."""
        recent = recent_items(batch, state, len(self.places))
        cells = _cells(
            batch.item_slots,
            state.items.keys[batch.item_slots],
            batch.ts_ms,
            recent.keys,
            recent.slots,
            recent.ts_ms,
            recent.n_before,
            self.places,
            self.aging / _MS_PER_H,
            self.back,
        )
        return PreparedPairs(state.own[self.table], *cells)


@dataclass(frozen=True, slots=True)
class PreparedPairs:
    """The cells of a step, those of event i at ``ends[i]`` to ``ends[i + 1]``."""

    table: Table
    slots: Slots
    cells: Array
    ends: NDArray[np.int64]

    def run(self, start: int, stop: int) -> None:
        """Add the pairs of ``feedback[start:stop]``."""
        first, last = self.ends[start], self.ends[stop]
        if first < last:
            self.table.merge(self.slots[first:last], self.cells[first:last])


@numba.njit(cache=True, nogil=True)
def _cells(
    item_slots: Slots,
    item_keys: Keys,
    event_ms: NDArray[np.int64],
    keys: Keys,
    slots: Slots,
    ts_ms: NDArray[np.int64],
    n_before: NDArray[np.int64],
    places: NDArray[np.float64],
    aging_per_ms: float,
    back: float,
) -> tuple[Slots, Array, NDArray[np.int64]]:
    """Rows and cells of all events, and where each event's end."""
    n_events, window = slots.shape
    ends = np.zeros(n_events + 1, dtype=np.int64)
    rows = np.empty(2 * n_events * window, dtype=np.int32)
    cells = np.empty((2 * n_events * window, 2), dtype=np.uint64)
    n = 0
    for i in range(n_events):
        of_user = 1.0 / np.sqrt(np.sqrt(1.0 + n_before[i])) * (1 << FIXED_POINT_BITS)
        for k in range(window):
            slot = slots[i, k]
            if slot < 0 or slot == item_slots[i]:
                continue
            age_ms = max(event_ms[i] - ts_ms[i, k], 0)  # events may come late
            weight = of_user * places[k] / (1.0 + aging_per_ms * age_ms)
            rows[n], cells[n, 0] = slot, item_keys[i]
            cells[n, 1] = np.uint64(np.rint(weight))
            rows[n + 1], cells[n + 1, 0] = item_slots[i], keys[i, k]
            cells[n + 1, 1] = np.uint64(np.rint(back * weight))
            n += 2
        ends[i + 1] = n
    return rows[:n], cells[:n], ends
