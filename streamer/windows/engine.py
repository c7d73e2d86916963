"""Features from events: the one computation behind the live worker and replay.

Events become contributions to entities, contributions are summed up in series, and a feature is
read from its series, and from that of its parent, whenever a window ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.config import FeatureDefinition
from streamer.events import EventTypes, FeatureEntity
from streamer.events.event_columns import EventColumns
from streamer.windows.entities import Categories, Contributions, contributions, parent_id
from streamer.windows.series import Series, SeriesSpec, series_spec
from streamer_models.windows.panes import Closed, smoothed_ratio

Owns = Callable[[FeatureEntity, str], bool]
"""Whether an entity's features are published here: parents are summed up in several places."""


@dataclass(frozen=True, slots=True)
class FeatureResult:
    """A feature at its window's end; ``value`` None: the entity has left the window."""

    name: str
    entity: FeatureEntity
    id: str
    value: float | None
    window_start_ms: int
    window_end_ms: int


@dataclass(frozen=True, slots=True)
class Ended:
    """What one close of the windows brought, and what need no longer be kept.

    Attributes
    ----------
    dropped
        Series, pane and entity of sums and sketches that no window needs any more.
    sessions
        Series and entities that had sessions that ended.
    """

    results: list[FeatureResult]
    dropped: list[tuple[Series, int, str]]
    sessions: list[tuple[Series, str]]


class FeatureEngine:
    """Series of all features, fed with contributions and closed by the watermark.

    A function of the contributions and of the watermarks at which windows were closed; the order of
    contributions between two closes does not matter.

    Parameters
    ----------
    types
        Whose codes contributions carry; those that are counted are among them.
    cells_max
        Bound of each series: sums, sessions or sketches.
    owns
        By default everything is published.
    """

    def __init__(
        self,
        definitions: Sequence[FeatureDefinition],
        types: EventTypes,
        *,
        cells_max: int,
        owns: Owns = lambda entity, entity_id: True,
    ) -> None:
        self.definitions = list(definitions)
        self._owns = owns
        self._own: dict[str, Series] = {}
        self._parents: dict[str, Series] = {}
        made: dict[SeriesSpec, Series] = {}

        def series(spec: SeriesSpec) -> Series:
            return made.setdefault(spec, Series(spec, types, cells_max=cells_max))

        for feature in self.definitions:
            self._own[feature.name] = series(series_spec(feature))
            if feature.parent:
                parent = series_spec(feature, entity=feature.parent)
                self._parents[feature.name] = series(parent)
        self.series = list(made.values())

    @property
    def entities(self) -> list[FeatureEntity]:
        """Kinds of entities that anything is summed up for."""
        return sorted({each.spec.entity for each in self.series})

    @property
    def parents(self) -> list[FeatureEntity]:
        """Kinds of entities that others are smoothed towards."""
        return sorted({each.spec.entity for each in self._parents.values()})

    @property
    def n_late(self) -> int:
        return sum(each.state.n_late for each in self.series)

    @property
    def n_refused(self) -> int:
        return sum(each.state.n_refused for each in self.series)

    def add(self, given: Contributions) -> None:
        """Take contributions, in any order."""
        for series in self.series:
            if series.spec.entity == given.entity:
                relevant = series.relevant(given)
                if relevant.any():
                    series.add(given.take(relevant))

    def close(self, watermark_ms: int) -> Ended:
        """End the windows whose lateness the watermark has passed."""
        closed = {series: list(series.close(watermark_ms)) for series in self.series}
        results: list[FeatureResult] = []
        for feature in self.definitions:
            own, parent = self._own[feature.name], self._parents.get(feature.name)
            ratios = _ratios(parent, closed[parent]) if parent else {}
            for each in closed[own]:
                results += self._read(feature, own, each, ratios)
        ended = Ended(results, [], [])
        for series, windows in closed.items():
            for window in windows:
                for pane, rows in window.dropped.items():
                    ids = [series.ids[row] for row in rows.tolist()]
                    ended.dropped.extend((series, pane, each) for each in ids)
                if series.sessions is not None:
                    ids = [series.ids[row] for row in window.rows.tolist()]
                    ended.sessions.extend((series, each) for each in ids)
            for window in windows:
                series.ids.forget(window.left.tolist())
        return ended

    def _read(
        self,
        feature: FeatureDefinition,
        series: Series,
        closed: Closed,
        ratios: dict[tuple[str, int], float],
    ) -> Iterator[FeatureResult]:
        ids = [series.ids[row] for row in closed.rows.tolist()]
        ends = closed.end_ms.tolist()
        parent = np.full(len(ids), np.nan)
        if ratios:
            above = (parent_id(feature.entity, each) for each in ids)
            parent[:] = [
                ratios.get((each, end), np.nan) for each, end in zip(above, ends, strict=True)
            ]
        values = _values(feature, closed.sums, parent)
        starts = np.maximum(closed.start_ms, 0).tolist()
        for entity_id, value, start, end in zip(ids, values.tolist(), starts, ends, strict=True):
            if value == value and self._owns(feature.entity, entity_id):
                yield FeatureResult(feature.name, feature.entity, entity_id, value, start, end)
        for row in closed.forgotten.tolist():
            entity_id = series.ids[row]
            if self._owns(feature.entity, entity_id):
                yield FeatureResult(feature.name, feature.entity, entity_id, None, 0, 0)


def _values(
    feature: FeatureDefinition, sums: NDArray[np.float64], parent: NDArray[np.float64]
) -> NDArray[np.float64]:
    if not feature.denominator:
        return sums[:, 0]
    return smoothed_ratio(sums[:, 0], sums[:, 1], parent=parent, smoothing=feature.smoothing)


def _ratios(series: Series, windows: Iterable[Closed]) -> dict[tuple[str, int], float]:
    """(id, window end) → ratio, without smoothing."""
    ratios = {}
    for each in windows:
        nothing = np.full(len(each.rows), np.nan)
        values = smoothed_ratio(each.sums[:, 0], each.sums[:, 1], parent=nothing, smoothing=0.0)
        ends = each.end_ms.tolist()
        for row, end, value in zip(each.rows.tolist(), ends, values.tolist(), strict=True):
            ratios[series.ids[row], end] = value
    return ratios


def windowed_features(
    definitions: Sequence[FeatureDefinition],
    batches: Iterable[EventColumns],
    types: EventTypes,
    *,
    categories: Categories = lambda item_id: (),
    cells_max: int = 5_000_000,
) -> Iterator[FeatureResult]:
    """Features of a log, at every window's end, as a live worker would publish them.

    The watermark is the latest time read; windows that are open at the end of the log give no
    result, as live.

    Parameters
    ----------
    batches
        Events without repetitions, out of order by no more than the lateness.
    """
    engine = FeatureEngine(definitions, types, cells_max=cells_max)
    watermark_ms = -1
    for events in batches:
        if not len(events):
            continue
        for each in contributions(events, engine.entities, categories):
            engine.add(each)
        watermark_ms = max(watermark_ms, int(events.ts_ms.max()))
        yield from engine.close(watermark_ms).results
