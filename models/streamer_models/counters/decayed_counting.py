"""Events counted into a partition's fading features, in parts between which ids are evicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.counters.decay import add_counted, forward_weights
from streamer_models.counters.decayed_counters import WHOLE
from streamer_models.counters.decayed_features import ID_ENTITY_OF, DecayedFeatures, Remembered
from streamer_models.counters.last_events import keep_latest
from streamer_models.state.id_table import EVICTED_SHARE
from streamer_models.state.ingest import Segment
from streamer_models.state.key_map import find_slot
from streamer_models.state.partition import PartitionState
from streamer_models.state.table import Keys, Slots, Table


@dataclass(frozen=True, slots=True)
class CountedEvents:
    """Events of one partition in offset order, in columns of length n.

    Attributes
    ----------
    offsets, ts_ms
        int64; times may be in any order.
    types
        int8 codes.
    values
        float64, NaN where an event has none.
    ids
        By entity, the id that each event names; "": none.
    """

    offsets: NDArray[np.int64]
    ts_ms: NDArray[np.int64]
    types: NDArray[np.int8]
    values: NDArray[np.float64]
    ids: Mapping[str, Sequence[str]]

    def __len__(self) -> int:
        return len(self.offsets)


class Counting:
    """Counts the events of one batch into a partition, in parts between which ids are evicted.

    For each part: :meth:`make_room`, then :meth:`count` as often as there are commits, whose
    changes the caller collects. So what is evicted, and when, is a function of the events in their
    order, wherever batches end.

    At the bound those go of whom the least is remembered, 1/64 of all at once.
    """

    def __init__(
        self, model: DecayedFeatures, events: CountedEvents, state: PartitionState
    ) -> None:
        self._model = model
        self._events = events
        self._state = state
        self._n_counted = 0
        self._of = [_EntityEvents(model, entity, events, state) for entity in model.entities]

    def make_room(self) -> int | None:
        """Evict until the next event can be counted; the offset before which all can be counted
        then, None: all there are.

        To be called before anything else of a commit: what is evicted is withdrawn as it was
        committed.
        """
        place = min([of.make_room() for of in self._of], default=len(self._events))
        return int(self._events.offsets[place]) if place < len(self._events) else None

    def count(self, learned: Segment) -> None:
        """Count the events up to the end of a segment that has been learned, if they are not.

        Its slots save most look-ups: an id is found by the key that its user or item has.
        """
        events, start = self._events, self._n_counted
        n = int(np.searchsorted(events.offsets, learned.to_offset))
        if n == start:
            return
        self._n_counted = n
        part = slice(start, n)
        types, values, ts_ms = events.types[part], events.values[part], events.ts_ms[part]
        dated = forward_weights(ts_ms, self._model.half_lives)
        found = [(of.entity, *of.slots(n, learned)) for of in self._of]
        if WHOLE in self._model.counts_type:
            places = start + np.flatnonzero(self._model.counts_type[WHOLE][types])
            found.append((WHOLE, places, np.zeros(len(places), dtype=np.int32)))
        for entity, places, slots in found:
            at = places - start
            if entity in self._model.counters:
                table = self._state.contributions[self._model.table(entity)]
                counted, rows = _that_count(at, slots, self._model.counters_types[entity], types)
                _touch(table, entity, rows)
                counters = self._model.kernel_counters[entity]
                add_counted(table.values, rows, counted, types, values, *dated, counters)
            if entity in self._model.last_events:
                table = self._state.own[self._model.last_table(entity)]
                counted, rows = _that_count(at, slots, self._model.last_types[entity], types)
                _touch(table, entity, rows)
                kinds = self._model.kernel_kinds[entity]
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


@numba.njit(cache=True, nogil=True)
def _known_slots(
    places: NDArray[np.int64],
    offsets: NDArray[np.int64],
    learned_offsets: NDArray[np.int64],
    learned_slots: Slots,
    keys: Keys,
    buckets: Keys,
    slots: Slots,
) -> Slots:
    """``(n,)`` slots of the events at some places, -1 where they are not known.

    They are found by the key of the user or item just learned: ``keys`` are by its slot, and
    ``buckets`` and ``slots`` the map of the ids that are counted for.
    """
    found = np.full(len(places), -1, dtype=np.int32)
    at = 0
    for i in range(len(places)):
        offset = offsets[places[i]]
        while at < len(learned_offsets) and learned_offsets[at] < offset:
            at += 1
        if at < len(learned_offsets) and learned_offsets[at] == offset and learned_slots[at] >= 0:
            found[i] = find_slot(buckets, slots, keys[learned_slots[at]])
    return found


class _EntityEvents:
    """The events of a batch that count for one kind of entity, and its ids."""

    def __init__(
        self, model: DecayedFeatures, entity: str, events: CountedEvents, state: PartitionState
    ) -> None:
        self.entity = entity
        self._model = model
        self._events = events
        self._state = state
        self._id_entity = ID_ENTITY_OF[entity]
        self._ids = state.ids[self._id_entity]
        self._names = events.ids[entity]
        counts = model.counts_type[entity][events.types]
        if entity == "surface":
            counts &= np.fromiter(map(bool, self._names), dtype=np.bool_, count=len(counts))
        self._places = np.flatnonzero(counts)
        self._n_counted = 0

    def make_room(self) -> int:
        """Place of the first event that needs an eviction, the next one's already done."""
        rest = self._places[self._n_counted :]
        while len(self._ids) + len(rest) > self._ids.rows_max:
            n_ready = self._ids.plan([self._names[place] for place in rest.tolist()]).n_ready
            if n_ready == len(rest):
                break
            if n_ready:
                return int(rest[n_ready])
            self._state.evict(self._id_entity, self._weakest())
        return len(self._events)

    def _weakest(self) -> Slots:
        """The 1/64 of all rows (at least one) of which the least is remembered, rising."""
        live = self._ids.live_slots()
        nothing = self._model.nothing(self.entity, len(live))
        cells = self._state.contributions.get(self._model.table(self.entity))
        last = self._state.own.get(self._model.last_table(self.entity))
        rows = Remembered(
            nothing.cells if cells is None else cells.values[live],
            nothing.last_ms if last is None else last.values[live],
        )
        n = max(1, self._ids.rows_max // EVICTED_SHARE)
        weakest: Slots = live[self._model.weakest(self.entity, rows, n)]
        return weakest

    def slots(self, n: int, learned: Segment) -> tuple[NDArray[np.int64], Slots]:
        """Places and slots of the events before place ``n`` that were not counted yet and do; new
        ids are admitted."""
        start = self._n_counted
        self._n_counted = int(np.searchsorted(self._places, n))
        places = self._places[start : self._n_counted]
        slots = self._of_learned(places, learned)
        missing = np.flatnonzero(slots < 0)
        if len(missing):
            at = places[missing]
            names = [self._names[place] for place in at.tolist()]
            plan = self._ids.plan(names)
            assert plan.n_ready == len(names), "make_room() comes first"
            self._ids.apply(plan, len(names), self._events.offsets[at])
            self._state.reserve()
            slots[missing] = plan.slots  # -1 where another id has the same key
        return places, slots

    def _of_learned(self, places: NDArray[np.int64], learned: Segment) -> Slots:
        """Slots of ids that a segment names and that are admitted; -1 for the others."""
        of_segment = {"user": learned.user_slots, "item": learned.item_slots}.get(self.entity)
        if of_segment is None:
            return np.full(len(places), -1, dtype=np.int32)
        found: Slots = _known_slots(
            places,
            self._events.offsets,
            learned.offsets,
            of_segment,
            self._state.ids[self.entity].keys,
            self._ids.map.buckets,
            self._ids.map.slots,
        )
        return found
