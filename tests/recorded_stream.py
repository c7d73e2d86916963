"""A recorded log on its way into a topic: real ratings, else simulated clicks, and some noise."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from streamer.config import Config
from streamer.config.settings import TopicRole
from streamer.events import Event, encode, message_key
from streamer.kafka.configured import configured_sink
from streamer.kafka.sink import KafkaSink
from streamer_producers.datasets import open_log
from streamer_producers.simulator import Simulator, SimulatorConfig

DATA = Path(os.environ.get("STREAMER_DATA") or Path(__file__).parents[2] / "shared" / "data")
RATINGS = DATA / "ml-latest-small"
N_SIMULATED = 60_000
SECOND_MS = 1_000

REPEAT_EVERY = 50
REPEAT_AFTER = 1_000
"""Far apart: a learner that starts again without its window of duplicates learns many twice."""
BREAK_EVERY = 500
BROKEN = b'{"event_id": 7'

_CHUNK = 50


class Message(NamedTuple):
    """What is sent, and to which topic: the key chooses the partition."""

    key: bytes
    value: bytes
    role: TopicRole = "events"


def recorded_log(n_max: int | None = None) -> tuple[str, list[Message]]:
    """Name and messages of a log: events in time order, some of them twice, and broken messages.

    It is MovieLens latest-small where that lies in ``STREAMER_DATA``, else 60,000 simulated clicks.
    """
    name, events = _events()
    messages: list[Message] = []
    for n, event in enumerate(itertools.islice(events, n_max)):
        key = message_key(event)
        messages.append(Message(key, encode(event)))
        if n % REPEAT_EVERY == 0 and len(messages) >= REPEAT_AFTER:
            messages.append(messages[-REPEAT_AFTER])
        if n % BREAK_EVERY == 0:
            messages.append(Message(key, BROKEN))
    return name, messages


def _events() -> tuple[str, Iterator[Event]]:
    if RATINGS.is_dir():
        return RATINGS.name, open_log(RATINGS).events()
    simulator = Simulator(SimulatorConfig(seed=1))
    ts_ms = simulator.config.start_ms + SECOND_MS * np.arange(N_SIMULATED, dtype=np.int64)
    return f"{N_SIMULATED} simulated clicks", iter(simulator.organic_events(ts_ms))


class Stream:
    """Publishes messages from a thread while entered, in parts, each at a limited rate.

    A part goes when :meth:`send_part` is called, what is left when the stream is left: so on a
    machine of any speed, what is done after a call happens in the middle of the stream.

    Parameters
    ----------
    n_parts
        Of equal size.
    rate
        Messages a second.
    """

    def __init__(
        self, config: Config, messages: Sequence[Message], *, n_parts: int, rate: float
    ) -> None:
        self._config = config
        self._messages = messages
        self._n_parts = n_parts
        self._pause_s = _CHUNK / rate
        self._released = threading.Semaphore(0)
        self._hurry = threading.Event()
        self._abandoned = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="stream")

    def send_part(self) -> None:
        """Let another part go, behind those that are on their way."""
        self._released.release()

    def _run(self) -> None:
        sink = configured_sink(self._config)
        try:
            self._send_all(sink)
            sink.close()
        except Exception as error:  # noqa: BLE001 - raised when the stream is left
            self._failure = error

    def _send_all(self, sink: KafkaSink) -> None:
        topics = self._config.topics
        ends = np.linspace(0, len(self._messages), self._n_parts + 1).astype(int).tolist()
        for start, end in itertools.pairwise(ends):
            self._released.acquire()
            for at in range(start, end, _CHUNK):
                self._hurry.wait(self._pause_s)
                if self._abandoned:
                    return
                for message in self._messages[at : min(at + _CHUNK, end)]:
                    topic = topics.topic(message.role)
                    sink.send(topic, key=message.key, value=message.value)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._abandoned = error is not None
        self._hurry.set()
        self._released.release(self._n_parts)
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure
