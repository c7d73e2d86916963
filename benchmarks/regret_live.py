"""Regret of the whole system in one process, learning from its own feedback alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from benchmarks.regret_policies import Played
from streamer.config import Config, load_config
from streamer.events import Event
from streamer.ranking.columns import prior_mean
from streamer.ranking.features import Features
from streamer.scorer.policy.choice import Choice, Parameters
from streamer.scorer.policy.knowledge import Knowledge
from streamer.simulation.live import LiveSystem
from streamer_producers.baselines import PopularitySlates, RandomSlates, Slates
from streamer_producers.simulator import Simulator, SimulatorConfig

K = 5
AT_ONCE = 20
"""Requests between two syncs."""
STEP_MS = 2_000
HISTORY = 16
"""Items a user clicked last, which nobody may show again: the best slate is without them too."""

SMALL = {
    "topics.partitions": 1,
    "recall.mf.candidates": 60,
    "recall.trending.candidates": 40,
    "mf.history": HISTORY,
    "mf.factors": 16,
    "join.horizon_s": 600,
    "learner.dedup_window": 10_000,
}
"""Settings that suit 300 items; the rest is as it comes."""


class FixedBlend:
    """The blend of channels that the bandit starts from, which learns nothing."""

    def __init__(self, config: Config) -> None:
        self.name = "blend"
        self.parameters: Parameters = {}
        self._weights = prior_mean(config)

    def choose(self, features: Features, knowledge: Knowledge, k: int, seed: int) -> Choice:
        scores = features.values.astype(np.float64) @ self._weights
        order = np.argsort(-scores, kind="stable")[:k]
        nothing_explored = np.zeros(len(order), dtype=np.bool_)
        return Choice(order, np.ones(len(order)), nothing_explored, scores, b"")


class Contender(Protocol):
    """Shows slates and is told what became of them."""

    def ask(self, user_ids: Sequence[str], ts_ms: int) -> list[list[str]]: ...

    def react(self, number: int, ts_ms: int) -> list[Event]:
        """Reactions to slate ``number`` of the last :meth:`ask`, told to the system."""


class System:
    """The live system."""

    def __init__(self, simulator: Simulator, flags: dict[str, Any], *, blend: bool = False) -> None:
        config = load_config(env={}, flags={**SMALL, **flags})
        self._simulator = simulator
        self._live = LiveSystem(
            config,
            start_ms=simulator.config.start_ms,
            sync_interval_ms=STEP_MS,
            policy=FixedBlend(config) if blend else None,
            keeps_messages=False,
        )
        self._live.publish(*simulator.items())
        self._asked: list[tuple[str, str, list[str]]] = []

    def ask(self, user_ids: Sequence[str], ts_ms: int) -> list[list[str]]:
        before_ms = self._live.clock.now_ms()
        self._live.publish(*self._simulator.arrivals(before_ms, ts_ms))
        self._live.advance(ts_ms)
        answers = [answer.recommendation for answer in self._live.ask(user_ids, k=K)]
        slates = [[item.item_id for item in answer.items] for answer in answers]
        self._asked = [(a.user_id, a.request_id, s) for a, s in zip(answers, slates, strict=True)]
        return slates

    def react(self, number: int, ts_ms: int) -> list[Event]:
        user_id, request_id, slate = self._asked[number]
        events = self._simulator.react(user_id, slate, ts_ms, request_id)
        self.publish(events)
        return events

    def publish(self, events: Sequence[Event]) -> None:
        """Tell the system of events."""
        self._live.publish(*events)


class Baseline:
    """Slates that are chosen without the system; what a user clicked last is left out as there."""

    def __init__(self, simulator: Simulator, slates: Slates, seed: int) -> None:
        self._simulator = simulator
        self._slates = slates
        self._rng = np.random.default_rng(seed)
        self._met = Met(simulator)
        self._asked: list[tuple[str, list[str]]] = []

    def ask(self, user_ids: Sequence[str], ts_ms: int) -> list[list[str]]:
        self._asked = []
        for user_id in user_ids:
            met = self._met.of(user_id)
            slate = self._slates.slate("anybody", K + len(met), ts_ms, self._rng)
            self._asked.append((user_id, [item for item in slate if item not in met][:K]))
        return [slate for _, slate in self._asked]

    def react(self, number: int, ts_ms: int) -> list[Event]:
        user_id, slate = self._asked[number]
        events = self._simulator.react(user_id, slate, ts_ms, f"{user_id}-{ts_ms}")
        self._met.note(events)
        if isinstance(self._slates, PopularitySlates):
            for event in events:
                if event.type == "click":
                    self._slates.observe(_anybodys(event))
        return events


class Met:
    """The items that each user clicked last."""

    def __init__(self, simulator: Simulator) -> None:
        self._by_user: dict[str, dict[str, None]] = {user: {} for user in simulator.user_ids}

    def of(self, user_id: str) -> dict[str, None]:
        return self._by_user[user_id]

    def note(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.type == "click":
                met = self._by_user[event.user_id]
                met.pop(event.item_id, None)
                met[event.item_id] = None
                if len(met) > HISTORY:
                    del met[next(iter(met))]


def contenders(seed: int) -> dict[str, Callable[[Simulator], Contender]]:
    """Who takes part, by name; the bandit is as it comes."""

    def system(policy: str | None = None, **flags: Any) -> Callable[[Simulator], Contender]:
        chosen = {"learner.seed": seed} | ({} if policy is None else {"bandit.policy": policy})
        return lambda simulator: System(simulator, chosen | flags)

    return {
        "bandit": system(),
        "greedy": system("greedy"),
        "blend": lambda sim: System(sim, {"learner.seed": seed}, blend=True),
        "popularity": lambda sim: Baseline(sim, PopularitySlates(sim.item_ids), seed),
        "random": lambda sim: Baseline(sim, RandomSlates(sim.item_ids), seed),
    }


def play(
    world: SimulatorConfig,
    make: Callable[[Simulator], Contender],
    *,
    n_decisions: int,
    on_step: Callable[[], None] = lambda: None,
) -> Played:
    """One contender; who asks when, and every coin, is the same for all of them."""
    simulator = Simulator(world)
    contender = make(simulator)
    rng = np.random.default_rng([world.seed, 1])
    met = Met(simulator)
    n_steps = n_decisions // AT_ONCE
    shown, best = np.zeros(n_steps), np.zeros(n_steps)
    for step in range(n_steps):
        ts_ms = world.start_ms + (step + 1) * STEP_MS
        rows = rng.choice(world.n_users, AT_ONCE, replace=False)
        user_ids = [simulator.user_ids[row] for row in rows]
        for number, slate in enumerate(contender.ask(user_ids, ts_ms)):
            user_id = user_ids[number]
            ideal = simulator.best_slate(user_id, K, ts_ms, exclude=met.of(user_id))
            best[step] += simulator.expected_clicks(user_id, ideal, ts_ms) / AT_ONCE
            shown[step] += simulator.expected_clicks(user_id, slate, ts_ms) / AT_ONCE
            met.note(contender.react(number, ts_ms))
        on_step()
    return Played(shown, best)


def _anybodys(event: Event) -> Event:
    """The same of somebody who never asks, so that popularity rules nothing out by itself."""
    return Event(
        event_id=event.event_id, type="click", user_id="", item_id=event.item_id, ts=event.ts
    )
