"""The rewards of the last items each user gave feedback on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.inputs import Batch, Inputs
from streamer_models.state.model import StepwiseModel
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable, ReadRows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import USER, Array, Merge, TableSpec, recent_keys


class UserRewards(StepwiseModel):
    """A ring of rewards a user, place by place beside :class:`UserHistory
    <streamer_models.counters.history.UserHistory>` of the same length.

    With its items and times it is all that a profile of the user is made of, as their decayed sum
    ``Σ reward * 2^(-age / half_life) * embedding`` over the last items, when it is asked for
    (:func:`streamer_models.neighbors.content.content_profile`). So it depends neither on the
    embeddings nor on when they came to be known.

    Parameters
    ----------
    length
        Items kept, at 8 B each: 64 are 520 B a user.
    n_numbers, half_life_ms
        What profiles are read with. The ring does not depend on it, but what practising teaches
        does: with other ones it begins anew, so that each commit is executed again by its own.

    Attributes
    ----------
    ring
        Its table as it is read; see :func:`rewards_of`.
    """

    def __init__(self, *, length: int = 64, n_numbers: int, half_life_ms: int) -> None:
        if length < 1:
            raise ValueError(f"length {length} must be at least 1")
        self.length = length
        self.n_numbers = n_numbers
        self.half_life_ms = half_life_ms
        self.ring = ReadRows(TableSpec("user_rewards", USER, Merge.RECENT, "u8", 1 + length))

    def settings(self) -> Mapping[str, Any]:
        return {
            "length": self.length,
            "n_numbers": self.n_numbers,
            "half_life_ms": self.half_life_ms,
        }

    def tables(self) -> Sequence[TableSpec]:
        return (self.ring.spec,)

    def readable(self) -> Sequence[Readable]:
        return (self.ring,)

    def prepare(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> _Rewarded:
        """Each event's reward will be appended to its user's ring."""
        return _Rewarded(inputs.feedback, state)


@dataclass(frozen=True, slots=True)
class _Rewarded:
    batch: Batch
    state: PartitionState

    def run(self, start: int, stop: int) -> None:
        if start == stop:
            return
        bits = self.batch.rewards[start:stop].view(np.uint32).astype(np.uint64)
        users = self.batch.user_slots[start:stop]
        self.state.own["user_rewards"].merge(users, bits[:, None])


def rewards_of(row: Array) -> NDArray[np.float32]:
    """Return ``(n,)`` the rewards in a row of the ring, the newest first."""
    return recent_keys(row).astype(np.uint32).view(np.float32)
