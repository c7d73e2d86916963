"""One run: everything is started, faults happen as planned, and all is let run out."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deploy.kafka.node import KafkaNode
from tests.crashes import topic_settings
from tests.learner_processes import Deployment, executed
from tests.redis_server import RedisServer
from tests.torture.audit import Audit, Check
from tests.torture.faults import ROLES, Fault, Planned, plan
from tests.torture.ledger import Ledger
from tests.torture.traffic import Traffic
from tests.torture.world import Worker

N_PARTITIONS: Final = 4
PROGRESS_S: Final = 30.0
LATENESS_S: Final = 60.0
"""Longer than any outage here: an event waits in its publisher meanwhile."""
_LOOK_S: Final = 0.05
_BROKER_TRIES: Final = 5

SETTINGS: Final[dict[str, object]] = {
    "learner.sync_interval_ms": 100,
    "learner.checkpoint_interval_s": 2.0,
    "learner.dedup_window": 100_000,
    "learner.users_max": 50_000,
    "learner.items_max": 50_000,
    "learner.feature_rows_max": 50_000,
    "store.log_entries_kept": 1_000,
    "join.unanswered": "counts",
    "windows.default_features": False,
    "windows.lateness_s": LATENESS_S,
    "windows.idle_s": 2.0,
    "features.item_rate.entity": "item",
    "features.item_rate.numerator": ["click"],
    "features.item_rate.half_life": "10m",
    "features.user_clicks.entity": "user",
    "features.user_clicks.numerator": ["click"],
    "features.user_clicks.half_life": "10m",
    "features.item_recency.entity": "item",
    "features.item_recency.numerator": ["click"],
    "features.item_recency.measure": "recency",
    "features.item_ctr.entity": "item",
    "features.item_ctr.numerator": ["click"],
    "features.item_ctr.denominator": ["impression"],
    "features.item_ctr.window": "1m",
    "features.item_ctr.hop": "20s",
    "features.item_ctr.smoothing": 5.0,
    "features.taste.entity": "user_category",
    "features.taste.numerator": ["click"],
    "features.taste.window": "1m",
    "features.item_users.entity": "item",
    "features.item_users.numerator": ["click"],
    "features.item_users.measure": "users",
    "features.item_users.window": "30s",
}


@dataclass(frozen=True, slots=True)
class Torture:
    """What to do.

    Attributes
    ----------
    n_each
        Of each fault, times its share.
    total_s
        Over which they are spread; a machine that can't keep up takes longer.
    """

    seed: int
    n_each: float
    total_s: float
    events_s: float = 50.0
    requests_s: float = 2.0
    patience_s: float = 3_600.0


@dataclass(slots=True)
class Outcome:
    """What came of it; all is well where there are neither problems nor checks that fail.

    Attributes
    ----------
    ended
        Reasons of processes that ended by themselves, and how often.
    seconds, n_commits
        How long the faults took, and what was committed meanwhile.
    """

    ledger: Ledger
    faults: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    checks: list[Check] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    n_commits: int = 0

    @property
    def differing(self) -> list[str]:
        """One line for each thing that is off."""
        return [*self.problems, *(str(check) for check in self.checks if not check.holds)]


def torture(
    what: Torture,
    folder: Path,
    kafka: KafkaNode,
    redis: RedisServer,
    *,
    say: Callable[[str], None],
) -> Outcome:
    """Run it in a folder of its own, on servers of its own; ``say`` is told of progress."""
    with ExitStack() as stack:
        settings = topic_settings(kafka.bootstrap_servers, "torture-", N_PARTITIONS) | SETTINGS
        deployment = stack.enter_context(
            Deployment(folder / "logs", settings | {"store.url": redis.url}, start=executed)
        )
        ledger = Ledger()
        traffic = Traffic(
            deployment.config,
            ledger,
            seed=what.seed,
            events_s=what.events_s,
            requests_s=what.requests_s,
        )
        traffic.publish_items()
        run = _Run(what, deployment, kafka, redis, traffic, Outcome(ledger), say)
        stack.callback(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        signal.signal(signal.SIGTERM, lambda number, frame: run.enough())
        run.start()
        run.wait_until("scorers have taken their partitions", run.scorers_have_partitions)
        traffic.start()
        stack.callback(traffic.stop)
        # Kernels are compiled by then: a process that is killed early, one life after another,
        # would never be done with that.
        run.wait_until("events are learned and requests answered", run.all_work)
        run.suffer(plan(what.n_each, what.total_s, seed=what.seed))
        traffic.finish()
        audit = Audit(deployment, ledger, folder, settings, patience_s=what.patience_s)
        run.settle(audit)
        run.outcome.checks = audit.checks(say)
        return run.outcome


class _Run:
    """Faults and their ends, one after the other."""

    def __init__(
        self,
        what: Torture,
        deployment: Deployment,
        kafka: KafkaNode,
        redis: RedisServer,
        traffic: Traffic,
        outcome: Outcome,
        say: Callable[[str], None],
    ) -> None:
        self.outcome = outcome
        self._what = what
        self._deployment = deployment
        self._traffic = traffic
        self._say = say
        new = {
            "learner": deployment.start,
            "guest": deployment.start,
            "scorer": lambda: deployment.start_scorer(alone=False),
            "features": deployment.start_features,
        }
        self._workers = [Worker(role, new[role]) for role in new for _ in range(ROLES[role])]
        self._free: list[tuple[str, Any]] = [(each.role, each) for each in self._workers]
        self._free += [("kafka", kafka), ("redis", redis), ("traffic", traffic)]
        self._ends: list[tuple[float, Fault[Any], Any]] = []
        self._enough = False
        self._began = time.monotonic()
        self._said_at = 0.0

    def start(self) -> None:
        for worker in self._workers:
            if worker.role != "guest":
                worker.start()

    def wait_until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for something before the first fault; the time of those counts from then on."""
        deadline = self._seconds + self._what.patience_s
        while not condition():
            if self._seconds > deadline:
                raise RuntimeError(f"not after {self._seconds:.0f} s: {what}")
            self._look()
            time.sleep(_LOOK_S)
        self._say(f"{what} after {self._seconds:.0f} s")
        self._began, self._said_at = time.monotonic(), 0.0

    def scorers_have_partitions(self) -> bool:
        """A group that never was begins at the ends of its topics: before, nothing is asked."""
        scorers = [worker for worker in self._workers if worker.role == "scorer"]
        return all(worker.at_work for worker in scorers)

    def all_work(self) -> bool:
        return bool(self._traffic.answered) and all(self._deployment.versions().values())

    def suffer(self, planned: list[Planned]) -> None:
        """Let each fault happen when it is due and something is there that it can happen to."""
        waiting = planned.copy()
        while waiting or self._ends:
            for each in [each for each in waiting if each.at_s <= self._seconds]:
                target = self._take(each)
                if target is not None:
                    waiting.remove(each)
                    self._inject(each, target)
            if self._enough:
                waiting.clear()
            self._look()
            self._say_now_and_then(self._progress())
            if self._traffic.failure is not None:
                raise self._traffic.failure
            time.sleep(_LOOK_S)

    def settle(self, audit: Audit) -> None:
        """Wait until nothing is left to do, and stop everything in order."""
        self.outcome.seconds, self.outcome.n_commits = self._seconds, self._deployment.n_commits
        deadline = self._seconds + self._what.patience_s
        for what in audit.left():
            self._say_now_and_then(f"left: {what}")
            if self._seconds > deadline:
                self.outcome.problems.append(f"after {self._what.patience_s:.0f} s still: {what}")
                break
            self._look()
            time.sleep(1.0)
        for worker in self._workers:
            worker.leave()
        while not all(worker.has_left for worker in self._workers):
            self._look()
            time.sleep(_LOOK_S)
        for worker in self._workers:
            self.outcome.problems += worker.problems
            self.outcome.ended += worker.ended

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def enough(self) -> None:
        """Let no more faults happen."""
        self._enough = True

    def _take(self, planned: Planned) -> Any:
        """Something that a fault may happen to now, which suffers from nothing; None: nothing."""
        role = planned.fault.role
        if planned.at_work and role in ("kafka", "redis") and not self._a_learner_and_a_scorer_work:
            return None
        for place, (of, target) in enumerate(self._free):
            if of != role or (role == "guest" and not target.has_left):
                continue
            if planned.at_work and role in ("learner", "scorer", "features") and not target.at_work:
                continue
            del self._free[place]
            return target
        return None

    @property
    def _a_learner_and_a_scorer_work(self) -> bool:
        at_work = {role for role, target in self._free if role in ROLES and target.at_work}
        return {"learner", "scorer"} <= at_work

    def _inject(self, planned: Planned, target: Any) -> None:
        fault = planned.fault
        fault.inject(target)
        self.outcome.faults[fault.name] += 1
        self._ends.append((self._seconds + planned.seconds, fault, target))

    def _look(self) -> None:
        """End what is over, and start again what has ended by itself."""
        for end in [end for end in self._ends if end[0] <= self._seconds]:
            _, fault, target = end
            if fault.comes_to_work and not (target.at_work or self._enough):
                continue
            self._ends.remove(end)
            _heal(fault, target)
            self._free.append((fault.role, target))  # behind the others: they take turns
        for worker in self._workers:
            worker.look()

    def _say_now_and_then(self, line: str) -> None:
        if self._seconds - self._said_at >= PROGRESS_S:
            self._said_at = self._seconds
            self._say(line)

    def _progress(self) -> str:
        ledger, faults = self.outcome.ledger, self.outcome.faults
        return (
            f"{self._seconds:.0f} s: {sum(faults.values())} faults,"
            f" {ledger.n('events')} events, {ledger.n('requests')} requests,"
            f" {len(self._traffic.answered)} answered"
        )


def _heal(fault: Fault[Any], target: Any) -> None:
    """End a fault; a broker on a busy machine may not start in time at once."""
    for left in reversed(range(_BROKER_TRIES)):
        try:
            fault.heal(target)
            return
        except RuntimeError:
            if not left:
                raise
