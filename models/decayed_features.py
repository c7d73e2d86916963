"""Fading features: events counted by user, by item, by surface and over all, for any half-life."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numba
import numpy as np
from numpy.typing import NDArray

from models.decay import (
    CELLS_WIDTH,
    COUNTED_EPOCH_HALF_LIVES,
    counted_sums,
)
from models.protocols import Batch
from models.table import FEATURE_ITEM, FEATURE_SURFACE, FEATURE_USER, Change, Keys, Merge, TableSpec

if TYPE_CHECKING:
    from models.partition import PartitionState
    from models.shared import SharedState

WHOLE: Final = "global"
"""The entity that all events belong to: one row, without an id."""
ID_ENTITY_OF: Final = {"user": FEATURE_USER, "item": FEATURE_ITEM, "surface": FEATURE_SURFACE}
"""Entity → entity of its ids in the tables."""
N_TYPES_MAX: Final = 62


@dataclass(frozen=True, slots=True, kw_only=True)
class DecayedFeature:
    """A count of events that fades, or the ratio of two; as of a time T an event counts
    ``2^((t - T) / half_life)``.

    Attributes
    ----------
    entity
        ``"user"``, ``"item"``, ``"surface"`` or ``"global"``.
    numerator
        Codes of the event types that are counted.
    denominator
        Codes of those it is divided by the count of; none: it is not divided.
    sums_values
        Whether an event of the numerator adds its value, not 1.
    smoothing
        Events that the ratio over all is worth; 0: none.
    """

    name: str
    entity: str
    numerator: tuple[int, ...]
    denominator: tuple[int, ...] = ()
    sums_values: bool = False
    half_life_ms: int
    smoothing: float = 0.0


@dataclass(frozen=True, slots=True)
class Counter:
    """What features count alike is counted once."""

    types: tuple[int, ...]
    half_life_ms: int
    sums_values: bool


class DecayedFeatures:
    """Counts events of all types, whether they are worth a reward or not, when they happened.

    Contributions are integers and merge exactly (:mod:`models.decay`), so order, lateness and the
    number of partitions change no bit. An id is admitted at its first event that counts; at the
    bound those go of whom the least is remembered.

    Parameters
    ----------
    features
        Each with a name of its own.
    """

    def __init__(self, features: Sequence[DecayedFeature]) -> None:
        self.features = {feature.name: feature for feature in features}
        self.counters: dict[str, list[Counter]] = {}
        for feature in features:
            for entity, counter in _counters(feature):
                counted = self.counters.setdefault(entity, [])
                if counter not in counted:
                    counted.append(counter)
        each = [counter for counters in self.counters.values() for counter in counters]
        self.half_lives = np.unique([counter.half_life_ms for counter in each]).astype(np.int64)
        codes = sorted({code for counter in each for code in counter.types})
        if not features or not codes or not 0 <= codes[0] <= codes[-1] < N_TYPES_MAX:
            raise ValueError(
                f"{len(features)} features of event types {codes}: at least one feature is needed,"
                f" each with a numerator of codes from 0 to {N_TYPES_MAX - 1}"
            )
        self.counts_type = {
            entity: np.isin(np.arange(N_TYPES_MAX), [c for each in counters for c in each.types])
            for entity, counters in self.counters.items()
        }
        self.kernel_counters = {entity: self._kernel_counters(entity) for entity in self.counters}
        self._places = {feature.name: self._pair_places(feature) for feature in features}
        self.counts_any = np.logical_or.reduce(list(self.counts_type.values()))

    @property
    def entities(self) -> list[str]:
        """Entities with ids that are counted for."""
        return [entity for entity in self.counters if entity != WHOLE]

    @staticmethod
    def table(entity: str) -> str:
        """Name of the table of an entity."""
        return f"decayed_{entity}"

    def tables(self) -> Sequence[TableSpec]:
        return [
            TableSpec(
                self.table(entity),
                ID_ENTITY_OF.get(entity, "slot"),
                Merge.DECAYED,
                "i8",
                CELLS_WIDTH * len(counters),
            )
            for entity, counters in self.counters.items()
        ]

    def initial(self, table: str, keys: Keys) -> None:
        """Counts start from zero."""
        return

    def learn(self, batch: Batch, state: PartitionState, shared: SharedState) -> None:
        """Feedback is not all it counts; see :mod:`models.decayed_counting`."""

    def rescale(self, shared: SharedState, others: Sequence[Change]) -> None:
        """Counts add up: nothing to shorten."""

    def _pair_places(self, feature: DecayedFeature) -> tuple[int, int | None]:
        """Where the sums of a feature's numerator and denominator stand."""
        counted = self.counters[feature.entity]
        above, below = _pair(feature)
        return counted.index(above), None if below is None else counted.index(below)

    def _kernel_counters(self, entity: str) -> NDArray[np.int64]:
        rows = [
            (
                sum(1 << code for code in counter.types),
                np.searchsorted(self.half_lives, counter.half_life_ms),
                counter.sums_values,
            )
            for counter in self.counters[entity]
        ]
        return np.array(rows, dtype=np.int64)

    def remembered(self, entity: str, cells: NDArray[np.int64]) -> NDArray[np.float64]:
        """``(n,)`` how much is left of the events of each row, at the latest time that any of the
        rows has seen: the greatest of its sums, without their signs."""
        epochs = cells[:, 0::CELLS_WIDTH].max(initial=0, axis=0)
        np.maximum(epochs, cells[:, 2::CELLS_WIDTH].max(initial=0, axis=0), out=epochs)
        left = np.zeros(len(cells))
        for c, counter in enumerate(self.counters[entity]):
            at_ms = int(epochs[c]) * COUNTED_EPOCH_HALF_LIVES * counter.half_life_ms
            own = np.ascontiguousarray(cells[:, CELLS_WIDTH * c : CELLS_WIDTH * (c + 1)])
            sums = counted_sums(own, np.array([counter.half_life_ms]), at_ms)
            np.maximum(left, np.abs(sums[:, 0]), out=left)
        return left

    def sums(self, entity: str, cells: NDArray[np.int64], at_ms: int) -> NDArray[np.float64]:
        """``(n, n_counters)`` sums of an entity's rows at a time; NaN where nothing that counts is
        remembered."""
        half_lives = np.array([each.half_life_ms for each in self.counters[entity]], np.int64)
        sums: NDArray[np.float64] = counted_sums(cells, half_lives, at_ms)
        sums[sums == 0.0] = np.nan
        return sums

    def values(
        self,
        names: Sequence[str],
        sums: NDArray[np.float64],
        whole: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """``(n, n_names)`` values of features of one entity; NaN where nothing is remembered.

        Parameters
        ----------
        sums
            ``(n, n_counters)`` of :meth:`sums`.
        whole
            ``(n_counters of the whole,)`` of :meth:`sums` at the same time.
        """
        values = np.full((len(sums), len(names)), np.nan)
        for column, name in enumerate(names):
            above, below = self._places[name]
            amounts = sums[:, above]
            if below is None:
                values[:, column] = amounts
                continue
            parent, smoothing = self._whole_ratio(self.features[name], whole), 0.0
            if parent == parent:
                smoothing = self.features[name].smoothing
            _ratios(amounts, sums[:, below], parent, smoothing, values[:, column])
        return values

    def _whole_ratio(self, feature: DecayedFeature, whole: NDArray[np.float64]) -> float:
        above, below = _pair(feature)
        if not feature.smoothing or below is None:
            return np.nan
        counted = self.counters[WHOLE]
        n = whole[counted.index(below)]
        return float(np.nan_to_num(whole[counted.index(above)]) / n) if n > 0 else np.nan


@numba.njit(cache=True, nogil=True)
def _ratios(
    above: NDArray[np.float64],
    below: NDArray[np.float64],
    parent: float,
    smoothing: float,
    ratios: NDArray[np.float64],
) -> None:
    """:func:`models.windows.smoothed_ratio` where something is remembered; the rest stays."""
    for i in range(len(above)):
        if np.isnan(above[i]) and np.isnan(below[i]):
            continue
        total = 0.0 if np.isnan(above[i]) else above[i]
        n = smoothing if np.isnan(below[i]) else below[i] + smoothing
        if n > 0.0:
            ratios[i] = (total + smoothing * parent) / n if smoothing else total / n


def _pair(feature: DecayedFeature) -> tuple[Counter, Counter | None]:
    """Counters of the numerator and of the denominator."""
    above = Counter(
        tuple(sorted(set(feature.numerator))), feature.half_life_ms, feature.sums_values
    )
    if not feature.denominator:
        return above, None
    return above, Counter(tuple(sorted(set(feature.denominator))), feature.half_life_ms, False)


def _counters(feature: DecayedFeature) -> list[tuple[str, Counter]]:
    counters = [counter for counter in _pair(feature) if counter is not None]
    entities = [feature.entity, *([WHOLE] if feature.smoothing else [])]
    return [(entity, counter) for entity in entities for counter in counters]
