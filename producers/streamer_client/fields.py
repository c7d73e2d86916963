"""Dataclasses to JSON objects, and back."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_type_hints

T = TypeVar("T")


def fields_of(message: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that differ from their defaults, ready for JSON.

    >>> from streamer_client.messages import Item
    >>> fields_of(Item(item_id="tea", available=False))
    {'item_id': 'tea', 'available': False}
    """
    given = {field.name: (getattr(message, field.name), field) for field in _fields(type(message))}
    return {name: _plain(value) for name, (value, field) in given.items() if value != field.default}


def message_of(kind: type[T], fields: Any) -> T:
    """Return the dataclass of a JSON object; names that it doesn't have are left out.

    Raises
    ------
    ValueError
        When ``fields`` is no object.
    TypeError
        When a field lacks that must be there.
    """
    if not isinstance(fields, Mapping):
        raise ValueError(f"{type(fields).__name__} is no JSON object")
    as_key: Any = kind
    inner = _inner(as_key)
    return kind(
        **{name: _value(inner[name], value) for name, value in fields.items() if name in inner}
    )


def _fields(kind: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return fields_of(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return dict(value) if isinstance(value, Mapping) else value


@functools.cache
def _inner(kind: type[Any]) -> dict[str, type[Any] | None]:
    """Return by field the dataclass that it holds one or several of; None: it holds none."""
    hints = get_type_hints(kind)
    return {field.name: _dataclass_in(hints[field.name]) for field in _fields(kind)}


def _dataclass_in(hint: Any) -> type[Any] | None:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return hint
    return next((found for each in get_args(hint) if (found := _dataclass_in(each))), None)


def _value(inner: type[Any] | None, value: Any) -> Any:
    if inner is None or value is None:
        return value
    return [message_of(inner, each) for each in value]
