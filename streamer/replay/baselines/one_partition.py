"""Models of the learner, taught one by one through the live code, without store and replica."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.errors import LearningError
from streamer.replay.interactions import Interaction
from streamer_models.state.ids.id_table import IdTable
from streamer_models.state.inputs import Batch, Inputs
from streamer_models.state.model import Model, learn
from streamer_models.state.partition import Bounds, PartitionState
from streamer_models.state.shared import SharedState

_COLLECT_EVERY = 1_024
"""Events between two collections of what changed: nothing reads it, but it must not pile up."""
_ROWS_MAX = 1 << 30
"""No id is ever evicted: rows of an experiment and slots of the tables are the same numbers."""


class OnePartition:
    """Models with the tables of one partition, taught event by event.

    Parameters
    ----------
    models
        In the order in which they learn an event.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = models
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
        learn(self._models, self._inputs, state)
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
