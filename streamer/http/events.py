"""Routes that take events: accepted means that the broker has them."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from streamer.config import Config
from streamer.errors import BadMessage
from streamer.http.bodies import json_of, object_of
from streamer.http.parts import Parts
from streamer.http.problems import PROBLEM_JSON
from streamer.http.publishing import ACCEPTED, BAD, NOT_TAKEN, EventPublishing
from streamer.http.schemas import (
    EVENT,
    FEEDBACK,
    JSON,
    EventResults,
    answers,
    body,
    content,
    one_or_many,
)

_MIXED: Final = 207


def event_routes(config: Config, parts: Parts) -> APIRouter:
    """Return the routes under ``/v1`` that publish events."""
    router = APIRouter(prefix="/v1", tags=["events"])
    publishing = EventPublishing(config, parts)

    async def one(fields: dict[str, Any]) -> Response:
        return Response(
            msgspec.json.encode(await publishing.one(fields)), ACCEPTED, media_type=JSON
        )

    responses = answers("EventResults", 503, ok=ACCEPTED, words="The broker has all of them")
    several = {
        _MIXED: {
            "description": "Some were taken: each has its status",
            "content": content("EventResults"),
        }
    }

    @router.post(
        "/events",
        status_code=ACCEPTED,
        summary="Publish what users did: one event, or an array of them",
        openapi_extra=one_or_many(
            "EventFields", n_max=config.http.events_max, one=EVENT, several=[EVENT, EVENT]
        ),
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
        found = await publishing.many(given)
        statuses = {result.status for result in found.results}
        return _answer(found, statuses.pop() if len(statuses) == 1 else _MIXED)

    @router.post(
        "/feedback",
        status_code=ACCEPTED,
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
    if status in (ACCEPTED, _MIXED):
        return Response(msgspec.json.encode(found), status, media_type=JSON)
    name, title = {
        BAD: ("bad-message", "No event can be used"),
        NOT_TAKEN: ("not-delivered", "The broker did not take them"),
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
    headers = {"Retry-After": "1"} if status == NOT_TAKEN else {}
    return Response(msgspec.json.encode(said), status, headers, media_type=PROBLEM_JSON)
