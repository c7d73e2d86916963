"""Why an item is recommended, for those who read the slate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamer.ranking.candidates import Candidates
from streamer.ranking.recall.channel import Channel
from streamer.ranking.recall.trending import TrendingChannel
from streamer.replica.items import COUNT, ItemView

NEW: Final = "new"
"""No positive feedback on the item yet, and every channel that brought it needs some."""
FILLED: Final = TrendingChannel.reason
"""No channel brought it: it fills a slate that they left short, the most popular ones first."""


def reasons(
    items: ItemView,
    candidates: Candidates,
    order: NDArray[np.intp],
    channels: Sequence[Channel[Any]],
) -> list[str]:
    """Return a reason for each candidate of ``order``: that of the channel that placed it highest.

    The first channel counts among equal ones, and one without an order behind those with one.
    """
    n_known, counts = len(candidates.rows), items.column(COUNT)
    found = []
    for index, places in zip(order.tolist(), candidates.places[:, order].T.tolist(), strict=True):
        has_feedback = index < n_known and counts[candidates.rows[index]] > 0
        brought = [
            (not channel.ordered, place if channel.ordered else 0, channel.reason)
            for place, channel in zip(places, channels, strict=True)
            if place >= 0 and (has_feedback or not channel.needs_feedback)
        ]
        if brought:
            found.append(min(brought, key=lambda each: each[:2])[2])
        else:
            found.append(FILLED if has_feedback else NEW)
    return found
