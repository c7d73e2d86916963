"""Messages in the form of Metarank's, and what they are here: ``docs/http.md`` has the mapping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from streamer.errors import BadMessage
from streamer.events import ID_BYTES_MAX
from streamer.events.decoding import check_id
from streamer.events.messages import Id
from streamer.events.rejection import refuse_seconds
from streamer.http.bodies import decoded

ITEMS_MAX: Final = 500
"""Items of a ranking."""
RANKING_ID_BYTES_MAX: Final = ID_BYTES_MAX - len(f":{ITEMS_MAX - 1}")
"""Bound of a ranking's id: with the position behind it, it is the id of an impression."""
AS_SENT: Final = {"ts": "timestamp", "context": "fields"}
"""Field here → field there, of what an event or a request is refused for behind :func:`read`."""
_LISTS: Final = {"category": "categories", "categories": "categories", "tags": "tags"}
"""Field of an item there → list of an item here."""
Timestamp = Annotated[str | int, Meta(description="ms since 1970, as text or as a number")]


class MetarankField(msgspec.Struct, frozen=True, kw_only=True):
    """A named value."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    value: Any


Fields = list[MetarankField]


class RankableItem(msgspec.Struct, frozen=True, kw_only=True):
    """One of the items to put in order."""

    id: Id
    fields: Annotated[Fields, Meta(description="not used")] = []


class RankingEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="ranking"):
    """Items to put in order; as feedback: items that were shown, in this order."""

    id: Annotated[str, Meta(min_length=1, max_length=RANKING_ID_BYTES_MAX)]
    timestamp: Timestamp
    items: Annotated[list[RankableItem], Meta(min_length=1, max_length=ITEMS_MAX)]
    user: Id | None = None
    session: Id | None = None
    fields: Annotated[Fields, Meta(description="the context of the request")] = []


class InteractionEvent(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="interaction"
):
    """What a user did with an item."""

    id: Id
    timestamp: Timestamp
    item: Id
    type: str
    ranking: Annotated[Id | None, Meta(description="the id of the ranking it answers")] = None
    user: Id | None = None
    session: Id | None = None
    fields: Fields = []


class ItemEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="item"):
    """What is known of an item: these fields in place of what was, the others stay."""

    id: str
    timestamp: Timestamp
    item: Id
    fields: Fields = []


class UserEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="user"):
    """What is known of a user: not used."""

    id: str
    timestamp: Timestamp
    user: str
    fields: Fields = []


FeedbackEvent = RankingEvent | InteractionEvent | ItemEvent | UserEvent
M = TypeVar("M", bound=FeedbackEvent)
_IDS: Final[Mapping[type, Sequence[str]]] = {
    RankingEvent: ("user", "session"),
    InteractionEvent: ("id", "ranking", "user", "session", "item"),
    ItemEvent: ("item",),
}
"""Fields that become ids as they are."""


class MetarankItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item in its place."""

    item: str
    score: float


class MetarankRanking(msgspec.Struct, frozen=True, kw_only=True):
    """The items, best first."""

    items: list[MetarankItem]
    took: Annotated[int, Meta(ge=0, description="ms")]


class MetarankAccepted(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of feedback."""

    status: str
    accepted: Annotated[int, Meta(ge=0)]
    updated: Annotated[int, Meta(ge=0, description="those that are used")]
    took_millis: Annotated[int, Meta(ge=0)]


STRUCTS: Final = (
    RankingEvent,
    InteractionEvent,
    ItemEvent,
    UserEvent,
    MetarankRanking,
    MetarankAccepted,
)
RANKING: Final = {
    "event": "ranking",
    "id": "r-17",
    "timestamp": "1700000000000",
    "user": "ann",
    "fields": [{"name": "device", "value": "phone"}],
    "items": [{"id": "tea"}, {"id": "cake"}],
}
INTERACTION: Final = {
    "event": "interaction",
    "id": "i-1",
    "timestamp": "1700000000000",
    "ranking": "r-17",
    "user": "ann",
    "type": "click",
    "item": "tea",
}


def read(payload: bytes, kind: type[M]) -> M:
    """Return an event of a kind, or of one of several, whose ids are within their bounds.

    Raises
    ------
    BadMessage
        Naming the field as it was sent.
    """
    said = decoded(payload, kind)
    if isinstance(said, RankingEvent):
        check_id("id", said.id, n_bytes_max=RANKING_ID_BYTES_MAX)
        for index, each in enumerate(said.items):
            check_id(f"items[{index}].id", each.id)
    for field in _IDS.get(type(said), ()):
        check_id(field, getattr(said, field))
    return said


def event_fields(said: FeedbackEvent) -> Iterator[dict[str, Any]]:
    """Yield the fields of the events that feedback becomes: none of items and users."""
    if isinstance(said, InteractionEvent):
        yield {
            "event_id": said.id,
            "type": said.type,
            "user_id": who(said),
            "item_id": said.item,
            "ts": ms_of(said.timestamp),
            "request_id": said.ranking,
            "context": dict(plain_fields(said.fields)) or None,
        }
    elif isinstance(said, RankingEvent):
        for position, each in enumerate(said.items):
            yield {
                "event_id": f"{said.id}:{position}",
                "type": "impression",
                "user_id": who(said),
                "item_id": each.id,
                "ts": ms_of(said.timestamp),
                "request_id": said.id,
                "position": position,
            }


def item_fields(fields: Iterable[MetarankField]) -> dict[str, Any]:
    """Return the fields of an item here; lists other than categories and tags are left out."""
    found: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    for each in fields:
        name, value = each.name, each.value
        if name in _LISTS:
            found[_LISTS[name]] = value if isinstance(value, list) else [value]
        elif name in ("title", "available"):
            found[name] = value
        elif isinstance(value, str | int | float):
            attributes[name] = value
    return found | ({"attributes": attributes} if attributes else {})


def plain_fields(fields: Iterable[MetarankField]) -> Iterator[tuple[str, Any]]:
    for each in fields:
        if isinstance(each.value, str | int | float):
            yield each.name, each.value


def who(said: RankingEvent | InteractionEvent) -> str:
    """Return the user; without one the session is one, and without that the ranking."""
    ranking = said.id if isinstance(said, RankingEvent) else said.ranking
    return said.user or said.session or ranking or said.id


def ms_of(timestamp: str | int) -> int:
    try:
        found = int(timestamp)
    except ValueError:
        raise BadMessage(
            f"field 'timestamp': {timestamp!r} is no number; send milliseconds since 1970"
        ) from None
    refuse_seconds(found, "timestamp")
    return found
