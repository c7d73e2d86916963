"""Items that go with the user's last ones: met by the same users, or next after them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, TypeVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.config import Config
from streamer.ranking.asked import Asked, Met, met
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.recall.channel import Recalled, RecallSettings
from streamer.ranking.recall.measuring import (
    MeasureNames,
    Measures,
    MeasuringChannel,
    unmeasured,
)
from streamer.ranking.recall.popular import items_known
from streamer_models.counters.consumptions import ItemConsumptions
from streamer_models.counters.history import UserHistory
from streamer_models.counters.popularity import Popularity
from streamer_models.counters.popularity_shares import ITEMS_MAX
from streamer_models.neighbors.item_neighbours import ItemNeighbours
from streamer_models.neighbors.item_transitions import ItemTransitions
from streamer_models.neighbors.reached import best_allowed, kept_scores, looked_up
from streamer_models.neighbors.scores import neighbour_scores, strongest_lists
from streamer_models.state.model import Model
from streamer_models.state.readable import ReadLists
from streamer_models.state.table import Array, Keys, Slots

Floats = NDArray[np.float64]

_LAST: Final = 10
"""Items of the user whose neighbours are looked at."""

_LONG: Final = 32
"""Items of which none weighs less for having been met before the others."""

Neighbours = Annotated[
    int,
    Meta(
        ge=1,
        le=1_000,
        description="kept of an item at 16 B each; of several partitions, each keeps twice its"
        " share, and no more than all",
    ),
]
Window = Annotated[
    int, Meta(ge=1, le=64, description="last items of a user that an event is paired with")
]


class NeighbourSettings(RecallSettings, frozen=True, kw_only=True):
    """What a channel over neighbour lists is told."""

    neighbours: Neighbours
    window: Window


S = TypeVar("S", bound=NeighbourSettings)


@dataclass(frozen=True, slots=True)
class _Reached:
    """Items reached from the user's last ones.

    Attributes
    ----------
    keys, rows
        Of the items reached.
    shares
        ``(n_shares, m)`` how many times as likely each is as any item, by each row of weights.
    last, lists
        Keys of the items they are reached from, and their lists.
    weights
        ``(n_shares, n)`` of these items.
    """

    keys: Keys
    rows: Slots
    shares: Floats
    last: Keys
    lists: Array
    weights: Floats


class NeighbourChannel(MeasuringChannel[S]):
    """Base of the channels over neighbour lists.

    A share is the item's part of all scores reached, times the items known.

    Attributes
    ----------
    power
        An item's score is divided by (users who met it + 3) to this power.
    n_last
        Items of the user whose neighbours are looked at, the last ones.
    shares
        What its shares are called: one for each row of weights. The first brings as many items as
        it is told, each other half as many.
    """

    power: ClassVar[float] = 0.0
    n_last: ClassVar[int] = _LAST
    shares: ClassVar[Sequence[str]]
    related = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._history = UserHistory(length=config.mf.history)
        self._popularity = Popularity(half_lives_s=tuple(config.popularity.half_lives_s))
        self._counted = ItemConsumptions()
        self._lists: ReadLists = self.model().lists

    @property
    def window(self) -> int:
        """Last items that an event is paired with: no more than are kept."""
        return min(self.settings.window, self.config.mf.history)

    @property
    def list_length(self) -> int:
        """Neighbours that a partition keeps of an item.

        Scores are summed over the partitions, each of which sees its share of the pairs.
        """
        n, n_partitions = self.settings.neighbours, self.config.topics.partitions
        return min(n, -(-2 * n // n_partitions))

    @abstractmethod
    def model(self) -> ItemNeighbours | ItemTransitions:
        """Return the model of the lists that it reads."""

    def models(self) -> Sequence[Model]:
        """Return the model of its lists."""
        return [self.model()]

    @abstractmethod
    def weights(self, last: Met, n_met: Floats, at_ms: int) -> Floats:
        """Return ``(n_shares, n)`` weights of the user's last items, which ``n_met`` users have
        met."""

    @property
    def candidates_max(self) -> int:
        """Most candidates that it brings."""
        n = self.settings.candidates
        return n + (len(self.shares) - 1) * (n // 2)

    @property
    def measures(self) -> MeasureNames:
        """Its shares."""
        return MeasureNames(shares=tuple(self.shares))

    def recall(self, context: Asked, allowed: NDArray[np.bool_], n: int) -> Recalled:
        reached = self._reached(context)
        found = best_allowed(reached.rows, reached.keys, reached.shares[0], allowed, n)
        for shares in reached.shares[1:]:
            best = best_allowed(reached.rows, reached.keys, shares, allowed, n // 2)
            found = np.concatenate([found, best[~np.isin(best, found)]])
        return Recalled(found)

    def measure(self, asked: Asked, candidates: Candidates) -> Measures:
        reached = self._reached(asked)
        shares = [looked_up(reached.keys, each, candidates.keys) for each in reached.shares]
        return Measures(np.stack(shares), unmeasured(len(candidates)))

    def because(self, context: RequestContext, keys: Keys) -> Keys:
        reached = self._reached(context)
        found = np.zeros(len(keys), dtype=np.uint64)
        for weights in reached.weights[::-1]:  # the first says it where it can
            at = strongest_lists(reached.lists, weights, keys)
            found = np.where(at >= 0, reached.last[at], found)
        return found

    def _reached(self, asked: Asked) -> _Reached:
        return asked.once(self.name, lambda: self._look_up(asked))

    def _look_up(self, asked: Asked) -> _Reached:
        before = met(asked, self._history)
        last = Met(before.keys[: self.n_last], before.ts_ms[: self.n_last], before.n_events)
        counted = asked.tables.read(self._counted.counts)
        n_met = counted.take(asked.item_rows(last.keys))[:, 0].astype(np.float64)
        lists = asked.tables.read(self._lists).lists(last.keys)
        weights = self.weights(last, n_met, asked.at_ms)
        keys, sums = neighbour_scores(lists, weights)
        rows = asked.item_rows(keys)
        n_met_by = counted.take(rows)[:, 0]
        kept, shares = kept_scores(rows, n_met_by, sums, keys, asked.excluded(), self.power)
        known = min(items_known(asked, self._popularity), ITEMS_MAX)
        return _Reached(keys[kept], rows[kept], shares * known, last.keys, lists, weights)


class SimilarSettings(NeighbourSettings, frozen=True, kw_only=True):
    """Recall by what the same users met."""

    candidates: Annotated[
        int, Meta(ge=0, le=1_000, description="recalled by what the same users met")
    ] = 50
    neighbours: Neighbours = 400
    window: Window = 20


class SimilarChannel(NeighbourChannel[SimilarSettings]):
    """Items that users met who met the user's last items."""

    name = "similar"
    reason = "similar to what you liked"
    reason_with = "similar to {}"
    settings_type = SimilarSettings
    power = 0.4
    n_last = _LONG
    shares = ("similar", "similar_long")

    def model(self) -> ItemNeighbours:
        """Return the neighbours of items by co-occurrence."""
        return ItemNeighbours(list_length=self.list_length, window=self.window)

    def weights(self, last: Met, n_met: Floats, at_ms: int) -> Floats:
        """``(1 + k)^-.7 / (1 + age / 10^6 s) / (n + 3)^.5`` of the last 10, and ``(n + 3)^-.5``.

        Who follows several interests in turn is known by what was met long ago as well.
        """
        ages_s = np.maximum(at_ms - last.ts_ms, 0) / 1000
        weights = np.empty((2, len(last.keys)))
        weights[0] = np.power(1.0 + np.arange(len(last.keys)), -0.7) / (1 + ages_s / 1e6)
        weights[0, _LAST:] = 0.0
        weights[1] = 1.0
        found: Floats = weights / np.sqrt(n_met + 3)
        return found


class NextSettings(NeighbourSettings, frozen=True, kw_only=True):
    """Recall by what users met next."""

    candidates: Annotated[
        int, Meta(ge=0, le=1_000, description="recalled by what users met next")
    ] = 50
    neighbours: Neighbours = 200
    window: Window = 5


class NextChannel(NeighbourChannel[NextSettings]):
    """Items that users met soon after the user's last items."""

    name = "next"
    reason = "often next"
    reason_with = "often next after {}"
    settings_type = NextSettings
    shares = ("next",)

    def model(self) -> ItemTransitions:
        """Return the transitions between items."""
        return ItemTransitions(list_length=self.list_length, window=self.window)

    def weights(self, last: Met, n_met: Floats, at_ms: int) -> Floats:
        """``(1 + k)^-.5 / (n + 10)``."""
        weights: Floats = np.power(1.0 + np.arange(len(last.keys)), -0.5) / (n_met + 10)
        return weights[None, :]
