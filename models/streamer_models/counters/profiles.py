"""What users say of themselves: one row a user, which the next one replaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamer_models.state.inputs import Inputs
from streamer_models.state.model import Model
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable, ReadRows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import PROFILE, Merge, TableSpec


class UserProfiles(Model):
    """Keeps the rows that describe users: it learns nothing of them.

    Parameters
    ----------
    words
        Of a row, 8 B each.

    Attributes
    ----------
    rows
        Its table as it is read.
    """

    def __init__(self, *, words: int) -> None:
        self.rows = ReadRows(TableSpec("user_profiles", PROFILE, Merge.REPLACE, "u8", words))

    def settings(self) -> Mapping[str, Any]:
        return {}

    def tables(self) -> Sequence[TableSpec]:
        return (self.rows.spec,)

    def readable(self) -> Sequence[Readable]:
        return (self.rows,)

    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        """Put each row in place of the one before."""
        profiles = inputs.profiles
        if len(profiles):
            table = state.own[self.rows.spec.name]
            table.touch(profiles.slots)
            table.values[profiles.slots] = profiles.rows
