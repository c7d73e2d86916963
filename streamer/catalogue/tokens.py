"""What the catalogue says of items in tokens, and how it is followed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Final

from streamer.errors import BadMessage
from streamer.events import Item, decode_item
from streamer.protocols import ItemsReader, MessageBatch
from streamer_models.state.item_tokens import ItemTokens, token_of

_OF_A_FIELD: Final = 8
"""Values of one field that count, the first ones it names."""
_NUMBER_WEIGHT: Final = 0.7
_YEARS: Final = range(1_000, 3_000)
_YEARS_TOGETHER: Final = 5
GONE_MAX: Final = 20_000
"""Deleted items that are known, some 0.2 kB each: after a deletion all are looked up, 4 ms."""
_ITEMS_A_ROUND: Final = 1_000
_POLL_S: Final = 0.1


def item_tokens(item: Item, fields: Sequence[str]) -> tuple[list[int], list[float]]:
    """Return the tokens of an item and their weights.

    A field's values share a weight of 1. A number weighs .7, which the two marks next to it share
    by nearness (linear interpolation): years are marked by five, other numbers by half powers of
    two. So 1994 is mostly 1995 and partly 1990, and no border stands between near numbers.

    Parameters
    ----------
    fields
        ``categories``, ``tags``, or names of attributes.
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
    """Return the values of a field: the first 8 ``categories`` or ``tags``, or an attribute."""
    if field == "categories":
        return [*dict.fromkeys(item.categories or ())][:_OF_A_FIELD]
    if field == "tags":
        return [*dict.fromkeys(item.tags or ())][:_OF_A_FIELD]
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


class CatalogueTokens:
    """Tokens of the items, as the items topic says them up to some offsets.

    What can't be read of the topic is passed over: whoever serves the catalogue refuses it with a
    letter.

    Parameters
    ----------
    fields
        See :func:`item_tokens`; none: the catalogue is not followed.

    Attributes
    ----------
    tokens
        By key.
    offsets
        Partition of the items topic → next offset to take; absent: nothing of it was taken.
    gone
        Ids of the items that were deleted and not published since, the last ``GONE_MAX`` of them.
    n_gone
        Deletions taken so far.
    """

    def __init__(self, fields: Sequence[str]) -> None:
        self.tokens = ItemTokens()
        self.offsets: dict[int, int] = {}
        self.gone: dict[str, None] = {}
        self.n_gone = 0
        self._fields = tuple(fields)

    def load(self, reader: ItemsReader) -> None:
        """Take the topic up to its present end."""
        ends = reader.end_offsets()
        while any(reader.positions.get(where, 0) < end for where, end in ends.items()):
            self._take(reader.poll(n_max=_ITEMS_A_ROUND, timeout_s=_POLL_S))

    def follow(self, reader: ItemsReader) -> None:
        """Take all that is there."""
        while batches := reader.poll(n_max=_ITEMS_A_ROUND, timeout_s=0.0):
            self._take(batches)

    def apply(self, batch: MessageBatch) -> None:
        """Take messages of one partition."""
        for key, value in zip(batch.keys, batch.values, strict=True):
            with contextlib.suppress(BadMessage, UnicodeDecodeError):
                if value is None:
                    self._delete((key or b"").decode())
                else:
                    self.put(decode_item(value))
        if len(batch):
            self.offsets[batch.partition] = int(batch.offsets[-1]) + 1

    def put(self, item: Item) -> None:
        """Take what is said of one item, in place of what was said before."""
        self.gone.pop(item.item_id, None)
        self.tokens.put(item.item_id, *item_tokens(item, self._fields))

    def _delete(self, item_id: str) -> None:
        self.tokens.remove(item_id)
        self.gone.pop(item_id, None)
        self.gone[item_id] = None
        self.n_gone += 1
        if len(self.gone) > GONE_MAX:
            del self.gone[next(iter(self.gone))]

    def _take(self, batches: Sequence[MessageBatch]) -> None:
        for batch in batches:
            self.apply(batch)
