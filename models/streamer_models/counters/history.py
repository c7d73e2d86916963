"""The last items each user gave feedback on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamer_models.state.inputs import Inputs
from streamer_models.state.model import Model
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable, ReadRows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import USER, Merge, TableSpec


class UserHistory(Model):
    """A ring of item keys a user: liked or not, an item met is an item seen.

    Read a row with :func:`streamer_models.state.table.recent_keys`.

    Parameters
    ----------
    length
        Items kept, at 8 B each: 64 are 520 B a user.

    Attributes
    ----------
    ring
        Its table as it is read.
    """

    def __init__(self, *, length: int = 64) -> None:
        if length < 1:
            raise ValueError(f"history length {length} must be at least 1")
        self.length = length
        self.ring = ReadRows(TableSpec("user_history", USER, Merge.RECENT, "u8", 1 + length))

    def settings(self) -> Mapping[str, Any]:
        return {"length": self.length}

    def tables(self) -> Sequence[TableSpec]:
        return (self.ring.spec,)

    def readable(self) -> Sequence[Readable]:
        return (self.ring,)

    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        """Append each event's item to its user's ring."""
        batch = inputs.feedback
        if not len(batch):
            return
        keys = state.items.keys[batch.item_slots]
        state.own["user_history"].merge(batch.user_slots, keys[:, None])
