"""Values of events that lie beyond what their rewards tell apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from streamer.config.events import EventConfig
from streamer.events import Event
from streamer.events.types import section_of


class Clipped(msgspec.Struct, frozen=True, kw_only=True):
    """Values of one type of event of which some are clipped by its ``value_range``.

    Attributes
    ----------
    n_clipped, n_values
        Events whose reward would be the same at the nearest bound, of those that have a value.
    low, high
        Bounds between which values make different rewards.
    value_min, value_max
        Of the log's events of the type.
    """

    type: str
    n_clipped: int
    n_values: int
    low: float
    high: float
    value_min: float
    value_max: float

    def __str__(self) -> str:
        return (
            f"{self.n_clipped:,} of {self.n_values:,} values of type {self.type}"
            f" ({self.n_clipped / self.n_values:.0%}) are beyond {self.low:g} to {self.high:g} and"
            f" count as the nearest of the two; they are from {self.value_min:g} to"
            f" {self.value_max:g}: set value_range in {section_of(self.type)} to the values worth"
            " nothing and worth the whole weight"
        )


class ClippedValues:
    """Counts events whose values are clipped by ``[events.NAME] value_range``."""

    def __init__(self, events: Mapping[str, EventConfig]) -> None:
        self._bounds: dict[str, tuple[float, float]] = {}
        for name, event in events.items():
            if event.weight and event.value_range:
                zero, one = event.value_range
                # A reward is clipped at minus the weight too: as far below zero as one is above.
                low, high = sorted((2 * zero - one, one))
                self._bounds[name] = low, high
        self._n_values: Counter[str] = Counter()
        self._n_clipped: Counter[str] = Counter()
        self._range: dict[str, tuple[float, float]] = {}

    def add(self, event: Event) -> None:
        """Count an event."""
        bounds, value = self._bounds.get(event.type), event.value
        if bounds is None or value is None:
            return
        low, high = self._range.get(event.type, (value, value))
        self._range[event.type] = min(low, value), max(high, value)
        self._n_values[event.type] += 1
        self._n_clipped[event.type] += not bounds[0] <= value <= bounds[1]

    def found(self) -> tuple[Clipped, ...]:
        """What has been counted, of the types of which any value was clipped."""
        return tuple(
            Clipped(
                type=name,
                n_clipped=n,
                n_values=self._n_values[name],
                low=self._bounds[name][0],
                high=self._bounds[name][1],
                value_min=self._range[name][0],
                value_max=self._range[name][1],
            )
            for name, n in sorted(self._n_clipped.items())
            if n
        )
