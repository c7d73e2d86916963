"""Routes that take events: accepted means that the broker has them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from streamer.config import Config
from streamer.errors import BadMessage, DeliveryFailed
from streamer.events import encode, message_key
from streamer.http.bodies import event_of, json_of, object_of
from streamer.http.parts import Parts
from streamer.http.problems import PROBLEM_JSON, field_of
from streamer.http.schemas import (
    EVENT,
    FEEDBACK,
    JSON,
    EventResult,
    EventResults,
    answers,
    body,
    content,
)
from streamer.http.waiting import acknowledged

_ACCEPTED, _MIXED, _BAD, _NOT_TAKEN = 202, 207, 422, 503


def event_routes(config: Config, parts: Parts) -> APIRouter:
    """Return the routes under ``/v1`` that publish events."""
    router = APIRouter(prefix="/v1", tags=["events"])
    topic, types = config.topics.topic("events"), config.event_types

    def sent(index: int, fields: object) -> tuple[EventResult, Future[None] | None]:
        """What is known of an event at once: that it is bad, or that it is on its way."""
        try:
            event = event_of(fields, types, now_ms=parts.clock.now_ms())
        except BadMessage as error:
            return _not(index, _BAD, str(error)), None
        taken = EventResult(index=index, status=_ACCEPTED, event_id=event.event_id)
        try:
            return taken, parts.sink.send(topic, key=message_key(event), value=encode(event))
        except DeliveryFailed as error:
            return _not(index, _NOT_TAKEN, str(error), event.event_id), None

    async def published(events: Sequence[object]) -> EventResults:
        found = [sent(index, fields) for index, fields in enumerate(events)]
        on_their_way = [(result, future) for result, future in found if future is not None]
        failures = await acknowledged(
            [future for _, future in on_their_way], config.http.timeout_ms / 1000
        )
        results = [result for result, _ in found]
        for (result, _), failure in zip(on_their_way, failures, strict=True):
            if failure is not None:
                at = result.index
                results[at] = _not(at, _NOT_TAKEN, failure, result.event_id)
        n_accepted = sum(result.status == _ACCEPTED for result in results)
        return EventResults(
            accepted=n_accepted, rejected=len(results) - n_accepted, results=results
        )

    async def one(fields: dict[str, Any]) -> Response:
        found = await published([fields])
        result = found.results[0]
        if result.status == _BAD:
            raise BadMessage(result.detail)
        if result.status == _NOT_TAKEN:
            raise DeliveryFailed(result.detail)
        return Response(msgspec.json.encode(found), _ACCEPTED, media_type=JSON)

    responses = answers("EventResults", 503, ok=_ACCEPTED, words="The broker has all of them")
    several = {
        _MIXED: {
            "description": "Some were taken: each has its status",
            "content": content("EventResults"),
        }
    }

    @router.post(
        "/events",
        status_code=_ACCEPTED,
        summary="Publish what users did: one event, or an array of them",
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    JSON: {
                        "schema": {
                            "anyOf": [
                                {"$ref": "#/components/schemas/EventFields"},
                                {
                                    "type": "array",
                                    "items": {"$ref": "#/components/schemas/EventFields"},
                                    "minItems": 1,
                                    "maxItems": config.http.events_max,
                                },
                            ]
                        },
                        "example": EVENT,
                    }
                },
            }
        },
        responses=responses | several,
    )
    async def publish(request: Request) -> Response:
        """Without an `event_id` an event is new each time it is sent; with one it counts once."""
        given = json_of(await request.body())
        if isinstance(given, dict):
            return await one(given)
        n_max = config.http.events_max
        if not isinstance(given, list) or not 0 < len(given) <= n_max:
            raise BadMessage(f"message: send one JSON object, or an array of 1 to {n_max} of them")
        found = await published(given)
        statuses = {result.status for result in found.results}
        return _answer(found, statuses.pop() if len(statuses) == 1 else _MIXED)

    @router.post(
        "/feedback",
        status_code=_ACCEPTED,
        summary="Report what a user did with a recommendation, by its request_id",
        openapi_extra=body("FeedbackFields", FEEDBACK),
        responses=responses,
    )
    async def feedback(request: Request) -> Response:
        """An event that names its request; its `type` is `click` where none is given."""
        fields = {"type": "click"} | object_of(await request.body())
        if fields.get("request_id") is None:
            raise BadMessage(
                "field 'request_id': missing; send the request_id of the recommendation, or publish"
                " to /v1/events what answers none"
            )
        return await one(fields)

    return router


def _answer(found: EventResults, status: int) -> Response:
    """Return the results; where all have failed alike, as a problem with the results in it."""
    if status in (_ACCEPTED, _MIXED):
        return Response(msgspec.json.encode(found), status, media_type=JSON)
    name, title = {
        _BAD: ("bad-message", "No event can be used"),
        _NOT_TAKEN: ("not-delivered", "The broker did not take them"),
    }[status]
    first = found.results[0]
    said = {
        "type": f"urn:streamer:problem:{name}",
        "title": title,
        "status": status,
        "detail": f"event {first.index}: {first.detail}",
        "field": first.field,
        "results": found.results,
    }
    headers = {"Retry-After": "1"} if status == _NOT_TAKEN else {}
    return Response(msgspec.json.encode(said), status, headers, media_type=PROBLEM_JSON)


def _not(index: int, status: int, detail: str, event_id: str | None = None) -> EventResult:
    return EventResult(
        index=index, status=status, event_id=event_id, detail=detail, field=field_of(detail)
    )
