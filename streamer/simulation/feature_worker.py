"""The windows' worker of a system in memory: the same values as live, under a manual clock."""

from __future__ import annotations

import numpy as np

from streamer.config import Config
from streamer.errors import ConfigError
from streamer.events.event_columns import decode_events
from streamer.learner.dedup import DedupWindow
from streamer.protocols import MessageBatch
from streamer.ranking.columns import followed_definitions
from streamer.simulation.broker import ManualClock, MemoryBroker, MemoryReader, MemorySink
from streamer.windows.categories import ItemCategories
from streamer.windows.engine import FeatureEngine
from streamer.windows.entities import contributions
from streamer.windows.published import message_of
from streamer.windows.watermark import Watermark

_EVENTS_A_ROUND = 500


class FeatureWorker:
    """Computes the windowed features that a scorer needs, and publishes them when windows end.

    One worker has all partitions and computes by :class:`streamer.windows.engine.FeatureEngine`,
    which does not depend on how workers share them. Values and the order of their publication are a
    function of the events, their order and the rounds.

    Parameters
    ----------
    broker
        Has the topics of events, items and features.

    Raises
    ------
    ConfigError
        Where a feature needs what is not installed.
    """

    def __init__(
        self, config: Config, *, broker: MemoryBroker, sink: MemorySink, clock: ManualClock
    ) -> None:
        topics, windows = config.topics, config.windows
        self._types = config.event_types
        held = followed_definitions(config)
        try:
            self._engine = FeatureEngine(held, self._types, cells_max=windows.cells_max)
        except ImportError as error:
            raise ConfigError(
                f"distinct users are counted with datasketches, which is not installed ({error}):"
                " pip install '.[features]' in the folder of streamer's code, or leave them out of"
                " the ranking (ranks = false)"
            ) from error
        self._entities = self._engine.entities
        counted = {name for each in held for name in (*each.numerator, *each.denominator)}
        self._counts = np.array([name in counted for name in self._types.names], np.bool_)
        partitions = range(topics.partitions)
        self._watermark = Watermark(partitions)
        self._closed_at_ms = -1
        self._dedup = [DedupWindow(windows.dedup_window) for _ in partitions]
        self._heard_ms = dict.fromkeys(partitions, clock.now_ms())
        self._idle_ms = 1000 * windows.idle_s
        self._events = MemoryReader(broker, [topics.topic("events")], clock=clock)
        self._categories = ItemCategories(
            MemoryReader(broker, [topics.topic("items")], clock=clock)
        )
        self._topic = topics.topic("features")
        self._sink = sink
        self._clock = clock

    def run(self) -> None:
        """Take all events there are, and publish what has ended by then."""
        self._categories.follow()
        while batches := self._events.poll(n_max=_EVENTS_A_ROUND, timeout_s=0.0):
            for batch in batches:
                self._take(batch)
            self._close()
        now_ms = self._clock.now_ms()
        for partition, heard_ms in self._heard_ms.items():
            if now_ms - heard_ms >= self._idle_ms:
                self._watermark.note(partition, -1, idle=True)
        self._close()

    def _take(self, batch: MessageBatch) -> None:
        self._heard_ms[batch.partition] = self._clock.now_ms()
        events, _ = decode_events(batch.values, batch.publish_ms, self._types)
        if not len(events):
            return
        fresh = self._dedup[batch.partition].fresh(events.event_ids, batch.offsets[events.index])
        self._watermark.note(batch.partition, int(events.ts_ms[fresh].max(initial=-1)))
        some = events.take(fresh & self._counts[events.types])
        if len(some):
            for each in contributions(some, self._entities, self._categories):
                self._engine.add(each)

    def _close(self) -> None:
        if self._watermark.at_ms <= self._closed_at_ms:
            return
        self._closed_at_ms = self._watermark.at_ms
        for result in self._engine.close(self._closed_at_ms).results:
            key, value = message_of(result, computed_ms=self._clock.now_ms())
            self._sink.send(self._topic, key=key, value=value)
