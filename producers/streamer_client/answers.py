"""Answers of the service, and answers that are none, as values and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import httpx

from streamer_client.calls import Call
from streamer_client.errors import (
    NoAnswer,
    NotFound,
    NotInTime,
    Refused,
    ServiceError,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from streamer_client.fields import message_of
from streamer_client.messages import Problem, PublishResult

T = TypeVar("T")
_ERRORS: Final[Mapping[int, type[ServiceError]]] = {
    400: Refused,
    401: Unauthorized,
    404: NotFound,
    408: NotInTime,
    413: TooLarge,
    422: Refused,
    429: TooManyRequests,
    502: NotInTime,
    503: Unavailable,
    504: NotInTime,
}
_BEFORE_IT_WAS_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_SHOWN_CHARACTERS: Final = 200


def read(call: Call[T], response: httpx.Response) -> T:
    """Return what an answer says.

    Raises
    ------
    ServiceError
        Of the kind of its status; also where it is no answer of a streamer service.
    """
    status = response.status_code
    if status >= 300 and status not in call.answers:
        raise _problem(response)
    try:
        return call.read(response.json())
    except (ValueError, TypeError, LookupError) as error:
        raise ServiceError(_of_another(response)) from error


def no_answer(error: httpx.RequestError, url: str) -> NoAnswer:
    """Return what is raised where no answer came."""
    reached = not isinstance(error, _BEFORE_IT_WAS_SENT)
    why = str(error) or type(error).__name__
    words = f"{url} did not answer: {why}; is `streamer serve` there, and well (GET /readyz)?"
    found = NoAnswer(words, reached=reached)
    found.__cause__ = error
    return found


def _problem(response: httpx.Response) -> ServiceError:
    kind = _ERRORS.get(response.status_code, ServiceError)
    results: list[PublishResult] = []
    try:
        said: Any = response.json()
        problem = message_of(Problem, said)
        results = [message_of(PublishResult, each) for each in said.get("results", ())]
    except (ValueError, TypeError):
        problem = _of_another(response)
    wait = response.headers.get("Retry-After", "")
    retry_after_s = float(wait) if wait.isascii() and wait.isdigit() else 0.0
    return kind(problem, results=results, retry_after_s=retry_after_s)


def _of_another(response: httpx.Response) -> Problem:
    """Return the problem of an answer that streamer did not write: a proxy's, a wrong address."""
    shown = response.text[:_SHOWN_CHARACTERS]
    return Problem(
        type="about:blank",
        title=response.reason_phrase,
        status=response.status_code,
        detail=f"{response.url} answered {response.status_code} and not as `streamer serve` does:"
        f" {shown!r}; is this its address?",
    )
