"""Rank, then learn: where the item that was consumed next stood in each model's ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import process_time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamer.errors import LearningError
from streamer.events import Event
from streamer.replay.catalogue import LogRows
from streamer.replay.histories import Histories, grown
from streamer.replay.interactions import UNKNOWN, ChoiceModel, ProfileModel, TopKModel
from streamer.replay.settings import Settings
from streamer.replay.topk_block import ScoredBlock
from streamer_models.evaluation.ranking_metrics import (
    calibration,
    category_diversity,
    category_shares,
    factor_diversity,
    novelty,
    serendipity,
    target_metrics,
)
from streamer_models.evaluation.target_rank import (
    NOT_A_NUMBER,
    choice_loss,
    exclude_all_but_sample,
    place,
    share_below,
)
from streamer_models.state.seeding import stream

Values = NDArray[np.float64]
_RANKING, _SAMPLE, _POPULAR = (np.uint64(purpose) for purpose in range(3))

LOG_LOSS: Final = "log_loss"
RECALLED: Final = "recalled"
GRADED: Final = "graded_ndcg"
GAIN: Final = "gain"
"""What the mean of the former is divided by: of the gains themselves, its highest."""


class TopKTask:
    """Scores rankings of all items seen so far that the user has not consumed.

    Parameters
    ----------
    names, models
        In the same order.
    settings
        Of the experiment.
    categories, vectors
        Of items: for diversity and calibration of lists, and for the distance of their items; None:
        unknown.
    worth
        Reward of an event of a type and a value, NaN where there is none: its gain.
    """

    def __init__(
        self,
        names: Sequence[str],
        models: Sequence[TopKModel],
        settings: Settings,
        categories: LogRows[np.bool_] | None,
        vectors: LogRows[np.float32] | None,
        worth: Callable[[str, float | None], float],
    ) -> None:
        self._names = names
        self._models = models
        # A slate that was served is no set of candidates that shares are of.
        self._choices = [
            model if isinstance(model, ChoiceModel) and not settings.served else None
            for model in models
        ]
        self._know_profiles = [isinstance(model, ProfileModel) for model in models]
        self._worth = worth
        self._gains = np.inf, -np.inf
        self._settings = settings
        self._seed = np.uint64(settings.seed)
        self._histories = Histories()
        self._counts: NDArray[np.int32] = np.zeros(1_024, dtype=np.int32)
        self._excluded: NDArray[np.uint8] = np.zeros(1_024, dtype=np.uint8)
        self._n_items = self._n_users = 0
        self._top_scores = np.empty(settings.k)
        n_categories = 0 if categories is None else categories.width
        self._block = ScoredBlock(len(models), settings.k, n_categories)
        self._shown = np.zeros((len(models), 1_024), dtype=np.int64)
        self._categories = categories
        self._vectors = vectors
        self.seconds = [0.0] * len(models)
        k = settings.k
        self.metrics = (
            *(f"recall@{k}", f"ndcg@{k}", f"map@{k}", "mrr", f"hit_rate@{k}", f"precision@{k}"),
            *(f"{GRADED}@{k}", GAIN, "auc", LOG_LOSS, RECALLED),
            f"serendipity@{k}",
            f"novelty@{k}",
            *([f"diversity@{k}", f"calibration@{k}"] if categories is not None else []),
            *([f"distance@{k}"] if vectors is not None else []),
        )

    def score(self, event: Event, user_row: int, item_row: int, number: int) -> bool:
        """Have all models rank; False where a repeated consumption is passed over."""
        n_items, excluded = self._n_items, self._excluded
        if self._passes_over(user_row, item_row):
            return False
        if self._settings.repeats == "skip" and not self._settings.served:
            self._histories.mark(user_row, excluded, 1)
        if self._settings.n_sampled is not None:
            start = self._start(_SAMPLE, number)
            exclude_all_but_sample(excluded, n_items, item_row, self._settings.n_sampled, start)
        block = self._block
        columns, i = block.next()
        found = False
        start = self._start(_RANKING, number)
        for at, model in enumerate(self._models):
            start_s = process_time()
            # Of a user without events, who may have said something, the row comes next.
            is_next = user_row == UNKNOWN and self._know_profiles[at]
            scores = model.score(self._n_users if is_next else user_row, event.ts, n_items)
            rank = self._place(scores, item_row, start, columns.tops[i, at])
            self.seconds[at] += process_time() - start_s
            columns.ranks[i, at] = rank
            found = found or 0 <= rank < self._settings.k
            if rank == NOT_A_NUMBER:
                raise LearningError(
                    f"model {self._names[at]!r} gives an item the score NaN at event {number};"
                    " lower its rates"
                )
            columns.areas[i, at] = share_below(scores, excluded, item_row)
            choice = self._choices[at]
            logits = None if choice is None else choice.logits()
            columns.losses[i, at] = (
                np.nan if logits is None else choice_loss(logits, excluded, item_row)
            )
        columns.popular[i] = False
        if found:
            start = self._start(_POPULAR, number)
            rank = self._place(self._counts[:n_items], item_row, start, block.scratch)
            columns.popular[i] = 0 <= rank < self._settings.k
        if self._settings.n_sampled is not None:
            excluded[:n_items] = 0
        else:
            self._histories.mark(user_row, excluded, 0)
        if self._categories is not None:
            consumed = self._histories.items(user_row)
            columns.wanted[i] = category_shares(consumed, self._categories.values)
        columns.counts[i] = self._counts[columns.tops[i]]
        columns.n_users[i] = self._n_users
        columns.gains[i] = self._gain(event)
        block.done()
        return True

    def skip(self, event: Event, user_row: int, item_row: int) -> bool:
        """Leave an event to another process; False where :meth:`score` would pass it over."""
        if self._passes_over(user_row, item_row):
            return False
        self._gain(event)
        return True

    def _passes_over(self, user_row: int, item_row: int) -> bool:
        """Whether a consumption is one that repeats an earlier one, where these are not scored."""
        if self._settings.repeats == "keep" or item_row == UNKNOWN:
            return False
        return self._histories.has(user_row, item_row)

    def _gain(self, event: Event) -> float:
        """Return the reward of an event; 0 where it has none, or speaks against its item."""
        gain = max(0.0, self._worth(event.type, event.value))  # NaN is not above 0
        least, most = self._gains
        self._gains = min(least, gain), max(most, gain)
        return gain

    @property
    def user_metrics(self) -> tuple[str, ...]:
        """Metrics that are kept by user, so that results can be compared by them."""
        k = self._settings.k
        graded = (f"{GRADED}@{k}",) if self.graded else ()
        return (f"recall@{k}", f"ndcg@{k}", "mrr", *graded, "auc", LOG_LOSS, RECALLED)

    @property
    def graded(self) -> bool:
        """True where the events that were scored differ in their gains."""
        least, most = self._gains
        return least < most

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
            if self._categories is not None:
                self._categories.add(event.item_id)
            if self._vectors is not None:
                self._vectors.add(event.item_id)
        self._n_users = max(self._n_users, user_row + 1)
        self._histories.add(user_row, item_row)
        self._counts[item_row] += 1

    def take_values(self) -> Values:
        """``(n_models, n, n_metrics)`` since the last call, at most ``BLOCK_EVENTS`` ago."""
        columns, k = self._block.take(), self._settings.k
        n, n_models = columns.ranks.shape
        found = np.empty((n_models, n, len(self.metrics)))
        for at in range(n_models):
            tops, ranks = columns.tops[:, at], columns.ranks[:, at]
            accuracy = target_metrics(ranks, k)
            values = [
                *accuracy.values(),
                columns.gains * accuracy[f"ndcg@{k}"],
                columns.gains,
                columns.areas[:, at],
                columns.losses[:, at],
                (ranks >= 0).astype(np.float64),
                serendipity(accuracy[f"recall@{k}"], columns.popular),
                novelty(columns.counts[:, at], columns.n_users),
            ]
            if self._categories is not None:
                categories = self._categories.values
                values.append(category_diversity(tops, categories))
                values.append(calibration(tops, categories, columns.wanted))
            if self._vectors is not None:
                values.append(factor_diversity(tops, self._vectors.values))
            found[at] = np.stack(values, axis=1)
            self._count_shown(at, tops)
        return found

    def _count_shown(self, model: int, tops: NDArray[np.int32]) -> None:
        self._shown = self._held(self._n_items)
        listed = tops[tops >= 0]
        self._shown[model] += np.bincount(listed, minlength=self._shown.shape[1])

    def _held(self, n_items: int) -> NDArray[np.int64]:
        """Return the counts, with room for so many items."""
        n_held = self._shown.shape[1]
        if n_items <= n_held:
            return self._shown
        return np.pad(self._shown, ((0, 0), (0, 2 * n_items - n_held)))

    @property
    def counts(self) -> NDArray[np.int64]:
        """``(n_models, n)`` lists of each model that each item was in."""
        return self._shown

    def add_counts(self, counts: NDArray[Any]) -> None:
        """Add the :attr:`counts` of a task that was asked about other events."""
        self._shown = self._held(counts.shape[1])
        self._shown[:, : counts.shape[1]] += counts

    def n_shown(self, model: int) -> NDArray[np.int64]:
        """``(n_items,)`` lists each item was in."""
        return self._shown[model, : self._n_items]
