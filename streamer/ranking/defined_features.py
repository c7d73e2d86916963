"""Columns of the configured features: values of entities become what candidates are ranked by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from streamer.catalogue.item_facts import Places
from streamer.config import Config, FeatureDefinition
from streamer.events import FeatureEntity
from streamer.ranking.columns import (
    MF_Z,
    OF_CANDIDATES,
    TRENDING_Z,
    crossed,
    missing,
    ranking_definitions,
)
from streamer.ranking.context import context_texts
from streamer.ranking.recall.channels import Situation
from streamer.windows.entities import WHOLE, pair_id
from streamer_models.state.id_table import id_key, keys_of
from streamer_models.state.table import Keys

Columns = dict[str, NDArray[np.float64] | NDArray[np.float32] | float]
Floats = NDArray[np.float64]
_RATIO_ZERO: Final = float(np.log(6.0))
"""Of a ratio of 5 %, usual for a click rate: so it stands at 0, where a missing one stands too."""


class DefinedFeatures:
    """The columns of features that rank; see :mod:`streamer.ranking.columns` for their names."""

    def __init__(self, config: Config) -> None:
        definitions = ranking_definitions(config)
        self._of = {
            entity: _Group([each for each in definitions if each.entity == entity])
            for entity in dict.fromkeys(each.entity for each in definitions)
        }
        self._by_category = [each for each in ("category", "user_category") if each in self._of]
        self._crossed = [each for each in self._of if each not in OF_CANDIDATES]

    def columns(self, situation: Situation, keys: Keys, channels: Columns) -> Columns:
        """One row a candidate; ``keys`` are those of their items, ``channels`` what features of a
        whole request are crossed with."""
        columns: Columns = {}
        if "item" in self._of:
            group = self._of["item"]
            columns |= group.columns(group.values(situation, "item", keys))
        if self._by_category:
            columns |= self._categories(situation, keys)
        for entity in self._crossed:
            columns |= self._of[entity].crossed(situation, entity, channels)
        return columns

    def _categories(self, situation: Situation, keys: Keys) -> Columns:
        """Means over the categories of each item."""
        labels = situation.catalogue.facts.labels
        places = situation.catalogue.facts.categories(keys)
        distinct, numbers = _numbered(places, len(labels.keys))
        columns: Columns = {}
        if "category" in self._of:
            group = self._of["category"]
            found = group.values(situation, "category", labels.keys[distinct])
            columns |= group.columns(_means(numbers, found))
        if "user_category" in self._of:
            group = self._of["user_category"]
            user_id = situation.request.user_id
            pairs = (pair_id(user_id, labels[place]).encode() for place in distinct.tolist())
            of_pairs = np.fromiter(map(id_key, pairs), np.uint64, len(distinct))
            found = group.values(situation, "user_category", of_pairs)
            columns |= group.columns(_means(numbers, found))
        return columns


class _Group:
    """Features of one kind of entity."""

    def __init__(self, definitions: Sequence[FeatureDefinition]) -> None:
        definitions = sorted(definitions, key=lambda each: each.held_by)
        self._names = [each.name for each in definitions]
        holders = [each.held_by for each in definitions]
        self._held = {
            holder: slice(holders.index(holder), holders.index(holder) + holders.count(holder))
            for holder in dict.fromkeys(holders)
        }
        self._missing = [missing(name) for name in self._names]
        self._crossed = [[crossed(name, z) for name in self._names] for z in (MF_Z, TRENDING_Z)]
        ratio = np.array([bool(each.denominator) for each in definitions])
        self._scale = np.where(ratio, 100.0, 1.0)
        self._divisor = np.where(ratio, 1.0, 4.0)
        self._zero = np.where(ratio, _RATIO_ZERO, 0.0)

    def values(self, situation: Situation, entity: FeatureEntity, keys: Keys) -> Floats:
        """``(len(keys), n_features)``, NaN where missing."""
        values = np.empty((len(keys), len(self._names)))
        for holder, places in self._held.items():
            source = situation.known if holder == "windows" else situation.version.decayed
            found = source.values(entity, keys, self._names[places], situation.at_ms)
            values[:, places] = found
        return values

    def columns(self, values: Floats) -> Columns:
        """Of candidates with these ``(n, n_features)`` values."""
        known, unknown = _as_columns(values, self._scale, self._divisor, self._zero)
        columns: Columns = dict(zip(self._names, known, strict=True))
        columns.update(zip(self._missing, unknown, strict=True))
        return columns

    def crossed(self, situation: Situation, entity: FeatureEntity, channels: Columns) -> Columns:
        """Of all candidates of a request alike, times the channels."""
        values = np.zeros((len(self._names), 1), dtype=np.float32)
        entity_id = _id_of(situation, entity)
        if entity_id is not None:
            found = self.values(situation, entity, keys_of([entity_id]))
            values, _ = _as_columns(found, self._scale, self._divisor, self._zero)
        columns: Columns = {}
        for names, z in zip(self._crossed, (MF_Z, TRENDING_Z), strict=True):
            columns.update(zip(names, values * channels[z], strict=True))
        return columns


def _id_of(situation: Situation, entity: FeatureEntity) -> str | None:
    if entity == "user":
        return situation.request.user_id
    return WHOLE if entity == "global" else context_texts(situation.request).get("surface")


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
