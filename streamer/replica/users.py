"""Users of one version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.events.profiles import NO_PROFILE, Profile, profile_of
from streamer.replica.id_rows import IdView, RowsOfKeys
from streamer.replica.row_store import RowView
from streamer.replica.tables import Tables
from streamer_models.counters.history import UserHistory
from streamer_models.counters.impressions import UserImpressions
from streamer_models.counters.profiles import UserProfiles
from streamer_models.counters.seen import UserSeen
from streamer_models.state.ids.id_table import META_LAST_TS, IdTable
from streamer_models.state.model import Model, model_of
from streamer_models.state.table import PROFILE, USER, Array, Keys, recent_keys

_META = IdTable.readable(USER)
_NO_KEYS: Keys = np.zeros(0, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class UserView:
    """Users of one version, by row of ``map``; a row that was never written reads as absent.

    A model that is not learned knows nothing of any user.
    """

    ids: IdView
    meta: RowView
    met: RowView | None
    met_ms: RowView | None
    seen: RowView | None
    further: RowView | None
    described: IdView | None
    profiles: RowView | None

    @classmethod
    def of(cls, tables: Tables, models: Sequence[Model]) -> UserView:
        """What the models know of users in a version."""
        history = model_of(models, UserHistory)
        impressions = model_of(models, UserImpressions)
        further = model_of(models, UserSeen)
        described = model_of(models, UserProfiles)
        return cls(
            ids=tables.of_entity(USER),
            meta=tables.read(_META),
            met=None if history is None else tables.read(history.ring),
            met_ms=None if history is None else tables.read(history.times),
            seen=None if impressions is None else tables.read(impressions.ring),
            further=None if further is None else tables.read(further.ring),
            described=None if described is None else tables.of_entity(PROFILE),
            profiles=None if described is None else tables.read(described.rows),
        )

    @property
    def n_users(self) -> int:
        return self.ids.n_live

    @property
    def map(self) -> RowsOfKeys:
        return self.ids.map

    def profile(self, key: int) -> Profile:
        """What the user of a key says of themselves."""
        if self.described is None or self.profiles is None:
            return NO_PROFILE
        return profile_of(self.profiles.row(self.described.map.find_one(key)))

    def history(self, row: int) -> Keys:
        """Keys of the items the user last met, the newest first."""
        found = _row(self.met, row)
        return _NO_KEYS if found is None else recent_keys(found)

    def not_again(self, row: int) -> Keys:
        """Keys of the items that the user met as far back as is kept, the newest first."""
        found = _row(self.further, row)
        before = _NO_KEYS if found is None else recent_keys(found)
        return before if len(before) > len(self.history(row)) else self.history(row)

    def history_ms(self, row: int) -> NDArray[np.int64]:
        """When the user met each item of :meth:`history`."""
        found = _row(self.met_ms, row)
        return (_NO_KEYS if found is None else recent_keys(found)).astype(np.int64)

    def shown(self, row: int) -> Keys:
        """Keys of the items the user was last shown, the newest first; as often as shown."""
        found = _row(self.seen, row)
        return _NO_KEYS if found is None else recent_keys(found)

    def n_events(self, row: int) -> int:
        """Events of a user ever, as the history counted them."""
        found = _row(self.met, row)
        return 0 if found is None else int(found[0])

    def last_event_ms(self, row: int) -> int | None:
        """Time of the last event of a user."""
        found = _row(self.meta, row)
        return None if found is None else int(found[META_LAST_TS])


def _row(view: RowView | None, row: int) -> Array | None:
    return None if view is None else view.row(row)
