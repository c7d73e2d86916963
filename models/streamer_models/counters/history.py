"""The last items each user gave feedback on, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamer_models.state.inputs import Batch, Inputs
from streamer_models.state.model import StepwiseModel
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable, ReadRows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import USER, Merge, TableSpec


class UserHistory(StepwiseModel):
    """A ring of item keys a user, and one of event times: liked or not, an item met is an item
    seen.

    Read a row of either with :func:`streamer_models.state.table.recent_keys`.

    Parameters
    ----------
    length
        Items kept, at 16 B each: 64 are 1,040 B a user.

    Attributes
    ----------
    ring, times
        Its tables as they are read: keys, and event times in ms, place by place.
    """

    def __init__(self, *, length: int = 64) -> None:
        if length < 1:
            raise ValueError(f"history length {length} must be at least 1")
        self.length = length
        self.ring = ReadRows(TableSpec("user_history", USER, Merge.RECENT, "u8", 1 + length))
        self.times = ReadRows(TableSpec("user_history_times", USER, Merge.RECENT, "u8", 1 + length))

    def settings(self) -> Mapping[str, Any]:
        return {"length": self.length}

    def tables(self) -> Sequence[TableSpec]:
        return self.ring.spec, self.times.spec

    def readable(self) -> Sequence[Readable]:
        return self.ring, self.times

    def prepare(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> _Met:
        """Each event's item will be appended to its user's ring."""
        return _Met(inputs.feedback, state)


@dataclass(frozen=True, slots=True)
class _Met:
    batch: Batch
    state: PartitionState

    def run(self, start: int, stop: int) -> None:
        if start == stop:
            return
        users = self.batch.user_slots[start:stop]
        keys = self.state.items.keys[self.batch.item_slots[start:stop]]
        times = self.batch.ts_ms[start:stop].astype(np.uint64)
        self.state.own["user_history"].merge(users, keys[:, None])
        self.state.own["user_history_times"].merge(users, times[:, None])
