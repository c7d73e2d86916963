"""Mistakes of senders that a topic takes, since its producers may be newer than its readers: over
HTTP a name that no message has is mistyped, and is refused; so are times in seconds."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect

from streamer.errors import BadMessage
from streamer.events import Message
from streamer.events.rejection import SHOWN_MAX, named, refuse_seconds

_TIMES: Final = ("ts", "created_ts", "expires_ts")


def refuse_mistakes(fields: Mapping[str, Any], kind: type[Message]) -> None:
    """Refuse what was sent as a message where a name of it, at any depth, is none of the message's,
    or where a time is in seconds.

    Values that are wrong otherwise are left to the decoder.

    Raises
    ------
    BadMessage
        Naming the field, and the nearest known one or the time in milliseconds.
    """
    _refuse_unknown(fields, kind, "")
    for name in _TIMES:
        refuse_seconds(fields.get(name), name)


def unknown_name(path: str, name: str, known: Collection[str]) -> BadMessage:
    """Return the error of a name, below ``path``, that is none of ``known``.

    >>> print(unknown_name("rows[0].", "candidats", ["k", "candidates"]))
    field 'rows[0].candidats': unknown; the nearest known one is 'candidates'
    """
    remedy = "leave it out"
    if near := difflib.get_close_matches(name[:SHOWN_MAX], sorted(known), n=1, cutoff=0.0):
        remedy = f"the nearest known one is '{near[0]}'"
    return BadMessage(f"field '{named(f'{path}{name}')}': unknown; {remedy}")


def _refuse_unknown(fields: Mapping[str, Any], kind: type[msgspec.Struct], path: str) -> None:
    known = _messages_in(kind)
    for name in fields:
        if name not in known:
            raise unknown_name(path, name, known)
    for name, inner in known.items():
        given = fields.get(name) if inner is not None else None
        for at, each in enumerate(given if isinstance(given, list) else ()):
            if isinstance(each, dict) and inner is not None:
                _refuse_unknown(each, inner, f"{path}{name}[{at}].")


@functools.cache
def _messages_in(kind: type[msgspec.Struct]) -> Mapping[str, type[msgspec.Struct] | None]:
    """Return by field the message that it holds a list of; None: it holds none."""
    of_kind = inspect.type_info(kind)
    assert isinstance(of_kind, inspect.StructType)
    return {
        field.encode_name: next((each.cls for each in structs_in(field.type)), None)
        for field in of_kind.fields
    }


def structs_in(kind: inspect.Type) -> Iterator[inspect.StructType]:
    """Yield the structs that a type is, or is a union or a list of."""
    if isinstance(kind, inspect.StructType):
        yield kind
    elif isinstance(kind, inspect.UnionType):
        for each in kind.types:
            yield from structs_in(each)
    elif isinstance(kind, inspect.ListType):
        yield from structs_in(kind.item_type)
    elif isinstance(kind, inspect.Metadata):
        yield from structs_in(kind.type)
