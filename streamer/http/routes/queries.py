"""What items are wanted, in the query of a URL: the fields of a request, and plain filters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from fastapi import Depends, Query, Request
from fastapi.dependencies.models import Dependant

from streamer.errors import BadMessage
from streamer.events.messages import AFTER_MAX, FILTER_MAX, TIMEOUT_MS_MAX
from streamer.http.mistakes import unknown_name

Id = Annotated[str, Query(min_length=1, max_length=256)]
Labels = list[Id] | None
K = Annotated[int | None, Query(ge=1, le=500, description="items wanted; default: configured")]
REPEATABLE: Final = frozenset({"exclude", "seed_items", "category", "tag", "attribute"})
"""Names that are lists: a query may give them several times."""
_LITERAL: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?|true|false")


async def _wanted(
    k: K = None,
    surface: Annotated[
        str | None, Query(min_length=1, max_length=256, description="where it is shown")
    ] = None,
    exclude: Annotated[list[Id] | None, Query(max_length=1_000)] = None,
    category: Annotated[
        Labels, Query(max_length=8, description="only items of this category, or one of these")
    ] = None,
    tag: Annotated[
        Labels, Query(max_length=8, description="only items with this tag, or one of these")
    ] = None,
    attribute: Annotated[
        list[Annotated[str, Query(min_length=2, max_length=512)]] | None,
        Query(max_length=8, description="only items with this attribute, `NAME:VALUE`, and these"),
    ] = None,
    only: Annotated[
        str | None,
        Query(alias="filter", min_length=1, max_length=FILTER_MAX, description="of items, in CEL"),
    ] = None,
    after: Annotated[
        str | None,
        Query(max_length=AFTER_MAX, description="`next` of the page before; empty: the first page"),
    ] = None,
    timeout_ms: Annotated[int | None, Query(ge=1, le=TIMEOUT_MS_MAX)] = None,
) -> dict[str, Any]:
    return {
        "k": k,
        "surface": surface,
        "exclude": exclude,
        "filter": filter_of(
            categories=category or (), tags=tag or (), attributes=attribute or (), only=only
        ),
        "after": after,
        "timeout_ms": timeout_ms,
    }


Wanted = Annotated[dict[str, Any], Depends(_wanted)]


async def _only_known(request: Request) -> None:
    """Refuse a parameter that the route does not have, and one given twice that is no list."""
    names = [name for name, _ in request.query_params.multi_items()]
    known = _parameters(request.scope["route"].dependant) if names else frozenset()
    for name in dict.fromkeys(names):
        if name not in known:
            raise unknown_name("", name, known)
        if name not in REPEATABLE and (n := names.count(name)) > 1:
            raise BadMessage(f"field '{name}': is given {n} times; send it once")


KNOWN_PARAMETERS: Final[Any] = Depends(_only_known)
"""For routers: what would be ignored is refused."""


def _parameters(of: Dependant) -> frozenset[str]:
    """Return the names of what a route, and what it depends on, takes from the query."""
    own = (each.alias for each in of.query_params)
    return frozenset(own).union(*map(_parameters, of.dependencies))


def filter_of(
    *,
    categories: Sequence[str] = (),
    tags: Sequence[str] = (),
    attributes: Sequence[str] = (),
    only: str | None = None,
) -> str | None:
    """Return the filter of a request that means all of these; None: nothing is asked for.

    Parameters
    ----------
    categories, tags
        An item is to have one of them.
    attributes
        ``NAME:VALUE``; a value that could be a number or a truth may be the text or that.
    only
        A filter in CEL.

    Raises
    ------
    BadMessage
        When an attribute has no colon.

    >>> print(filter_of(categories=["drama"], attributes=["y:94"]))
    ("drama" in item.categories) && (item.attributes["y"] == "94" || item.attributes["y"] == 94)
    """
    terms = [
        f"({' || '.join(f'{_literal(label)} in item.{field}' for label in labels)})"
        for field, labels in (("categories", categories), ("tags", tags))
        if labels
    ]
    terms += [_same(each) for each in attributes]
    if only is not None:
        terms.append(f"({only}\n)" if terms else only)  # it may end with a comment
    return " && ".join(terms) or None


def _same(attribute: str) -> str:
    name, colon, value = attribute.partition(":")
    if not (name and colon):
        raise BadMessage(
            f"field 'attribute': {_literal(attribute)} has no name and value; send NAME:VALUE"
        )
    found = f"item.attributes[{_literal(name)}]"
    is_text = f"{found} == {_literal(value)}"
    return f"({is_text} || {found} == {value})" if _LITERAL.fullmatch(value) else is_text


def _literal(text: str) -> str:
    return msgspec.json.encode(text).decode()
