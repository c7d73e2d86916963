"""Regret of bandit policies on contexts that are given: the tastes of simulated users.

Decision by decision without the system around it, so that hundreds of thousands are affordable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.events import Event
from streamer_models.bandits.in_memory import published_bandit
from streamer_models.bandits.protocols import LearningBandit
from streamer_models.state.ids.id_table import id_key
from streamer_producers.baselines import PopularitySlates
from streamer_producers.click_model import ClickModel, SimulatorConfig

K = 5
AT_ONCE = 20
"""Decisions between two updates: their feedback is on its way meanwhile."""
STEP_MS = 2_000

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """Decisions of one time.

    Attributes
    ----------
    users
        ``(n,)`` rows.
    contexts
        ``(n, d)``: a constant and the tastes of the users.
    seeds
        ``(n,)`` of the draws.
    """

    ts_ms: int
    users: Rows
    contexts: Floats
    seeds: Rows


class Contender(Protocol):
    """Shows slates and learns from what became of them."""

    def choose(self, batch: Batch) -> Rows:
        """``(n, K)`` items."""

    def learn(self, batch: Batch, slates: Rows, clicks: NDArray[np.bool_]) -> None: ...


class ByItem:
    """A policy with an arm an item, told the tastes of who asks."""

    def __init__(self, policy: LearningBandit, n_items: int) -> None:
        self._policy = policy
        names = (f"i{row}".encode() for row in range(n_items))
        self._arms = np.array([id_key(name) for name in names], dtype=np.uint64)

    def choose(self, batch: Batch) -> Rows:
        shape = (len(self._arms), batch.contexts.shape[1])
        choices = zip(batch.contexts, batch.seeds.tolist(), strict=True)
        return np.array(
            [
                self._policy.choose(
                    np.ascontiguousarray(np.broadcast_to(context, shape)), self._arms, K, seed
                ).order
                for context, seed in choices
            ]
        )

    def learn(self, batch: Batch, slates: Rows, clicks: NDArray[np.bool_]) -> None:
        self._policy.update(
            np.repeat(batch.contexts, K, axis=0),
            self._arms[slates.ravel()],
            clicks.ravel().astype(np.float64),
            np.full(slates.size, batch.ts_ms, dtype=np.int64),
        )


class ByUserAndItem:
    """A policy with an arm for each user and item: nothing is carried from one to another."""

    def __init__(self, policy: LearningBandit, n_users: int, n_items: int) -> None:
        self._policy = policy
        names = (f"u{user} i{item}".encode() for user in range(n_users) for item in range(n_items))
        arms = np.array([id_key(name) for name in names], dtype=np.uint64)
        self._arms = arms.reshape(n_users, n_items)
        self._no_context = np.zeros((n_items, 0))

    def choose(self, batch: Batch) -> Rows:
        asked = zip(batch.users, batch.seeds.tolist(), strict=True)
        return np.array(
            [self._policy.choose(self._no_context, self._arms[u], K, s).order for u, s in asked]
        )

    def learn(self, batch: Batch, slates: Rows, clicks: NDArray[np.bool_]) -> None:
        self._policy.update(
            np.zeros((slates.size, 0)),
            self._arms[batch.users[:, None], slates].ravel(),
            clicks.ravel().astype(np.float64),
            np.full(slates.size, batch.ts_ms, dtype=np.int64),
        )


class Popular:
    """The items with most clicks of late, the same for everybody."""

    def __init__(self, n_items: int) -> None:
        self._rows = {f"i{row}": row for row in range(n_items)}
        self._names = list(self._rows)
        self._slates = PopularitySlates(self._names)

    def choose(self, batch: Batch) -> Rows:
        rng = np.random.default_rng(int(batch.seeds[0]))
        slate = self._slates.slate("anybody", K, batch.ts_ms, rng)
        return np.tile([self._rows[name] for name in slate], (len(batch.users), 1))

    def learn(self, batch: Batch, slates: Rows, clicks: NDArray[np.bool_]) -> None:
        for number, row in enumerate(slates[clicks].tolist()):
            # Somebody else each time: an item that was clicked may be shown again, as by the rest.
            name = self._names[row]
            self._slates.observe(
                Event(event_id=str(number), type="click", user_id="", item_id=name, ts=batch.ts_ms)
            )


class Anything:
    """Slates at random."""

    def __init__(self, n_items: int) -> None:
        self._n_items = n_items

    def choose(self, batch: Batch) -> Rows:
        draws = (np.random.default_rng(seed).random(self._n_items) for seed in batch.seeds.tolist())
        return np.array([np.argsort(draw)[:K] for draw in draws])

    def learn(self, batch: Batch, slates: Rows, clicks: NDArray[np.bool_]) -> None:
        """Nothing is learned."""


def drifting(n_items: int, n_features: int) -> Mapping[str, Callable[[], Contender]]:
    """Who takes part where tastes wander."""

    def linear(name: str, **settings: Any) -> ByItem:
        return ByItem(published_bandit(name, n_features, arms_max=n_items, **settings), n_items)

    return {
        "linucb": lambda: linear("linucb", alpha=0.25),
        "linear-thompson": lambda: linear("linear-thompson", noise_scale=0.1, n_draws=8),
        "greedy": lambda: linear("greedy"),
        "popularity": lambda: Popular(n_items),
        "random": lambda: Anything(n_items),
    }


def changing(n_users: int, n_items: int) -> Mapping[str, Callable[[], Contender]]:
    """Who takes part where tastes change at once: the same policy, forgetting or not."""

    def beta(half_life_s: float) -> ByUserAndItem:
        policy = published_bandit(
            "beta-thompson",
            prior_strength=5.0,
            prior_reward=0.1,
            n_draws=4,
            half_life_s=half_life_s,
            arms_max=n_users * n_items,
        )
        return ByUserAndItem(policy, n_users, n_items)

    return {"keeping": lambda: beta(0.0), "forgetting": lambda: beta(100.0)}


@dataclass(frozen=True, slots=True)
class Played:
    """``(n_batches,)`` mean expected clicks of a slate: of what was shown, and of the best."""

    shown: Floats
    best: Floats


def play(
    world: SimulatorConfig,
    contenders: Mapping[str, Callable[[], Contender]],
    *,
    n_decisions: int,
    on_step: Callable[[], None] = lambda: None,
) -> dict[str, Played]:
    """All contenders side by side: the same users at the same times, the same coins."""
    model = ClickModel(world)
    playing = {name: make() for name, make in contenders.items()}
    rng = np.random.default_rng([world.seed, 1])
    n_batches = n_decisions // AT_ONCE
    shown = {name: np.zeros(n_batches) for name in playing}
    best = np.zeros(n_batches)
    every_item = np.tile(np.arange(world.n_items), (AT_ONCE, 1))
    for step in range(n_batches):
        ts_ms = world.start_ms + step * STEP_MS
        users = rng.choice(world.n_users, AT_ONCE, replace=False)
        times = np.full(AT_ONCE, ts_ms, dtype=np.int64)
        tastes = model.tastes(users, times)
        batch = Batch(
            ts_ms,
            users,
            np.concatenate([np.ones((AT_ONCE, 1)), tastes], axis=1),
            rng.integers(0, 2**62, AT_ONCE),
        )
        probabilities = model.probabilities(users, every_item, times)
        coins = rng.random(probabilities.shape)
        best[step] = np.sort(probabilities, axis=1)[:, -K:].sum() / AT_ONCE
        for name, contender in playing.items():
            slates = contender.choose(batch)
            found = np.take_along_axis(probabilities, slates, axis=1)
            shown[name][step] = found.sum() / AT_ONCE
            contender.learn(batch, slates, np.take_along_axis(coins, slates, axis=1) < found)
        on_step()
    return {name: Played(values, best) for name, values in shown.items()}
