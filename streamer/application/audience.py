"""Who the demo plays to: simulated users who react to slates, or a real log played back."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import numpy as np

from producers.baselines import PopularitySlates, RandomSlates
from producers.log import Log
from producers.simulator import Simulator, SimulatorConfig
from streamer.client import Publisher, Recommender
from streamer.events import Event

K = 10
"""Items a slate."""
_ASKERS = 12
"""Users who ask at once."""
_ROUND_S = 0.25
"""Time between two rounds: 400 users see a slate about every 8 s, so nobody tires of the demo."""
_POSITIVE = frozenset({"click", "watch", "like", "share", "purchase", "rating"})


@dataclass(slots=True)
class Tally:
    """What was shown and taken, by policy."""

    shown: dict[str, int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)

    def add(self, policy: str, shown: int, taken: int) -> None:
        self.shown[policy] = self.shown.get(policy, 0) + shown
        self.taken[policy] = self.taken.get(policy, 0) + taken

    def rate(self, policy: str) -> float:
        """Taken a shown, 0 before anything was shown."""
        return self.taken.get(policy, 0) / max(1, self.shown.get(policy, 0))


class Audience(Protocol):
    """Acts in rounds, each of which publishes events and asks for slates.

    Attributes
    ----------
    measure
        Name of the rate that is compared, a colon, and what it counts.
    """

    tally: Tally
    n_events: int
    measure: str

    def round(self, publisher: Publisher, recommender: Recommender) -> bool:
        """Act once; False when there is nothing left to do."""


class SimulatedAudience:
    """Users of the simulator: they browse, ask for slates and react to what is recommended.

    Every asker is shown three slates at the same instant, from the streamer, from a popularity
    count over the same events and at random, and would click with the same coins (common random
    numbers). Only what they click of the streamer's slate is published.

    Parameters
    ----------
    browsing_per_s
        Clicks that no recommendation led to, a second.
    """

    measure = "click rate: clicks an item shown"

    def __init__(self, *, seed: int, browsing_per_s: float = 250.0) -> None:
        start_ms = _now_ms()
        self.simulator = Simulator(SimulatorConfig(n_users=400, seed=seed, start_ms=start_ms))
        self.tally = Tally()
        self.n_events = 0
        self._rng = np.random.default_rng(seed)
        self._browsing_per_ms = browsing_per_s / 1000
        self._browsed_until_ms = start_ms
        self._arrived_until_ms = start_ms
        self._popularity = PopularitySlates(self.simulator.item_ids)
        self._random = RandomSlates(self.simulator.item_ids)
        self._askers = _shuffled_for_ever(self.simulator.user_ids, self._rng)
        self._next_round_s = 0.0

    def publish_items(self, publisher: Publisher) -> None:
        for item in self.simulator.items():
            publisher.publish_item(**msgspec.structs.asdict(item))

    def round(self, publisher: Publisher, recommender: Recommender) -> bool:
        """Let time pass, then let some users ask and react."""
        time.sleep(max(0.0, self._next_round_s - time.monotonic()))
        self._next_round_s = time.monotonic() + _ROUND_S
        self._browse(publisher)
        users = list(itertools.islice(self._askers, _ASKERS))
        answers = recommender.recommend_many(users, k=K)
        ts_ms = _now_ms()
        for answer in answers:
            user = answer.user_id
            slates = {
                "streamer": [item.item_id for item in answer.items],
                "popularity": self._popularity.slate(user, K, ts_ms, self._rng),
                "random": self._random.slate(user, K, ts_ms, self._rng),
            }
            for policy, slate in slates.items():
                events = self.simulator.react(user, slate, ts_ms, f"{answer.request_id}-{policy}")
                clicks = sum(event.type == "click" for event in events)
                self.tally.add(policy, len(slate), clicks)
            reaction = self.simulator.react(user, slates["streamer"], ts_ms, answer.request_id)
            self._publish(reaction, publisher)
        return True

    def _browse(self, publisher: Publisher) -> None:
        now_ms = _now_ms()
        for item in self.simulator.arrivals(self._arrived_until_ms, now_ms):
            publisher.publish_item(**msgspec.structs.asdict(item))
        self._arrived_until_ms = now_ms
        n = int((now_ms - self._browsed_until_ms) * self._browsing_per_ms)
        if n:
            times = np.linspace(self._browsed_until_ms, now_ms, n, endpoint=False).astype(np.int64)
            self._browsed_until_ms = now_ms
            self._publish(self.simulator.organic_events(times), publisher)

    def _publish(self, events: Sequence[Event], publisher: Publisher) -> None:
        for event in events:
            publisher.publish_event(event)
            self._popularity.observe(event)
        self.n_events += len(events)


class LogAudience:
    """A real log played back: before an event is published, would its item have been shown?

    A taken item is one that the user took up next and that was among the items shown; the
    policies are compared on the same events.
    """

    measure = f"hit rate: next item among {K} shown"

    def __init__(self, log: Log, *, seed: int, chunk: int = 200) -> None:
        self.tally = Tally()
        self.n_events = 0
        self._rng = np.random.default_rng(seed)
        self._chunk = chunk
        self._log = log
        item_ids = dict.fromkeys(event.item_id for event in log.events())
        self._popularity = PopularitySlates(item_ids, half_life_s=30 * 86_400.0)
        self._random = RandomSlates(item_ids)
        self._events = log.events()

    def publish_items(self, publisher: Publisher) -> None:
        for item in self._log.items():
            publisher.publish_item(**msgspec.structs.asdict(item))

    def round(self, publisher: Publisher, recommender: Recommender) -> bool:
        """Ask for some users of the next events, then publish these."""
        events = list(itertools.islice(self._events, self._chunk))
        if not events:
            return False
        next_taken: dict[str, Event] = {}
        for event in events:
            if event.type in _POSITIVE and len(next_taken) < _ASKERS:
                next_taken.setdefault(event.user_id, event)
        for answer in recommender.recommend_many(next_taken, k=K):
            event = next_taken[answer.user_id]
            for policy, slate in {
                "streamer": [item.item_id for item in answer.items],
                "popularity": self._popularity.slate(event.user_id, K, event.ts, self._rng),
                "random": self._random.slate(event.user_id, K, event.ts, self._rng),
            }.items():
                self.tally.add(policy, 1, int(event.item_id in slate))
        for event in events:
            publisher.publish_event(event)
            if event.type in _POSITIVE:
                self._popularity.observe(_as_click(event))
        self.n_events += len(events)
        return True


def _as_click(event: Event) -> Event:
    return Event(
        event_id=event.event_id,
        type="click",
        user_id=event.user_id,
        item_id=event.item_id,
        ts=event.ts,
    )


def _shuffled_for_ever(names: Sequence[str], rng: np.random.Generator) -> Iterator[str]:
    while True:
        yield from (names[row] for row in rng.permutation(len(names)))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
