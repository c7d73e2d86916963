"""The last items each user was shown: what was shown in vain is worth less the next time.

An item that a user passed by is less likely to be taken up the next time it is shown, the more
often the less (Lee, Lakshmanan, Tiwari & Shah 2014, "Modeling impression discounting in large-scale
recommender systems", KDD). Items taken up are known otherwise
(:mod:`streamer_models.counters.history`), so that what remains of the items shown was passed by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from streamer_models.state.ids.id_column import IdColumn
from streamer_models.state.ids.id_table import META_FIRST_OFFSET
from streamer_models.state.inputs import Inputs
from streamer_models.state.model import Model
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable, ReadRows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import USER, Merge, TableSpec


class UserImpressions(Model):
    """A ring of item keys a user, for users that have given feedback before.

    Read a row with :func:`streamer_models.state.table.recent_keys`.

    Parameters
    ----------
    event_type
        Code of the events that say an item was shown.
    type_name
        Their type, for settings: a code may change when a type is added. None: the code is one.
    length
        Impressions kept, at 8 B each: 128 are 1 kB a user.

    Attributes
    ----------
    ring
        Its table as it is read.
    """

    TABLE: Final = "user_impressions"

    def __init__(self, *, event_type: int, type_name: str | None = None, length: int = 128) -> None:
        if length < 1:
            raise ValueError(f"impressions length {length} must be at least 1")
        self.event_type = event_type
        self._type_name = type_name
        self.length = length
        self.ring = ReadRows(TableSpec(self.TABLE, USER, Merge.RECENT, "u8", 1 + length))

    def settings(self) -> Mapping[str, Any]:
        named = self.event_type if self._type_name is None else self._type_name
        return {"event_type": named, "length": self.length}

    def tables(self) -> Sequence[TableSpec]:
        return (self.ring.spec,)

    def readable(self) -> Sequence[Readable]:
        return (self.ring,)

    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        """Append items to the rings of the users they were shown to.

        An impression counts where its user was admitted before it, so that it does not matter
        where batches end.
        """
        events, users = inputs.events, state.users
        shown = np.flatnonzero(events.types == self.event_type)
        if not len(shown):
            return
        slots = users.map.find(IdColumn.of(events.user_ids).take(shown).keys())
        known = np.flatnonzero(slots >= 0)
        first = users.meta.values[slots[known], META_FIRST_OFFSET]
        known = known[first < events.offsets[shown[known]]]
        if len(known):
            keys = IdColumn.of(events.item_ids).take(shown[known]).keys()
            state.own[self.TABLE].merge(slots[known], keys[:, None])
