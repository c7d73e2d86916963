"""Logs to replay: in memory, hand-made or random."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from streamer.config import Config
from streamer.config.specs import parse_specs
from streamer.events import Event, Item, User
from streamer.replay.experiment import Experiment, Outcome
from streamer.replay.settings import Settings
from streamer_producers.log import Malformed

DAY_MS = 86_400_000


class MemoryLog:
    """Events that are in the order of time already."""

    name = "memory"
    n_malformed = 0
    malformed: Sequence[Malformed] = ()
    gone: Sequence[str] = ()

    def __init__(
        self, events: Sequence[Event], items: Sequence[Item] = (), users: Sequence[User] = ()
    ) -> None:
        self._events = events
        self._items = items
        self._users = users

    @property
    def n_estimated(self) -> int:
        return len(self._events)

    def events(self) -> Iterator[Event]:
        return iter(self._events)

    def items(self) -> Iterator[Item]:
        return iter(self._items)

    def users(self) -> Iterator[User]:
        return iter(self._users)


def event(
    user: str, item: str, ts: int, *, kind: str = "rating", value: float | None = 5.0
) -> Event:
    return Event(
        event_id=f"{user}-{item}-{ts}", type=kind, user_id=user, item_id=item, ts=ts, value=value
    )


def random_log(
    n: int, *, seed: int, n_users: int = 20, n_items: int = 40, same_times: bool = False
) -> MemoryLog:
    """Ratings from 1 to 5 of skewed items; a pair may come more than once."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, n_users, n)
    items = (n_items * rng.random(n) ** 2).astype(int)
    values = rng.integers(1, 6, n)
    rows = zip(users.tolist(), items.tolist(), values.tolist(), strict=True)
    return MemoryLog(
        [
            event(f"u{user}", f"i{item}", (at // 4 if same_times else at) * DAY_MS, value=value)
            for at, (user, item, value) in enumerate(rows)
        ],
        [
            Item(item_id=f"i{row}", categories=[f"c{row % 3}", f"d{row % 5}"])
            for row in range(n_items)
        ],
    )


def replayed(log: MemoryLog, models: str, settings: Settings | None = None) -> Outcome:
    settings = settings or Settings(positives="value>=5")
    return Experiment(log, parse_specs([models]), settings, config=Config()).run()


def means(outcome: Outcome, model: int = 0) -> dict[str, float]:
    """Mean of each metric of a model that says something."""
    found = {
        name: outcome.tally.total.mean(model, 0, metric)[0]
        for metric, name in enumerate(outcome.tally.metrics)
    }
    return {name: mean for name, mean in found.items() if not math.isnan(mean)}
