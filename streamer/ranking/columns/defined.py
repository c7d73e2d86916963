"""Columns of the configured features, ``[features.NAME]``, under their own names.

What is missing is not zero: a column of a candidate is 0 there and ``NAME_missing`` is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from streamer.catalogue.item_facts import Places
from streamer.config import Config, FeatureDefinition, feature_definitions
from streamer.events import FeatureEntity
from streamer.ranking.columns.family import Block, Column, Family, crossed
from streamer.ranking.context import RequestContext, context_texts
from streamer.ranking.recall.channel import Channel
from streamer.ranking.scored import ScoredCandidates
from streamer.windows.entities import WHOLE, pair_id
from streamer_models.state.ids.id_table import keys_of
from streamer_models.state.table import Keys, Slots

OF_CANDIDATES: Final[tuple[FeatureEntity, ...]] = ("item", "category", "user_category")
"""Entities whose features differ between candidates; those of the others are crossed."""
Floats = NDArray[np.float64]
_RATIO_ZERO: Final = float(np.log(6.0))
"""Of a ratio of 5 %, usual for a click rate: so it stands at 0, where a missing one stands too."""
_OF: Final[dict[FeatureEntity, str]] = {
    "item": "the item",
    "category": "the item's categories, their mean",
    "user_category": "the user in the item's categories, their mean",
    "user": "the user",
    "surface": "the surface",
    "global": "the whole",
}


class DefinedFeatureColumns(Family):
    """Logarithms of the configured features that rank, in the order of their names."""

    def __init__(self, config: Config, channels: Sequence[Channel[Any]]) -> None:
        definitions = ranking_definitions(config)
        super().__init__(config, channels)
        rows = {each.name: i for i, each in enumerate(self.columns)}
        self._of = {
            entity: _Group([each for each in definitions if each.entity == entity], channels, rows)
            for entity in dict.fromkeys(each.entity for each in definitions)
        }
        self._by_category = [each for each in ("category", "user_category") if each in self._of]
        self._crossed = [each for each in self._of if each not in OF_CANDIDATES]

    def describe(self) -> Sequence[Column]:
        columns = []
        for each in ranking_definitions(self.config):
            meaning = _meaning(each)
            if each.entity in OF_CANDIDATES:
                described = [(each.name, meaning), (missing(each.name), "1 where it is missing")]
            else:
                described = [
                    (crossed(each.name, channel), f"{channel.column('z')} * ({meaning})")
                    for channel in self.channels
                    if channel.crossed
                ]
            from_topic = each.held_by == "windows"
            columns += [Column(*column, from_topic=from_topic) for column in described]
        return columns

    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        keys = scored.candidates.keys
        if "item" in self._of:
            group = self._of["item"]
            group.fill(out, group.values(scored.context, "item", keys))
        if self._by_category:
            self._fill_categories(out, scored.context, keys)
        for entity in self._crossed:
            self._of[entity].fill_crossed(out, scored, entity)

    def _fill_categories(self, out: Block, context: RequestContext, keys: Keys) -> None:
        """Means over the categories of each item."""
        labels = context.catalogue.facts.labels
        places = context.catalogue.facts.categories(keys)
        distinct, numbers = _numbered(places, len(labels.keys))
        if "category" in self._of:
            group = self._of["category"]
            found = group.values(context, "category", labels.keys[distinct])
            group.fill(out, _means(numbers, found))
        if "user_category" in self._of:
            group = self._of["user_category"]
            group.fill(out, _means(numbers, group.of_pairs(context, distinct)))


def ranking_definitions(config: Config) -> list[FeatureDefinition]:
    """Return the configured features that rank, in the order of their columns."""
    return [each for each in feature_definitions(config) if each.ranks]


def missing(name: str) -> str:
    """Return the name of the column that says where a feature of a candidate is missing."""
    return f"{name}_missing"


def _meaning(feature: FeatureDefinition) -> str:
    formula = "ln(1 + 100 x) - ln 6" if feature.denominator else "ln(1 + x) / 4"
    if feature.measure == "recency":
        formula = "ln(1 + seconds) / 4"
    of = _OF[feature.entity]
    return f"{formula} of the feature `{feature.name}` of {of}; 0 where it is missing"


class _Group:
    """Features of one kind of entity.

    Parameters
    ----------
    rows
        Name of a column → its row in the family's block.
    """

    def __init__(
        self,
        definitions: Sequence[FeatureDefinition],
        channels: Sequence[Channel[Any]],
        rows: dict[str, int],
    ) -> None:
        definitions = sorted(definitions, key=lambda each: each.held_by)
        self._names = [each.name for each in definitions]
        holders = [each.held_by for each in definitions]
        self._held = {
            holder: slice(holders.index(holder), holders.index(holder) + holders.count(holder))
            for holder in dict.fromkeys(holders)
        }
        if definitions[0].entity in OF_CANDIDATES:
            self._known = [rows[name] for name in self._names]
            self._missing = [rows[missing(name)] for name in self._names]
        else:
            crossing = [each for each in channels if each.crossed]
            self._crossed = [
                [rows[crossed(name, each)] for name in self._names] for each in crossing
            ]
        ratio = np.array([bool(each.denominator) for each in definitions])
        self._scale = np.where(ratio, 100.0, 1.0)
        self._divisor = np.where(ratio, 1.0, 4.0)
        self._zero = np.where(ratio, _RATIO_ZERO, 0.0)

    def values(self, context: RequestContext, entity: FeatureEntity, keys: Keys) -> Floats:
        """``(len(keys), n_features)``, NaN where missing."""
        values = np.empty((len(keys), len(self._names)))
        for holder, places in self._held.items():
            source = context.known if holder == "windows" else context.version.decayed
            found = source.values(entity, keys, self._names[places], context.at_ms)
            values[:, places] = found
        return values

    def of_pairs(self, context: RequestContext, categories: Slots) -> Floats:
        """``(n, n_features)`` of the user and each of some categories, NaN where missing."""
        if context.user_id is None:
            return np.full((len(categories), len(self._names)), np.nan)
        labels = context.catalogue.facts.labels
        pairs = [pair_id(context.user_id, labels[place]) for place in categories.tolist()]
        return self.values(context, "user_category", keys_of(pairs))

    def fill(self, out: Block, values: Floats) -> None:
        """Write the columns of candidates with these ``(n, n_features)`` values."""
        known, unknown = _as_columns(values, self._scale, self._divisor, self._zero)
        out[self._known] = known
        out[self._missing] = unknown

    def fill_crossed(self, out: Block, scored: ScoredCandidates, entity: FeatureEntity) -> None:
        """Write what all candidates of a request share, times the channels."""
        values = np.zeros((len(self._names), 1), dtype=np.float32)
        entity_id = _id_of(scored.context, entity)
        if entity_id is not None:
            found = self.values(scored.context, entity, keys_of([entity_id]))
            values, _ = _as_columns(found, self._scale, self._divisor, self._zero)
        for rows, z in zip(self._crossed, scored.crossed, strict=True):
            out[rows] = values * z


def _id_of(context: RequestContext, entity: FeatureEntity) -> str | None:
    if entity == "user":
        return context.user_id
    return WHOLE if entity == "global" else context_texts(context.request).get("surface")


@numba.njit(cache=True, nogil=True)
def _as_columns(
    values: Floats, scale: Floats, divisor: Floats, zero: Floats
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """``(n_features, n)`` each, of ``(n, n_features)`` values: their logarithms, 0 where missing,
    and where that is."""
    known = np.zeros(values.T.shape, dtype=np.float32)
    unknown = np.zeros(values.T.shape, dtype=np.float32)
    for feature in range(len(scale)):
        for i in range(len(values)):
            value = values[i, feature]
            if np.isnan(value):
                unknown[feature, i] = 1.0
            else:
                log = np.copysign(np.log1p(abs(value) * scale[feature]), value)
                known[feature, i] = log / divisor[feature] - zero[feature]
    return known, unknown


@numba.njit(cache=True, nogil=True)
def _numbered(places: Places, n_places: int) -> tuple[Places, Places]:
    """The ``(m,)`` different places, and ``places`` with the number of each among them instead."""
    number_of = np.full(n_places, -1, dtype=np.int32)
    distinct = np.empty(places.size, dtype=np.int32)
    numbers = np.full(places.shape, -1, dtype=np.int32)
    m = 0
    for i in range(places.shape[0]):
        for j in range(places.shape[1]):
            place = places[i, j]
            if place < 0:
                break
            if number_of[place] < 0:
                number_of[place] = m
                distinct[m] = place
                m += 1
            numbers[i, j] = number_of[place]
    return distinct[:m], numbers


@numba.njit(cache=True, nogil=True)
def _means(numbers: Places, values: Floats) -> Floats:
    """``(n, n_features)`` means over each row's values that are known; NaN where none is."""
    n_features = values.shape[1]
    means = np.full((len(numbers), n_features), np.nan)
    for i in range(len(numbers)):
        for feature in range(n_features):
            total, n_known = 0.0, 0
            for number in numbers[i]:
                if number < 0:
                    break
                if not np.isnan(values[number, feature]):
                    total += values[number, feature]
                    n_known += 1
            if n_known:
                means[i, feature] = total / n_known
    return means
