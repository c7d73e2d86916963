"""The product's own factor models, each alone, learned through the live code one by one."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from streamer.errors import LearningError
from streamer.replay.interactions import Interaction
from streamer_models.factorization.biased_mf import BiasedMF
from streamer_models.factorization.mf import ImplicitMF
from streamer_models.state.fixed_point import UNIT
from streamer_models.state.id_table import IdTable
from streamer_models.state.inputs import Batch, Inputs
from streamer_models.state.model import Model
from streamer_models.state.partition import Bounds, PartitionState
from streamer_models.state.shared import SharedState
from streamer_models.state.table import FIXED_POINT_UNIT

_COLLECT_EVERY = 1_024
"""Events between two collections of what changed: nobody reads it, but it must not pile up."""
_ROWS_MAX = 1 << 30
"""No id is ever evicted: rows of an experiment and slots of the tables are the same numbers."""


class OnePartition:
    """A model with the tables of one partition, taught event by event.

    Parameters
    ----------
    model
        The only model there.
    """

    def __init__(self, model: Model) -> None:
        self._models = [model]
        self.shared = SharedState(self._models)
        bounds = Bounds(users_max=_ROWS_MAX, items_max=_ROWS_MAX)
        self.state = PartitionState(0, self._models, self.shared, bounds=bounds)
        # One event, written over by the next: to make seven arrays takes as long as to learn it.
        self._batch = Batch(
            offsets=np.zeros(1, dtype=np.int64),
            ts_ms=np.zeros(1, dtype=np.int64),
            user_slots=np.zeros(1, dtype=np.int32),
            item_slots=np.zeros(1, dtype=np.int32),
            item_rows=np.zeros(1, dtype=np.int32),
            rewards=np.zeros(1, dtype=np.float32),
            values=np.zeros(1, dtype=np.float64),
        )
        self._inputs = Inputs(feedback=self._batch)

    def learn(self, interaction: Interaction) -> None:
        """Learn one event.

        Raises
        ------
        LearningError
            When an id could not be admitted at the row that the experiment gave it.
        """
        event, state, batch = interaction.event, self.state, self._batch
        item_row = interaction.item_row
        batch.offsets[0] = interaction.number
        self._admit(state.users, event.user_id, interaction.user_row)
        self._admit(state.items, event.item_id, item_row)
        batch.ts_ms[0] = event.ts
        batch.user_slots[0] = interaction.user_row
        batch.item_slots[0] = item_row
        batch.item_rows[0] = state.item_rows[item_row]
        batch.rewards[0] = interaction.reward
        batch.values[0] = math.nan if event.value is None else event.value
        for model in self._models:
            model.learn(self._inputs, state, self.shared)
        if interaction.number % _COLLECT_EVERY == 0:
            state.collect()

    def _admit(self, ids: IdTable, name: str, row: int) -> None:
        """Have an id at the slot that is its row. What a learner does beside this for batches, to
        expire and to evict ids, has no place where none ever goes."""
        if row < ids.n_slots:  # rows are given in the order that ids come in, and stay
            return
        plan = ids.plan([name])
        ids.apply(plan, 1, self._batch.offsets)
        self.state.reserve()
        slot = int(plan.slots[0])
        if slot != row:
            raise LearningError(
                f"{ids.entity} {name!r} is at slot {slot}, not at row {row}: two ids share a 64-bit"
                " key; rename one of them"
            )

    def user_row(self, table: str, user_row: int) -> NDArray[np.float32]:
        """``(width,)`` row of a user's own table; zeros for a user that is unknown."""
        values = self.state.own[table].values
        if user_row < 0:
            return np.zeros(values.shape[1], dtype=np.float32)
        row: NDArray[np.float32] = values[user_row]
        return row


class ImplicitFactors(OnePartition):
    """`ImplicitMF`, the learner of the main job, as a model to compare with."""

    def __init__(self, model: ImplicitMF) -> None:
        super().__init__(model)

    def score(self, user_row: int, ts_ms: int, n_items: int) -> NDArray[np.float32]:
        """``p_u · q_i + b_i``."""
        scores = np.empty(n_items, dtype=np.float32)
        items = self.shared.tables["item_factors"].values
        user = self.user_row("user_factors", user_row)
        _score(user, items, self.state.item_rows, scores)
        return scores


class BiasedFactors(OnePartition):
    """:class:`streamer_models.factorization.biased_mf.BiasedMF` as a model to compare with."""

    def __init__(self, model: BiasedMF) -> None:
        super().__init__(model)

    def score(self, user_row: int, ts_ms: int, n_items: int) -> NDArray[np.float32]:
        """Predicted values, without what all items of a user share."""
        scores = np.empty(n_items, dtype=np.float32)
        items = self.shared.tables["item_rating_factors"].values
        user = self.user_row("user_rating_factors", user_row)
        _score(user, items, self.state.item_rows, scores)
        return scores

    def predict(self, user_row: int, item_row: int) -> float:
        """``μ + b_u + b_i + p_u · q_i``, with zeros for what is unknown; 0 before any value."""
        totals = self.shared.tables["rating_totals"].values
        if len(totals) == 0:
            return 0.0
        mean = float(totals[0, 0]) * FIXED_POINT_UNIT / max(1, int(totals[0, 1]))
        user = self.user_row("user_rating_factors", user_row)
        predicted = mean + float(user[-1])
        if item_row >= 0:
            score = np.empty(1, dtype=np.float32)
            rows = self.state.item_rows[item_row : item_row + 1]
            _score(user, self.shared.tables["item_rating_factors"].values, rows, score)
            predicted += float(score[0])
        return predicted


# Free to add in the order that vector instructions like: ten times as fast, and the last bit of a
# score may differ between processors, though never between two runs on one.
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _score(
    user: NDArray[np.float32],
    items: NDArray[np.int32],
    rows: NDArray[np.int32],
    scores: NDArray[np.float32],
) -> None:
    """``scores[i] = p · q + b`` of the fixed-point item at ``rows[i]``."""
    k = items.shape[1] - 1
    for i in range(len(scores)):
        row = rows[i]
        total = np.float32(0)
        for f in range(k):
            total += user[f] * np.float32(items[row, f])
        scores[i] = (total + np.float32(items[row, k])) * UNIT
