"""Why an item is recommended, for those who read the slate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.recall.channel import Channel
from streamer.ranking.recall.trending import TrendingChannel
from streamer.replica.items import COUNT

NEW: Final = "new"
"""No positive feedback on the item yet, and every channel that brought it needs some."""
FILLED: Final = TrendingChannel.reason
"""No channel brought it: it fills a slate that they left short, the most popular ones first."""
NO_CHANNEL: Final = "(none)"
"""Channel of an item that none brought, or none that knows anything of it."""
_TITLE_MAX: Final = 100
"""Characters of a title or a category that a reason shows."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one item is recommended.

    Attributes
    ----------
    channel
        Name of the channel that placed it highest; ``NO_CHANNEL`` where none did.
    because
        Id of the item that speaks for it; None: no single one does.
    """

    text: str
    channel: str
    because: str | None = None


def reasons(
    context: RequestContext,
    candidates: Candidates,
    order: NDArray[np.intp],
    channels: Sequence[Channel[Any]],
) -> list[Reason]:
    """Return a reason for each candidate of ``order``: that of the channel that placed it highest.

    The first channel counts among equal ones, and one without an order behind those with one.
    """
    brought_by = _brought_by(context, candidates, order, channels)
    found = [
        Reason(each, NO_CHANNEL) if isinstance(each, str) else Reason(each.reason, each.name)
        for each in brought_by
    ]
    for channel in (each for each in channels if each.reason_with):
        # Asked for no item too: what it compiles is compiled with the first request.
        places = np.array(
            [p for p, each in enumerate(brought_by) if each is channel], dtype=np.intp
        )
        named = _named(context, channel.because(context, candidates.keys[order[places]]))
        for place, item_id in zip(places.tolist(), named, strict=True):
            if item_id is not None:
                text = channel.reason_with.format(_title(context, item_id))
                found[place] = Reason(text, channel.name, item_id)
    for place, (index, each) in enumerate(zip(order.tolist(), brought_by, strict=True)):
        if isinstance(each, Channel) and each.reason_of:
            item = context.catalogue.get(_id(context, candidates, index))
            category = None if item is None else each.category(context, item)
            if category is not None:
                text = each.reason_of.format(_cut(category))
                found[place] = Reason(text, each.name)
    return found


def _brought_by(
    context: RequestContext,
    candidates: Candidates,
    order: NDArray[np.intp],
    channels: Sequence[Channel[Any]],
) -> list[Channel[Any] | str]:
    """Return the channel that placed each item highest, or the reason where there is none."""
    n_known, counts = len(candidates.rows), context.items.column(COUNT)
    found: list[Channel[Any] | str] = []
    for index, places in zip(order.tolist(), candidates.places[:, order].T.tolist(), strict=True):
        has_feedback = index < n_known and counts[candidates.rows[index]] > 0
        brought = [
            (not channel.ordered, place if channel.ordered else 0, n)
            for n, (place, channel) in enumerate(zip(places, channels, strict=True))
            if place >= 0 and (has_feedback or not channel.needs_feedback)
        ]
        if brought:
            found.append(channels[min(brought)[2]])
        else:
            found.append(FILLED if has_feedback else NEW)
    return found


def _named(context: RequestContext, keys: NDArray[np.uint64]) -> list[str | None]:
    """Return the ids of keys, None where an item is not known (any more)."""
    rows, names = context.item_rows(keys).tolist(), context.items.names
    unmet = context.new_ids(keys)
    return [
        names[row] if row >= 0 else item_id or None
        for row, item_id in zip(rows, unmet, strict=True)
    ]


def _title(context: RequestContext, item_id: str) -> str:
    item = context.catalogue.get(item_id)
    return _cut(item_id if item is None or not item.title else item.title)


def _cut(text: str) -> str:
    return text if len(text) <= _TITLE_MAX else f"{text[: _TITLE_MAX - 1]}…"


def _id(context: RequestContext, candidates: Candidates, index: int) -> str:
    n_known = len(candidates.rows)
    known, new = context.items.names, candidates.new_ids
    return known[int(candidates.rows[index])] if index < n_known else new[index - n_known]
