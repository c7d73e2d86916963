"""Rank, then learn: where the item that was consumed next stood in each model's ranking."""

from __future__ import annotations

from collections.abc import Sequence
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import LearningError
from streamer.events import Event
from streamer.replay.catalogue import LogCategories
from streamer.replay.histories import Histories, grown
from streamer.replay.interactions import UNKNOWN, TopKModel
from streamer.replay.settings import Settings
from streamer.replay.tally import BLOCK_EVENTS
from streamer_models.evaluation.ranking_metrics import (
    calibration,
    category_diversity,
    category_shares,
    novelty,
    serendipity,
    target_metrics,
)
from streamer_models.evaluation.target_rank import NOT_A_NUMBER, exclude_all_but_sample, place
from streamer_models.state.seeding import stream

Values = NDArray[np.float64]
_RANKING, _SAMPLE, _POPULAR = (np.uint64(purpose) for purpose in range(3))


class TopKTask:
    """Scores rankings of all items seen so far that the user has not consumed.

    Parameters
    ----------
    names, models
        In the same order.
    settings
        Of the experiment.
    catalogue
        Categories of items, for diversity and calibration of lists; None: unknown.
    """

    def __init__(
        self,
        names: Sequence[str],
        models: Sequence[TopKModel],
        settings: Settings,
        catalogue: LogCategories | None,
    ) -> None:
        self._names = names
        self._models = models
        self._settings = settings
        self._seed = np.uint64(settings.seed)
        self._histories = Histories()
        self._counts: NDArray[np.int32] = np.zeros(1_024, dtype=np.int32)
        self._excluded: NDArray[np.uint8] = np.zeros(1_024, dtype=np.uint8)
        self._n_items = self._n_users = 0
        self._top_scores = np.empty(settings.k)
        n_categories = 0 if catalogue is None else catalogue.n_categories
        self._block = _Block(len(models), settings.k, n_categories)
        self._shown = np.zeros((len(models), 1_024), dtype=np.int64)
        self._catalogue = catalogue
        self.seconds = [0.0] * len(models)
        k = settings.k
        accuracy = (
            *(f"recall@{k}", f"ndcg@{k}", f"map@{k}", "mrr", f"hit_rate@{k}", f"precision@{k}"),
        )
        self.user_metrics = (f"recall@{k}", f"ndcg@{k}", "mrr")
        self.metrics = (
            *accuracy,
            f"serendipity@{k}",
            f"novelty@{k}",
            *([f"diversity@{k}", f"calibration@{k}"] if catalogue is not None else []),
        )

    def score(self, event: Event, user_row: int, item_row: int, number: int) -> bool:
        """Have all models rank; False where a repeated consumption is passed over."""
        n_items, excluded = self._n_items, self._excluded
        if self._settings.repeats == "skip":
            self._histories.mark(user_row, excluded, 1)
            if item_row != UNKNOWN and excluded[item_row]:
                self._histories.mark(user_row, excluded, 0)
                return False
            if self._settings.served:
                self._histories.mark(user_row, excluded, 0)
        if self._settings.n_sampled is not None:
            start = self._start(_SAMPLE, number)
            exclude_all_but_sample(excluded, n_items, item_row, self._settings.n_sampled, start)
        block = self._block
        tops, ranks = block.next()
        found = False
        start = self._start(_RANKING, number)
        for at, model in enumerate(self._models):
            start_s = process_time()
            scores = model.score(user_row, event.ts, n_items)
            rank = self._place(scores, item_row, start, tops[at])
            self.seconds[at] += process_time() - start_s
            ranks[at] = rank
            found = found or 0 <= rank < self._settings.k
            if rank == NOT_A_NUMBER:
                raise LearningError(
                    f"model {self._names[at]!r} gives an item the score NaN at event {number};"
                    " lower its rates"
                )
        popular = False
        if found:
            start = self._start(_POPULAR, number)
            rank = self._place(self._counts[:n_items], item_row, start, block.scratch)
            popular = 0 <= rank < self._settings.k
        if self._settings.n_sampled is not None:
            excluded[:n_items] = 0
        else:
            self._histories.mark(user_row, excluded, 0)
        if self._catalogue is not None:
            consumed = self._histories.items(user_row)
            block.wanted[:] = category_shares(consumed, self._catalogue.categories)
        block.done(self._counts[tops], self._n_users, popular)
        return True

    def _start(self, purpose: np.uint64, number: int) -> np.uint64:
        # Kernels return Python's integers, which other kernels would take as signed.
        return np.uint64(stream(self._seed, purpose, np.uint64(number)))

    def _place(
        self,
        scores: NDArray[np.number[Any]],
        target: int,
        start: np.uint64,
        top: NDArray[np.int32],
    ) -> int:
        against = self._settings.rank_ties == "against"
        return int(place(scores, self._excluded, target, start, against, top, self._top_scores))

    def learned(self, event: Event, user_row: int, item_row: int) -> None:
        """Remember a consumption, after the models learned it."""
        if item_row >= len(self._counts):
            self._counts = grown(self._counts, item_row + 1)
            self._excluded = np.zeros(len(self._counts), dtype=np.uint8)
        if item_row == self._n_items:
            self._n_items += 1
            if self._catalogue is not None:
                self._catalogue.add(event.item_id)
        self._n_users = max(self._n_users, user_row + 1)
        self._histories.add(user_row, item_row)
        self._counts[item_row] += 1

    def take_values(self) -> Values:
        """``(n_models, n, n_metrics)`` since the last call, at most ``BLOCK_EVENTS`` ago."""
        tops, ranks, counts, n_users, popular, wanted = self._block.take()
        found = np.empty((len(tops), tops.shape[1], len(self.metrics)))
        for at in range(len(tops)):
            accuracy = target_metrics(ranks[at], self._settings.k)
            values = [
                *accuracy.values(),
                serendipity(accuracy[f"recall@{self._settings.k}"], popular),
                novelty(counts[at], n_users),
            ]
            if self._catalogue is not None:
                categories = self._catalogue.categories
                values.append(category_diversity(tops[at], categories))
                values.append(calibration(tops[at], categories, wanted))
            found[at] = np.stack(values, axis=1)
            self._count_shown(at, tops[at])
        return found

    def _count_shown(self, model: int, tops: NDArray[np.int32]) -> None:
        if self._n_items > self._shown.shape[1]:
            longer = np.zeros((len(self._shown), 2 * self._n_items), dtype=np.int64)
            longer[:, : self._shown.shape[1]] = self._shown
            self._shown = longer
        listed = tops[tops >= 0]
        self._shown[model] += np.bincount(listed, minlength=self._shown.shape[1])

    def n_shown(self, model: int) -> NDArray[np.int64]:
        """``(n_items,)`` lists each item was in."""
        return self._shown[model, : self._n_items]


class _Block:
    """What was scored since values were last taken, in columns."""

    def __init__(self, n_models: int, k: int, n_categories: int) -> None:
        size = BLOCK_EVENTS
        self._tops = np.empty((size, n_models, k), dtype=np.int32)
        self._counts = np.empty((size, n_models, k), dtype=np.int64)
        self._ranks = np.empty((size, n_models), dtype=np.int64)
        self._n_users = np.empty(size, dtype=np.int64)
        self._popular = np.empty(size, dtype=np.bool_)
        self._wanted = np.empty((size, n_categories))
        self.scratch = np.empty(k, dtype=np.int32)
        self._n = 0

    def next(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Lists and ranks of the event at hand, to be filled in."""
        if self._n == len(self._ranks):
            for name in ("_tops", "_counts", "_ranks", "_n_users", "_popular", "_wanted"):
                held = getattr(self, name)
                setattr(self, name, np.concatenate([held, np.empty_like(held)]))
        return self._tops[self._n], self._ranks[self._n]

    @property
    def wanted(self) -> Values:
        """``(n_categories,)`` shares of what the user consumed, to be filled in."""
        row: Values = self._wanted[self._n]
        return row

    def done(self, counts: NDArray[np.int32], n_users: int, popular: bool) -> None:
        """The event at hand is complete; counts where a list has no item are of no item."""
        self._counts[self._n] = counts
        self._n_users[self._n] = n_users
        self._popular[self._n] = popular
        self._n += 1

    def take(
        self,
    ) -> tuple[
        NDArray[np.int32],
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.bool_],
        Values,
    ]:
        """Lists and ranks, by model, and consumers, users, whether it was popular, and shares."""
        n, self._n = self._n, 0
        self._counts[:n][self._tops[:n] < 0] = -1
        return (
            self._tops[:n].swapaxes(0, 1),
            self._ranks[:n].T,
            self._counts[:n].swapaxes(0, 1),
            self._n_users[:n],
            self._popular[:n],
            self._wanted[:n],
        )
