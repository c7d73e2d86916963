"""Columns of decayed counts and last events, and the features that are read from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.counters.decay import decayed_values
from streamer_models.counters.decayed_counters import (
    WHOLE,
    Counter,
    DecayedFeature,
    add_new,
    bits,
    counters_of,
    in_order,
    of_types,
    pair,
)
from streamer_models.counters.last_events import LastEvent, seconds_since, weight_of_last
from streamer_models.state.decayed_cells import CELLS_WIDTH, EPOCH_HALF_LIVES
from streamer_models.state.readable import ReadRows
from streamer_models.state.table import (
    FEATURE_ITEM,
    FEATURE_SURFACE,
    FEATURE_USER,
    Merge,
    TableSpec,
)

ID_ENTITY_OF: Final = {"user": FEATURE_USER, "item": FEATURE_ITEM, "surface": FEATURE_SURFACE}
"""Entity → entity of its ids in the tables."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is remembered of entities of one kind, a row each.

    Attributes
    ----------
    cells
        ``(n, 4 * n_counters)`` of :func:`streamer_models.counters.decay.add_counted`.
    last_ms
        ``(n, n_kinds)`` of :func:`streamer_models.counters.last_events.keep_latest`.
    """

    cells: NDArray[np.int64]
    last_ms: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.cells)


class DecayedLayout:
    """Which counters and last events are kept for each entity, and how features are read.

    Parameters
    ----------
    features
        Each with a name of its own.

    Attributes
    ----------
    counters, last_events
        By entity: what is counted, and the sets of event types whose last one is kept. An entity
        may be in one of them alone.
    cells, last_ms
        By entity: the tables of both as they are read.
    """

    def __init__(self, features: Sequence[DecayedFeature | LastEvent]) -> None:
        self.features = {feature.name: feature for feature in features}
        self.counters: dict[str, list[Counter]] = {}
        self.last_events: dict[str, list[tuple[int, ...]]] = {}
        for feature in features:
            if isinstance(feature, LastEvent):
                add_new(self.last_events, feature.entity, in_order(feature.types))
                continue
            for entity, counter in counters_of(feature):
                add_new(self.counters, entity, counter)
        each = [counter for counters in self.counters.values() for counter in counters]
        self.half_lives = np.unique([counter.half_life_ms for counter in each]).astype(np.int64)
        self.counters_types = {
            entity: of_types([counter.types for counter in counters])
            for entity, counters in self.counters.items()
        }
        self.last_types = {entity: of_types(kinds) for entity, kinds in self.last_events.items()}
        none = of_types([])
        self.counts_type = {
            entity: self.counters_types.get(entity, none) | self.last_types.get(entity, none)
            for entity in dict.fromkeys((*self.counters, *self.last_events))
        }
        self.counts_any = np.logical_or.reduce([none, *self.counts_type.values()])
        if not self.counts_any.any():
            raise ValueError(
                f"{len(features)} features count no event types: at least one feature is needed,"
                " each with a type that it counts"
            )
        self.kernel_counters = {entity: self._kernel_counters(entity) for entity in self.counters}
        self.kernel_kinds = {
            entity: np.array([bits(types) for types in kinds], dtype=np.int64)
            for entity, kinds in self.last_events.items()
        }
        self.cells = {
            entity: _read(self.table(entity), entity, Merge.DECAYED, CELLS_WIDTH * len(counters))
            for entity, counters in self.counters.items()
        }
        self.last_ms = {
            entity: _read(self.last_table(entity), entity, Merge.MAX, len(kinds))
            for entity, kinds in self.last_events.items()
        }
        self._places = {feature.name: self._places_of(feature) for feature in features}

    @property
    def entities(self) -> list[str]:
        """Entities with ids that are counted for."""
        return [entity for entity in self.counts_type if entity != WHOLE]

    @staticmethod
    def table(entity: str) -> str:
        """Name of the table of an entity's counts."""
        return f"decayed_{entity}"

    @staticmethod
    def last_table(entity: str) -> str:
        """Name of the table of an entity's last events."""
        return f"last_{entity}"

    def _places_of(self, feature: DecayedFeature | LastEvent) -> tuple[int, int | None]:
        """Columns of the sums of a numerator and of a denominator, or that of a last event."""
        if isinstance(feature, LastEvent):
            return self.last_events[feature.entity].index(in_order(feature.types)), None
        counted = self.counters[feature.entity]
        above, below = pair(feature)
        return counted.index(above), None if below is None else counted.index(below)

    def _kernel_counters(self, entity: str) -> NDArray[np.int64]:
        rows = [
            (
                bits(counter.types),
                np.searchsorted(self.half_lives, counter.half_life_ms),
                counter.sums_values,
            )
            for counter in self.counters[entity]
        ]
        return np.array(rows, dtype=np.int64)

    def nothing(self, entity: str, n: int) -> Remembered:
        """``n`` rows of an entity of which nothing is remembered."""
        n_cells = CELLS_WIDTH * len(self.counters.get(entity, ()))
        n_kinds = len(self.last_events.get(entity, ()))
        return Remembered(np.zeros((n, n_cells), np.int64), np.zeros((n, n_kinds), np.int64))

    def weakest(self, entity: str, rows: Remembered, n: int) -> NDArray[np.intp]:
        """At most ``n`` places of the rows of which the least is remembered, rising.

        That is the greatest of a row's sums, without their signs, at the latest time that any of
        the rows has seen; a last event weighs as one with a half-life of a day. Of equal ones
        those go whose last event is the oldest.
        """
        left = weight_of_last(rows.last_ms)
        for c, counter in enumerate(self.counters.get(entity, ())):
            own = np.ascontiguousarray(rows.cells[:, CELLS_WIDTH * c : CELLS_WIDTH * (c + 1)])
            newest = int(own[:, 0::2].max(initial=0))
            at_ms = newest * EPOCH_HALF_LIVES * counter.half_life_ms
            sums = decayed_values(own, np.array([counter.half_life_ms]), at_ms)
            np.maximum(left, np.abs(sums[:, 0]), out=left)
        if n < len(left):  # putting all of 200,000 in order takes three times as long
            near = np.flatnonzero(left <= np.partition(left, n - 1)[n - 1])
        else:
            near = np.arange(len(left))
        order = np.lexsort((rows.last_ms[near].max(axis=1, initial=0), left[near]))
        return np.sort(near[order[:n]])

    def values(
        self, entity: str, names: Sequence[str], rows: Remembered, whole: Remembered, at_ms: int
    ) -> NDArray[np.float64]:
        """``(n, n_names)`` values of features of one entity at a time; NaN where nothing that
        counts is remembered.

        Parameters
        ----------
        rows
            Of the entities asked for.
        whole
            The one row of the whole, which ratios are smoothed towards.
        """
        sums = self._sums(entity, rows, at_ms)
        since = seconds_since(rows.last_ms, at_ms)
        of_whole = self._sums(WHOLE, whole, at_ms)[0]
        values = np.full((len(rows), len(names)), np.nan)
        for column, name in enumerate(names):
            feature, (above, below) = self.features[name], self._places[name]
            if isinstance(feature, LastEvent):
                values[:, column] = since[:, above]
            elif below is None:
                values[:, column] = sums[:, above]
            else:
                parent = self._whole_ratio(feature, of_whole)
                smoothing = feature.smoothing if parent == parent else 0.0
                _ratios(sums[:, above], sums[:, below], parent, smoothing, values[:, column])
        return values

    def _sums(self, entity: str, rows: Remembered, at_ms: int) -> NDArray[np.float64]:
        """``(n, n_counters)`` sums at a time; NaN where nothing that counts is remembered."""
        half_lives = [each.half_life_ms for each in self.counters.get(entity, ())]
        in_ms = np.array(half_lives, np.int64)
        sums: NDArray[np.float64] = decayed_values(rows.cells, in_ms, at_ms)
        sums[sums == 0.0] = np.nan
        return sums

    def _whole_ratio(self, feature: DecayedFeature, whole: NDArray[np.float64]) -> float:
        above, below = pair(feature)
        if not feature.smoothing or below is None:
            return np.nan
        counted = self.counters[WHOLE]
        n = whole[counted.index(below)]
        return float(np.nan_to_num(whole[counted.index(above)]) / n) if n > 0 else np.nan


def _read(name: str, entity: str, merge: Merge, width: int) -> ReadRows:
    spec = TableSpec(name, ID_ENTITY_OF.get(entity, "slot"), merge, "i8", width)
    return ReadRows(spec, many_at_once=True)


@numba.njit(cache=True, nogil=True)
def _ratios(
    above: NDArray[np.float64],
    below: NDArray[np.float64],
    parent: float,
    smoothing: float,
    ratios: NDArray[np.float64],
) -> None:
    """`smoothed_ratio` where something is remembered; the rest stays."""
    for i in range(len(above)):
        if np.isnan(above[i]) and np.isnan(below[i]):
            continue
        total = 0.0 if np.isnan(above[i]) else above[i]
        n = smoothing if np.isnan(below[i]) else below[i] + smoothing
        if n > 0.0:
            ratios[i] = (total + smoothing * parent) / n if smoothing else total / n
