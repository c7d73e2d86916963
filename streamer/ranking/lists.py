"""Lists that are the same for everybody: popular, trending, latest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.catalogue.columns import NUMBER
from streamer.catalogue.item_facts import greatest_first
from streamer.config import Config
from streamer.ranking.context import RequestContext
from streamer.ranking.recall.allowed import Allowed
from streamer.ranking.recall.trending import (
    Trend,
    TrendingChannel,
    choose_trend,
    recall_trending,
)
from streamer.replica.items import COUNT
from streamer_models.state.ids.id_table import keys_of

_UNKNOWN: Final = -1.0


@dataclass(frozen=True, slots=True)
class FoundItems:
    """Items of a list, best first, and the numbers that they are in order of."""

    item_ids: Sequence[str]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class ItemList:
    """An order of items that needs no user.

    Attributes
    ----------
    meaning
        What it is in order of, for the documentation.
    reason
        Why an item is on it.
    find
        Context, rows that may be shown, a number of items, and the index of the half-life that
        "now" means → at most so many.
    """

    meaning: str
    reason: str
    find: Callable[[RequestContext, NDArray[np.bool_], int, int], FoundItems]


def _popular(context: RequestContext, allowed: NDArray[np.bool_], n: int, _: int) -> FoundItems:
    return _by_trend(context, Trend(COUNT, 1.0), allowed, n)


def _trending(
    context: RequestContext, allowed: NDArray[np.bool_], n: int, half_life: int
) -> FoundItems:
    trend = choose_trend(context.items, half_life=half_life, at_ms=context.at_ms)
    return _by_trend(context, trend, allowed, n)


def _by_trend(
    context: RequestContext, trend: Trend, allowed: NDArray[np.bool_], n: int
) -> FoundItems:
    """Items with positive feedback alone: others are neither popular nor trend."""
    rows = recall_trending(context.items, trend, allowed, n)
    values = trend.values(context.items, rows)
    rows, values = rows[values > 0], values[values > 0]
    return FoundItems([context.items.names[row] for row in rows.tolist()], values.tolist())


def _latest(context: RequestContext, allowed: NDArray[np.bool_], n: int, _: int) -> FoundItems:
    """Items of the catalogue, with parameters or without: it looks at all of them."""
    columns = context.catalogue.columns
    slots = np.flatnonzero(_may_be_listed(context)).astype(np.int32)
    slots = slots[~context.catalogue.blocked(columns.keys[slots])]
    created = columns.values("created_ts").at(slots)
    values = np.where(created.kinds == NUMBER, created.numbers, _UNKNOWN)
    order = greatest_first(values, columns.keys[slots], n)
    ids = [columns.ids[slot] for slot in slots[order].tolist()]
    return FoundItems(ids, np.maximum(values[order], 0.0).tolist())


def _may_be_listed(context: RequestContext) -> NDArray[np.bool_]:
    """``(n_slots,)`` items of the catalogue that are left, but for unavailable ones."""
    columns, asked = context.catalogue.columns, context.request.candidates
    left = columns.known.copy()
    if asked:
        wanted = np.zeros_like(left)
        wanted[columns.slots(keys_of(asked))] = True
        left &= wanted
    if context.ruled is not None:
        left &= ~context.ruled.out
    left[columns.slots(context.catalogue.not_out(context.at_ms))] = False
    left[columns.slots(context.excluded())] = False
    left[0] = False  # what the catalogue does not know
    return left


LISTS: Final[Mapping[str, ItemList]] = {
    "popular": ItemList("positive feedback ever", "popular", _popular),
    "trending": ItemList(
        "positive feedback, decayed by `recall.trending.half_life_s`",
        "trending",
        _trending,
    ),
    "latest": ItemList("`created_ts`, the newest first; those without one last", "latest", _latest),
}
"""By the name that requests have for them."""


class Lists:
    """Answers requests for lists. For use by one thread at a time: it remembers what may be shown.

    Parameters
    ----------
    config
        Its half-lives: that of the trending channel, on or off, where counts are kept by it, else
        the shortest.
    """

    def __init__(self, config: Config) -> None:
        kept = list(config.popularity.half_lives_s)
        chosen = TrendingChannel.settings_of(config).half_life_s
        self._half_life = kept.index(chosen) if chosen in kept else 0
        self._allowed = Allowed()

    def __call__(self, context: RequestContext, name: str, n: int) -> FoundItems:
        """Return at most ``n`` items of a list; what the user met makes no difference."""
        nothing = context.barred[:0]
        for_all = replace(context, user_row=-1, seen=nothing, barred=nothing)
        return LISTS[name].find(for_all, self._allowed(for_all), n, self._half_life)
