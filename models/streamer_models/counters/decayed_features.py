"""Decayed counts and times of last events, by user, by item, by surface and over all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamer_models.counters.decayed_counters import DecayedFeature
from streamer_models.counters.decayed_counting import count, make_room
from streamer_models.counters.decayed_layout import DecayedLayout
from streamer_models.counters.last_events import LastEvent
from streamer_models.state.inputs import Inputs
from streamer_models.state.model import Model
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable
from streamer_models.state.shared import SharedState
from streamer_models.state.table import TableSpec


class DecayedFeatures(DecayedLayout, Model):
    """Counts events of all types, whether they are worth a reward or not, when they happened.

    Contributions to counts are integers and merge exactly
    (:mod:`streamer_models.state.decayed_cells`), and the last event is the latest that any
    partition knows (:mod:`streamer_models.counters.last_events`), so order, lateness and the number
    of partitions change no bit. An id is admitted at its first event that counts; at the bound
    those of whom the least is remembered go, many at once.

    Parameters
    ----------
    features
        Each with a name of its own.
    type_names
        Event type of each code, for settings: a code changes when a type is added.
    """

    def __init__(
        self,
        features: Sequence[DecayedFeature | LastEvent],
        *,
        type_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(features)
        self._type_names = type_names

    def settings(self) -> Mapping[str, Any]:
        return {
            "counters": {
                entity: [
                    [self._named(each.types), each.half_life_ms, each.sums_values]
                    for each in counters
                ]
                for entity, counters in self.counters.items()
            },
            "last_events": {
                entity: [self._named(kinds) for kinds in of_entity]
                for entity, of_entity in self.last_events.items()
            },
        }

    def tables(self) -> Sequence[TableSpec]:
        """Counts merge over partitions; times of last events are each partition's own, and the
        latest of them is read."""
        return [reading.spec for reading in self.readable()]

    def readable(self) -> Sequence[Readable]:
        return [*self.cells.values(), *self.last_ms.values()]

    def _named(self, types: Sequence[int]) -> list[str | int]:
        names = self._type_names
        return [each if names is None else names[each] for each in types]

    def make_room(self, ahead: Inputs, state: PartitionState) -> int | None:
        """Evict those of whom the least is remembered until the first event can be counted."""
        return make_room(self, ahead.events, state)

    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        """Count the events."""
        count(self, inputs.events, state)
