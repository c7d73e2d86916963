"""Popularity: positive feedback counted in all, and decayed by several half-lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer_models.counters.decay import add_decayed, decayed_values, half_lives_ms
from streamer_models.state.decayed_cells import CELLS_WIDTH
from streamer_models.state.inputs import Inputs
from streamer_models.state.model import Model
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable, ReadColumns, ReadDecayed
from streamer_models.state.shared import SharedState
from streamer_models.state.table import ITEM, Merge, TableSpec


class Popularity(Model):
    """Counts of positive feedback by item; the reward is an event's weight in the decayed ones.

    Parameters
    ----------
    half_lives_s
        Half-lives in seconds of event time, in the order of the columns of :meth:`trending`.

    Attributes
    ----------
    counts, decayed
        Its tables as they are read.
    """

    def __init__(self, *, half_lives_s: Sequence[float] = (3_600, 86_400, 604_800)) -> None:
        self.half_lives = half_lives_ms(half_lives_s)
        width = CELLS_WIDTH * len(self.half_lives)
        self.counts = ReadColumns(TableSpec("item_counts", ITEM, Merge.SUM, "i8", 1))
        self.decayed = ReadDecayed(
            TableSpec("item_popularity", ITEM, Merge.DECAYED, "i8", width),
            tuple(self.half_lives.tolist()),
        )

    def settings(self) -> Mapping[str, Any]:
        return {"half_lives_ms": self.half_lives.tolist()}

    def tables(self) -> Sequence[TableSpec]:
        return self.counts.spec, self.decayed.spec

    def readable(self) -> Sequence[Readable]:
        return self.counts, self.decayed

    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        """Count positive rewards, in this partition's contribution alone."""
        batch = inputs.feedback
        liked = np.flatnonzero(batch.rewards > 0)
        if not len(liked):
            return
        slots = batch.item_slots[liked]
        counts = state.contributions["item_counts"]
        counts.touch(slots)
        np.add.at(counts.values[:, 0], slots, 1)
        decayed = state.contributions["item_popularity"]
        decayed.touch(slots)
        add_decayed(
            decayed.values, slots, batch.ts_ms[liked], batch.rewards[liked], self.half_lives
        )

    def trending(self, cells: NDArray[np.int64], at_ms: int) -> NDArray[np.float64]:
        """``(n, n_half_lives)`` decayed counts at a time of merged ``item_popularity`` rows."""
        return decayed_values(cells, self.half_lives, at_ms)
