"""Training on a schedule, as one of an experiment's models."""

from __future__ import annotations

from array import array
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.errors import ConfigError
from streamer.replay.histories import Histories
from streamer.replay.interactions import Interaction
from streamer.replay.nightly.consumed import Consumed, Rows

HistoriesOf = Literal["now", "trained"]
_POPULARITY_WEIGHT = 1e-9
"""So little that it orders what the model gives equal scores, and decides nothing else."""


class Trained(Protocol):
    """A model that is trained on all there is at once."""

    @property
    def folds_in(self) -> bool:
        """Whether it ranks by a history that it was not trained on."""

    @property
    def items_max(self) -> int | None:
        """Bound of the items; None: none."""

    def train(self, consumed: Consumed) -> None:
        """Forget what was trained before, and train."""

    def scores(self, user_row: int, history: Rows) -> NDArray[np.floating[Any]]:
        """``(n_items,)`` scores of the items trained on, for a user with a history of them."""


class Nightly:
    """Ranks by a model that is trained every so often on all positives before.

    It is trained at whole multiples of ``every_ms`` of Unix time (of a day: midnight UTC), at the
    first request thereafter; a training that would see nothing new is left out.
    Before the first one it ranks nothing, later only items that it was trained on. Where it has no
    opinion, for a new user above all, the most popular items then come first.

    Parameters
    ----------
    name
        For messages.
    every_ms
        Between two trainings.
    histories
        ``now``: it ranks for what the user has taken up until now; ``trained``: until the training.

    Raises
    ------
    ConfigError
        When the interval is not above 0, or the model can't rank by histories of now.
    """

    def __init__(
        self, name: str, model: Trained, *, every_ms: int, histories: HistoriesOf = "now"
    ) -> None:
        if every_ms < 1:
            raise ConfigError(f"{name}: every={every_ms} ms must be above 0, as 1d")
        if histories == "now" and not model.folds_in:
            raise ConfigError(f"{name} knows users by its training; write histories=trained")
        self._name = name
        self._model = model
        self._every_ms = every_ms
        self._now = Histories() if histories == "now" else None
        self._users, self._items, self._ts_ms = array("i"), array("i"), array("q")
        self._due_ms: int | None = None
        self._n_trained = 0
        self._consumed: Consumed | None = None
        self._scores: NDArray[np.float64] = np.zeros(1_024)

    def learn(self, interaction: Interaction) -> None:
        """Note a positive for the next training.

        Raises
        ------
        ConfigError
            At more items than the model can have.
        """
        if interaction.reward <= 0:
            return
        bound, n_items = self._model.items_max, interaction.item_row + 1
        if bound is not None and n_items > bound:
            raise ConfigError(
                f"{self._name} keeps all pairs of items, and there are {n_items:,}; it stops at"
                f" {bound:,}: raise items_max (some 12 B a pair), or leave this model out"
            )
        self._users.append(interaction.user_row)
        self._items.append(interaction.item_row)
        self._ts_ms.append(interaction.event.ts)
        if self._now is not None:
            self._now.add(interaction.user_row, interaction.item_row)

    def score(self, user_row: int, ts_ms: int, n_items: int) -> NDArray[np.float64]:
        """The model's scores; -inf for items that it was not trained on."""
        self._train_if_due(ts_ms)
        if n_items > len(self._scores):
            self._scores = np.zeros(2 * n_items)
        scores, consumed = self._scores[:n_items], self._consumed
        scores[:] = -np.inf
        if consumed is None:
            return scores
        history = consumed.of_user(user_row)
        if self._now is not None:
            history = np.unique(self._now.items(user_row))
            history = history[history < consumed.n_items]
            history = history[consumed.counts[history] > 0]
        known = scores[: consumed.n_items]
        known[:] = _POPULARITY_WEIGHT * consumed.counts
        known += self._model.scores(user_row, history)
        known[consumed.counts == 0] = -np.inf
        return scores

    def _train_if_due(self, ts_ms: int) -> None:
        due_ms = ts_ms // self._every_ms * self._every_ms
        if self._due_ms is not None and due_ms <= self._due_ms:
            return
        self._due_ms = due_ms
        before = np.flatnonzero(np.array(self._ts_ms) < due_ms)
        if len(before) == self._n_trained:
            return
        self._n_trained = len(before)
        self._consumed = Consumed.of(np.array(self._users)[before], np.array(self._items)[before])
        self._model.train(self._consumed)
