"""Fading features in immutable views: what the learner has counted, read as of a request's time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.decayed_features import ID_ENTITY_OF, WHOLE, DecayedFeatures
from models.protocols import Model, model_of
from models.table import Array, Change, IdChange, Keys, Rows, TableSpec, fold
from streamer.events import FeatureEntity
from streamer.features.value_table import largest
from streamer.scorer.id_rows import IdMap, IdRows
from streamer.scorer.row_store import RowStore, RowView

_CHUNK_BITS = 17
"""131,072 rows * 64 B (two counters) = 8 MB: some hundred rows are read from one or two chunks."""


@dataclass(frozen=True, slots=True)
class _EntityView:
    """Rows of one kind of entity in one version; ``keys`` are those of the live ones."""

    map: IdMap
    keys: Keys
    cells: RowView


@dataclass(frozen=True, slots=True)
class DecayedView:
    """The fading features of one version; a :class:`streamer.scorer.known_features.FeatureSource`.

    Without a model there are none.
    """

    model: DecayedFeatures | None = None
    _of: Mapping[str, _EntityView] = field(default_factory=dict)
    _whole: Array | None = None
    _tops: dict[tuple[str, int, int], Keys] = field(default_factory=dict)

    def values(
        self, entity: FeatureEntity, keys: Keys, names: Sequence[str], at_ms: int
    ) -> NDArray[np.float64]:
        """``(len(keys), len(names))`` values of features at a time, NaN where nothing is known.

        Parameters
        ----------
        keys
            :func:`models.id_table.id_key` of the entities' ids; of the whole any.

        Raises
        ------
        ValueError
            For a name that is no feature of this kind of entity.
        """
        values = np.full((len(keys), len(names)), np.nan)
        if not names:
            return values
        model = self._model_of(entity, names)
        whole = self._whole_sums(model, at_ms)
        if entity == WHOLE:
            values[:] = model.values(names, whole[np.newaxis], whole)
        elif entity in self._of:
            view = self._of[entity]
            places, cells = view.cells.rows(view.map.find(keys))
            if len(places):
                sums = model.sums(entity, cells, at_ms)
                values[places] = model.values(names, sums, whole)
        return values

    def top(self, name: str, n: int, at_ms: int) -> Keys:
        """At most ``n`` keys of the entities with the largest values of a feature at a time.

        The largest comes first, and equal ones in the order of their keys. All rows are read, some
        10 ms for 100,000 items, once for a version and a time.
        """
        asked = name, n, at_ms
        found = self._tops.get(asked)
        if found is None:
            self._tops.clear()
            found = self._tops[asked] = self._top(name, n, at_ms)
        return found

    def _top(self, name: str, n: int, at_ms: int) -> Keys:
        feature = None if self.model is None else self.model.features.get(name)
        view = None if feature is None else self._of.get(feature.entity)
        if view is None:
            return np.zeros(0, dtype=np.uint64)
        assert feature is not None
        values = self.values(feature.entity, view.keys, [name], at_ms)[:, 0]  # type: ignore[arg-type]
        return largest(view.keys, values, n)

    def _model_of(self, entity: str, names: Sequence[str]) -> DecayedFeatures:
        features = {} if self.model is None else self.model.features
        held = [name for name, feature in features.items() if feature.entity == entity]
        for name in names:
            if name not in held:
                raise ValueError(
                    f"{name!r} is no fading feature of entity {entity!r}; the learner holds"
                    f" {', '.join(held) or 'none'}"
                )
        assert self.model is not None
        return self.model

    def _whole_sums(self, model: DecayedFeatures, at_ms: int) -> NDArray[np.float64]:
        if WHOLE not in model.counters:
            return np.zeros(0)
        if self._whole is None:
            return np.full(len(model.counters[WHOLE]), np.nan)
        (sums,) = model.sums(WHOLE, self._whole, at_ms)
        return np.asarray(sums)


class _EntityState:
    """Merged rows of one kind of entity."""

    def __init__(self, spec: TableSpec) -> None:
        self.ids = IdRows(keep_names=False)
        self._store = RowStore(spec, chunk_bits=_CHUNK_BITS)
        self._view: _EntityView | None = None

    def release(self, keys: Keys) -> None:
        self._store.drop(self.ids.release(keys))
        self._view = None

    def admit(self, ids: IdChange) -> None:
        self.ids.admit(ids.added, ids.names)
        self._store.reserve(self.ids.n_rows)
        self._view = None

    def merge(self, rows: Rows) -> None:
        at = self.ids.map.find(rows.keys)
        assert at.min(initial=0) >= 0, "a change of an id that is not admitted"
        self._store.merge(at, rows.values)
        self._view = None

    def publish(self) -> _EntityView:
        if self.ids.too_many_dead:
            self._store.pack(self.ids.pack())
            self._view = None
        if self._view is None:
            ids, live = self.ids.publish()
            n_rows = self.ids.n_rows
            self._view = _EntityView(ids, self.ids.keys[:n_rows][live], self._store.publish(n_rows))
        return self._view


class DecayedState:
    """Merged counters; for the follower thread alone, but for what :meth:`publish` makes.

    Parameters
    ----------
    models
        Among which is the one whose tables these are, or none.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self._model = model_of(models, DecayedFeatures)
        self._of: dict[str, _EntityState] = {}
        self._whole_spec: TableSpec | None = None
        self._whole: Array | None = None
        if self._model is None:
            return
        specs = {spec.name: spec for spec in self._model.tables()}
        self._of = {
            entity: _EntityState(specs[self._model.table(entity)])
            for entity in self._model.entities
        }
        self._whole_spec = specs.get(self._model.table(WHOLE))

    def apply(self, change: Change) -> None:
        """Withdrawals first, then ids dropped and admitted, then what was counted."""
        self.add(change.withdrawn)
        for entity, state in self._of.items():
            ids = change.ids.get(ID_ENTITY_OF[entity])
            if ids is not None:
                state.release(ids.removed)
                state.admit(ids)
        self.add(change.tables)

    def admit(self, admitted: Mapping[str, IdChange]) -> None:
        """Give the ids of a checkpoint, by entity of ids, a row each."""
        for entity, state in self._of.items():
            if ID_ENTITY_OF[entity] in admitted:
                state.admit(admitted[ID_ENTITY_OF[entity]])

    def add(self, tables: Mapping[str, Rows]) -> None:
        """Add contributions, or differences of them, of ids that are admitted."""
        for entity, state in self._of.items():
            rows = tables.get(DecayedFeatures.table(entity))
            if rows is not None and len(rows):
                state.merge(rows)
        spec = self._whole_spec
        if spec is not None and len(tables.get(spec.name, ())):
            # A new array: versions hold the one before.
            merged = np.zeros((1, spec.width), spec.dtype) if self._whole is None else self._whole
            merged = merged.copy()
            fold(spec, merged, tables[spec.name].keys.astype(np.int32), tables[spec.name].values)
            self._whole = merged

    def publish(self) -> DecayedView:
        """What is known now, immutable; copied only where something changed."""
        of = {entity: state.publish() for entity, state in self._of.items()}
        return DecayedView(self._model, of, self._whole)
