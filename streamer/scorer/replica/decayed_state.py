"""The learner's features as a replica keeps them: merged over partitions, published in views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from streamer.scorer.replica.decayed_features import DecayedView, EntityView
from streamer.scorer.replica.id_rows import IdRows
from streamer.scorer.replica.last_events import LastEvents
from streamer.scorer.replica.row_store import RowStore
from streamer_models.counters.decayed_counters import WHOLE
from streamer_models.counters.decayed_features import ID_ENTITY_OF, DecayedFeatures, Remembered
from streamer_models.state.protocols import Model, model_of
from streamer_models.state.table import Array, Change, IdChange, Keys, Rows, Slots, TableSpec, fold

_CHUNK_BITS = 17
"""131,072 rows * 64 B (two counters) = 8 MB: some hundred rows are read from one or two chunks."""


class _EntityState:
    """Merged rows of one kind of entity.

    Parameters
    ----------
    counts, last
        Tables of its counts and of its last events; one of them may be missing.
    """

    def __init__(self, counts: TableSpec | None, last: TableSpec | None) -> None:
        self.ids = IdRows(keep_names=False)
        self._cells = counts and RowStore(counts, chunk_bits=_CHUNK_BITS)
        self._last = last and LastEvents(last, chunk_bits=_CHUNK_BITS)
        self._view: EntityView | None = None

    def release(self, keys: Keys, partition: int) -> None:
        if not len(keys):
            return
        dead = self.ids.release(keys)
        if self._cells:
            self._cells.drop(dead)
        if self._last:
            self._last.drop(dead)
            self._last.withdraw(partition, keys, self.ids.map.find(keys))
        self._view = None

    def admit(self, ids: IdChange) -> None:
        self.ids.admit(ids.added, ids.names)
        for store in (self._cells, self._last):
            if store:
                store.reserve(self.ids.n_rows)
        self._view = None

    def count(self, rows: Rows) -> None:
        """Add to what was counted."""
        assert self._cells, "an entity without counts"
        self._cells.merge(self._find(rows), rows.values)

    def happened(self, rows: Rows, partition: int) -> None:
        """Take what a partition says of last events."""
        assert self._last, "an entity without last events"
        self._last.put(partition, rows.keys, self._find(rows), rows.values)

    def _find(self, rows: Rows) -> Slots:
        at = self.ids.map.find(rows.keys)
        assert at.min(initial=0) >= 0, "a change of an id that is not admitted"
        self._view = None
        return at

    def publish(self) -> EntityView:
        stores = self._cells, self._last
        if self.ids.too_many_dead:
            kept = self.ids.pack()
            for store in stores:
                if store:
                    store.pack(kept)
            self._view = None
        if self._view is None:
            ids, live = self.ids.publish()
            n_rows = self.ids.n_rows
            cells, last = (store.publish(n_rows) if store else None for store in stores)
            self._view = EntityView(ids, self.ids.keys[:n_rows][live], cells, last)
        return self._view


class DecayedState:
    """Merged counters and last events; for the follower thread alone, but for what :meth:`publish`
    makes.

    Parameters
    ----------
    models
        Among which is the one whose tables these are, or none.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self._model = model_of(models, DecayedFeatures)
        self._of: dict[str, _EntityState] = {}
        self._specs: dict[str, TableSpec] = {}
        self._whole: Remembered | None = None
        self._whole_last: dict[int, Array] = {}
        if self._model is None:
            return
        self._specs = {spec.name: spec for spec in self._model.tables()}
        self._of = {
            entity: _EntityState(
                self._specs.get(self._model.table(entity)),
                self._specs.get(self._model.last_table(entity)),
            )
            for entity in self._model.entities
        }
        self._whole = self._model.nothing(WHOLE, 1)

    def apply(self, change: Change, partition: int) -> None:
        """Withdrawals first, then ids dropped and admitted, then what was counted."""
        self.add(change.withdrawn, partition)
        for entity, state in self._of.items():
            ids = change.ids.get(ID_ENTITY_OF[entity])
            if ids is not None:
                state.release(ids.removed, partition)
                state.admit(ids)
        self.add(change.tables, partition)

    def admit(self, admitted: Mapping[str, IdChange]) -> None:
        """Give the ids of a checkpoint, by entity of ids, a row each."""
        for entity, state in self._of.items():
            if ID_ENTITY_OF[entity] in admitted:
                state.admit(admitted[ID_ENTITY_OF[entity]])

    def add(self, tables: Mapping[str, Rows], partition: int) -> None:
        """Take a partition's contributions, or differences of them, and its last events, of ids
        that are admitted."""
        for entity, state in self._of.items():
            counted = tables.get(DecayedFeatures.table(entity))
            if counted is not None and len(counted):
                state.count(counted)
            happened = tables.get(DecayedFeatures.last_table(entity))
            if happened is not None and len(happened):
                state.happened(happened, partition)
        self._add_whole(tables, partition)

    def _add_whole(self, tables: Mapping[str, Rows], partition: int) -> None:
        """New arrays where something changes: versions hold those before."""
        name = DecayedFeatures.table(WHOLE)
        if self._whole is not None and len(tables.get(name, ())):
            cells = self._whole.cells.copy()
            fold(self._specs[name], cells, tables[name].keys.astype(np.int32), tables[name].values)
            self._whole = Remembered(cells, self._whole.last_ms)
        name = DecayedFeatures.last_table(WHOLE)
        if self._whole is not None and len(tables.get(name, ())):
            self._whole_last[partition] = tables[name].values
            latest = np.maximum.reduce(list(self._whole_last.values()))
            self._whole = Remembered(self._whole.cells, latest)

    def publish(self) -> DecayedView:
        """What is known now, immutable; copied only where something changed."""
        of = {entity: state.publish() for entity, state in self._of.items()}
        return DecayedView(self._model, of, self._whole)
