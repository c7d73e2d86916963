"""What a model is: tables it keeps and a way to learn a batch into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.readable import Readable
from streamer_models.state.table import Change, Keys, Slots, TableSpec

if TYPE_CHECKING:
    from streamer_models.state.partition import PartitionState
    from streamer_models.state.shared import SharedState


@dataclass(frozen=True, slots=True)
class Batch:
    """Feedback of one partition in offset order, in columns of length n.

    Attributes
    ----------
    offsets
        int64, rising: what random draws are seeded with.
    ts_ms
        int64 event times, in any order.
    user_slots, item_slots
        int32 slots in the partition's own id tables (and own tables).
    item_rows
        int32 rows of the same items in the shared tables.
    rewards
        float32, finite: positive for liked, negative for disliked, 0 for met without an opinion.
    values
        float64 the event's own value (a rating, a watch fraction), NaN where it has none.
    rate_factor
        What learning rates are multiplied by, above 0: 1 but for a while after a drift.
    """

    offsets: NDArray[np.int64]
    ts_ms: NDArray[np.int64]
    user_slots: Slots
    item_slots: Slots
    item_rows: Slots
    rewards: NDArray[np.float32]
    values: NDArray[np.float64]
    rate_factor: float = 1.0

    def __len__(self) -> int:
        return len(self.offsets)


class Model(Protocol):
    """One learner. It holds settings, never state: state is in the tables it names.

    What it learns depends on the tables, on ids' keys, on offsets, on event times and on its seed
    alone; learning a batch equals learning its events one by one.
    """

    def tables(self) -> Sequence[TableSpec]:
        """Tables it keeps; own ones arrive as ``state.own[name]``, shared ones as
        ``shared.tables[name]`` and ``state.contributions[name]``, all large enough for every slot
        or row of the batch (tables keyed by a plain index: the model reserves them)."""

    def initial(self, table: str, keys: Keys) -> NDArray[Any] | None:
        """``(n, width)`` values that shared rows of new ids start from; None for zeros."""

    def readable(self) -> Sequence[Readable]:
        """Tables that are replicated for readers, and how each is read."""

    def learn(self, batch: Batch, state: PartitionState, shared: SharedState) -> None:
        """Learn a batch. Rows of REPLACE, SUM and DECAYED tables are ``touch``-ed before they are
        written; RECENT and TOP tables are given changes by ``merge``.

        Of a shared table, one of two is written: ``shared.tables[name]`` at ``item_rows`` where a
        step must see all partitions and its own last step (factors), or
        ``state.contributions[name]`` at ``item_slots`` where it only adds up (counts): what a
        partition adds then depends on its own events alone."""

    def rescale(self, shared: SharedState, others: Sequence[Change]) -> None:
        """Shorten the step just learned for what other learners committed meanwhile."""


K = TypeVar("K", bound=Model)
T = TypeVar("T")


def model_of(models: Sequence[Model], kind: type[K]) -> K | None:
    """The model of a kind among those that learn together; None where there is none.

    A kind is there once at most: the names of its tables are its own.
    """
    return next((model for model in models if isinstance(model, kind)), None)


def first_of(models: Sequence[Model], base: type[T]) -> T | None:
    """The first of some models with a base in common; None where there is none."""
    return next((model for model in models if isinstance(model, base)), None)
