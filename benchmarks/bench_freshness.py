"""How long does a click take until what it taught is served, at half load and without one?

``python benchmarks/bench_freshness.py --json OUT`` starts a learner and a scorer on a real Kafka
and a real Redis with the default settings, publishes a history of skewed clicks, and then measures

- ``full_per_s``: events learned a second when they are published as fast as can be;
- ``idle``: users click what was recommended to them, one after the other, and nothing else happens;
- ``half``: the same while ``half_per_s`` events a second are published, half of the full load, or
  ``--publish-max`` where that is less: a publisher in Python takes cores of its own.

Of both the ``outside`` clock, which runs from before a click is published until an answer that
knows it is there, and the ``request`` round trips; ``half_vs_idle`` has their ratios. At half load
also the product's ``own`` metric, ``streamer_scorer_freshness_ms``, read after each click (medians
of the readings): it is of the last 10,000 events, and ``outside`` is above it by the publication
and up to two requests.

Kafka, Redis and the publisher run on the same cores, as they would not in production.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import environment, parser, write
from streamer.application.local.system import LocalSystem, local_system
from streamer.client import Publisher, Recommender
from streamer.config import Config, load_config
from streamer.events import Event, encode
from tests.brokers import kafka_service, redis_service
from tests.clicks import ClickTimes

N_USERS, N_ITEMS = 20_000, 5_000
LOAD_STARTS_S = 3.0
TIMEOUT_S = 120.0
_TAKEN = "streamer_learner_events_total"
_FRESHNESS = "streamer_scorer_freshness_ms"


@dataclass(slots=True)
class Measured:
    """Clicks under one load, and the product's own quantiles after each."""

    times: ClickTimes = field(default_factory=ClickTimes)
    own_p50: list[float] = field(default_factory=list)
    own_p99: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Quantiles in milliseconds."""
        return {
            "n_clicks": len(self.times.outside),
            "outside_ms": _quantiles(self.times.outside),
            "request_ms": _quantiles(self.times.round_trips),
        }

    def own(self) -> dict[str, float]:
        """Medians of the product's own quantiles in milliseconds."""
        return {
            "p50": round(statistics.median(self.own_p50), 2),
            "p99": round(statistics.median(self.own_p99), 2),
        }


@dataclass(slots=True)
class Bench:
    """The running system and the load on it."""

    system: LocalSystem
    publisher: Publisher
    recommender: Recommender
    folder: Path
    seed: int
    n_logs: int = 0

    def metric(self, name: str) -> float:
        """A sample that one of the processes serves; a busy one may not answer the first time."""
        deadline = time.monotonic() + TIMEOUT_S
        while (value := self.system.metrics().get(name)) is None:
            self.system.check()
            assert time.monotonic() < deadline, f"{name} is not served"
        return value

    def learn(self, n: int) -> float:
        """Publish ``n`` events as fast as can be; events learned a second, from the first on."""
        log = self._log(n, per_s=1_000.0)
        before = self.metric(_TAKEN)
        began: tuple[float, float] | None = None
        deadline = time.monotonic() + TIMEOUT_S
        with self._publishing(log):
            while (taken := self.metric(_TAKEN) - before) < n:
                assert time.monotonic() < deadline, f"{taken} of {n} events learned"
                if taken and began is None:
                    began = time.perf_counter(), taken
                time.sleep(0.02)
            ended_s = time.perf_counter()
        assert began is not None, "all was learned between two looks: publish more"
        return (n - began[1]) / (ended_s - began[0])

    def idle(self, users: list[str]) -> Measured:
        """Clicks of some users while nothing else happens."""
        found = Measured()
        for user in users:
            self._click(user, found)
        return found

    def under_load(self, users: list[str], per_s: float, load_s: float) -> Measured:
        """Clicks of some users, as many as there is time for, while events are published."""
        log, found = self._log(int(load_s * per_s), per_s=per_s), Measured()
        with self._publishing(log, "--speed", "1") as load:
            time.sleep(LOAD_STARTS_S)
            for user in users:
                if load.poll() is not None:
                    break  # what is measured from here on would be without the load
                self._click(user, found)
        return found

    def _click(self, user: str, found: Measured) -> None:
        found.times.click(user, self.publisher, self.recommender, timeout_s=TIMEOUT_S)
        found.own_p50.append(self.metric(f"{_FRESHNESS}{{0.5}}"))
        found.own_p99.append(self.metric(f"{_FRESHNESS}{{0.99}}"))

    def _log(self, n: int, *, per_s: float) -> Path:
        """Clicks of skewed users on skewed items, ``per_s`` a second of the log's time."""
        self.n_logs += 1
        path = self.folder / f"{self.n_logs}.jsonl"
        rng = np.random.default_rng([self.seed, self.n_logs])
        users = (N_USERS * rng.random(n) ** 3).astype(int).tolist()
        items = (N_ITEMS * rng.random(n) ** 3).astype(int).tolist()
        start_ms = time.time_ns() // 1_000_000
        with path.open("wb") as file:
            for number, (user, item) in enumerate(zip(users, items, strict=True)):
                event = Event(
                    event_id=f"{self.n_logs}-{number}",
                    type="click",
                    user_id=f"user-{user}",
                    item_id=f"item-{item}",
                    ts=start_ms + int(1000 * number / per_s),
                )
                file.write(encode(event) + b"\n")
        return path

    @contextmanager
    def _publishing(self, log: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """`streamer publish` in a process of its own."""
        config = self.system.config
        variables = os.environ | {
            "STREAMER_KAFKA__BOOTSTRAP_SERVERS": config.kafka.bootstrap_servers,
            "STREAMER_TOPICS__PREFIX": config.topics.prefix,
        }
        command = [sys.executable, "-P", "-m", "streamer", "publish", str(log), *options]
        load = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL)
        try:
            yield load
        finally:
            load.terminate()
            load.wait()


def _quantiles(samples: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(samples, [50, 99])
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2)}


def _ratios(half: dict[str, Any], idle: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {
        clock: {q: round(half[clock][q] / max(idle[clock][q], 1.0), 2) for q in ("p50", "p99")}
        for clock in ("outside_ms", "request_ms")
    }


@contextmanager
def _bench(config: Config, folder: Path, seed: int) -> Iterator[Bench]:
    with (
        local_system(config, config_path=Path(os.devnull), log_dir=folder) as system,
        Publisher(config=system.config) as publisher,
        Recommender(config=system.config) as recommender,
    ):
        for item in range(N_ITEMS):
            publisher.publish_item(f"item-{item}")
        publisher.flush()
        system.wait_until_ready(recommender, timeout_s=TIMEOUT_S)
        yield Bench(system, publisher, recommender, folder, seed)


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--full-events", type=int, default=150_000, help="events at full load")
    options.add_argument("--clicks", type=int, default=200, help="clicks at each load, at most")
    options.add_argument("--load-s", type=float, default=30.0, help="seconds of half load")
    options.add_argument("--publish-max", type=float, default=20_000.0, help="events a second")
    chosen = options.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(kafka_service(folder / "kafka"))
        (folder / "redis").mkdir()
        redis_url = stack.enter_context(redis_service(folder / "redis"))
        config = load_config(
            os.devnull,
            env={},
            flags={
                "kafka.bootstrap_servers": broker,
                "topics.prefix": f"bench-{uuid.uuid4().hex[:8]}-",
                "store.url": redis_url,
                "store.key_prefix": f"bench-{uuid.uuid4().hex}",
            },
        )
        bench = stack.enter_context(_bench(config, folder, chosen.seed))
        bench.learn(chosen.full_events // 3)  # the history, and what is compiled at first use
        full_per_s = bench.learn(chosen.full_events)
        half_per_s = min(full_per_s / 2, chosen.publish_max)
        users = [f"user-{number}" for number in range(2 * chosen.clicks)]
        idle = bench.idle(users[: chosen.clicks]).summary()
        loaded = bench.under_load(users[chosen.clicks :], half_per_s, chosen.load_s)
        half = loaded.summary() | {"own_ms": loaded.own()}
    write(
        {
            "benchmark": "freshness",
            "seed": chosen.seed,
            "n_users": N_USERS,
            "n_items": N_ITEMS,
            "full_events": chosen.full_events,
            "full_per_s": round(full_per_s),
            "half_per_s": round(half_per_s),
            "idle": idle,
            "half": half,
            "half_vs_idle": _ratios(half, idle),
            "environment": environment("confluent-kafka", "msgspec", "numba", "numpy", "redis"),
        },
        chosen.json,
    )


if __name__ == "__main__":
    main()
