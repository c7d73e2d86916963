"""From a request to its candidates: the union of what the channels bring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from streamer.config import Config
from streamer.errors import ConfigError
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.recall.allowed import Allowed
from streamer.ranking.recall.channel import Recalled
from streamer.ranking.recall.filling import filling
from streamer.ranking.recall.registry import channels_on
from streamer_models.state.id_table import keys_of

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
        self._allowed = Allowed()
        bounds = {each.key("candidates"): each.settings.candidates for each in self.channels}
        if (n := sum(bounds.values())) > CANDIDATES_MAX - K_MAX:
            raise ConfigError(
                f"{' + '.join(bounds)} = {n}: a decision holds at most {CANDIDATES_MAX - K_MAX};"
                " lower one of them"
            )

    def __call__(self, context: RequestContext, k: int) -> Candidates:
        """Return at least ``k`` candidates, where there are so many items that may be shown."""
        allowed = self._allowed(context)
        found: list[Recalled] = []
        n_ordered = 0
        for channel in self.channels:
            n = channel.settings.candidates
            if n and channel.ordered and not n_ordered:
                n = max(n, k)  # the others may bring nothing either
            found.append(channel.recall(context, allowed, n) if n else Recalled(_NO_ROWS))
            n_ordered += len(found[-1].rows) if channel.ordered else 0
        candidates = _union(context, found)
        if len(candidates) < k:
            found.append(filling(context, allowed, k - len(candidates), candidates))
            candidates = _union(context, found, n_channels=len(self.channels))
        return candidates


_NO_ROWS: Final = np.zeros(0, dtype=np.int32)


def _union(
    context: RequestContext, found: Sequence[Recalled], *, n_channels: int | None = None
) -> Candidates:
    keys_of_rows = context.items.keys
    rows = np.concatenate([_NO_ROWS, *(each.rows for each in found)])
    rows = rows[rows >= 0]
    # In the order of keys, which is nobody's favour, equal scores are drawn alike everywhere.
    keys, first = np.unique(keys_of_rows[rows], return_index=True)
    rows, n_known = rows[first], len(keys)
    new: dict[str, int] = {}
    for each in found:
        for item_id in each.new_ids:
            new.setdefault(item_id, n_known + len(new))
    channels = found[:n_channels]
    places = np.full((len(channels), n_known + len(new)), -1, dtype=np.int32)
    for place, each in zip(places, channels, strict=True):
        at = np.empty(len(each.rows), dtype=np.intp)
        known = each.rows >= 0
        at[known] = np.searchsorted(keys, keys_of_rows[each.rows[known]])
        at[~known] = [new[item_id] for item_id in each.new_ids]
        place[at] = np.arange(len(at))
    if new:
        keys = np.concatenate([keys, keys_of(list(new))])
    return Candidates(rows, list(new), keys, places)
