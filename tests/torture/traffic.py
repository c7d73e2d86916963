"""Users of a deployment: events, requests, feedback on answers, and what is sent by mistake."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from streamer.config import Config
from streamer.errors import KafkaError
from streamer.events import Event, Item, Recommendation, decode_recommendation, encode
from streamer.kafka.configured import configured_reader
from streamer.kafka.log_ends import EARLIEST
from streamer.kafka.reader import KafkaReader
from streamer.kafka.sink import KafkaSink
from streamer.ranking.columns import feature_names
from tests.torture.ledger import Kind, Ledger
from tests.torture.messages import Made, volley

N_USERS: Final = 400
N_ITEMS: Final = 300
BURST: Final = 1_000
"""Events at once."""
VOLLEYS_AN_ITEMS: Final = 20
"""Volleys from one that spoils the items topic to the next."""
OUTAGE_S: Final = 900.0
"""How long a message waits for a broker that is away."""
_TICK_S: Final = 0.1
_DISORDER_MS: Final = 3_000
_EVENT, _REPEAT = Kind("event", "good"), Kind("event sent again", "repeat")
_FEEDBACK, _REQUEST, _ITEM = Kind("feedback", "good"), Kind("request", "good"), Kind("item", "good")
_TYPES: Final = ("click", "click", "impression", "impression", "like", "watch", "skip", "purchase")


class Traffic:
    """Publishes from a thread between :meth:`start` and :meth:`finish`; all of it is noted.

    Parameters
    ----------
    events_s, requests_s
        Events and requests a second, beside bursts and feedback.
    """

    def __init__(
        self, config: Config, ledger: Ledger, *, seed: int, events_s: float, requests_s: float
    ) -> None:
        self.answered: dict[str, int] = {}
        self.failure: Exception | None = None
        self._config = config
        self._ledger = ledger
        self._rng = np.random.default_rng([seed, 2])
        self._rates = events_s, requests_s
        self._names = feature_names(config)
        self._sink = KafkaSink(config.kafka.bootstrap_servers, timeout_s=OUTAGE_S)
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._latest: deque[Made] = deque(maxlen=200)
        self._n = 0
        self._n_volleys = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    # --- what faults order -----------------------------------------------------------------------

    def burst(self) -> None:
        """Send many events at once."""
        self._orders.put(lambda: self._events(BURST))

    def volley(self) -> None:
        """Send a bad message of each kind to each topic."""
        self._orders.put(self._volley)

    # --- running ---------------------------------------------------------------------------------

    def publish_items(self) -> None:
        """Publish the catalogue, which stays as it is: decisions do not say what it was."""
        for n in range(N_ITEMS):
            item = Item(item_id=f"item-{n}", title=f"Item {n}", categories=[f"category-{n % 7}"])
            self._send(Made("items", item.item_id.encode(), encode(item), _ITEM))
        self._sink.flush(OUTAGE_S)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()

    def finish(self) -> None:
        """Send no more, and wait until the broker has it all."""
        self.stop()
        self._thread.join()
        if self.failure is not None:
            raise self.failure
        self._sink.close()

    def _run(self) -> None:
        try:
            self._publish()
        except Exception as error:  # noqa: BLE001 - raised by finish(), and looked at meanwhile
            self.failure = error

    def _publish(self) -> None:
        reader = self._answers()
        began, sent = time.monotonic(), np.zeros(2)
        while not self._stop.is_set():
            due = np.array(self._rates) * (time.monotonic() - began)
            n_events, n_requests = self._rng.poisson(np.maximum(0.0, due - sent)).tolist()
            sent = due
            self._events(n_events)
            for _ in range(n_requests):
                self._request()
            while not self._orders.empty():
                self._orders.get()()
            try:
                for batch in reader.poll(n_max=1_000, timeout_s=_TICK_S):
                    for value in batch.values:
                        self._react(decode_recommendation(value))
            except KafkaError:  # an outage that lasts longer than a client waits
                reader.close()
                time.sleep(1.0)
                reader = self._answers()
        reader.close()

    def _answers(self) -> KafkaReader:
        """A reader of all answers; those known already are passed over."""
        topic, config = self._config.topics.topic("recommendations"), self._config
        starts = {(topic, p): EARLIEST for p in range(config.topics.partitions)}
        return configured_reader(config, starts)

    # --- what users do ---------------------------------------------------------------------------

    def _events(self, n: int) -> None:
        for _ in range(n):
            made = self._event(
                type=_TYPES[self._rng.integers(len(_TYPES))],
                user_id=self._user(),
                item_id=f"item-{int(N_ITEMS * self._rng.random() ** 2)}",
                value=round(float(self._rng.random()), 2),
                ts=_now_ms() - int(self._rng.integers(_DISORDER_MS)),
            )
            message = Made("events", made.user_id.encode(), encode(made), _EVENT)
            self._send(message)
            self._latest.append(message)
            if self._rng.random() < 0.03:
                again = self._latest[self._rng.integers(len(self._latest))]
                self._send(again._replace(kind=_REPEAT))

    def _event(self, **fields: Any) -> Event:
        self._n += 1
        return Event(event_id=f"event-{self._n}", **fields)

    def _user(self) -> str:
        return f"user-{int(N_USERS * self._rng.random() ** 2)}"

    def _request(self) -> None:
        self._n += 1
        asked: dict[str, object] = {
            "request_id": f"request-{self._n}",
            "user_id": self._user(),
            "k": int(self._rng.integers(1, 11)),
            "ts": _now_ms(),
        }
        sort = self._rng.random()
        if sort < 0.1:
            asked["candidates"] = [f"item-{n}" for n in self._rng.integers(N_ITEMS, size=20)]
        elif sort < 0.2:
            asked["exclude"] = [f"item-{n}" for n in self._rng.integers(N_ITEMS, size=20)]
        elif sort < 0.3:
            asked["timeout_ms"] = 5_000
        elif sort < 0.35:
            asked["preview"] = True
        elif sort < 0.4:
            asked["context"] = {"device": "phone"}
        key = str(asked["user_id"]).encode()
        self._send(Made("requests", key, json.dumps(asked).encode(), _REQUEST))

    def _react(self, answer: Recommendation) -> None:
        """Say what was seen and taken of an answer, mostly; once."""
        before = self.answered.get(answer.request_id, 0)
        self.answered[answer.request_id] = before + 1
        if before or answer.preview or self._rng.random() < 0.2:
            return
        for item in answer.items:
            seen = {
                "user_id": answer.user_id,
                "item_id": item.item_id,
                "request_id": answer.request_id,
                "position": item.rank,
                "ts": _now_ms(),
            }
            types = ["impression", *(["click"] if self._rng.random() < 0.2 else [])]
            for event in (self._event(type=type_, **seen) for type_ in types):
                self._send(Made("events", event.user_id.encode(), encode(event), _FEEDBACK))

    def _volley(self) -> None:
        self._n_volleys += 1
        spoils_items = self._n_volleys % VOLLEYS_AN_ITEMS == 1
        for made in volley(
            self._n_volleys, _now_ms(), self._user(), self._names, items=spoils_items
        ):
            self._send(made)

    def _send(self, made: Made) -> None:
        self._ledger.note(made.role, made.value, made.kind)
        self._sink.send(self._config.topics.topic(made.role), key=made.key, value=made.value)


def _now_ms() -> int:
    return int(time.time() * 1000)
