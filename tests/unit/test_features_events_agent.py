"""A partition of the events is called idle when all it had has been sent on, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

pytest.importorskip("faust", reason="pip install '.[features]'")

from aiokafka.structs import ConsumerRecord
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from streamer.clock import SystemClock
from streamer.config import load_config
from streamer.events import Event, encode
from streamer.faust_worker.bundles import Bundle, decode_bundle
from streamer.faust_worker.dead_letters import DeadLetters
from streamer.faust_worker.events_agent import EventsAgent
from streamer.faust_worker.metrics import FeaturesMetrics
from streamer.faust_worker.packs import packed
from streamer.faust_worker.reading import Reading
from streamer.faust_worker.settings import features_settings

WHERE = TP("events", 0)


@dataclass
class Broker:
    """Where bundles go, as Faust's topic has it; acknowledged only while it is ``well``."""

    well: asyncio.Event = field(default_factory=asyncio.Event)
    bundles: list[Bundle] = field(default_factory=list)
    done: dict[TP, int] = field(default_factory=dict)
    end: int = 0

    async def send(self, *, value: bytes, partition: int) -> Any:
        self.bundles.append(decode_bundle(value))
        return asyncio.ensure_future(self.well.wait())

    async def committed_offset(self, tp: TP) -> int | None:
        return None

    async def earliest_offset(self, tp: TP) -> int:
        return 0

    async def end_offset(self, tp: TP) -> int:
        return self.end

    async def read_from(self, tp: TP, offset: int) -> None:
        raise AssertionError("nothing is missing")


class Stream:
    """Events as they come from Faust."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.channel = self
        self.queue: asyncio.Queue[ConsumerMessage] = asyncio.Queue()

    def noack(self) -> Stream:
        return self

    def publish(self, *events: Event) -> None:
        first, self.broker.end = self.broker.end, self.broker.end + len(events)
        records = [
            ConsumerRecord("events", 0, first + i, event.ts, 0, None, encode(event), None, 0, 0, ())
            for i, event in enumerate(events)
        ]
        for each in packed(records, 100):
            message = ConsumerMessage(
                "events", 0, each.offset, 0.0, 0, {}, None, each.value, None, tp=WHERE
            )
            self.queue.put_nowait(message)

    async def events(self) -> AsyncIterator[Any]:
        @dataclass
        class Given:
            message: ConsumerMessage

            def ack(self) -> None:
                pass

        while True:
            yield Given(await self.queue.get())


def test_a_partition_is_idle_when_the_broker_has_what_its_events_add() -> None:
    async def scenario() -> None:
        config = load_config(None, env={}, flags={"topics.partitions": 1})
        settings = replace(features_settings(config), idle_s=0.04, flush_s=0.001)
        broker, metrics = Broker(), FeaturesMetrics(CollectorRegistry())
        stream = Stream(broker)
        agent = EventsAgent(
            settings,
            broker,  # type: ignore[arg-type]
            reading=Reading(lambda: broker, lambda *where: iter(())),
            reread=lambda *where: iter(()),
            categories=lambda item_id: (),  # type: ignore[arg-type]
            dead_letters=DeadLetters(broker, metrics),  # type: ignore[arg-type]
            clock=SystemClock(),
            metrics=metrics,
        )
        reading = asyncio.ensure_future(agent.read(stream))
        stream.publish(Event(event_id="1", type="click", user_id="u", item_id="i", ts=1_000))
        await asyncio.sleep(0.01)
        flushing = asyncio.ensure_future(agent.flush_waiting())
        for _ in range(20):  # four looks in an idle time, and several of them
            await asyncio.wait_for(agent.look([WHERE]), 5.0)
            await asyncio.sleep(0.01)
        assert broker.bundles
        assert not any(each.idle for each in broker.bundles)
        assert not flushing.done()
        assert broker.done == {}
        broker.well.set()
        await flushing
        assert broker.done == {WHERE: 1}
        for _ in range(20):
            await asyncio.wait_for(agent.look([WHERE]), 5.0)
            await asyncio.sleep(0.01)
        assert broker.bundles[-1].idle
        assert broker.bundles[-1].latest_ms == 1_000
        reading.cancel()

    asyncio.run(scenario())
