"""Calls in the form of Metarank's: rank and feedback.

What is mapped to what, and what is not, is in ``docs/http.md``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Annotated, Any, Final, cast

import msgspec
from fastapi import APIRouter, Path, Request, Response
from msgspec import Meta

from streamer.config import Config
from streamer.errors import BadMessage
from streamer.events import Item
from streamer.events.messages import Id
from streamer.events.rejection import refuse_seconds
from streamer.http.bodies import decoded, item_of, merged, request_of
from streamer.http.kept_writing import KeptWriting
from streamer.http.parts import Parts
from streamer.http.publishing import event_publishing
from streamer.http.schemas import JSON, answers, body, one_or_many
from streamer.http.waiting import answered

_LISTS: Final = {"category": "categories", "categories": "categories", "tags": "tags"}
"""Field of an item there → list of an item here."""
_EVENTS: Final = ("RankingEvent", "InteractionEvent", "ItemEvent", "UserEvent")
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

    id: Id
    timestamp: Timestamp
    items: Annotated[list[RankableItem], Meta(min_length=1, max_length=500)]
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


def metarank_routes(config: Config, parts: Parts, catalogue: KeptWriting[Item]) -> APIRouter:
    """Return ``/rank/{model}`` and ``/feedback``, which writes items to the catalogue."""
    router = APIRouter(tags=["metarank"])
    publishing = event_publishing(config, parts)
    made_of = partial(item_of, embedding=config.catalogue.embedding)
    timeout_s = config.http.timeout_ms / 1000

    @router.post(
        "/rank/{model:id}",
        summary="Put items in order",
        openapi_extra=body("RankingEvent", RANKING),
        responses=answers("MetarankRanking", 503, 504, words="The items, best first"),
    )
    async def rank(
        model: Annotated[str, Path(min_length=1, max_length=256)], request: Request
    ) -> Response:
        """The decision is logged; the model is the surface that it is for."""
        began_s = time.perf_counter()
        asked = decoded(await request.body(), RankingEvent)
        ids = list(dict.fromkeys(item.id for item in asked.items))
        fields = {
            "request_id": asked.id,
            "user_id": _who(asked),
            "ts": _ms(asked.timestamp),
            "surface": model,
            "context": dict(_plain(asked.fields)) or None,
            "candidates": ids,
            "k": len(ids),
        }
        made = request_of(fields, now_ms=parts.clock.now_ms())
        found = await answered(parts.answers.recommend(made, timeout_s=timeout_s), timeout_s)
        scores = {each.item_id: each.score for each in found.recommendation.items}
        below = min(scores.values(), default=0.0) - 1.0
        scores |= {each: below for each in ids if each not in scores}
        items = [MetarankItem(item=each, score=score) for each, score in scores.items()]
        return _json(MetarankRanking(items=items, took=_took_ms(began_s)))

    async def item(said: ItemEvent) -> None:
        before = catalogue.find(said.item)
        fields = {} if before is None else msgspec.to_builtins(before)
        await catalogue.put(made_of(merged(fields, _item_fields(said.fields)), said.item))

    @router.post(
        "/feedback",
        summary="Report what was shown and done, and what is known of items",
        openapi_extra=one_or_many(*_EVENTS, n_max=config.http.events_max, example=INTERACTION),
        responses=answers("MetarankAccepted", 503, words="The broker has all of them"),
    )
    async def feedback(request: Request) -> Response:
        """One event, an array, or one a line; each counts once, however often it is sent."""
        began_s = time.perf_counter()
        said = _events(await request.body(), config.http.events_max)
        fields = [each for event in said for each in _event_fields(event)]
        results = (await publishing.many(fields)).results
        if bad := next((each for each in results if each.status != 202), None):
            await publishing.one(fields[bad.index])  # raises what became of it
        for event in said:
            if isinstance(event, ItemEvent):
                await item(event)
        n_used = sum(not isinstance(event, UserEvent) for event in said)
        return _json(
            MetarankAccepted(
                status="ok", accepted=len(said), updated=n_used, took_millis=_took_ms(began_s)
            )
        )

    return router


def _events(payload: bytes, n_max: int) -> list[FeedbackEvent]:
    text = payload.strip()
    if text.startswith(b"{") and b"\n{" in text:
        text = b"[" + b",".join(line for line in text.splitlines() if line.strip()) + b"]"
    if not text.startswith(b"["):
        return [decoded(text, cast("type[FeedbackEvent]", FeedbackEvent))]
    found = decoded(text, list[FeedbackEvent])
    if not 0 < len(found) <= n_max:
        raise BadMessage(f"message: {len(found)} events; send 1 to {n_max} at once")
    return found


def _event_fields(said: FeedbackEvent) -> Iterator[dict[str, Any]]:
    """Yield the fields of the events that feedback becomes: none of items and users."""
    if isinstance(said, InteractionEvent):
        yield {
            "event_id": said.id,
            "type": said.type,
            "user_id": _who(said),
            "item_id": said.item,
            "ts": _ms(said.timestamp),
            "request_id": said.ranking,
            "context": dict(_plain(said.fields)) or None,
        }
    elif isinstance(said, RankingEvent):
        for position, each in enumerate(said.items):
            yield {
                "event_id": f"{said.id}:{position}",
                "type": "impression",
                "user_id": _who(said),
                "item_id": each.id,
                "ts": _ms(said.timestamp),
                "request_id": said.id,
                "position": position,
            }


def _item_fields(fields: Iterable[MetarankField]) -> dict[str, Any]:
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


def _plain(fields: Iterable[MetarankField]) -> Iterator[tuple[str, Any]]:
    for each in fields:
        if isinstance(each.value, str | int | float):
            yield each.name, each.value


def _who(said: RankingEvent | InteractionEvent) -> str:
    """Return the user; without one the session is one, and without that the ranking."""
    ranking = said.id if isinstance(said, RankingEvent) else said.ranking
    return said.user or said.session or ranking or said.id


def _ms(timestamp: str | int) -> int:
    try:
        found = int(timestamp)
    except ValueError:
        raise BadMessage(
            f"field 'timestamp': {timestamp!r} is no number; send milliseconds since 1970"
        ) from None
    refuse_seconds(found, "timestamp")
    return found


def _took_ms(began_s: float) -> int:
    return round(1000 * (time.perf_counter() - began_s))


def _json(said: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(said), media_type=JSON)
