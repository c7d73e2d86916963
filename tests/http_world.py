"""The HTTP service over the system in memory, and a client of it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import httpx
from fastapi import FastAPI
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from deploy.kafka.node import free_port
from streamer.config import Config, load_config
from streamer.errors import KafkaUnavailable
from streamer.events import Event
from streamer.http.app import create_app
from streamer.http.parts import Parts
from streamer.http.server import HttpServer
from streamer.protocols import Clock, DeliveredAt
from streamer.scorer.answer_queue import AnswerQueue
from streamer.scorer.metrics import ScorerMetrics
from streamer.scorer.replies import Replies
from streamer.simulation.broker import MemoryBroker, MemorySink, Record
from streamer.simulation.live import LiveSystem

START_MS = 1_700_000_000_000
CONFIG = load_config(
    env={},
    flags={
        "topics.partitions": "1",
        "mf.factors": "4",
        "bandit.policy": "greedy",
        "http.timeout_ms": "20000",
        "http.events_max": "5",
    },
)


class HttpClient:
    """Asks an application without a network, from any thread; an event loop runs in one of ours."""

    def __init__(self, app: FastAPI) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://streamer")

    def request(self, method: str, url: str, **given: Any) -> httpx.Response:
        asked = self._client.request(method, url, timeout=None, **given)
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result(timeout=120)

    get = functools.partialmethod(request, "GET")
    post = functools.partialmethod(request, "POST")
    put = functools.partialmethod(request, "PUT")
    patch = functools.partialmethod(request, "PATCH")
    delete = functools.partialmethod(request, "DELETE")
    options = functools.partialmethod(request, "OPTIONS")

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class MemoryAcknowledged:
    """Acknowledges at once, while its broker is up; keeps waiting ones while it is held."""

    def __init__(self, broker: MemoryBroker, clock: Clock) -> None:
        self.alive = True
        self.held = False
        self.waiting: list[Future[DeliveredAt]] = []
        self.failure: Exception | None = None
        self._broker = broker
        self._clock = clock

    def send(self, topic: str, *, key: bytes, value: bytes | None) -> Future[DeliveredAt]:
        future: Future[DeliveredAt] = Future()
        where = self._broker.append(topic, Record(key, value, self._clock.now_ms()))
        if self.failure is not None:
            future.set_exception(self.failure)
        elif self.held:
            self.waiting.append(future)
        else:
            future.set_result(DeliveredAt(*where, self._broker.end(where) - 1))
        return future


class MemoryRoom:
    """Full when told so."""

    def __init__(self) -> None:
        self.full = False
        self.noted: list[int] = []

    @property
    def is_due(self) -> bool:
        return self.full

    def is_full(self) -> bool:
        return self.full

    def note(self, n_bytes: int) -> None:
        self.noted.append(n_bytes)


class HttpWorld:
    """A shop's users, the system that learns from them, and its HTTP service."""

    def __init__(self, config: Config = CONFIG, start_ms: int = START_MS, **http: Any) -> None:
        self.config: Config = replace(config, http=replace(config.http, **http))
        self.registry = CollectorRegistry()
        self.live = LiveSystem(self.config, start_ms=start_ms, registry=self.registry)
        self.sink = MemoryAcknowledged(self.live.broker, self.live.clock)
        replies = Replies(
            self.config.topics,
            sink=MemorySink(self.live.broker, clock=self.live.clock),
            clock=self.live.clock,
            metrics=ScorerMetrics(CollectorRegistry()),
        )
        self.answers = AnswerQueue(
            self.live.scorer, replies, n_waiting_max=self.config.http.waiting_max
        )
        self.room = MemoryRoom()
        self.broker_is_away = False
        self.parts = Parts(
            answers=self.answers,
            sink=self.sink,
            clock=self.live.clock,
            room=self.room,
            check_broker=self._check_broker,
        )
        self.app: FastAPI = create_app(self.config, self.parts, registry=self.registry)
        self.client = HttpClient(self.app)

    def _check_broker(self) -> None:
        if self.broker_is_away:
            raise KafkaUnavailable("connecting: Kafka at memory:9092 did not answer")

    def learn(self, *clicks: tuple[str, str]) -> None:
        """Have users click on items, and learn it."""
        now_ms = self.live.clock.now_ms()
        self.live.publish(
            *(
                Event(
                    event_id=f"{user} {item}", type="click", user_id=user, item_id=item, ts=now_ms
                )
                for user, item in clicks
            )
        )
        self.live.advance(now_ms + 1_000)

    def records(self, role: Any) -> list[bytes | None]:
        """Return what is on a topic."""
        return [each.value for each in self.live.broker.records(self.config.topics.topic(role))]


@contextlib.contextmanager
def http_world(
    config: Config = CONFIG, *, start_ms: int = START_MS, **http: Any
) -> Iterator[HttpWorld]:
    """Yield a world whose users have met three items; ``http`` are settings of that section."""
    world = HttpWorld(config, start_ms, **http)
    world.learn(("bob", "milk"), ("bob", "tea"), ("eve", "tea"), ("eve", "cake"))
    try:
        yield world
    finally:
        world.client.close()
        world.answers.close()


@contextlib.contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Yield the address at which a thread of this process serves an application."""
    server = HttpServer(app, host="127.0.0.1", port=free_port())
    serving = threading.Thread(target=server.run)
    serving.start()
    try:
        yield server.url
    finally:
        server.stop()
        serving.join()


@contextlib.contextmanager
def served_world(**http: Any) -> Iterator[tuple[HttpWorld, str]]:
    """Yield a world of today and the address at which it is served."""
    now_ms = time.time_ns() // 1_000_000
    with http_world(start_ms=now_ms, **http) as world, served(world.app) as url:
        yield world, url
