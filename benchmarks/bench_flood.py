"""What does a flood of new ids cost a learner at its bounds, beside the same events far from them?

``python -m benchmarks.bench_flood --json OUT`` learns events each of a user and an item never seen
before, in one process: broker and store are in memory, the rest is as it runs live, practice
included. In turns, several rounds of each, with

- ``far``: the default bounds, which the events don't reach;
- ``users_2000`` and alike: a bound of 2,000 users, items, rows of features or arms a partition,
  the others as they are by default; ``all_2000``: all of them;
- ``all_20000``: with bounds of 20,000, which are full before the measured events come.

``slowdown`` is events/s of ``far`` over events/s of each by the wall clock, medians over the
rounds; ``slowdown_cpu`` is the same by the processor time of this process, which other load touches
less. The events that fill the tables before are not measured.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client import CollectorRegistry

from benchmarks.environment import environment, parser, write
from streamer.application.services.processes import collect_garbage_rarely
from streamer.application.services.warm_up import warm_up
from streamer.config import Config, load_config
from streamer.learner.configured import learner_settings, reward_function
from streamer.learner.learner import Learner
from streamer.learner.practice.budget import PracticeBudget
from streamer.learner.practice.practice import Practice
from streamer.learner.service import dead_letters_to
from streamer.model_set import build_models, store_layout
from streamer.simulation.broker import ManualClock, MemoryBroker, MemorySink, MemorySource, Record
from streamer.store.memory import MemoryStore
from streamer.store.of_models import StoreOfModels

TOPIC_MS: Final = 1_700_000_000_000
FILLED: Final = 40_100
"""More than two batches: tables double at the third, and have room for the measured events."""
BOUNDS: Final = {
    "users": "learner.users_max",
    "items": "learner.items_max",
    "features": "learner.feature_rows_max",
}


@dataclass(slots=True)
class Timing:
    """Rounds of one contender."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    n_commits: int = 0
    n_evicted: dict[str, int] = field(default_factory=dict)


class Flood:
    """A learner of one partition, and events by ids that are new, each."""

    def __init__(self, config: Config) -> None:
        topics = config.topics
        self.clock = ManualClock(TOPIC_MS)
        names = (topics.topic(role) for role in ("events", "decisions", "dead_letters"))
        self.broker = MemoryBroker(dict.fromkeys(names, 1))
        models = build_models(config)
        store = StoreOfModels(MemoryStore(), store_layout(config, models), learns=True)
        practice = config.practice
        budget = PracticeBudget(practice.share, practice.time_share, CollectorRegistry())
        self._n_max = config.learner.batch_messages_max
        self._topic = topics.topic("events")
        self._n_published = 0
        self.learner = Learner(
            store=store,
            models=models,
            settings=learner_settings(config, generation=store.generation, entities=store.entities),
            rewards=reward_function(config),
            practice=Practice(config, budget=budget),
            owner="flood",
            clock=self.clock,
            dead_letter=dead_letters_to(
                MemorySink(self.broker, clock=self.clock), topics.topic("dead_letters")
            ),
        )
        self._source = MemorySource(
            self.broker,
            "learner",
            [topics.topic("events"), topics.topic("decisions")],
            on_assign=self.learner.assign,
            on_revoke=lambda partitions: self.learner.release(),
            clock=self.clock,
        )

    def publish(self, n: int) -> None:
        """Publish clicks of ``n`` new users on as many new items."""
        for i in range(self._n_published, self._n_published + n):
            value = (
                b'{"event_id":"e-%09d","type":"click","user_id":"user-%09d","item_id":"item-%09d",'
                b'"ts":%d}' % (i, i, i, TOPIC_MS + i)
            )
            self.broker.append(self._topic, Record(None, value, TOPIC_MS + i), partition=0)
        self._n_published += n

    def learn(self) -> None:
        """Learn all that is published, in batches of the usual size."""
        while self.learner.counts.n_messages < self._n_published:
            self.learner.learn(self._source.poll(n_max=self._n_max, timeout_s=0.0))
        self.learner.flush()
        self.broker.trim((self._topic, 0), self._n_published)


def contenders() -> dict[str, dict[str, Any]]:
    """Name → flags."""
    small = {f"{name}_2000": {key: 2_000} for name, key in BOUNDS.items()}
    return {
        "far": {},
        **small,
        "all_2000": dict.fromkeys(BOUNDS.values(), 2_000),
        "all_20000": dict.fromkeys(BOUNDS.values(), 20_000),
    }


def run(flags: dict[str, Any], n: int, timing: Timing) -> None:
    """One round: fill the tables, then measure."""
    config = load_config(env={}, flags={"topics.partitions": 1, **flags})
    flood = Flood(config)
    flood.publish(FILLED)
    flood.learn()
    flood.publish(n)
    counts = flood.learner.counts
    n_commits, before = counts.n_commits, dict(counts.n_evicted)
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    flood.learn()
    timing.wall_s.append(time.perf_counter() - began_s)
    timing.cpu_s.append(time.process_time() - began_cpu_s)
    timing.n_commits = counts.n_commits - n_commits
    timing.n_evicted = {
        entity: n_now - before[entity]
        for entity, n_now in counts.n_evicted.items()
        if n_now > before[entity]
    }


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--messages", type=int, default=24_000, help="events a round")
    options.add_argument("--rounds", type=int, default=3, help="rounds of each contender")
    options.add_argument("--only", nargs="*", help="these contenders, and far")
    chosen = options.parse_args()
    n = chosen.messages
    collect_garbage_rarely()
    config = load_config(env={}, flags={"topics.partitions": 1})
    warm_up(config)
    run({}, 2_000, Timing())
    flags = contenders()
    if chosen.only:
        flags = {name: each for name, each in flags.items() if name in {"far", *chosen.only}}
    timings = {name: Timing() for name in flags}
    for _ in range(chosen.rounds):
        for name, timing in timings.items():
            run(flags[name], n, timing)
    cpu_s = {name: statistics.median(timing.cpu_s) for name, timing in timings.items()}
    rates = {name: n / statistics.median(timing.wall_s) for name, timing in timings.items()}
    write(
        {
            "benchmark": "flood",
            "seed": chosen.seed,
            "n_messages": n,
            "n_rounds": chosen.rounds,
            "events_per_s": {name: round(rate) for name, rate in rates.items()},
            "slowdown": {name: round(rates["far"] / rate, 2) for name, rate in rates.items()},
            "slowdown_cpu": {name: round(each / cpu_s["far"], 2) for name, each in cpu_s.items()},
            "n_commits": {name: timing.n_commits for name, timing in timings.items()},
            "n_evicted": {name: timing.n_evicted for name, timing in timings.items()},
            "wall_s": {name: timing.wall_s for name, timing in timings.items()},
            "environment": environment("msgspec", "numba", "numpy", "orjson"),
        },
        chosen.json,
    )


if __name__ == "__main__":
    main()
