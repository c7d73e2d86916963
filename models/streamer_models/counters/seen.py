"""The items each user met, further back than the history that models learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamer_models.state.inputs import Batch, Inputs
from streamer_models.state.model import StepwiseModel
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable, ReadRows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import USER, Merge, TableSpec


class UserSeen(StepwiseModel):
    """A ring of item keys a user, without times: what is not to be recommended again.

    Parameters
    ----------
    length
        Items kept, at 8 B each: 1,000 are 8,008 B a user.

    Attributes
    ----------
    ring
        Its table as it is read, with :func:`streamer_models.state.table.recent_keys`.
    """

    def __init__(self, *, length: int) -> None:
        if length < 1:
            raise ValueError(f"length {length} of what is seen must be at least 1")
        self.length = length
        self.ring = ReadRows(TableSpec("user_seen", USER, Merge.RECENT, "u8", 1 + length))

    def settings(self) -> Mapping[str, Any]:
        return {"length": self.length}

    def tables(self) -> Sequence[TableSpec]:
        return (self.ring.spec,)

    def readable(self) -> Sequence[Readable]:
        return (self.ring,)

    def prepare(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> _Seen:
        """Each event's item will be appended to its user's ring."""
        return _Seen(inputs.feedback, state)


@dataclass(frozen=True, slots=True)
class _Seen:
    batch: Batch
    state: PartitionState

    def run(self, start: int, stop: int) -> None:
        if start < stop:
            keys = self.state.items.keys[self.batch.item_slots[start:stop]]
            self.state.own["user_seen"].merge(self.batch.user_slots[start:stop], keys[:, None])
