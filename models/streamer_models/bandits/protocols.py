"""The interface of a policy that learns in memory, whatever it learns by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.table import Keys

if TYPE_CHECKING:
    from streamer_models.bandits.slates import Draw

Contexts = NDArray[np.float32] | NDArray[np.float64]
"""``(n_actions, n_features)``: a row an action, or ``(n, n_features)``: a row an example."""


class LearningBandit(Protocol):
    """One bandit, kept in memory: :class:`streamer_models.bandits.in_memory.InMemoryBandit` of our
    policies, :class:`streamer_models.river_adapter.ranker.RiverRanker` of a model of river.

    An action is an *arm* (the 64-bit key of its id,
    :func:`streamer_models.state.ids.id_table.id_key`) with a row of features. There is no clock:
    where evidence decays, now is the newest event time learned.

    :meth:`expected` and :meth:`choose` are pure: they change nothing, add no arms, and the same
    ``seed`` gives the same bits.
    """

    name: str

    def expected(self, contexts: Contexts, arms: Keys) -> NDArray[np.float64]:
        """Return ``(n_actions,)`` mean rewards, without optimism."""

    def choose(self, contexts: Contexts, arms: Keys, k: int, seed: int) -> Draw:
        """Draw a slate of ``k`` of the actions: their positions among the actions in the order of
        the slots, the propensity of each, and which were explored."""

    def update(
        self,
        contexts: Contexts,
        arms: Keys,
        rewards: NDArray[np.float64],
        ts_ms: NDArray[np.int64],
    ) -> None:
        """Learn first outcomes: :meth:`amend` from NaN to ``rewards``.

        Parameters
        ----------
        contexts
            ``(n, n_features)``, what the actions were chosen by.
        arms
            ``(n,)``.
        rewards
            ``(n,)``; NaN: passed over.
        ts_ms
            ``(n,)`` event times of the decisions, in any order.

        Raises
        ------
        ValueError
            Where a feature or a reward is infinite or out of bounds; nothing is learned then.
        """
        self.amend(contexts, arms, np.full(len(rewards), np.nan), rewards, ts_ms)

    def amend(
        self,
        contexts: Contexts,
        arms: Keys,
        before: NDArray[np.float64],
        after: NDArray[np.float64],
        ts_ms: NDArray[np.int64],
    ) -> None:
        """Bring what was learned from outcomes ``before`` to outcomes ``after``.

        One batch equals its examples one by one. NaN is: not learned, before or from now on; see
        :class:`streamer_models.state.inputs.Examples`. ``contexts``, ``arms`` and ``ts_ms`` are
        those that ``before`` was learned with.

        Raises
        ------
        ValueError
            As :meth:`update`.
        """
