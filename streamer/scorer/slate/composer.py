"""What the places of a slate ask of each other, from the catalogue and the user's last items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.catalogue.catalogue import Catalogue
from streamer.catalogue.item_facts import ItemFacts
from streamer.catalogue.tokens import field_values
from streamer.config import Config
from streamer.events import Pin
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.recall.fresh import NewItems
from streamer_models.bandits.composition import (
    GROUPS_MAX,
    NO_VECTORS,
    NOTHING_WANTED,
    UNCOMPOSED,
    WANTED_MAX,
    Composition,
    Groups,
    Wanted,
    composed,
)
from streamer_models.bandits.composition_settings import CATEGORIES, NOT_NEW
from streamer_models.bandits.policies.settings import Value
from streamer_models.state.ids.id_table import keys_of
from streamer_models.state.table import Keys


class Composer:
    """Composes slates as ``[slate]`` says.

    Attributes
    ----------
    parameters
        As decisions log them; none where nothing is composed.
    """

    def __init__(self, config: Config) -> None:
        self._settings = config.slate.settings
        self._new = NewItems.of(config)
        self.parameters: dict[str, Value] = self._settings.parameters()

    def __call__(
        self, context: RequestContext, candidates: Candidates, pinned: Sequence[Pin]
    ) -> Composition:
        """Return the composition of a request's candidates, and of pinned items at the places where
        they stand."""
        settings = self._settings
        if not settings.on or not len(candidates):
            return UNCOMPOSED
        facts, keys = context.catalogue.facts, candidates.keys
        pinned_ids = [pin.item_id for pin in pinned]
        if pinned:
            keys = np.concatenate([keys, keys_of(pinned_ids)])
        fields, wanted = [], NOTHING_WANTED
        for field in settings.fields:
            if field == NOT_NEW:
                fields.append(_groups_of_age(self._new.among(context, keys)))
                continue
            if field != CATEGORIES:
                ids = context.once("candidate ids", lambda: candidates.ids(context.items))
                fields.append(_groups_of_field(context.catalogue, [*ids, *pinned_ids], field))
                continue
            groups, places = _groups_of_categories(facts, keys)
            fields.append(groups)
            if settings.calibration:
                wanted = _wanted(facts, context.seen, places)
        vectors = NO_VECTORS
        if settings.by_vectors:
            vectors, _ = context.item_embeddings.of(keys)
        pinned_at = [pin.position for pin in pinned]
        return composed(
            settings, len(candidates), fields, wanted, vectors=vectors, pinned_at=pinned_at
        )


def _groups_of_categories(facts: ItemFacts, keys: Keys) -> tuple[Groups, NDArray[np.int32]]:
    """Return the items' categories, and the places of the labels by their numbers.

    Places depend on the order in which items were published; numbers are those of these items
    alone, in the order in which categories first occur.
    """
    of_items = facts.categories(keys)
    inside = of_items >= 0
    places, first, numbers = np.unique(of_items[inside], return_index=True, return_inverse=True)
    order = np.argsort(first)
    renumbered = np.empty(len(order), dtype=np.int64)
    renumbered[order] = np.arange(len(order))
    return _bounded(inside.sum(axis=1), renumbered[numbers]), places[order][:GROUPS_MAX]


def _groups_of_age(new: NDArray[np.bool_]) -> Groups:
    """Return one group of all that is not new."""
    return Groups((~new).astype(np.int64), np.zeros(int((~new).sum()), dtype=np.int64))


def _groups_of_field(catalogue: Catalogue, ids: Iterable[str], field: str) -> Groups:
    """Return the values that the catalogue has of a field: at most 8 of an item."""
    numbers: dict[object, int] = {}
    counts, found = [], []
    for item_id in ids:
        item = catalogue.get(item_id)
        values = () if item is None else field_values(item, field)
        counts.append(len(values))
        found += [numbers.setdefault(value, len(numbers)) for value in values]
    return _bounded(np.array(counts, dtype=np.int64), np.array(found, dtype=np.int64))


def _bounded(counts: NDArray[np.int64], numbers: NDArray[np.int64]) -> Groups:
    """Return groups without those past the first ``GROUPS_MAX``."""
    inside = numbers < GROUPS_MAX
    if not inside.all():
        owners = np.repeat(np.arange(len(counts)), counts)
        counts = np.bincount(owners[inside], minlength=len(counts))
        numbers = numbers[inside]
    return Groups(counts.astype(np.int64), numbers)


def _wanted(facts: ItemFacts, seen: Keys, places: NDArray[np.int32]) -> Wanted:
    """Return the shares that the candidates' categories have of a user's last items.

    ``p(g) = Σ_i p(g | i) / n`` over the n items that have a category (Steck 2018, equation 2).
    """
    of_items = facts.categories(seen)
    inside = of_items >= 0
    n_own = inside.sum(axis=1)
    n_known = np.count_nonzero(n_own)
    if not n_known:
        return NOTHING_WANTED
    met = of_items[inside]
    weights = np.repeat(1.0 / n_own[n_own > 0], n_own[n_own > 0]) / n_known
    sums = np.bincount(met, weights, minlength=int(max(met.max(), places.max(initial=0))) + 1)
    shares = sums[places].astype(np.float32)
    found = np.flatnonzero(shares)
    if len(found) > WANTED_MAX:
        found = np.sort(np.argsort(-shares, kind="stable")[:WANTED_MAX])
    return Wanted(found, shares[found])
