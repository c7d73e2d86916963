"""Bodies of requests as messages: the decoders, and the words, are those of the topics."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from streamer.errors import BadMessage
from streamer.events import (
    Event,
    EventTypes,
    Item,
    Message,
    Request,
    User,
    decode_event,
    decode_item,
    decode_request,
    decode_user,
)
from streamer.events.rejection import reason_for
from streamer.http.mistakes import refuse_mistakes

S = TypeVar("S")
_FIELD = re.compile(r"^(field ')([a-z_]+)")


def object_of(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises
    ------
    BadMessage
        When it is none.
    """
    return object_in(json_of(body))


def json_of(body: bytes) -> Any:
    """Return what a body holds; raises BadMessage where it is not JSON."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"message: is not JSON ({error}); send one JSON object") from error


def decoded(body: bytes, kind: type[S]) -> S:
    """Return what a body holds, of a kind.

    Raises
    ------
    BadMessage
        With the words of a dead letter.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadMessage(reason_for(body, error, kind)) from error


def request_of(
    fields: Mapping[str, Any], *, now_ms: int, names: Mapping[str, str] = MappingProxyType({})
) -> Request:
    """Return the request of some fields; its id is new and its time now where they are not given.

    Parameters
    ----------
    names
        Of fields that were sent under others.

    Raises
    ------
    BadMessage
        With the words of a dead letter.
    """
    refuse_mistakes(fields, Request)
    try:
        return decode_request(_filled(fields, "request_id", now_ms), publish_ms=now_ms)
    except BadMessage as error:
        raise BadMessage(as_sent(str(error), names)) from error


def event_of(fields: object, types: EventTypes, *, now_ms: int) -> Event:
    """Return the event of some fields, as :func:`request_of`: ``event_id`` and ``ts`` are filled
    in. An event from the future is refused, as the learner would refuse it."""
    given = object_in(fields)
    refuse_mistakes(given, Event)
    payload = _filled(given, "event_id", now_ms)
    decode_event(payload, types, publish_ms=now_ms)
    return decode_event(payload, types)


def item_of(fields: Mapping[str, Any], item_id: str, *, embedding: int) -> Item:
    """Return the item of some fields, whose id is that of the path.

    Parameters
    ----------
    embedding
        As of :func:`streamer.events.decode_item`.

    Raises
    ------
    BadMessage
        With the words of a dead letter; or when the fields name another id.
    """
    return decode_item(_of_path(fields, "item", item_id), embedding=embedding)


def user_of(fields: Mapping[str, Any], user_id: str) -> User:
    """Return the user of some fields; raises as :func:`item_of`."""
    return decode_user(_of_path(fields, "user", user_id))


def _of_path(fields: Mapping[str, Any], noun: str, key: str) -> bytes:
    field = f"{noun}_id"
    named = fields.get(field, key)
    if named != key:
        raise BadMessage(
            f"field '{field}': {msgspec.json.encode(named).decode()} is not the {noun} of the path;"
            " leave it out"
        )
    return msgspec.json.encode({**fields, field: key})


def merged(target: Any, patch: Any) -> Any:
    """Return a value with a JSON merge patch (RFC 7396) applied: null removes.

    >>> merged({"title": "Tea", "attributes": {"price": 3}}, {"attributes": {"price": None}})
    {'title': 'Tea', 'attributes': {}}
    """
    if not isinstance(patch, dict):
        return patch
    found = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), value)
    return found


def sent_object(fields: object, kind: type[Message]) -> bytes:
    """Return the JSON of what was sent as a message; raises BadMessage where it is no object, or
    has mistakes (:func:`refuse_mistakes`)."""
    given = object_in(fields)
    refuse_mistakes(given, kind)
    return msgspec.json.encode(given)


def object_in(fields: object) -> dict[str, Any]:
    """Return what was sent, where it is an object; raises BadMessage where it is none."""
    if not isinstance(fields, dict):
        raise BadMessage("message: is not an object; send one JSON object")
    return fields


def as_sent(reason: str, names: Mapping[str, str]) -> str:
    """Return a reason with its field by the name under which it was sent, where that is another.

    >>> as_sent("field 'context.age': 1 is refused", {"context": "fields"})
    "field 'fields.age': 1 is refused"
    """
    return _FIELD.sub(lambda found: found[1] + names.get(found[2], found[2]), reason)


def _filled(fields: Mapping[str, Any], id_field: str, now_ms: int) -> bytes:
    given = {name: value for name, value in fields.items() if value is not None}
    return msgspec.json.encode({id_field: uuid.uuid4().hex, "ts": now_ms} | given)
