"""The page over the system in memory, whose messages are on an embedded broker too."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, get_args

from msgspec.structs import replace
from nicegui.testing.general import nicegui_reset_globals

from streamer.config import load_config
from streamer.config.settings import TopicRole
from streamer.events import Event, Item, User
from streamer.http.served_app import ServedApp
from streamer.kafka.configured import configured_sink
from streamer.kafka.embedded import EmbeddedBroker
from streamer.kafka.topics import create_topics
from streamer.page.mounted import add_page
from streamer.simulation.broker import MemorySink
from tests.http_world import CONFIG, HttpWorld

TITLES = {"milk": "Fresh milk", "tea": "Green tea", "cake": "Apple cake", "jam": "Plum jam"}


VARIANTS = ("control.weight", "varied.weight", "shade.shadow")


class PageWorld(HttpWorld):
    """A shop whose slates are looked at and clicked on."""

    def __init__(self, broker: EmbeddedBroker, **http: Any) -> None:
        kafka = replace(CONFIG.kafka, bootstrap_servers=broker.bootstrap_servers)
        topics = replace(CONFIG.topics, partitions=4)  # the embedded broker knows no other number
        now_ms = time.time_ns() // 1_000_000
        keys = (f"experiments.mix.variants.{each}" for each in VARIANTS)
        flags = dict.fromkeys(keys, "1") | {
            "objectives.taken.events": ["click"],
            "rules.closed.exclude": "request.surface == 'closed'",
        }
        named = load_config(env={}, flags=flags)
        config = replace(
            CONFIG,
            kafka=kafka,
            topics=topics,
            experiments=named.experiments,
            objectives=named.objectives,
            rules=named.rules,
        )
        super().__init__(config, now_ms - 60_000, **http)
        create_topics(broker.bootstrap_servers, self.config.topics)
        self._copied: dict[tuple[str, int], int] = {}
        self._n_asked = 0
        self.served = ServedApp(
            app=self.app,
            config=self.config,
            parts=self.parts,
            scorer=self.live.scorer,
            registry=self.registry,
        )
        add_page(self.served)

    def fill(self) -> None:
        """Have the shop sell for a while."""
        self.live.publish(
            *(
                Item(item_id=item_id, title=title, categories=["drinks"])
                for item_id, title in TITLES.items()
            )
        )
        self.learn(("bob", "milk"), ("bob", "tea"), ("eve", "tea"), ("eve", "cake"))
        for n in range(12):
            self.shop(f"user {n}")
        self.live.advance(self.live.clock.now_ms() + 20_000)
        self.shop("late")  # whose window is not over
        self.copy()

    def shop(self, user_id: str) -> None:
        """Show a user a slate; the user clicks on its first item and is shown the others."""
        answer = self.live.request(user_id, k=2)
        recommendation = answer.recommendation
        now_ms = self.live.clock.now_ms()
        for place, item in enumerate(recommendation.items):
            self._n_asked += 1
            self.live.publish(
                Event(
                    event_id=f"e{self._n_asked}",
                    type="click" if place == 0 else "impression",
                    user_id=user_id,
                    item_id=item.item_id,
                    ts=now_ms,
                    request_id=recommendation.request_id,
                )
            )
        self.live.advance(now_ms + 500)

    def describe(self, user: User) -> None:
        """Have a user say something of themselves."""
        self.live.publish(user)
        self.live.advance(self.live.clock.now_ms() + 500)
        self.copy()

    def publish_bad_event(self) -> None:
        """Publish an event that becomes a dead letter."""
        topic = self.config.topics.topic("events")
        sink = MemorySink(self.live.broker, clock=self.live.clock)
        sink.send(topic, key=b"bob", value=b'{"type": "click", "user_id": "bob"}')
        self.live.advance(self.live.clock.now_ms() + 500)
        self.copy()

    def copy(self) -> None:
        """Publish to the broker what has come to the topics in memory."""
        with contextlib.closing(configured_sink(self.config)) as sink:
            for role in get_args(TopicRole):
                topic = self.config.topics.topic(role)
                for partition in range(self.live.broker.n_partitions(topic)):
                    where = topic, partition
                    offset = self._copied.get(where, 0)
                    for record in self.live.broker.read(where, offset, 10_000):
                        sink.send(topic, key=record.key, value=record.value, partition=partition)
                    self._copied[where] = self.live.broker.end(where)
            sink.flush(30)


@contextlib.contextmanager
def page_world(**http: Any) -> Iterator[PageWorld]:
    """Yield a shop with a page; ``http`` are settings of that section."""
    with nicegui_reset_globals(), EmbeddedBroker() as broker:  # a process has one NiceGUI
        world = PageWorld(broker, **http)
        world.fill()
        try:
            yield world
        finally:
            world.client.close()
            world.answers.close()
