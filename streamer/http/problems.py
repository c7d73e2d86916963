"""Errors as RFC 9457 problem details, whatever raised them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from msgspec import Meta
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from streamer.errors import (
    BadMessage,
    KafkaError,
    Overloaded,
    RequestTimeout,
    StoreUnavailable,
    StreamerError,
)
from streamer.events.rejection import SHOWN_MAX, reason
from streamer.http.request_ids import request_id_of

log = logging.getLogger(__name__)

PROBLEM_JSON: Final = "application/problem+json"
RETRY_AFTER_S: Final = 1
_FIELD = re.compile(r"field '([^']+)'")
_SUBJECT = re.compile(r"^(Input|String|List)(?= should)")
_REMARK = re.compile(r", unable to .*| after validation")
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request was not done."""

    type: Annotated[str, Meta(description="urn:streamer:problem:NAME")]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: Annotated[str, Meta(description="the field, its value and what to send instead")]
    field: Annotated[str | None, Meta(description="of the message, where one is wrong")] = None
    request_id: Annotated[str | None, Meta(description="the X-Request-ID of this answer")] = None


_OF_ERRORS: Final[Mapping[type[StreamerError], tuple[int, str, str]]] = {
    BadMessage: (422, "bad-message", "The message can't be used"),
    Overloaded: (503, "overloaded", "Too much at once, or too early"),
    RequestTimeout: (504, "timeout", "Not answered in time"),
    KafkaError: (503, "not-delivered", "The broker did not take it"),
    StoreUnavailable: (503, "unavailable", "The parameter store does not answer"),
}


def field_of(detail: str) -> str | None:
    """Return the field that a reason names first.

    >>> field_of("field 'k': 0 is refused: expected an integer")
    'k'
    """
    found = _FIELD.match(detail)
    return found[1] if found else None


def problem(
    request: Request,
    status: int,
    name: str,
    title: str,
    detail: str,
    *,
    field: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the answer that says what is wrong."""
    said = Problem(
        type=f"urn:streamer:problem:{name}",
        title=title,
        status=status,
        detail=detail,
        field=field,
        request_id=request_id_of(request.scope),
    )
    headers = dict(headers or {})
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    return Response(msgspec.json.encode(said), status, headers, media_type=PROBLEM_JSON)


def failed(request: Request, error: Exception) -> Response:
    """Log an error that nobody expected and return its problem."""
    log.error("http_failed: %s", request.url.path, exc_info=error)
    detail = f"{type(error).__name__}; the log of the service says more"
    return problem(request, 500, "internal", "An error of the service", detail)


def add_problems(app: FastAPI) -> None:
    """Have an application answer every error with a problem."""

    async def of_ours(request: Request, error: Exception) -> Response:
        kind = next((each for each in _OF_ERRORS if isinstance(error, each)), None)
        if kind is None:
            return failed(request, error)
        status, name, title = _OF_ERRORS[kind]
        return problem(request, status, name, title, str(error), field=field_of(str(error)))

    async def of_parameters(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        field, detail = _of_parameter(error.errors()[0])
        return problem(request, 422, "bad-parameter", "A parameter is wrong", detail, field=field)

    async def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        status, detail, headers = error.status_code, str(error.detail), error.headers
        title = HTTPStatus(status).phrase
        if detail == title:  # of a router, or of files, which say no more
            detail, headers = _unrouted(request, status)
        name = title.lower().replace(" ", "-")
        return problem(request, status, name, title, detail, headers=headers)

    app.add_exception_handler(StreamerError, of_ours)
    app.add_exception_handler(RequestValidationError, of_parameters)
    app.add_exception_handler(HTTPException, of_http)


def _of_parameter(error: Mapping[str, Any]) -> tuple[str, str]:
    """Return the parameter that pydantic refused, and why, in the words of a bad message."""
    _, name, *inside = error["loc"]
    field = f"{name}{''.join(f'[{at}]' for at in inside)}"
    if error["type"] == "missing":
        return field, f"field '{field}': missing; it is required"
    words = _REMARK.sub("", _SUBJECT.sub("it", error["msg"], count=1))
    if error["type"].startswith("bool"):
        words = "it should be true or false"
    return field, reason(field, error["input"], f"is refused: {words}")


def _unrouted(request: Request, status: int) -> tuple[str, Mapping[str, str]]:
    """Return why no route took a request, and the headers that say so."""
    path, see = request.url.path[:SHOWN_MAX], "/openapi.json has all there is"
    if status == HTTPStatus.NOT_FOUND:
        return f"there is no {path}; {see}", {}
    taken = ", ".join(each for each in _METHODS if _is_taken(request, each)) or "GET"
    return f"{path} takes {taken}, not {request.method}; {see}", {"Allow": taken}


def _is_taken(request: Request, method: str) -> bool:
    scope = {**request.scope, "method": method}
    routes = (each for each in request.app.routes if not isinstance(each, Mount))
    return any(each.matches(scope)[0] is Match.FULL for each in routes)
