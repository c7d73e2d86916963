"""Whose feature an event adds to: its user, its item, the item's categories, and so on."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.events import FeatureEntity
from streamer.events.event_columns import EventColumns
from streamer_models.state.columns import Columns

WHOLE: Final = "*"
"""The id of the only `global` entity."""
Categories = Callable[[str], Sequence[str]]
"""Item → its categories; none for one that is not known."""


@dataclass(frozen=True, slots=True)
class Contributions(Columns):
    """What events add to the entities of one kind, in columns of equal length ``n``.

    Attributes
    ----------
    places
        ``(n,)`` int32, the event of each; an item of two categories adds to both.
    ids
        Of the entities.
    types, ts_ms, values
        ``(n,)`` as in :class:`streamer.events.event_columns.EventColumns`.
    """

    entity: FeatureEntity
    places: NDArray[np.int32]
    ids: list[str]
    types: NDArray[np.int8]
    ts_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    user_ids: list[str]


def contributions(
    events: EventColumns, entities: Collection[FeatureEntity], categories: Categories
) -> Iterator[Contributions]:
    """What a batch adds to each kind of entity, in the order of the events."""
    user_ids, surfaces = events.user_ids.strings(), events.surfaces.strings()
    rows = list(zip(user_ids, events.item_ids, surfaces, strict=True))
    for entity in entities:
        ids_of = _IDS[entity]
        places, ids = [], []
        for place, row in enumerate(rows):
            for each in ids_of(*row, categories):
                places.append(place)
                ids.append(each)
        at = np.array(places, np.int32)
        yield Contributions(
            entity,
            at,
            ids,
            events.types[at],
            events.ts_ms[at],
            events.values[at],
            [user_ids[place] for place in places],
        )


def pair_id(user_id: str, category: str) -> str:
    """Id of a user in a category.

    >>> pair_id("ann", "Drama")
    '["ann","Drama"]'
    """
    return json.dumps([user_id, category], ensure_ascii=False, separators=(",", ":"))


def parent_id(entity: FeatureEntity, entity_id: str) -> str:
    """Id of what an entity is smoothed towards."""
    return str(json.loads(entity_id)[1]) if entity == "user_category" else WHOLE


_IDS: Final[dict[FeatureEntity, Callable[[str, str, str, Categories], Sequence[str]]]] = {
    "user": lambda user_id, item_id, surface, categories: (user_id,),
    "item": lambda user_id, item_id, surface, categories: (item_id,),
    "category": lambda user_id, item_id, surface, categories: tuple(
        dict.fromkeys(categories(item_id))
    ),
    "user_category": lambda user_id, item_id, surface, categories: tuple(
        pair_id(user_id, each) for each in dict.fromkeys(categories(item_id))
    ),
    "surface": lambda user_id, item_id, surface, categories: (surface,) if surface else (),
    "global": lambda user_id, item_id, surface, categories: (WHOLE,),
}
