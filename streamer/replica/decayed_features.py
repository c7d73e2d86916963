"""The learner's features in immutable views: what it has counted, and when the last event was, read
as of a request's time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamer.events import FeatureEntity
from streamer.replica.id_rows import IdView
from streamer.replica.row_store import RowView
from streamer.replica.tables import Tables
from streamer.windows.value_table import largest
from streamer_models.counters.decayed_counters import WHOLE
from streamer_models.counters.decayed_features import DecayedFeatures
from streamer_models.counters.decayed_layout import Remembered
from streamer_models.counters.last_events import LastEvent
from streamer_models.state.model import Model, model_of
from streamer_models.state.table import Keys

_ANY_KEY: Keys = np.zeros(1, dtype=np.uint64)
"""Of the one row of the whole."""


@dataclass(frozen=True, slots=True)
class EntityView:
    """Rows of one kind of entity in one version; what is not kept of it is None."""

    ids: IdView
    cells: RowView | None
    last_ms: RowView | None

    @classmethod
    def of(cls, tables: Tables, model: DecayedFeatures, entity: str) -> EntityView:
        """What a model remembers of an entity in a version."""
        cells, last_ms = model.cells.get(entity), model.last_ms.get(entity)
        either = cells or last_ms
        assert either is not None, entity
        return cls(
            ids=tables.ids(either),
            cells=None if cells is None else tables.read(cells),
            last_ms=None if last_ms is None else tables.read(last_ms),
        )

    def fill(self, rows: Remembered, keys: Keys) -> None:
        """Write what is remembered of ids into rows of nothing."""
        at = self.ids.map.find(keys)
        for view, values in ((self.cells, rows.cells), (self.last_ms, rows.last_ms)):
            if view is not None:
                view.copy(at, values)


@dataclass(frozen=True, slots=True)
class DecayedView:
    """The learner's features of one version, a
    :class:`streamer.ranking.known_features.FeatureSource`.

    Without a model there are none.
    """

    model: DecayedFeatures | None = None
    _of: Mapping[str, EntityView] = field(default_factory=dict)
    _whole: Remembered | None = None
    _tops: dict[tuple[str, int, int], Keys] = field(default_factory=dict)

    @classmethod
    def of(cls, tables: Tables, models: Sequence[Model]) -> DecayedView:
        """What the learner remembers in a version."""
        model = model_of(models, DecayedFeatures)
        if model is None:
            return cls()
        of = {entity: EntityView.of(tables, model, entity) for entity in model.counts_type}
        whole = model.nothing(WHOLE, 1)
        if WHOLE in of:
            of[WHOLE].fill(whole, _ANY_KEY)
        return cls(model, of, whole)

    def values(
        self, entity: FeatureEntity, keys: Keys, names: Sequence[str], at_ms: int
    ) -> NDArray[np.float64]:
        """``(len(keys), len(names))`` values of features at a time, NaN where nothing is known.

        Parameters
        ----------
        keys
            :func:`streamer_models.state.ids.id_table.id_key` of the entities' ids; of the whole
            any.

        Raises
        ------
        ValueError
            For a name that is no feature of this kind of entity.
        """
        if not names:
            return np.full((len(keys), 0), np.nan)
        model = self._model_of(entity, names)
        assert self._whole is not None, "there is one of every model"
        if entity == WHOLE:
            values = model.values(entity, names, self._whole, self._whole, at_ms)
            return np.repeat(values, len(keys), axis=0)
        rows = model.nothing(entity, len(keys))
        self._of[entity].fill(rows, keys)
        return model.values(entity, names, rows, self._whole, at_ms)

    def top(self, name: str, n: int, at_ms: int) -> Keys:
        """At most ``n`` keys of the entities with the largest values of a feature at a time; of the
        time since a last event those with the smallest.

        The best comes first, and equal ones in the order of their keys. All rows are read, some
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
        keys = view.ids.keys[view.ids.live]
        values = self.values(feature.entity, keys, [name], at_ms)[:, 0]  # type: ignore[arg-type]
        return largest(keys, -values if isinstance(feature, LastEvent) else values, n)

    def _model_of(self, entity: str, names: Sequence[str]) -> DecayedFeatures:
        features = {} if self.model is None else self.model.features
        held = [name for name, feature in features.items() if feature.entity == entity]
        for name in names:
            if name not in held:
                raise ValueError(
                    f"{name!r} is nothing that the learner holds of entity {entity!r}; it holds"
                    f" {', '.join(held) or 'none'}"
                )
        assert self.model is not None
        return self.model
