"""Random lives of learners, in memory: tiny bounds, uneven reading, deaths, rebalances, zombies.

What a store holds in the end is a function of its topics and of its schedule, whatever happened to
those who wrote it. A life takes seconds, so many can be tried:
``python -m tests.lives --seeds 0:100`` says of each what verification finds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar
from unittest.mock import patch

import numpy as np

from streamer.config import Config, load_config
from streamer.errors import ConfigError, Fenced, LayoutMismatch, LogTrimmed
from streamer.events import DEFAULT_TYPES, Event, Item, User
from streamer.learner.learner import Learner
from streamer.learner.service import LearnerService
from streamer.model_set import build_models, store_layout
from streamer.protocols import Entry, MessageBatch, Source
from streamer.simulation import live as simulation
from streamer.simulation.broker import MemorySource, Record
from streamer.simulation.live import LiveSystem
from streamer.store.of_models import StoreOfModels
from streamer_models.state.partition import CURSOR
from streamer_models.state.table import Change
from tests.older_copies import Copy, RevertibleStore, item_counts
from tests.verified_store import verified_store

T = TypeVar("T")

START_MS: Final = 1_800_000_000_000
DAY_MS: Final = 86_400_000
USERS: Final = [f"u{n}" for n in range(25)]
ITEMS: Final = [f"i{n}" for n in range(40)]
KINDS: Final = [f"k{n}" for n in range(5)]
TYPES: Final = ["click", "click", "watch", "purchase", "dislike", "impression", "impression"]

CHOICES: Final[dict[str, tuple[Any, ...]]] = {
    "topics.partitions": (1, 1, 2, 3),
    "learner.batch_messages_max": (7, 40, 500),
    "learner.checkpoint_interval_s": (0.3, 5.0, 60.0),
    "learner.checkpoint_rows_max": (50, 2_000, 200_000),
    "learner.dedup_window": (0, 15, 150, 3_000),
    "learner.users_max": (6, 20, 200),
    "learner.items_max": (8, 30, 300),
    "learner.feature_rows_max": (10, 60, 1_000),
    "learner.user_sightings_min": (1, 1, 3),
    "learner.item_sightings_min": (1, 1, 3),
    "learner.idle_expiry_s": (0.0, 0.0, 30.0),
    "mf.loss": ("softmax", "bpr", "logistic"),
    "mf.recent_share": (0.0, 0.5),
    "mf.recent_items": (5, 100, 16_384),
    "mf.history": (2, 64),
    "mf.seen": (0, 200, 1_000),
    "store.log_entries_kept": (100, 1_000),
    "recall.mf.candidates": (0, 0, 20),
    "recall.trending.candidates": (0, 0, 20),
    "recall.similar.neighbours": (2, 400),
    "recall.similar.window": (1, 20),
    "recall.blend.answers": (True, False),
    "recall.blend.window": (1, 8, 32),
    "join.window_s": (1.0, 10.0, 60.0),
    "join.horizon_s": (60.0, 300.0, 1_000.0),
    "join.lateness_s": (0.5, 10.0, 60.0),
    "join.ahead_max_s": (0.5, 10.0, 100.0),
    "join.decisions_max": (3, 20, 1_000),
    "join.feedback_max": (10, 50, 1_000),
    "join.match_without_request": ("always", "reported", "never"),
    "join.unanswered": ("teaches nothing", "counts"),
    "join.combine": ("sum", "max", "first"),
    "bandit.arms_max": (5, 20, 1_000),
    "bandit.form": ("shared", "shared", "disjoint"),
    "bandit.policy": ("linear-thompson", "linucb", "greedy"),
    "bandit.half_life_s": (0.0, 0.0, 30.0),
    "bandit.propensity_weight_max": (1.0, 20.0),
    "practice.share": (0.1, 1.0),
}
"""Setting → values that a life draws one of; bounds so small that all of them are met."""
WITHIN_A_WINDOW: Final = 200
"""Decisions that may come while an event could mean the first of them, and while one topic is
behind the other: such an event is matched by chance where fewer are known (decision 0008)."""
CHANGES: Final[dict[str, tuple[Any, ...]]] = {
    "learner.model": ("implicit", "explicit"),
    "mf.factors": (4, 6),
    "mf.history": (2, 64),
    "mf.loss": ("softmax", "bpr", "logistic"),
    "mf.recent_items": (5, 100, 16_384),
    "mf.recent_share": (0.0, 0.5),
    "mf.seen": (0, 200, 1_000),
    "popularity.half_lives_s": ((3_600.0, 76_800.0), (76_800.0,)),
    "recall.blend.answers": (True, False),
    "recall.blend.window": (1, 8, 32),
    "recall.mf.candidates": (0, 20),
    "recall.next.neighbours": (2, 200),
    "recall.next.window": (1, 5),
    "recall.session.factors": (4, 6),
    "recall.session.length": (1, 2),
    "recall.session.negatives": (1, 20),
    "recall.similar.neighbours": (2, 400),
    "recall.similar.window": (1, 20),
    "recall.taste.on": (True, False),
    "recall.trending.candidates": (0, 20),
    "catalogue.fields": (["categories"], [], ["categories", "tags"]),
    "windows.default_features": (True, False),
    "features.rate": (
        {},
        {"entity": "item", "numerator": ["click"], "half_life": "1h"},
        {"entity": "user", "numerator": ["save"], "half_life": "1h"},
        {
            "entity": "item",
            "numerator": ["purchase"],
            "denominator": ["impression"],
            "half_life": "5m",
        },
    ),
    "funnel.ranker": ("bandit", "blend"),
    "objectives.sales": ({}, {"events": ["purchase"]}, {"events": ["purchase", "save"]}),
    "events.click.weight": (1.0, 3.0),
    "events.purchase.weight": (5.0, 0.0, -3.0),
    "events.watch.value_range": ([0.0, 1.0], [0.2, 0.5]),
    "events.save": ({}, {"weight": 1.0}, {"weight": -2.0}, {"weight": 0.0}),
    "events.arrive": ({}, {"weight": 2.0}),  # its name is before all others
    "practice.share": (0.1, 1.0),
    "join.window_s": (1.0, 10.0, 60.0),
    "join.horizon_s": (60.0, 300.0, 1_000.0),
    "join.lateness_s": (0.5, 10.0, 60.0),
    "join.ahead_max_s": (0.5, 10.0, 100.0),
    "join.decisions_max": (WITHIN_A_WINDOW, 1_000),
    "join.feedback_max": (20, 50, 1_000),
    "join.match_without_request": ("always", "reported", "never"),
    "join.unanswered": ("teaches nothing", "counts"),
    "join.default_reward": (0.0, -0.5),
    "join.combine": ("sum", "max", "first"),
    "bandit.policy": ("linear-thompson", "linucb", "greedy", "beta-thompson", "ucb1"),
    "bandit.form": ("shared", "disjoint"),
    "bandit.pooled": (True, False),
    "bandit.half_life_s": (0.0, 30.0),
    "bandit.time_features": (True, False),
    "bandit.impressions": (0, 3, 128),
    "bandit.context_hashed": ([], ["device"]),
    "bandit.hash_buckets": (4, 8),
    "bandit.propensity_weight_max": (1.0, 20.0),
}
"""Setting → values that one of it may change to on the way; table → what it may hold, nothing where
there is none."""
FIXED: Final[dict[str, Any]] = {
    "mf.factors": 4,
    "recall.session.factors": 4,
    "recall.random.candidates": 5,
    "practice.time_share": 1.0,  # what is practised is to depend on no clock
}


class Died(BaseException):
    """The process of a learner is no more; nobody catches it within."""


class Mortal(RevertibleStore):
    """A store at whose commits a learner dies when it is told to.

    Attributes
    ----------
    fatal
        After how many commits more, and whether that commit comes before the death.
    committed
        (partition, version) → what it changed.
    """

    fatal: tuple[int, bool] | None = None

    def __init__(self, *, log_entries_kept: int) -> None:
        super().__init__(log_entries_kept=log_entries_kept)
        self.committed: dict[tuple[int, int], Change] = {}

    def commit(self, entry: Entry, *, owner: str) -> None:
        n_more, commits = self.fatal or (-1, True)
        if self.fatal is not None:
            self.fatal = (n_more - 1, commits) if n_more else None
        if n_more or commits:
            super().commit(entry, owner=owner)
            self.committed[entry.partition, entry.version] = entry.change
        if n_more == 0:
            raise Died


class Uneven(MemorySource):
    """Reads now of this partition and now of that one, few messages or many."""

    def __init__(self, rng: np.random.Generator, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._rng = rng

    def poll(self, *, n_max: int, timeout_s: float) -> list[MessageBatch]:
        super().poll(n_max=0, timeout_s=0.0)  # takes what it was told to own
        positions = self._positions
        held = positions.held
        positions.held = held | {where for where in positions.at if self._rng.random() < 0.3}
        n = 1 + int(self._rng.integers(0, self._rng.choice([3, 30, 300])))
        batches = positions.poll(min(n, n_max), 0.0)
        positions.held = held
        return batches


class Process(NamedTuple):
    """One learner, as it runs."""

    learner: Learner
    service: LearnerService
    source: Source


class Life:
    """Learners of one store, and what happens to them.

    Parameters
    ----------
    seed
        Draws everything.
    changes
        How likely settings change at a step.
    returns
        How likely the store is copied at a step, or goes back to the copy, while the scorer sleeps.
    settings
        In place of what is drawn.

    Attributes
    ----------
    n_deaths, n_fenced
        Of learners so far, and how often one found that another had taken over.
    n_returns
        Of the store to an older copy so far.
    """

    def __init__(
        self, seed: int, *, changes: float = 0.0, returns: float = 0.0, **settings: Any
    ) -> None:
        self._changes = changes
        self._returns = returns
        self._rng = np.random.default_rng(seed)
        drawn = {name: self._one_of(values) for name, values in CHOICES.items()}
        if changes or drawn["join.match_without_request"] != "never":
            drawn["join.decisions_max"] = max(drawn["join.decisions_max"], WITHIN_A_WINDOW)
        self._flags = {**FIXED, "learner.seed": seed, **drawn, **settings}
        self.config: Config = load_config(os.devnull, env={}, flags=self._flags)
        self.n_deaths = self.n_fenced = self.n_returns = 0
        self._copy: Copy | None = None
        self._sleeps = 0
        self._store = Mortal(log_entries_kept=self.config.store.log_entries_kept)
        with self._reading_unevenly():
            self.live = LiveSystem(
                self.config, start_ms=START_MS, sync_interval_ms=0, store=self._store
            )
        self._alive: list[Process] = []
        self._zombies: list[Process] = []
        self._sent: list[Event] = []
        self._shown: list[tuple[str, str, str, int]] = []  # request, user, item, position

    def _reading_unevenly(self) -> AbstractContextManager[object]:
        return patch.object(simulation, "MemorySource", partial(Uneven, self._rng))

    def _one_of(self, values: Sequence[T]) -> T:
        return values[int(self._rng.integers(len(values)))]

    def _recent(self, values: Sequence[T], mean: float) -> T:
        return values[-1 - int(min(len(values) - 1, self._rng.exponential(mean)))]

    def _happens(self, probability: float) -> bool:
        return bool(self._rng.random() < probability)

    # --- what is published ------------------------------------------------------------------------

    def _event(self) -> Event | None:
        rng, now_ms = self._rng, self.live.clock.now_ms()
        added = sorted(set(self.config.event_types.names) - set(DEFAULT_TYPES))
        what, kind = rng.random(), self._one_of([*TYPES, *added])
        if what < 0.1 and self._sent:
            return self._recent(self._sent, 30.0)  # once more
        user_id, item_id = self._one_of(USERS), self._one_of(ITEMS)
        request_id: str | None = None
        position: int | None = None
        if what < 0.65 and self._shown:
            request_id, user_id, item_id, position = self._recent(self._shown, 20.0)
            if self._happens(0.4):
                request_id, position = None, None
        elif self._happens(0.3):
            request_id = "of another system"
        return Event(
            event_id=f"e{len(self._sent)}",
            type=kind,
            user_id=user_id,
            item_id=item_id,
            ts=now_ms
            - int(self._one_of([0, 0, 0, 100, 3_000, 20_000, 200_000]))
            + int(self._one_of([0, 0, 0, 0, 0, 10_000, 10**10])),
            request_id=request_id,
            position=position,
            value=float(rng.random()) if kind == "watch" else None,
        )

    def _publish(self) -> None:
        for _ in range(int(self._rng.integers(0, 25))):
            event = self._event()
            if event is not None:
                self._sent.append(event)
                self.live.publish(event)
        kinds = [self._one_of(KINDS)]
        if self._happens(0.05):
            self.live.publish(User(user_id=self._one_of(USERS), categories=kinds))
        if self._happens(0.05):
            self.live.publish(Item(item_id=self._one_of(ITEMS), categories=kinds))
        if self._happens(0.02):
            self.live.delete(User(user_id=self._one_of(USERS)))
        if self._happens(0.02):
            self.live.delete(Item(item_id=self._one_of(ITEMS)))

    def _ask(self) -> None:
        if self._sleeps:
            self._sleeps -= 1
            return
        try:
            while self.live.scorer.replica.follow(timeout_s=0.0):
                pass
        except LogTrimmed:
            return  # it loads again the next time
        self.live.scorer.load_catalogue()
        now_ms = self.live.clock.now_ms()
        users = [self._one_of(USERS) for _ in range(int(self._rng.integers(0, 6)))]
        k = int(self._rng.integers(1, 6))
        topic = self.config.topics.topic("decisions")
        for user_id, answer in zip(users, self.live.ask(users, k=k), strict=True):
            if self._happens(0.1):  # by a scorer that started again
                record = Record(user_id.encode(), answer.decision_message, now_ms)
                self.live.broker.append(topic, record)
            for position, item in enumerate(answer.recommendation.items):
                request_id = answer.recommendation.request_id
                self._shown.append((request_id, user_id, item.item_id, position))

    # --- who learns -------------------------------------------------------------------------------

    def _change(self) -> None:
        """Have those who start from now on learn under other settings."""
        for _ in range(int(self._rng.integers(1, 4))):
            name = self._one_of(list(CHANGES))
            value = self._one_of(CHANGES[name])
            flags = {
                key: each for key, each in self._flags.items() if not key.startswith(f"{name}.")
            }
            if isinstance(value, dict):
                flags |= {f"{name}.{key}": each for key, each in value.items()}
            else:
                flags[name] = value
            with contextlib.suppress(ConfigError):  # it does not go with the others
                self.config = load_config(os.devnull, env={}, flags=flags)
                self._flags = flags
        live, models = self.live, build_models(self.config)
        live.config, live._models = self.config, models
        layout = store_layout(self.config, models)
        live._written = StoreOfModels(live.store, layout, learns=True)
        self._zombies += self._alive
        self._alive = [self._start()]

    def _start(self, partitions: list[int] | None = None) -> Process:
        with self._reading_unevenly():
            learner, service = self.live._new_learner(self.live._written, partitions)
            return Process(learner, service, service.join())

    def _round(self, process: Process) -> bool:
        """Have a learner learn; False: that was its last."""
        try:
            process.service.round(process.source, timeout_s=0.0)
        except Died:
            self.n_deaths += 1
            return False
        except (Fenced, LayoutMismatch, LogTrimmed):
            self.n_fenced += 1
            return False
        return True

    def _learn(self) -> None:
        if self._happens(0.04):
            self._store.fatal = int(self._rng.integers(0, 4)), self._happens(0.5)
        for process in list(self._alive):
            for _ in range(int(self._rng.integers(0, 4))):
                if not self._round(process):
                    self._alive.remove(process)
                    break
        if self._zombies and self._happens(0.3):
            process = self._one_of(self._zombies)
            if not self._round(process):
                self._zombies.remove(process)
        if self._changes and self._happens(self._changes):
            self._change()
        if self._alive and self._happens(0.03):  # it stands still, and others take over
            self._zombies.append(self._alive.pop())
        if self._returns and self._happens(self._returns):
            self._return()
        self._share_out()

    def _return(self) -> None:
        """Copy what the store has, or have it go back to the copy."""
        if self._copy is None:
            self._copy = self._store.copied()
            return
        self._store.go_back(self._copy)
        self._copy = None
        self._sleeps = int(self._rng.integers(0, 20))
        self.n_returns += 1

    def _share_out(self) -> None:
        """See to it that somebody learns: one of all partitions, or two."""
        n = self.config.topics.partitions
        if not self._alive:
            self._alive.append(self._start())
        elif self._happens(0.05):
            first, *others = self._alive
            self._zombies += others
            order, cut = self._rng.permutation(n).tolist(), int(self._rng.integers(1, n + 1))
            assert isinstance(first.source, MemorySource)
            first.source.rebalance(sorted(order[:cut]))
            self._alive = [first] if self._round(first) else []
            if cut < n:
                self._alive.append(self._start(sorted(order[cut:])))

    # --- the whole --------------------------------------------------------------------------------

    def live_through(self, n_steps: int) -> None:
        """Let things happen, and at last have one learner learn all that there is."""
        for item_id in ITEMS:
            created_ms = START_MS - int(self._rng.integers(0, 10)) * DAY_MS
            kinds = [self._one_of(KINDS)]
            self.live.publish(Item(item_id=item_id, categories=kinds, created_ts=created_ms))
        now_ms = START_MS
        for _ in range(n_steps):
            now_ms += int(self._rng.choice([0, 1, 50, 1_000, 5_000, 20_000]))
            self.live.clock.set(now_ms)
            self._publish()
            self._learn()
            self._ask()
        self._store.fatal = None
        last = self._start()
        while self._round(last) and (any(last.source.lag().values()) or last.learner.waiting):
            pass
        assert not any(last.source.lag().values())

    def checkpoint(self) -> None:
        """Have one learner fold all that is committed into rows."""
        last = self._start()
        assert self._round(last)
        last.learner.checkpoint_all()

    def problems(self) -> list[str]:
        """Execute the store's schedule again; what differs, in the end or in any commit, and in
        what the scorer has, whose settings stay the first ones, where the learners' do too."""
        found = self._replica_problems()

        def compare(entry: Entry) -> None:
            committed = self._store.committed[entry.partition, entry.version]
            if _rows(entry.change) != _rows(committed):
                found.append(f"partition {entry.partition}, version {entry.version} differs")

        return [*verified_store(self.live, executed=compare).problems, *found]

    def _replica_problems(self) -> list[str]:
        if self._changes:
            return []  # it keeps the last rows of models that began anew
        followed = self.live.scorer.replica
        while followed.follow(timeout_s=0.0):
            pass
        version = followed.current()
        followed.load()
        if item_counts(version) == item_counts(followed.current()):
            return []
        return [f"the scorer has other counts at {version.model_version} than the store"]


def _rows(change: Change) -> dict[str, object]:
    """What a commit changed, in an order that depends on that alone.

    Not from where topics are to be read again: see `streamer.verify.parameters.differences`.
    """
    ids = {
        entity: (sorted(each.added.tolist()), sorted(each.names), sorted(each.removed.tolist()))
        for entity, each in change.ids.items()
    }
    tables = {}
    for kind, of_kind in (("withdrawn", change.withdrawn), ("changed", change.tables)):
        for name, rows in of_kind.items():
            order = np.argsort(rows.keys, kind="stable")  # cells of a list keep theirs
            tables[f"{kind} {name}"] = rows.keys[order].tobytes(), rows.values[order].tobytes()
    tables.pop(f"changed {CURSOR.name}", None)
    return {**ids, **tables}


def _lives(
    seeds: range, n_steps: int, changes: float, returns: float
) -> Iterator[tuple[int, Life]]:
    for seed in seeds:
        life = Life(seed, changes=changes, returns=returns)
        life.live_through(n_steps)
        yield seed, life


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--seeds", default="0:20", help="FROM:TO (0:20)")
    given.add_argument("--changes", type=float, default=0.0, help="of settings, a step (0)")
    given.add_argument("--returns", type=float, default=0.0, help="of older copies, a step (0)")
    given.add_argument("--steps", type=int, default=150, help="of each life (150)")
    options = given.parse_args()
    start, _, end = options.seeds.partition(":")
    n_differing = 0
    for seed, life in _lives(
        range(int(start), int(end)), options.steps, options.changes, options.returns
    ):
        problems = life.problems()
        n_differing += bool(problems)
        said = f"seed {seed}: {life.n_deaths} deaths, {life.n_fenced} fenced, {life.n_returns} back"
        print(said, *problems, sep="\n  ", flush=True)
    return 1 if n_differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
