"""What fills a slate that the channels leave short."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.recall.channel import Recalled
from streamer.ranking.recall.trending import choose_trend, recall_trending

_LOOKED_AT_MAX: Final = 10_000
"""Items of the catalogue looked at for ones without parameters: some ms."""


def filling(
    context: RequestContext, allowed: NDArray[np.bool_], n: int, candidates: Candidates
) -> Recalled:
    """Return ``n`` items beside the candidates, or as many as may be shown: the most popular ones,
    then those without parameters, the request's own or the newest published."""
    items = context.items
    left = allowed.copy()
    left[candidates.rows] = False
    rows = np.zeros(0, dtype=np.int32)
    if left.any():
        trend = choose_trend(items, half_life=0, at_ms=context.at_ms)
        rows = recall_trending(items, trend, left, n)
    new_ids = _unmet(context, n - len(rows), candidates)
    return Recalled(np.concatenate([rows, np.full(len(new_ids), -1, dtype=np.int32)]), new_ids)


def _unmet(context: RequestContext, n: int, candidates: Candidates) -> list[str]:
    """Ids without parameters, other than those among the candidates."""
    found: dict[str, None] = {}
    brought = set(candidates.new_ids)
    asked_for = context.request.candidates or context.catalogue.newest()
    for n_looked_at, item_id in enumerate(asked_for):
        if len(found) == n or n_looked_at == _LOOKED_AT_MAX:
            break
        if item_id not in brought and context.has_no_row(item_id) and context.may_be_shown(item_id):
            found[item_id] = None
    return list(found)
