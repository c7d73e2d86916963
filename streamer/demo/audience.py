"""Who the demo plays to: simulated users who react to slates, or a real log played back."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
import numpy as np

from streamer.client import Publisher, Recommender
from streamer.events import Event, Item, Recommendation
from streamer_producers.baselines import PopularitySlates, RandomSlates
from streamer_producers.log import Log
from streamer_producers.simulator import Simulator, SimulatorConfig

K = 10
"""Items a slate."""
_ASKERS = 12
"""Users who ask at once."""
_ROUND_S = 0.25
"""Time between two rounds: 400 users see a slate about every 8 s, so nobody tires of the demo."""
_POSITIVE = frozenset({"click", "watch", "like", "share", "purchase", "rating"})

STREAMER: Final = "streamer"
GREEDY: Final = "greedy"
POPULARITY: Final = "popularity"
RANDOM: Final = "random"


@dataclass(slots=True)
class Score:
    """What one policy's slates have come to.

    Attributes
    ----------
    n_slates, n_shown, n_taken
        Slates, what counts as shown in them, and what of it was taken.
    expected, regret
        Clicks that the slates were worth, and how many more the best ones would have been; 0 where
        nobody knows.
    """

    n_slates: int = 0
    n_shown: int = 0
    n_taken: int = 0
    expected: float = 0.0
    regret: float = 0.0

    def add(
        self, *, n_shown: int, n_taken: int, expected: float = 0.0, regret: float = 0.0
    ) -> None:
        """Count one slate."""
        self.n_slates += 1
        self.n_shown += n_shown
        self.n_taken += n_taken
        self.expected += expected
        self.regret += regret

    @property
    def rate(self) -> float:
        """Taken a shown, 0 before anything was shown."""
        return self.n_taken / max(1, self.n_shown)

    def a_slate(self, total: float) -> float:
        """``total`` over the slates."""
        return total / max(1, self.n_slates)


@dataclass(slots=True)
class Site:
    """One running system, as its users see it.

    Attributes
    ----------
    policy
        Name under which its slates are counted.
    n_events
        Published here.
    """

    policy: str
    publisher: Publisher
    recommender: Recommender
    n_events: int = 0

    def publish(self, events: Sequence[Event]) -> None:
        for event in events:
            self.publisher.publish_event(event)
        self.n_events += len(events)

    def publish_items(self, items: Sequence[Item]) -> None:
        for item in items:
            self.publisher.publish_item(**msgspec.structs.asdict(item))


@dataclass(frozen=True, slots=True)
class _Look:
    """A user who looks at slates at an instant, and the clicks that the best one is worth."""

    user_id: str
    ts_ms: int
    best_clicks: float


class Audience(Protocol):
    """Acts in rounds, each of which publishes events and asks for slates.

    Attributes
    ----------
    policies
        What is compared, in the order of a table; those of the sites first.
    scores
        By policy.
    measure
        Name of the rate that is compared, a colon, and what it counts.
    knows_regret
        Whether the scores say what slates were expected to be worth.
    """

    policies: tuple[str, ...]
    scores: dict[str, Score]
    measure: str
    knows_regret: bool

    def publish_items(self, sites: Sequence[Site]) -> None:
        """Publish the catalogue."""

    def round(self, sites: Sequence[Site]) -> bool:
        """Act once; False when there is nothing left to do."""


class SimulatedAudience:
    """Users of the simulator: they browse, ask for slates and react to what is recommended.

    Every asker is shown one slate of each policy at the same instant, from every site, from a
    popularity count and at random, and would click with the same coins (common random numbers).
    What is clicked of a site's slate is published to this site alone, so each site learns from its
    own slates; what users find by browsing is published to all. The popularity count sees what the
    first site sees.

    Regret is counted against the best slate of all items there are, also of those that the user
    has taken before, which no site shows again: it doesn't come down to 0.

    Parameters
    ----------
    browsing_per_s
        Clicks that no recommendation led to, a second.
    """

    policies: tuple[str, ...] = (STREAMER, GREEDY, POPULARITY, RANDOM)
    measure = "click rate: clicks an item shown"
    knows_regret = True

    def __init__(self, *, seed: int, browsing_per_s: float = 250.0) -> None:
        start_ms = _now_ms()
        self.simulator = Simulator(SimulatorConfig(n_users=400, seed=seed, start_ms=start_ms))
        self.scores = {policy: Score() for policy in self.policies}
        self._rng = np.random.default_rng(seed)
        self._browsing_per_ms = browsing_per_s / 1000
        self._browsed_until_ms: int | None = None
        self._arrived_until_ms = start_ms
        self._popularity = PopularitySlates(self.simulator.item_ids)
        self._random = RandomSlates(self.simulator.item_ids)
        self._askers = _shuffled_for_ever(self.simulator.user_ids, self._rng)
        self._next_round_s = 0.0

    def publish_items(self, sites: Sequence[Site]) -> None:
        for site in sites:
            site.publish_items(self.simulator.items())

    def round(self, sites: Sequence[Site]) -> bool:
        """Let time pass, then let some users ask and react."""
        time.sleep(max(0.0, self._next_round_s - time.monotonic()))
        self._next_round_s = time.monotonic() + _ROUND_S
        self._browse(sites)
        users = list(itertools.islice(self._askers, _ASKERS))
        answers = [site.recommender.recommend_many(users, k=K) for site in sites]
        ts_ms = _now_ms()
        for user, *given in zip(users, *answers, strict=True):
            self._show(user, ts_ms, list(zip(sites, given, strict=True)))
        return True

    def _show(self, user: str, ts_ms: int, given: Sequence[tuple[Site, Recommendation]]) -> None:
        """Show a user all slates, and publish to each site what came of its own."""
        best = self.simulator.best_slate(user, K, ts_ms)
        look = _Look(user, ts_ms, self.simulator.expected_clicks(user, best, ts_ms))
        for policy, slates in ((POPULARITY, self._popularity), (RANDOM, self._random)):
            self._react(look, policy, slates.slate(user, K, ts_ms, self._rng))
        for i, (site, answer) in enumerate(given):
            slate = [item.item_id for item in answer.items]
            reaction = self._react(look, site.policy, slate, answer.request_id)
            site.publish(reaction)
            if i == 0:
                self._notice(reaction)

    def _react(
        self, look: _Look, policy: str, slate: Sequence[str], request_id: str | None = None
    ) -> list[Event]:
        """What the user does, counted for the policy."""
        reaction = self.simulator.react(look.user_id, slate, look.ts_ms, request_id)
        expected = self.simulator.expected_clicks(look.user_id, slate, look.ts_ms)
        self.scores[policy].add(
            n_shown=len(slate),
            n_taken=sum(event.type == "click" for event in reaction),
            expected=expected,
            regret=look.best_clicks - expected,
        )
        return reaction

    def _browse(self, sites: Sequence[Site]) -> None:
        now_ms = _now_ms()
        arrived = self.simulator.arrivals(self._arrived_until_ms, now_ms)
        self._arrived_until_ms = now_ms
        if self._browsed_until_ms is None:  # nobody browses before the site is open
            self._browsed_until_ms = now_ms
        n = int((now_ms - self._browsed_until_ms) * self._browsing_per_ms)
        times = np.linspace(self._browsed_until_ms, now_ms, n, endpoint=False).astype(np.int64)
        if n:
            self._browsed_until_ms = now_ms
        clicks = self.simulator.organic_events(times)
        for site in sites:
            site.publish_items(arrived)
            site.publish(clicks)
        self._notice(clicks)

    def _notice(self, events: Sequence[Event]) -> None:
        for event in events:
            self._popularity.observe(event)


class LogAudience:
    """A real log played back: before an event is published, would its item have been shown?

    A taken item is one that the user took up next and that was among the items shown; the
    policies are compared on the same events. Nobody reacts to what is shown.
    """

    policies: tuple[str, ...] = (STREAMER, POPULARITY, RANDOM)
    measure = f"hit rate: next item among {K} shown"
    knows_regret = False

    def __init__(self, log: Log, *, seed: int, chunk: int = 200) -> None:
        self.scores = {policy: Score() for policy in self.policies}
        self._rng = np.random.default_rng(seed)
        self._chunk = chunk
        self._log = log
        item_ids = dict.fromkeys(event.item_id for event in log.events())
        self._popularity = PopularitySlates(item_ids, half_life_s=30 * 86_400.0)
        self._random = RandomSlates(item_ids)
        self._events = log.events()

    def publish_items(self, sites: Sequence[Site]) -> None:
        for site in sites:
            site.publish_items(list(self._log.items()))

    def round(self, sites: Sequence[Site]) -> bool:
        """Ask for some users of the next events, then publish these."""
        (site,) = sites
        events = list(itertools.islice(self._events, self._chunk))
        if not events:
            return False
        next_taken: dict[str, Event] = {}
        for event in events:
            if event.type in _POSITIVE and len(next_taken) < _ASKERS:
                next_taken.setdefault(event.user_id, event)
        for answer in site.recommender.recommend_many(next_taken, k=K):
            event = next_taken[answer.user_id]
            for policy, slate in {
                STREAMER: [item.item_id for item in answer.items],
                POPULARITY: self._popularity.slate(event.user_id, K, event.ts, self._rng),
                RANDOM: self._random.slate(event.user_id, K, event.ts, self._rng),
            }.items():
                self.scores[policy].add(n_shown=1, n_taken=int(event.item_id in slate))
        site.publish(events)
        for event in events:
            if event.type in _POSITIVE:
                self._popularity.observe(_as_click(event))
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
