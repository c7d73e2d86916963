"""What an expression says, once it is read: values, and conditions on them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal

ITEM_FIELDS = ("item_id", "title", "created_ts", "expires_ts")
"""Fields of an item with one value, beside ``attributes.NAME``."""
LIST_FIELDS = ("categories", "tags")
REQUEST_FIELDS = ("user_id", "surface")
"""Fields of a request, beside ``context.NAME``."""

Scalar = str | float | bool
Order = Literal["<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal; a number is a float. ``kind`` keeps ``true`` and ``1`` apart."""

    kind: type[Scalar]
    value: Scalar


@dataclass(frozen=True, slots=True)
class ItemField:
    """A field of the item with one value: one of ``ITEM_FIELDS``, or ``attributes.NAME``."""

    field: str


@dataclass(frozen=True, slots=True)
class RequestField:
    """A field of the request: one of ``REQUEST_FIELDS``, ``context.NAME``, or ``user.NAME`` of who
    asks."""

    field: str


@dataclass(frozen=True, slots=True)
class Now:
    """The time that the request is answered at, in ms."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many labels a list of the item has."""

    field: str


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A number computed from two."""

    operator: Literal["+", "-", "*"]
    left: Value
    right: Value


Value = Constant | ItemField | RequestField | Now | Size | Arithmetic


@dataclass(frozen=True, slots=True)
class Equal:
    """Two values are the same; values of two kinds are not."""

    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class Ordered:
    """Two numbers in order."""

    operator: Order
    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class OneOf:
    """A value is one of some values."""

    value: Value
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """A value is among the labels of a list of the item."""

    value: Value
    field: str


@dataclass(frozen=True, slots=True)
class Present:
    """A field has a value, or a list a label."""

    of: ItemField | RequestField | Size


@dataclass(frozen=True, slots=True)
class IsTrue:
    """A value is true."""

    value: Value


@dataclass(frozen=True, slots=True)
class Not:
    """A condition is false."""

    of: Condition


@dataclass(frozen=True, slots=True)
class And:
    """Both hold."""

    left: Condition
    right: Condition


@dataclass(frozen=True, slots=True)
class Or:
    """One holds, or both."""

    left: Condition
    right: Condition


Condition = Equal | Ordered | OneOf | Listed | Present | IsTrue | Not | And | Or
Node = Value | Condition


def children(node: Node) -> Iterator[Node]:
    """Return the nodes directly below one."""
    for each in fields(node):
        value = getattr(node, each.name)
        if isinstance(value, tuple):
            yield from value
        elif isinstance(value, Node):
            yield value


@functools.lru_cache(maxsize=4_096)
def reads_time(node: Node) -> bool:
    """Return whether a node's value changes from moment to moment."""
    return isinstance(node, Now) or any(map(reads_time, children(node)))


@functools.lru_cache(maxsize=4_096)
def turns_once(node: Condition) -> bool:
    """Return whether a condition that reads the time turns once at most as time passes, whatever
    the item: a comparison that names the time once, so that one side rises or falls with it."""
    return isinstance(node, Ordered) and _times_named(node) == 1


def _times_named(node: Node) -> int:
    return isinstance(node, Now) + sum(map(_times_named, children(node)))


@functools.lru_cache(maxsize=4_096)
def request_fields(node: Node) -> tuple[str, ...]:
    """Return the different fields of the request that a node reads."""
    if isinstance(node, RequestField):
        return (node.field,)
    found = (field for each in children(node) for field in request_fields(each))
    return tuple(dict.fromkeys(found))


def item_fields(node: Node) -> frozenset[str]:
    """Return the fields of the item that a node reads."""
    own = {node.field} if isinstance(node, ItemField | Size | Listed) else set()
    return frozenset(own).union(*map(item_fields, children(node)))
