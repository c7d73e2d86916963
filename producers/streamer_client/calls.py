"""Requests to the service as data; the sync and the async client send the same."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Generic, Literal, TypeVar
from urllib.parse import quote

from streamer_client.fields import fields_of, message_of
from streamer_client.messages import (
    Event,
    Explanation,
    Feedback,
    Health,
    Item,
    ListQuery,
    PublishResult,
    PublishResults,
    Recommendation,
    RelatedQuery,
    Request,
    User,
    UserQuery,
)

T = TypeVar("T")
Kept = TypeVar("Kept", bound=Item | User)
ListName = Literal["popular", "trending", "latest"]
_TIMEOUT_MS_MAX: Final = 600_000
"""The longest that a request may say of itself."""
_NOUNS: Final[Mapping[type[Any], str]] = {Item: "items", User: "users"}


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request and how its answer is read.

    Attributes
    ----------
    read
        The JSON of an answer → what the caller gets.
    query
        Parameters; lists are given several times.
    body
        JSON, or nothing.
    repeatable
        Whether doing it twice is as doing it once: a decision is made again each time.
    answers
        Statuses from 300 on that are answers all the same.
    """

    method: str
    path: str
    read: Callable[[Any], T]
    query: Mapping[str, Any] | None = None
    body: bytes | None = None
    repeatable: bool = True
    answers: Collection[int] = ()


def base_url(url: str) -> str:
    """Return the address that paths are appended to; raises ValueError where it is none of HTTP."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no address of HTTP; give it as http://HOST:PORT")
    return url.rstrip("/")


def recommend(request: Request, *, timeout_s: float) -> Call[Recommendation]:
    """Ask for a recommendation; the service learns how long its answer is waited for."""
    request = replace(request, timeout_ms=request.timeout_ms or _ms(timeout_s))
    return Call(
        "POST",
        "/v1/recommendations",
        _recommendation,
        body=_json(fields_of(request)),
        repeatable=request.preview or request.list_name is not None,
    )


def recommend_to(
    user_id: str, query: UserQuery | None, *, timeout_s: float
) -> Call[Recommendation]:
    """Ask in the short form."""
    query = query or UserQuery()
    repeatable = query.preview or query.list_name is not None
    return _asked(f"/v1/users/{_id(user_id)}/recommendations", query, timeout_s, repeatable)


def listed(name: ListName, query: ListQuery | None, *, timeout_s: float) -> Call[Recommendation]:
    """Ask for a list, which is no decision."""
    return _asked(f"/v1/lists/{name}", query or ListQuery(), timeout_s, repeatable=True)


def related(item_id: str, query: RelatedQuery | None, *, timeout_s: float) -> Call[Recommendation]:
    """Ask for what goes with an item."""
    query = query or RelatedQuery()
    return _asked(f"/v1/items/{_id(item_id)}/related", query, timeout_s, query.preview)


def explain(user_id: str, item_id: str, k: int | None) -> Call[Explanation]:
    """Ask where an item stands for a user."""
    query = {"user": user_id, "item": item_id} | ({} if k is None else {"k": k})
    return Call("GET", "/v1/explanations", partial(message_of, Explanation), query)


def identified(event: Event) -> Event:
    """Return an event with an id: sent again under it, it is learned once."""
    return event if event.event_id else replace(event, event_id=uuid.uuid4().hex)


def publish(event: Event) -> Call[PublishResult]:
    """Publish one event."""
    return Call("POST", "/v1/events", _result, body=_json(fields_of(identified(event))))


def publish_many(events: Sequence[Event]) -> Call[PublishResults]:
    """Publish events in one body."""
    return _several("events", [identified(event) for event in events])


def feedback(given: Feedback) -> Call[PublishResult]:
    """Report what a user did with a recommendation."""
    if not given.event_id:
        given = replace(given, event_id=uuid.uuid4().hex)
    return Call("POST", "/v1/feedback", _result, body=_json(fields_of(given)))


def get(kind: type[Kept], key: str) -> Call[Kept]:
    """Read an item or a user."""
    return Call("GET", _path(kind, key), partial(message_of, kind))


def put(message: Kept) -> Call[Kept]:
    """Write an item or a user."""
    kind = type(message)
    key = message.item_id if isinstance(message, Item) else message.user_id
    return Call("PUT", _path(kind, key), partial(message_of, kind), body=_json(fields_of(message)))


def patch(kind: type[Kept], key: str, changes: Mapping[str, Any]) -> Call[Kept]:
    """Change fields of an item or a user."""
    return Call("PATCH", _path(kind, key), partial(message_of, kind), body=_json(changes))


def delete(kind: type[Item | User], key: str) -> Call[None]:
    """Delete an item, or erase a user."""
    return Call("DELETE", _path(kind, key), _nothing)


def put_many(
    noun: Literal["items", "users"], messages: Sequence[Item | User]
) -> Call[PublishResults]:
    """Write items or users in one body."""
    return _several(noun, messages)


def health(path: Literal["/healthz", "/readyz"]) -> Call[Health]:
    """Ask whether the service is well."""
    return Call("GET", path, partial(message_of, Health), answers=(503,))


def _asked(path: str, query: Any, timeout_s: float, repeatable: bool) -> Call[Recommendation]:
    query = replace(query, timeout_ms=query.timeout_ms or _ms(timeout_s))
    return Call("GET", path, _recommendation, fields_of(query), repeatable=repeatable)


def _several(noun: str, messages: Sequence[Event | Item | User]) -> Call[PublishResults]:
    body = _json([fields_of(message) for message in messages])
    return Call("POST", f"/v1/{noun}", partial(message_of, PublishResults), body=body)


def _recommendation(found: Any) -> Recommendation:
    return message_of(Recommendation, found)


def _result(found: Any) -> PublishResult:
    return message_of(PublishResults, found).results[0]


def _nothing(found: Any) -> None:
    return None


def _path(kind: type[Any], key: str) -> str:
    return f"/v1/{_NOUNS[kind]}/{_id(key)}"


def _id(given: str) -> str:
    """Return an id as one segment of a path, also one that a URL would read as a folder."""
    found = quote(given, safe="")
    return found if found.strip(".") else found.replace(".", "%2E")


def _ms(timeout_s: float) -> int:
    return min(max(round(1000 * timeout_s), 1), _TIMEOUT_MS_MAX)


def _json(given: Any) -> bytes:
    return json.dumps(given, ensure_ascii=False, allow_nan=False).encode()
