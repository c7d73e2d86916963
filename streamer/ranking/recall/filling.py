"""What fills a slate that the channels leave short."""

from __future__ import annotations

from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.recall.channel import Recalled
from streamer.ranking.recall.trending import choose_trend, recall_trending
from streamer_models.state.ids.id_table import keys_of
from streamer_models.state.table import Keys

_LOOKED_AT_MAX: Final = 10_000
"""Items of the catalogue looked at for ones without parameters: some ms …"""
_AT_ONCE: Final = 256
"""… so many at a time, as the first ones are enough most of the time."""


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
    new = _unmet(context, n - len(rows), candidates)
    return Recalled(np.concatenate([rows, np.full(len(new), -1, dtype=np.int32)]), new)


def _unmet(context: RequestContext, n: int, candidates: Candidates) -> Keys:
    """Keys of items without parameters, other than those among the candidates."""
    found: dict[int, None] = {}
    brought = candidates.keys[len(candidates.rows) :]
    asked_for = context.request.candidates or context.catalogue.newest()
    looked_at = islice(asked_for, _LOOKED_AT_MAX)
    while len(found) < n and (ids := list(islice(looked_at, _AT_ONCE))):
        keys = keys_of(ids)
        new = keys[context.item_rows(keys) < 0]
        shown = new[context.may_be_shown(new)]
        found |= dict.fromkeys(shown[~np.isin(shown, brought)].tolist())
    return np.array(list(found)[:n], dtype=np.uint64)
