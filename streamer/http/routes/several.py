"""Bodies that hold one message, or an array of them, and what became of each."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import Request, Response

from streamer.errors import BadMessage
from streamer.http.bodies import json_of
from streamer.http.problems import PROBLEM_JSON
from streamer.http.publishing import ACCEPTED, BAD, NOT_TAKEN, Publishing
from streamer.http.request_ids import request_id_of
from streamer.http.schemas import JSON, PublishResults, answers, content

MIXED: Final = 207


def several_answers() -> dict[Any, Any]:
    """Return the answers of a route that takes such bodies."""
    return answers("PublishResults", 503, ok=ACCEPTED, words="The broker has all of them") | {
        MIXED: {
            "description": "Some were taken: each has its status",
            "content": content("PublishResults"),
        }
    }


async def published(publishing: Publishing[Any], request: Request, *, n_max: int) -> Response:
    """Publish what the body of a request holds.

    Raises
    ------
    BadMessage
        When it is neither, and when its only message is bad.
    DeliveryFailed
        When the broker does not acknowledge its only message in time.
    """
    given = json_of(await request.body())
    if isinstance(given, dict):
        return accepted(await publishing.one(given))
    if not isinstance(given, list) or not 0 < len(given) <= n_max:
        raise BadMessage(f"message: send one JSON object, or an array of 1 to {n_max} of them")
    found = await publishing.many(given)
    statuses = {result.status for result in found.results}
    if statuses == {ACCEPTED}:
        return accepted(found)
    if len(statuses) > 1:
        return _json(found, MIXED)
    return failed(request, found)


def accepted(found: PublishResults) -> Response:
    """Return the answer where the broker has all."""
    return _json(found, ACCEPTED)


def _json(found: PublishResults, status: int) -> Response:
    return Response(msgspec.json.encode(found), status, media_type=JSON)


def failed(request: Request, found: PublishResults) -> Response:
    """Return the problem of messages that were not all taken, with their results in it.

    Where some are bad and some the broker did not take, it is that of the latter, which are to be
    sent again.
    """
    status = max(each.status for each in found.results)
    first = next(each for each in found.results if each.status == status)
    name, title = {
        BAD: ("bad-message", "No message can be used"),
        NOT_TAKEN: ("not-delivered", "The broker did not take them"),
    }[status]
    detail = f"message {first.index}: {first.detail}"
    if found.accepted:
        title = "Some messages were not taken"
        detail += f"; {found.accepted} of {len(found.results)} were taken: `results` says which"
    said = {
        "type": f"urn:streamer:problem:{name}",
        "title": title,
        "status": status,
        "detail": detail,
        "field": first.field,
        "request_id": request_id_of(request.scope),
        "results": found.results,
    }
    headers = {"Retry-After": "1"} if status == NOT_TAKEN else {}
    return Response(msgspec.json.encode(said), status, headers, media_type=PROBLEM_JSON)
