"""Events counted into a partition's decayed features, and ids evicted to make room for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamer_models.counters.decay import add_counted, forward_weights
from streamer_models.counters.decayed_counters import WHOLE
from streamer_models.counters.decayed_layout import ID_ENTITY_OF, DecayedLayout, Remembered
from streamer_models.counters.last_events import keep_latest
from streamer_models.state.ids.id_column import IdColumn
from streamer_models.state.ids.id_table import n_evicted_at
from streamer_models.state.inputs import Events
from streamer_models.state.partition import PartitionState
from streamer_models.state.table import Slots, Table


def make_room(layout: DecayedLayout, events: Events, state: PartitionState) -> int | None:
    """Evict until the first event can be counted; return the offset of the first one that needs
    another eviction, None where all can be counted.

    So what is evicted, and when, is a function of the events in their order, wherever batches end.
    """
    if not len(events):
        return None
    near = [
        _EntityEvents(layout, entity, events, state)
        for entity in layout.entities
        if state.ids[ID_ENTITY_OF[entity]].n_free < len(events)
    ]
    at = min([of.make_room() for of in near], default=len(events))
    return int(events.offsets[at]) if at < len(events) else None


def count(layout: DecayedLayout, events: Events, state: PartitionState) -> None:
    """Count events that there is room for."""
    if not len(events):
        return
    types, values, ts_ms = events.types, events.values, events.ts_ms
    dated = forward_weights(ts_ms, layout.half_lives)
    each = [_EntityEvents(layout, entity, events, state) for entity in layout.entities]
    found = [(of.entity, of.places, of.slots()) for of in each]
    if WHOLE in layout.counts_type:
        places = np.flatnonzero(layout.counts_type[WHOLE][types])
        found.append((WHOLE, places, np.zeros(len(places), dtype=np.int32)))
    for entity, places, slots in found:
        if entity in layout.counters:
            table = state.contributions[layout.table(entity)]
            counted, rows = _that_count(places, slots, layout.counters_types[entity], types)
            _touch(table, entity, rows)
            counters = layout.kernel_counters[entity]
            add_counted(table.values, rows, counted, types, values, *dated, counters)
        if entity in layout.last_events:
            table = state.own[layout.last_table(entity)]
            counted, rows = _that_count(places, slots, layout.last_types[entity], types)
            _touch(table, entity, rows)
            kinds = layout.kernel_kinds[entity]
            keep_latest(table.values, rows, counted, types, ts_ms, kinds)


def _that_count(
    at: NDArray[np.int64], slots: Slots, counts_type: NDArray[np.bool_], types: NDArray[np.int8]
) -> tuple[NDArray[np.int64], Slots]:
    """The places and slots of events of types that count for a table: no other row of it is
    committed."""
    counts = counts_type[types[at]]
    return (at, slots) if counts.all() else (at[counts], slots[counts])


def _touch(table: Table, entity: str, slots: Slots) -> None:
    if entity == WHOLE:
        table.reserve(1)
    table.touch(slots)


class _EntityEvents:
    """The events that count for one kind of entity, and its ids.

    Attributes
    ----------
    places
        ``(n,)`` indices of these events among all, rising.
    """

    def __init__(
        self, layout: DecayedLayout, entity: str, events: Events, state: PartitionState
    ) -> None:
        self.entity = entity
        self._layout = layout
        self._events = events
        self._state = state
        self._id_entity = ID_ENTITY_OF[entity]
        self._ids = state.ids[self._id_entity]
        self._names = IdColumn.of(_names(entity, events))
        counts = layout.counts_type[entity][events.types]
        if entity == "surface":
            counts &= self._names.n_bytes > 0
        self.places = np.flatnonzero(counts)
        if len(self.places) < len(counts):
            self._names = self._names.take(self.places)

    def make_room(self) -> int:
        """Index of the first event that needs an eviction; the first event's own is done here."""
        places = self.places
        while self._ids.n_free < len(places):
            n_ready = self._ids.plan(self._names).n_ready
            if n_ready == len(places):
                break
            if n_ready or places[0] > 0:
                return int(places[n_ready])
            self._state.evict(self._id_entity, self._weakest())
        return len(self._events)

    def _weakest(self) -> Slots:
        """The rows of which the least is remembered, as many as go at once, rising."""
        live = self._ids.live_slots()
        nothing = self._layout.nothing(self.entity, len(live))
        cells = self._state.contributions.get(self._layout.table(self.entity))
        last = self._state.own.get(self._layout.last_table(self.entity))
        rows = Remembered(
            nothing.cells if cells is None else cells.values[live],
            nothing.last_ms if last is None else last.values[live],
        )
        n = n_evicted_at(self._ids.rows_max)
        weakest: Slots = live[self._layout.weakest(self.entity, rows, n)]
        return weakest

    def slots(self) -> Slots:
        """``(n,)`` slots of the events that count, -1 where another id has the same key; new ids
        are admitted."""
        plan = self._ids.plan(self._names)
        n = len(self.places)
        assert plan.n_ready == n, "make_room() comes first"
        self._ids.apply(plan, n, self._events.offsets[self.places])
        self._state.reserve()
        return plan.slots


def _names(entity: str, events: Events) -> Sequence[str]:
    if entity == "surface":
        return events.surfaces
    return events.user_ids if entity == "user" else events.item_ids
