"""What the catalogue says of an item, in tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

from streamer.events import Item
from streamer_models.state.items.item_tokens import token_of

_OF_A_FIELD: Final = 8
"""Values of one field that count, the first ones it names."""
_NUMBER_WEIGHT: Final = 0.7
_YEARS: Final = range(1_000, 3_000)
_YEARS_TOGETHER: Final = 5
_WORD: Final = re.compile(r"[^\W\d_]{3,}")
"""A word of a title: three letters or more, of any alphabet."""


def item_tokens(item: Item, fields: Sequence[str]) -> tuple[list[int], list[float]]:
    """Return the tokens of an item and their weights.

    A field's values share a weight of 1. A number weighs .7, which the two marks next to it share
    by nearness (linear interpolation): years are marked by five, other numbers by half powers of
    two. So 1994 is mostly 1995 and partly 1990, and no border stands between near numbers.

    Parameters
    ----------
    fields
        ``categories``, ``tags``, ``title``, or names of attributes.
    """
    tokens: list[int] = []
    weights: list[float] = []
    for field in fields:
        values = field_values(item, field)
        for value in values:
            if isinstance(value, int | float) and not isinstance(value, bool):
                number, said = True, _marks(value)
            else:
                number, said = False, [(str(value), 1.0)]
            tokens += [token_of(f"{field}={text}", number=number) for text, _ in said]
            weights += [weight / len(values) for _, weight in said]
    return tokens, weights


def field_values(item: Item, field: str) -> Sequence[object]:
    """Return the values of a field: the first 8 ``categories``, ``tags`` or different words of the
    ``title``, or an attribute."""
    if field == "categories":
        return [*dict.fromkeys(item.categories or ())][:_OF_A_FIELD]
    if field == "tags":
        return [*dict.fromkeys(item.tags or ())][:_OF_A_FIELD]
    if field == "title":
        return [*dict.fromkeys(_WORD.findall((item.title or "").casefold()))][:_OF_A_FIELD]
    value = (item.attributes or {}).get(field)
    return [] if value is None else [value]


def _marks(number: float) -> list[tuple[str, float]]:
    """Return the marks next to a number, and their weights.

    >>> [(mark, round(weight, 2)) for mark, weight in _marks(1994)]
    [('year 1990', 0.14), ('year 1995', 0.56)]
    >>> _marks(1995.0), _marks(-15)
    ([('year 1995', 0.7)], [('-8', 0.7)])
    """
    is_year = number in _YEARS
    place = number / _YEARS_TOGETHER if is_year else 2 * math.log2(1 + abs(number))
    below = math.floor(place)
    shares = [(below, 1 - (place - below)), (below + 1, place - below)]
    sign = -1 if number < 0 else 1
    return [
        (f"year {mark * _YEARS_TOGETHER}" if is_year else str(sign * mark), _NUMBER_WEIGHT * share)
        for mark, share in shares
        if share > 0
    ]
