"""User rows of all partitions, in immutable views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.scorer.replica.id_rows import IdMap, IdRows
from streamer.scorer.replica.items import FACTOR_TABLES
from streamer.scorer.replica.row_store import RowStore, RowView
from streamer_models.counters.impressions import UserImpressions
from streamer_models.state.id_table import META_LAST_TS, IdTable
from streamer_models.state.protocols import Model
from streamer_models.state.table import USER, Array, Change, IdChange, Keys, Rows, recent_keys

HISTORY: Final = "user_history"
_META: Final = IdTable.specs(USER)[0]
_NO_KEYS: Keys = np.zeros(0, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class UserView:
    """Users of one version, by row of ``map``; a row that was never written reads as absent."""

    n_users: int
    map: IdMap
    tables: dict[str, RowView]
    factor_table: str | None
    n_factors: int

    def factors(self, row: int) -> NDArray[np.float32] | None:
        """``(k,)`` factors of a user."""
        found = self._row(self.factor_table, row)
        return None if found is None else found[: self.n_factors]

    def history(self, row: int) -> Keys:
        """Keys of the items the user last met, the newest first."""
        found = self._row(HISTORY, row)
        return _NO_KEYS if found is None else recent_keys(found)

    def shown(self, row: int) -> Keys:
        """Keys of the items the user was last shown, the newest first; as often as shown."""
        found = self._row(UserImpressions.TABLE, row)
        return _NO_KEYS if found is None else recent_keys(found)

    def n_events(self, row: int) -> int:
        """Events of a user ever, as the history counted them."""
        found = self._row(HISTORY, row)
        return 0 if found is None else int(found[0])

    def last_event_ms(self, row: int) -> int | None:
        """Time of the last event of a user."""
        found = self._row(_META.name, row)
        return None if found is None else int(found[META_LAST_TS])

    def _row(self, table: str | None, row: int) -> Array | None:
        if row < 0 or table not in self.tables:
            return None
        return self.tables[table].row(row)


class UserState:
    """Rows of users; for the follower thread alone, but for what :meth:`publish` makes.

    Where a foreign producer spread one user over several partitions, the last write counts.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        specs = {spec.name: spec for model in models for spec in model.tables()}
        specs[_META.name] = _META
        pair = next((pair for pair in FACTOR_TABLES.items() if pair[0] in specs), None)
        self._factor_table = pair[1] if pair else None
        self._n_factors = specs[pair[0]].width - 1 if pair else 0
        self.ids = IdRows(keep_names=False)
        self.stores = {
            name: RowStore(specs[name])
            for name in (self._factor_table, HISTORY, UserImpressions.TABLE, _META.name)
            if name in specs
        }

    def apply(self, change: Change) -> None:
        """Ids dropped and admitted, then changed rows."""
        if "user" in change.ids:
            ids = change.ids["user"]
            dead = self.ids.release(ids.removed)
            for store in self.stores.values():
                store.drop(dead)
            self.admit(ids)
        for name, store in self.stores.items():
            if name in change.tables:
                rows = change.tables[name]
                store.merge(self._find(name, rows), rows.values)

    def admit(self, ids: IdChange) -> None:
        """Give new ids a row each, absent from every table at first."""
        self.ids.admit(ids.added, ids.names)
        for store in self.stores.values():
            store.reserve(self.ids.n_rows)

    def put(self, name: str, rows: Rows) -> None:
        """Take whole rows of a checkpoint."""
        if name in self.stores:
            self.stores[name].put(self._find(name, rows), rows.values)

    def _find(self, name: str, rows: Rows) -> NDArray[np.int32]:
        at = self.ids.map.find(rows.keys)
        assert len(at) == 0 or at.min() >= 0, f"{name}: a change of a user that is not admitted"
        return at

    def publish(self) -> UserView:
        """The users as they are now, immutable."""
        if self.ids.too_many_dead:
            kept = self.ids.pack()
            for store in self.stores.values():
                store.pack(kept)
        ids, _ = self.ids.publish()
        tables = {name: store.publish(self.ids.n_rows) for name, store in self.stores.items()}
        return UserView(len(self.ids.map), ids, tables, self._factor_table, self._n_factors)
