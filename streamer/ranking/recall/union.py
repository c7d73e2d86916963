"""From a request to its candidates: the union of what the channels bring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from streamer.config import Config
from streamer.errors import ConfigError
from streamer.ranking.asked import Asked
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.recall.allowed import Allowed
from streamer.ranking.recall.channel import Channel, Recalled
from streamer.ranking.recall.filling import filling
from streamer.ranking.recall.registry import channels_on
from streamer.replica.row_copies import numbered
from streamer_models.state.table import Keys, Slots

CANDIDATES_MAX: Final = 10_000
"""Bound of the candidates of a decision."""
K_MAX: Final = 500


class Recall:
    """Asks the channels that are on. For use by one thread at a time.

    Attributes
    ----------
    channels
        In the order in which they are asked.

    Raises
    ------
    ConfigError
        When a decision could not hold as many candidates as the settings ask for.
    """

    def __init__(self, config: Config) -> None:
        self.channels = channels_on(config)
        self._related = [each for each in self.channels if each.related]
        self._allowed = Allowed()
        bounds = {each.key("candidates"): each.candidates_max for each in self.channels}
        if (n := sum(bounds.values())) > CANDIDATES_MAX - K_MAX:
            raise ConfigError(
                f"{' + '.join(bounds)} = {n}: a decision holds at most {CANDIDATES_MAX - K_MAX};"
                " lower one of them"
            )

    def __call__(self, context: RequestContext, k: int) -> Candidates:
        """Return at least ``k`` candidates, where there are so many items that may be shown.

        Of a request with seeds they are those that go with them, if these are enough.
        """
        allowed = self._allowed(context)
        has_seeds = context.seeds() is not None
        found = self._recalled(context, allowed, k, self._related if has_seeds else self.channels)
        candidates = union(context, found)
        if has_seeds and len(candidates) < k:
            found = self._recalled(context, allowed, k, self.channels)
            candidates = union(context, found)
        if len(candidates) < k:
            found.append(filling(context, allowed, k - len(candidates), candidates))
            candidates = union(context, found, n_channels=len(self.channels))
        return candidates

    def _recalled(
        self,
        context: RequestContext,
        allowed: NDArray[np.bool_],
        k: int,
        asked: Sequence[Channel[Any]],
    ) -> list[Recalled]:
        """Return what each channel brings, nothing of those that are not asked."""
        found: list[Recalled] = []
        n_ordered = 0
        for channel in self.channels:
            n = channel.settings.candidates if channel in asked else 0
            if n and channel.ordered and not n_ordered:
                n = max(n, k)  # the others may bring nothing either
            found.append(channel.recall(context, allowed, n) if n else Recalled(_NO_ROWS))
            n_ordered += len(found[-1].rows) if channel.ordered else 0
        return found


_NO_ROWS: Final = np.zeros(0, dtype=np.int32)
_NO_KEYS: Final = np.zeros(0, dtype=np.uint64)


def union(asked: Asked, found: Sequence[Recalled], *, n_channels: int | None = None) -> Candidates:
    """Return what channels bring: items with parameters, in the order of keys, and those without,
    in the order in which they were brought.

    Parameters
    ----------
    n_channels
        The first so many of ``found`` are channels; None: all.
    """
    n_channels = len(found) if n_channels is None else n_channels
    rows = np.concatenate([_NO_ROWS, *(each.rows for each in found)])
    new_keys = np.concatenate([_NO_KEYS, *(each.new_keys for each in found)])
    ends = np.cumsum([len(each.rows) for each in found], dtype=np.int64)
    # In the order of keys, which is nobody's favour, equal scores are drawn alike everywhere.
    distinct, keys, places = _placed(rows, new_keys, ends, asked.item_keys, n_channels)
    n_known = len(distinct)
    if n_known == len(keys):
        return Candidates(distinct, [], keys, places)
    new_ids = asked.new_ids(keys[n_known:])
    if not new_ids:
        return Candidates(distinct, [], keys[:n_known], places[:, :n_known])
    return Candidates(distinct, list(new_ids), keys, places)


@numba.njit(cache=True, nogil=True)
def _placed(
    rows: Slots, new_keys: Keys, ends: NDArray[np.int64], keys_of_rows: Keys, n_channels: int
) -> tuple[Slots, Keys, Slots]:
    """Distinct rows in the order of their keys, these, with distinct keys of items without a row
    behind them, and the places that channels gave them.

    Parameters
    ----------
    rows
        Of all channels, one after the other, which end at ``ends``; -1: no row.
    new_keys
        Of the items without one, in that order.
    """
    known = rows[rows >= 0]
    keys, at_known = numbered(keys_of_rows[known])
    new, at_new = _as_they_come(new_keys)
    distinct = np.empty(len(keys), dtype=np.int32)
    places = np.full((n_channels, len(keys) + len(new)), np.int32(-1))
    n_known, n_new, start = 0, 0, 0
    for channel in range(len(ends)):
        for place in range(ends[channel] - start):
            row = rows[start + place]
            if row >= 0:
                index = at_known[n_known]
                distinct[index] = row
                n_known += 1
            else:
                index = len(keys) + at_new[n_new]
                n_new += 1
            if channel < n_channels:
                places[channel, index] = place
        start = ends[channel]
    return distinct, np.concatenate((keys, new)), places


@numba.njit(cache=True, nogil=True)
def _as_they_come(keys: Keys) -> tuple[Keys, Slots]:
    """Distinct keys in the order in which they come first, and the place of each of ``keys`` among
    them."""
    distinct, places = numbered(keys)
    place_of = np.full(len(distinct), np.int32(-1))
    n = 0
    for i in range(len(keys)):
        if place_of[places[i]] < 0:
            place_of[places[i]] = n
            distinct[n] = keys[i]
            n += 1
        places[i] = place_of[places[i]]
    return distinct, places
