"""Our matrix factorizations as recommenders of river."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import reco

from streamer_models.factorization.biased_mf import RATING_MAX, BiasedMF
from streamer_models.factorization.mf import ImplicitMF, item_scores
from streamer_models.state.ingest import Feedback, learn_feedback
from streamer_models.state.partition import Bounds, PartitionState
from streamer_models.state.shared import SharedState
from streamer_models.state.table import Slots

_FORGET_CHANGES = 1_024


class RiverRecommender(reco.base.Ranker):
    """A factorization of ours with tables of its own, learned one example at a time.

    Users and items are known by the ``repr`` of their id, so that 1 and "1" are two. Tables are
    bounded: at the bound, the ids whose last example is oldest go. Prediction changes nothing and
    adds nobody. What is learned depends on the examples, their order and ``seed`` alone.
    """

    def __init__(self, *, users_max: int, items_max: int, seed: int) -> None:
        super().__init__(seed=seed)
        self.users_max = users_max
        self.items_max = items_max
        self._model = self._new_model()
        self._state = PartitionState(
            0, [self._model], SharedState([self._model]), bounds=Bounds(users_max, items_max)
        )
        self._n_learned = 0

    @abstractmethod
    def _new_model(self) -> ImplicitMF | BiasedMF: ...

    @abstractmethod
    def _scores(self, user: Hashable, items: list[Hashable]) -> NDArray[Any]:
        """``(n,)`` predictions."""

    def learn_one(
        self, user: Hashable, item: Hashable, y: Any, x: dict[str, Any] | None = None
    ) -> None:
        """Learn one example; ``x`` is there for river and teaches nothing.

        Raises
        ------
        ValueError
            Where ``y`` is not a number within ±2^16; nothing is learned then.
        """
        if not abs(y) <= RATING_MAX:
            raise ValueError(f"y={y} of {user!r} and {item!r} must be within ±{RATING_MAX:.0f}")
        number = self._n_learned
        feedback = Feedback(
            offsets=np.array([number], dtype=np.int64),
            ts_ms=np.array([number], dtype=np.int64),
            user_ids=[repr(user)],
            item_ids=[repr(item)],
            rewards=np.array([y], dtype=np.float32),
            values=np.array([y], dtype=np.float64),
        )
        for _ in learn_feedback(
            feedback, self._state, [self._model], from_offset=number, to_offset=number + 1
        ):
            self._state.collect()
        self._n_learned += 1
        if self._n_learned % _FORGET_CHANGES == 0:
            # There is no store to take what changed, and the notes of it are not to pile up.
            self._state.take_checkpoint()

    def predict_one(  # type: ignore[override]  # a float is no Number to a type checker
        self, user: Hashable, item: Hashable, x: dict[str, Any] | None = None
    ) -> float:
        """Predicted ``y``; of a user or an item not known, what is known of the other."""
        return float(self._scores(user, [item])[0])

    def rank(
        self, user: Hashable, items: Iterable[Hashable], x: dict[str, Any] | None = None
    ) -> list[Hashable]:
        """Items by falling prediction, equal ones by their ``repr``."""
        candidates = sorted(items, key=repr)
        scores = self._scores(user, candidates)
        return [candidates[at] for at in np.argsort(-scores, kind="stable")]

    def _item_rows(self, table: str, items: list[Hashable]) -> NDArray[np.int32]:
        """``(n, width)`` merged rows of items, zeros where one is not known."""
        state = self._state
        slots = np.array([state.items.find(repr(item)) for item in items], dtype=np.int32)
        return _rows_or_zeros(
            state.shared.tables[table].values,
            np.where(slots >= 0, state.item_rows[slots], -1) if len(state.item_rows) else slots,
        )

    def _user_row(self, table: str, user: Hashable) -> NDArray[np.float32]:
        """``(width,)``, zeros where the user is not known."""
        slot = np.array([self._state.users.find(repr(user))], dtype=np.int32)
        row: NDArray[np.float32] = _rows_or_zeros(self._state.own[table].values, slot)[0]
        return row


class ImplicitRecommender(RiverRecommender):
    """:class:`streamer_models.factorization.mf.ImplicitMF` for river: ranks what users take up.

    ``y`` is the reward: True or a positive number for what was taken up, a negative one for what
    was disliked; False and 0 teach nothing, as what was not taken up is drawn by the model itself.
    A prediction orders items and is no probability.

    Parameters
    ----------
    n_factors, loss, learning_rate, regularization, n_negatives, seed
        See :class:`streamer_models.factorization.mf.ImplicitMF`.
    users_max, items_max
        Bounds of the tables.

    Examples
    --------
    >>> model = ImplicitRecommender(n_factors=8, seed=1)
    >>> for _ in range(30):
    ...     model.learn_one("ann", "jazz", True)
    ...     model.learn_one("bob", "rock", True)
    >>> model.rank("ann", {"rock", "jazz"}), model.rank("bob", {"rock", "jazz"})
    (['jazz', 'rock'], ['rock', 'jazz'])
    """

    def __init__(
        self,
        *,
        n_factors: int = 32,
        loss: str = "softmax",
        learning_rate: float = 0.15,
        regularization: float = 0.0,
        n_negatives: int = 10,
        users_max: int = 100_000,
        items_max: int = 100_000,
        seed: int = 0,
    ) -> None:
        self.n_factors = n_factors
        self.loss = loss
        self.learning_rate = learning_rate
        self.regularization = regularization
        self.n_negatives = n_negatives
        self.seed = seed
        super().__init__(users_max=users_max, items_max=items_max, seed=seed)

    def _new_model(self) -> ImplicitMF:
        return ImplicitMF(
            n_factors=self.n_factors,
            loss=self.loss,
            learning_rate=self.learning_rate,
            regularization=self.regularization,
            n_negatives=self.n_negatives,
            seed=self.seed or 0,
        )

    def _scores(self, user: Hashable, items: list[Hashable]) -> NDArray[np.float32]:
        factors, biases = ImplicitMF.item_arrays(self._item_rows("item_factors", items))
        return item_scores(self._user_row("user_factors", user)[:-1], factors, biases)


class RatingRecommender(RiverRecommender):
    """:class:`streamer_models.factorization.biased_mf.BiasedMF` for river: predicts ratings.

    Parameters
    ----------
    n_factors, bias_rate, factor_rate, bias_regularization, factor_regularization, seed
        See :class:`streamer_models.factorization.biased_mf.BiasedMF`.
    users_max, items_max
        Bounds of the tables.

    Examples
    --------
    >>> from river import evaluate, metrics, preprocessing
    >>> ratings = [("ann", "up", 5), ("bob", "up", 4), ("ann", "it", 2), ("bob", "it", 1)] * 50
    >>> dataset = [({}, y, {"user": user, "item": item}) for user, item, y in ratings]
    >>> model = preprocessing.PredClipper(RatingRecommender(seed=1), y_min=1, y_max=5)
    >>> evaluate.progressive_val_score(dataset, model, metrics.MAE()).get() < 0.3
    True
    """

    def __init__(
        self,
        *,
        n_factors: int = 10,
        bias_rate: float = 0.08,
        factor_rate: float = 0.05,
        bias_regularization: float = 0.05,
        factor_regularization: float = 0.02,
        users_max: int = 100_000,
        items_max: int = 100_000,
        seed: int = 0,
    ) -> None:
        self.n_factors = n_factors
        self.bias_rate = bias_rate
        self.factor_rate = factor_rate
        self.bias_regularization = bias_regularization
        self.factor_regularization = factor_regularization
        self.seed = seed
        super().__init__(users_max=users_max, items_max=items_max, seed=seed)

    def _new_model(self) -> BiasedMF:
        return BiasedMF(
            n_factors=self.n_factors,
            bias_rate=self.bias_rate,
            factor_rate=self.factor_rate,
            bias_regularization=self.bias_regularization,
            factor_regularization=self.factor_regularization,
            seed=self.seed or 0,
        )

    def _scores(self, user: Hashable, items: list[Hashable]) -> NDArray[np.float64]:
        rows = self._item_rows("item_rating_factors", items)
        users = np.tile(self._user_row("user_rating_factors", user), (len(items), 1))
        totals = self._state.shared.tables["rating_totals"].values
        return BiasedMF.predict(users, rows, totals[0] if len(totals) else np.zeros(2, np.int64))


def _rows_or_zeros(values: NDArray[Any], slots: Slots) -> NDArray[Any]:
    """Copies of the rows at ``slots``, zeros where a slot is negative."""
    rows = np.zeros((len(slots), values.shape[1]), dtype=values.dtype)
    known = slots >= 0
    rows[known] = values[slots[known]]
    return rows
