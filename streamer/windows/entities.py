"""Whose feature an event adds to: its user, its item, the item's categories, and so on."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.events import Event, EventColumns, FeatureEntity

WHOLE: Final = "*"
"""The id of the only `global` entity."""
Categories = Callable[[str], Sequence[str]]
"""Item → its categories; none for one that is not known."""


@dataclass(frozen=True, slots=True)
class Contributions:
    """What events add to the entities of one kind, in columns of equal length ``n``.

    Attributes
    ----------
    places
        ``(n,)`` int32, the event of each; an item of two categories adds to both.
    ids
        Of the entities.
    types, ts_ms, values
        ``(n,)`` as in :class:`streamer.events.EventColumns`.
    """

    entity: FeatureEntity
    places: NDArray[np.int32]
    ids: list[str]
    types: NDArray[np.int8]
    ts_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    user_ids: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, chosen: NDArray[np.bool_]) -> Contributions:
        at = np.flatnonzero(chosen).tolist()
        return Contributions(
            self.entity,
            self.places[chosen],
            [self.ids[i] for i in at],
            self.types[chosen],
            self.ts_ms[chosen],
            self.values[chosen],
            [self.user_ids[i] for i in at],
        )


def contributions(
    events: EventColumns, entities: Collection[FeatureEntity], categories: Categories
) -> Iterator[Contributions]:
    """What a batch adds to each kind of entity, in the order of the events."""
    for entity in entities:
        ids_of = _IDS[entity]
        places, ids = [], []
        for place, event in enumerate(events.events):
            for each in ids_of(event, categories):
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
            [events.user_ids[place] for place in places],
        )


def chosen_events(events: EventColumns, at: Sequence[int]) -> EventColumns:
    """Some of a batch's events."""
    return EventColumns(
        index=events.index[at],
        event_ids=[events.event_ids[i] for i in at],
        user_ids=[events.user_ids[i] for i in at],
        item_ids=[events.item_ids[i] for i in at],
        types=events.types[at],
        ts_ms=events.ts_ms[at],
        values=events.values[at],
        events=[events.events[i] for i in at],
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


def _surface(event: Event) -> list[str]:
    surface = (event.context or {}).get("surface")
    return [surface] if isinstance(surface, str) and surface else []


_IDS: Final[dict[FeatureEntity, Callable[[Event, Categories], Sequence[str]]]] = {
    "user": lambda event, categories: (event.user_id,),
    "item": lambda event, categories: (event.item_id,),
    "category": lambda event, categories: tuple(dict.fromkeys(categories(event.item_id))),
    "user_category": lambda event, categories: tuple(
        pair_id(event.user_id, each) for each in dict.fromkeys(categories(event.item_id))
    ),
    "surface": lambda event, categories: _surface(event),
    "global": lambda event, categories: (WHOLE,),
}
