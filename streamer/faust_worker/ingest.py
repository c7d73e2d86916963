"""From messages of one partition of the events to bundles for every partition of the state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from streamer.events import EventTypes, FeatureEntity, Rejected
from streamer.events.event_columns import EventColumns, decode_events
from streamer.faust_worker.bundles import (
    Bundle,
    Part,
    as_part,
    encode_bundle,
    partition_of_entity,
    split,
)
from streamer.learner.dedup import DedupWindow
from streamer.protocols import MessageBatch
from streamer.windows.entities import Categories, contributions

Reread = Callable[[int, int, int], Iterator[MessageBatch]]
"""(partition, first offset, end) → what was there."""


class Ingest:
    """Reads one partition of the events; its memory is rebuilt by reading the topic again.

    Whether an event repeats an earlier one is a function of the topic alone, so after a crash the
    same contributions are sent again, and those that had arrived are recognized by their offsets.

    Parameters
    ----------
    parents
        Kinds of entities whose contributions go to all partitions of the state: others are smoothed
        towards them everywhere.
    """

    def __init__(
        self,
        partition: int,
        *,
        types: EventTypes,
        n_partitions: int,
        entities: Collection[FeatureEntity],
        parents: Collection[FeatureEntity],
        categories: Categories,
        dedup_window: int,
        reread: Reread,
    ) -> None:
        self.latest_ms = -1
        self.n_duplicates = 0
        self._partition = partition
        self._types = types
        self._n_partitions = n_partitions
        self._entities = entities
        self._parents = parents
        self._categories = categories
        self._dedup = DedupWindow(dedup_window)
        self._reread = reread
        self._next_offset: int | None = None

    def take(
        self, batch: MessageBatch, *, at_ms: int = 0
    ) -> tuple[list[tuple[int, bytes]], list[Rejected]]:
        """Bundles by partition of the state, and the bad messages; ``at_ms``: read by then."""
        first = int(batch.offsets[0])
        if self._next_offset is None or first < self._next_offset:
            self._rebuild(first)
        self._next_offset = int(batch.offsets[-1]) + 1
        events, rejected = decode_events(batch.values, batch.publish_ms, self._types)
        fresh = self._dedup.fresh(events.event_ids, batch.offsets[events.index])
        self.n_duplicates += int(len(fresh) - fresh.sum())
        events = events.take(fresh)
        if len(events):
            self.latest_ms = max(self.latest_ms, int(events.ts_ms.max()))
        return self._bundles(batch, events, at_ms), rejected

    def idle(self, *, at_ms: int = 0) -> list[tuple[int, bytes]]:
        """Word to all partitions of the state that there was no more to read here at ``at_ms``."""
        payload = encode_bundle(Bundle(self._partition, self.latest_ms, True, [], at_ms))
        return [(partition, payload) for partition in range(self._n_partitions)]

    def _bundles(
        self, batch: MessageBatch, events: EventColumns, at_ms: int
    ) -> list[tuple[int, bytes]]:
        offsets = batch.offsets[events.index]
        parts: list[list[Part]] = [[] for _ in range(self._n_partitions)]
        for given in contributions(events, self._entities, self._categories):
            everywhere = given.entity in self._parents
            places: list[list[int]] = [[] for _ in range(self._n_partitions)]
            for i, entity_id in enumerate(given.ids):
                if everywhere:
                    for each in places:
                        each.append(i)
                else:
                    at = partition_of_entity(given.entity, entity_id, self._n_partitions)
                    places[at].append(i)
            for to, chosen in enumerate(places):
                if chosen:
                    parts[to].append(as_part(given, offsets, chosen))
        bundles = []
        for to, of_partition in enumerate(parts):
            several = split(of_partition)
            for i, some in enumerate(several):
                # What has come is known only when all of it has.
                latest_ms = self.latest_ms if i == len(several) - 1 else -1
                bundle = Bundle(
                    self._partition,
                    latest_ms,
                    False,
                    some,
                    at_ms,
                    self._types.added,
                )
                bundles.append((to, encode_bundle(bundle)))
        return bundles

    def _rebuild(self, first: int) -> None:
        self._dedup = DedupWindow(self._dedup.n_offsets)
        self.latest_ms = -1
        start = max(0, first - self._dedup.n_offsets)
        if start == first:
            return
        for batch in self._reread(self._partition, start, first):
            events, _ = decode_events(batch.values, batch.publish_ms, self._types)
            self._dedup.fresh(events.event_ids, batch.offsets[events.index])
            if len(events):
                self.latest_ms = max(self.latest_ms, int(events.ts_ms.max()))
