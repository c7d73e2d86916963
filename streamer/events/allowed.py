"""What a field of a message may say, where that is one of a few values."""

from __future__ import annotations

import functools
import re
from typing import Any, Final

from msgspec import inspect

STEP: Final = re.compile(r"\[(\d+|\.\.\.)\]|([^.\[\]]+)")
"""A step of a path as msgspec names it: an index, ``...`` for any key of an object, or a field."""


@functools.lru_cache(maxsize=1_000)
def allowed_values(kind: Any, path: str) -> tuple[object, ...]:
    """Return the values that a field may have; none where it may have others.

    Parameters
    ----------
    kind
        Type of the message.
    path
        Of the field, as msgspec names it: ``rows[0].list_name``.
    """
    found = [inspect.type_info(kind)]
    for index, name in STEP.findall(path):
        found = [each for outer in found for each in _within(outer, index, name)]
    plain = [each for outer in found for each in _plain(outer)]
    values = [each.values for each in plain if isinstance(each, inspect.LiteralType)]
    return tuple(value for each in values for value in each)


def _within(outer: inspect.Type, index: str, name: str) -> list[inspect.Type]:
    """Return what stands at a step of a path below a type."""
    found: list[inspect.Type] = []
    for each in _plain(outer):
        if isinstance(each, inspect.StructType) and name:
            if each.tag_field == name and each.tag is not None:
                found.append(inspect.LiteralType((each.tag,)))
            found += [field.type for field in each.fields if field.encode_name == name]
        elif isinstance(each, inspect.DictType):
            found.append(each.value_type)
        elif isinstance(each, inspect.CollectionType) and index:
            found.append(each.item_type)
    return found


def _plain(outer: inspect.Type) -> list[inspect.Type]:
    """Return the types that a type may be, without what is said of them beside."""
    if isinstance(outer, inspect.Metadata):
        return _plain(outer.type)
    if isinstance(outer, inspect.UnionType):
        return [each for inner in outer.types for each in _plain(inner)]
    return [outer]
