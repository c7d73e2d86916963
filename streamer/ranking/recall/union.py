"""From a request to its candidates: the union of what the channels bring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from streamer.config import Config
from streamer.errors import ConfigError
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.recall.allowed import Allowed
from streamer.ranking.recall.channel import Channel, Recalled
from streamer.ranking.recall.filling import filling
from streamer.ranking.recall.registry import channels_on
from streamer_models.state.id_table import keys_of
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
        candidates = union(context.item_keys, found)
        if has_seeds and len(candidates) < k:
            found = self._recalled(context, allowed, k, self.channels)
            candidates = union(context.item_keys, found)
        if len(candidates) < k:
            found.append(filling(context, allowed, k - len(candidates), candidates))
            candidates = union(context.item_keys, found, n_channels=len(self.channels))
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


def union(
    keys_of_rows: Keys, found: Sequence[Recalled], *, n_channels: int | None = None
) -> Candidates:
    """Return what channels bring, in the order of keys.

    Parameters
    ----------
    keys_of_rows
        Of all items, by row.
    n_channels
        The first so many of ``found`` are channels; None: all.
    """
    n_channels = len(found) if n_channels is None else n_channels
    rows = np.concatenate([_NO_ROWS, *(each.rows for each in found)])
    ends = np.cumsum([len(each.rows) for each in found], dtype=np.int64)
    # In the order of keys, which is nobody's favour, equal scores are drawn alike everywhere.
    distinct, keys, places = _placed(rows, ends, keys_of_rows, n_channels)
    new = dict.fromkeys(item_id for each in found for item_id in each.new_ids)
    if not new:
        return Candidates(distinct, [], keys, places)
    place_of = {item_id: len(keys) + i for i, item_id in enumerate(new)}
    unplaced = np.full((n_channels, len(new)), -1, dtype=np.int32)
    places = np.concatenate([places, unplaced], axis=1)
    for place, each in zip(places, found[:n_channels], strict=True):
        at = [place_of[item_id] for item_id in each.new_ids]
        place[at] = np.flatnonzero(each.rows < 0)
    return Candidates(distinct, list(new), np.concatenate([keys, keys_of(list(new))]), places)


@numba.njit(cache=True, nogil=True)
def _placed(
    rows: Slots, ends: NDArray[np.int64], keys_of_rows: Keys, n_channels: int
) -> tuple[Slots, Keys, Slots]:
    """Distinct rows in the order of their keys, these, and the places that channels gave them.

    Parameters
    ----------
    rows
        Of all channels, one after the other, which end at ``ends``; -1: no row.
    """
    known = rows[rows >= 0]
    keys = keys_of_rows[known]
    order = np.argsort(keys)
    distinct = np.empty(len(known), dtype=np.int32)
    index_of = np.empty(len(known), dtype=np.int32)
    n = 0
    for i in range(len(order)):
        if i == 0 or keys[order[i]] != keys[order[i - 1]]:
            distinct[n] = known[order[i]]
            n += 1
        index_of[order[i]] = n - 1
    places = np.full((n_channels, n), np.int32(-1))
    at, start = 0, 0
    for channel in range(len(ends)):
        for place in range(ends[channel] - start):
            if rows[start + place] >= 0:
                if channel < n_channels:
                    places[channel, index_of[at]] = place
                at += 1
        start = ends[channel]
    return distinct[:n], keys_of_rows[distinct[:n]], places
