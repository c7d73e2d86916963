"""Calls in the form of Metarank's: rank and feedback.

What is mapped to what, and what is not, is in ``docs/http.md``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final, cast

import msgspec
from fastapi import APIRouter, Path, Request, Response

from streamer.config import Config
from streamer.errors import BadMessage, DeliveryFailed
from streamer.events import Event, Item
from streamer.http.bodies import as_sent, decoded, item_of, merged, request_of
from streamer.http.kept_writing import KeptWriting
from streamer.http.parts import Parts
from streamer.http.problems import field_of
from streamer.http.publishing import (
    ACCEPTED,
    BAD,
    NOT_TAKEN,
    Publishing,
    event_publishing,
    refuse_failure,
    results_of,
)
from streamer.http.routes.metarank_messages import (
    AS_SENT,
    INTERACTION,
    RANKING,
    STRUCTS,
    FeedbackEvent,
    ItemEvent,
    MetarankAccepted,
    MetarankItem,
    MetarankRanking,
    RankingEvent,
    UserEvent,
    event_fields,
    item_fields,
    ms_of,
    plain_fields,
    read,
    who,
)
from streamer.http.routes.several import failed
from streamer.http.schemas import (
    JSON,
    PublishResult,
    PublishResults,
    answers,
    body,
    one_or_many,
)
from streamer.http.waiting import answered

__all__ = ["STRUCTS", "metarank_routes"]

_EVENTS: Final = ("RankingEvent", "InteractionEvent", "ItemEvent", "UserEvent")
_ANY: Final = cast("type[FeedbackEvent]", FeedbackEvent)
_NEXT = re.compile(rb"(?<=\})[ \t\r]*\n\s*(?=\{)")
"""Between two events that come one a line: in one JSON value no brace opens behind a closed one,
and no string goes over a line's end."""


def metarank_routes(config: Config, parts: Parts, catalogue: KeptWriting[Item]) -> APIRouter:
    """Return ``/rank/{model}`` and ``/feedback``, which writes items to the catalogue."""
    router = APIRouter(tags=["metarank"])
    taking = _Taking(
        event_publishing(config, parts),
        catalogue,
        partial(item_of, embedding=config.catalogue.embedding),
    )
    n_max, timeout_s = config.http.events_max, config.http.timeout_ms / 1000

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
        asked = read(await request.body(), RankingEvent)
        ids = list(dict.fromkeys(item.id for item in asked.items))
        fields = {
            "request_id": asked.id,
            "user_id": who(asked),
            "ts": ms_of(asked.timestamp),
            "surface": model,
            "context": dict(plain_fields(asked.fields)) or None,
            "candidates": ids,
            "k": len(ids),
        }
        made = request_of(fields, now_ms=parts.clock.now_ms(), names=AS_SENT)
        found = await answered(parts.answers.recommend(made, timeout_s=timeout_s), timeout_s)
        scores = {each.item_id: each.score for each in found.recommendation.items}
        below = min(scores.values(), default=0.0) - 1.0
        scores |= {each: below for each in ids if each not in scores}
        items = [MetarankItem(item=each, score=score) for each, score in scores.items()]
        return _json(MetarankRanking(items=items, took=_took_ms(began_s)))

    @router.post(
        "/feedback",
        summary="Report what was shown and done, and what is known of items",
        openapi_extra=one_or_many(*_EVENTS, n_max=n_max, example=INTERACTION),
        responses=answers("MetarankAccepted", 503, words="The broker has all of them"),
    )
    async def feedback(request: Request) -> Response:
        """One event, an array, or one a line; each counts once, however often it is sent.

        Where some of several are bad the others are taken; `results` of the problem says which.
        """
        began_s = time.perf_counter()
        said, are_several = _said(await request.body())
        if not 0 < len(said) <= n_max:
            raise BadMessage(f"message: {len(said)} events; send 1 to {n_max} at once")
        events, found = await taking.take(said)
        if found.rejected and are_several:
            return failed(request, found)
        refuse_failure(found.results[0])
        n_used = sum(not isinstance(event, UserEvent) for event in events)
        return _json(
            MetarankAccepted(
                status="ok", accepted=len(events), updated=n_used, took_millis=_took_ms(began_s)
            )
        )

    return router


class _Taking:
    """Takes feedback: publishes what it says of users, and writes items to the catalogue.

    Parameters
    ----------
    made_of
        Makes an item of its fields and its id; raises BadMessage.
    """

    def __init__(
        self,
        publishing: Publishing[Event],
        catalogue: KeptWriting[Item],
        made_of: Callable[[Mapping[str, Any], str], Item],
    ) -> None:
        self._publishing = publishing
        self._catalogue = catalogue
        self._made_of = made_of

    async def take(self, payloads: Sequence[bytes]) -> tuple[list[FeedbackEvent], PublishResults]:
        """Take the good ones of some events; return those that can be read, and what became of all
        by their index."""
        results = [PublishResult(index=at, status=ACCEPTED) for at in range(len(payloads))]
        events: dict[int, FeedbackEvent] = {}
        fields: list[tuple[int, dict[str, Any]]] = []
        for at, payload in enumerate(payloads):
            try:
                event = read(payload, _ANY)
                fields += [(at, each) for each in event_fields(event)]
                events[at] = event
            except BadMessage as error:
                results[at] = _not(at, BAD, str(error))
        published = await self._publishing.many([each for _, each in fields])
        for (at, _), became in zip(fields, published.results, strict=True):
            if became.status != ACCEPTED:
                results[at] = _not(at, became.status, as_sent(became.detail or "", AS_SENT))
        for at, event in events.items():
            if isinstance(event, ItemEvent):
                try:
                    await self._put(event)
                except BadMessage as error:
                    results[at] = _not(at, BAD, str(error))
                except DeliveryFailed as error:
                    results[at] = _not(at, NOT_TAKEN, str(error))
        return list(events.values()), results_of(results)

    async def _put(self, said: ItemEvent) -> None:
        before = self._catalogue.find(said.item)
        fields = {} if before is None else msgspec.to_builtins(before)
        item = self._made_of(merged(fields, item_fields(said.fields)), said.item)
        await self._catalogue.put(item)


def _said(payload: bytes) -> tuple[list[bytes], bool]:
    """Return the events of a body, each to be decoded, and whether there may be several."""
    text = payload.strip()
    if text.startswith(b"["):
        return [bytes(each) for each in decoded(text, list[msgspec.Raw])], True
    found = [line for piece in _NEXT.split(text) for line in _lines(piece)]
    return found, len(found) > 1


def _lines(piece: bytes) -> list[bytes]:
    """Return the lines of what is no JSON, where one of them has spoiled one that is."""
    lines = [line for line in piece.splitlines() if line.strip()]
    if len(lines) > 1 and not _is_json(piece) and (_is_json(lines[0]) or _is_json(lines[-1])):
        return lines
    return [piece]


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True


def _not(index: int, status: int, detail: str) -> PublishResult:
    return PublishResult(index=index, status=status, detail=detail, field=field_of(detail))


def _took_ms(began_s: float) -> int:
    return round(1000 * (time.perf_counter() - began_s))


def _json(said: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(said), media_type=JSON)
