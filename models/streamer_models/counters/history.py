"""The last items each user gave feedback on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamer_models.state.protocols import Batch
from streamer_models.state.readable import Readable, ReadRows
from streamer_models.state.table import USER, Change, Keys, Merge, TableSpec

if TYPE_CHECKING:
    from streamer_models.state.partition import PartitionState
    from streamer_models.state.shared import SharedState


class UserHistory:
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

    def tables(self) -> Sequence[TableSpec]:
        return (self.ring.spec,)

    def readable(self) -> Sequence[Readable]:
        return (self.ring,)

    def initial(self, table: str, keys: Keys) -> None:
        """No table of it is shared."""
        return

    def learn(self, batch: Batch, state: PartitionState, shared: SharedState) -> None:
        """Append each event's item to its user's ring."""
        keys = state.items.keys[batch.item_slots]
        state.own["user_history"].merge(batch.user_slots, keys[:, None])

    def rescale(self, shared: SharedState, others: Sequence[Change]) -> None:
        """Rings are owned by one partition: nothing to shorten."""
