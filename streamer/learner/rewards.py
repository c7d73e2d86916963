"""Rewards of events by type and value, and the objectives they serve, as configured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from streamer.config import EventConfig, ObjectiveConfig
from streamer.events import EventTypes
from streamer_models.state.columns import Columns


@dataclass(frozen=True, slots=True)
class EventOutcomes(Columns):
    """What events bring to objectives, in columns of length n.

    Attributes
    ----------
    serves
        int64, bit j: it brings the j-th objective.
    shares
        float64 in [-1, 1], how much of it.
    """

    serves: NDArray[np.int64]
    shares: NDArray[np.float64]


class Rewards:
    """Reward of each event: ``weight * clip((value - zero) / (one - zero), -1, 1)``.

    Parameters
    ----------
    events
        Settings of each type, by its name; the default types are among them.
    objectives
        By name; their order is that of their bits.

    Attributes
    ----------
    event_types
        The types it has rewards for.
    weights
        Objective → its weight, in the order of their bits.

    Examples
    --------
    A rating of 5 is worth the whole weight, one of 2.5 nothing, a lower one speaks against:

    >>> from streamer.config import Config
    >>> rewards = Rewards(Config().events)
    >>> code = rewards.event_types.codes["rating"]
    >>> rewards(np.full(3, code, np.int8), np.array([5.0, 2.5, 0.0])).tolist()
    [1.0, 0.0, -1.0]

    To be shown an item is no feedback:

    >>> code = rewards.event_types.codes["impression"]
    >>> rewards(np.full(1, code, np.int8), np.full(1, np.nan)).tolist()
    [nan]
    """

    def __init__(
        self,
        events: Mapping[str, EventConfig],
        objectives: Mapping[str, ObjectiveConfig] = MappingProxyType({}),
    ) -> None:
        self.event_types = EventTypes(tuple(events))
        by_type = [events[name] for name in self.event_types.names]
        self._weight = np.array([each.weight for each in by_type])
        # NaN for a type without a range, as for an event without a value, makes the share NaN.
        ranges = np.array([each.value_range or (np.nan, np.nan) for each in by_type])
        self._zero, self._span = ranges[:, 0], ranges[:, 1] - ranges[:, 0]
        self.weights = {name: each.weight for name, each in objectives.items()}
        self._serves = np.zeros(len(by_type), dtype=np.int64)
        for bit, objective in enumerate(objectives.values()):
            for name in objective.events:
                self._serves[self.event_types.codes[name]] |= 1 << bit

    def clipped(self, types: NDArray[np.int8], values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return ``(n,)`` whether a value is beyond those that its type's rewards tell apart."""
        beyond = np.abs(self._shares(types, values)) > 1.0
        clipped: NDArray[np.bool_] = beyond & (self._weight[types] != 0)
        return clipped

    def __call__(self, types: NDArray[np.int8], values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return ``(n,)`` rewards; NaN for events of a type without a weight: no feedback.

        0 is feedback that speaks neither for an item nor against it: the user has met it all the
        same.

        Parameters
        ----------
        types
            ``(n,)`` codes of ``event_types``.
        values
            ``(n,)``, NaN where an event has none: its reward is the weight, as is that of any event
            of a type without a ``value_range``.
        """
        weight = self._weight[types]
        reward: NDArray[np.float32] = (weight * self._taken(types, values)).astype(np.float32)
        reward[weight == 0] = np.nan
        return reward

    def outcomes(self, types: NDArray[np.int8], values: NDArray[np.float64]) -> EventOutcomes:
        """Return what ``(n,)`` events bring to objectives, whatever their types are worth."""
        return EventOutcomes(self._serves[types], self._taken(types, values))

    def _taken(self, types: NDArray[np.int8], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share that an event counts with: the whole where it says none."""
        share = self._shares(types, values)
        return np.where(np.isnan(share), 1.0, np.clip(share, -1.0, 1.0))

    def _shares(self, types: NDArray[np.int8], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where each value lies in the range of its type; NaN without a value or a range."""
        with np.errstate(over="ignore"):  # the share of 1e308 may be infinite, and is clipped
            shares: NDArray[np.float64] = (values - self._zero[types]) / self._span[types]
        return shares
