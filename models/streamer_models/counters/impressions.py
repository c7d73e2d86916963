"""The last items each user was shown: what was shown in vain is worth less the next time.

An item that a user passed by is less likely to be taken up the next time it is shown, the more
often the less (Lee, Lakshmanan, Tiwari & Shah 2014, "Modeling impression discounting in large-scale
recommender systems", KDD). Items taken up are known otherwise
(:mod:`streamer_models.counters.history`), so that what remains of the items shown was passed by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.id_table import META_FIRST_OFFSET, keys_of
from streamer_models.state.protocols import Batch
from streamer_models.state.readable import Readable, ReadRows
from streamer_models.state.table import USER, Change, Keys, Merge, TableSpec

if TYPE_CHECKING:
    from streamer_models.state.partition import PartitionState
    from streamer_models.state.shared import SharedState


@dataclass(frozen=True, slots=True)
class Impressions:
    """Items that users were shown, of one partition in offset order, in columns of length n."""

    offsets: NDArray[np.int64]
    user_ids: Sequence[str]
    item_ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.offsets)

    def until(self, offset: int) -> tuple[Impressions, Impressions]:
        """Those before an offset, and the rest."""
        n = int(np.searchsorted(self.offsets, offset))
        if n == len(self):
            return self, Impressions(self.offsets[n:], [], [])
        before = Impressions(self.offsets[:n], self.user_ids[:n], self.item_ids[:n])
        return before, Impressions(self.offsets[n:], self.user_ids[n:], self.item_ids[n:])


class UserImpressions:
    """A ring of item keys a user, for users that have given feedback before.

    Read a row with :func:`streamer_models.state.table.recent_keys`.

    Parameters
    ----------
    length
        Impressions kept, at 8 B each: 128 are 1 kB a user.

    Attributes
    ----------
    ring
        Its table as it is read.
    """

    TABLE: Final = "user_impressions"

    def __init__(self, *, length: int = 128) -> None:
        if length < 1:
            raise ValueError(f"impressions length {length} must be at least 1")
        self.length = length
        self.ring = ReadRows(TableSpec(self.TABLE, USER, Merge.RECENT, "u8", 1 + length))

    def tables(self) -> Sequence[TableSpec]:
        return (self.ring.spec,)

    def readable(self) -> Sequence[Readable]:
        return (self.ring,)

    def initial(self, table: str, keys: Keys) -> None:
        """No table of it is shared."""
        return

    def learn(self, batch: Batch, state: PartitionState, shared: SharedState) -> None:
        """An impression is no feedback; see :meth:`show`."""

    def rescale(self, shared: SharedState, others: Sequence[Change]) -> None:
        """Rings are owned by one partition: nothing to shorten."""

    def show(self, shown: Impressions, state: PartitionState) -> None:
        """Append items to the rings of the users they were shown to.

        An impression counts where its user was admitted before it, so that it does not matter
        where batches end.
        """
        users, slots = state.users, state.users.map.find(keys_of(shown.user_ids))
        at = np.flatnonzero(slots >= 0)
        at = at[users.meta.values[slots[at], META_FIRST_OFFSET] < shown.offsets[at]]
        if len(at):
            keys = keys_of([shown.item_ids[place] for place in at.tolist()])
            state.own[self.TABLE].merge(slots[at], keys[:, None])
