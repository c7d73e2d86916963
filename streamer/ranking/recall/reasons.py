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
_BEHIND_ALL: Final = 1 << 29
_NOWHERE: Final = 1 << 30
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
    because = np.zeros(len(order), dtype=np.uint64)
    for channel in (each for each in channels if each.reason_with):
        # Asked for no item too: what it compiles is compiled with the first request.
        places = [p for p, each in enumerate(brought_by) if each is channel]
        because[places] = channel.because(context, candidates.keys[order[places]])
    named = _named(context, because)
    for place, (index, each) in enumerate(zip(order.tolist(), brought_by, strict=True)):
        if isinstance(each, str):
            continue
        item_id = named[place]
        if item_id is not None:
            text = each.reason_with.format(_title(context, item_id))
            found[place] = Reason(text, each.name, item_id)
        if each.reason_of:
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
    has_feedback = np.zeros(len(order), dtype=np.bool_)
    known = np.flatnonzero(order < len(candidates.rows))
    has_feedback[known] = context.items.column(COUNT)[candidates.rows[order[known]]] > 0
    ordered = np.array([[each.ordered] for each in channels])
    needing = np.array([[each.needs_feedback] for each in channels])
    places = candidates.places[:, order]
    brought = (places >= 0) & (has_feedback | ~needing)
    behind = np.where(ordered, places, _BEHIND_ALL)
    highest = np.where(brought, behind, _NOWHERE).argmin(axis=0)
    return [
        channels[channel] if is_there else FILLED if has else NEW
        for channel, is_there, has in zip(
            highest.tolist(), brought.any(axis=0).tolist(), has_feedback.tolist(), strict=True
        )
    ]


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
