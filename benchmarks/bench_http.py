"""How many recommendations a second does one service give over HTTP and over Kafka, and how soon?

``python -m benchmarks.bench_http --json OUT`` starts a learner and `streamer serve` on a real
Kafka, has ``--events`` skewed clicks learned, and asks the one process by both ways in turn,
``--rounds`` times: callers that ask again as soon as they are answered, ``CALLERS`` at once, for
users drawn anew. Each answer is a decision that is logged. ``event`` are clicks over HTTP, one a
request, that the broker has acknowledged. Of each: requests a second, and the wait in ms at the
median and the 99th percentile.

Callers, Kafka, learner and service share the cores of one machine: what a service does by itself is
more.
"""

from __future__ import annotations

import http.client
import json
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import environment, parser, write
from deploy.kafka.node import free_port
from streamer.application.local.system import local_system
from streamer.client import Publisher, Recommender
from streamer.config import load_config
from tests.brokers import kafka_service

N_USERS, N_ITEMS = 5_000, 2_000
CALLERS = (1, 4, 16)
WARM_UP_S = 2.0
TIMEOUT_S = 240.0
Ask = Callable[[str], None]


class OverHttp:
    """A caller's own connection, kept open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)

    def recommend(self, user: str) -> None:
        """Ask for ten items."""
        self._call("GET", f"/v1/users/{user}/recommendations?k=10", None, 200)

    def click(self, user: str) -> None:
        """Publish a click; it is acknowledged when this returns."""
        event = {"type": "click", "user_id": user, "item_id": "item-1"}
        self._call("POST", "/v1/events", json.dumps(event), 202)

    def _call(self, method: str, path: str, body: str | None, status: int) -> None:
        self._connection.request(method, path, body)
        answer = self._connection.getresponse()
        text = answer.read()
        assert answer.status == status, text


def measured(asks: list[Ask], *, seconds: float, seed: int) -> tuple[list[float], float]:
    """Have each caller ask again and again; all waits in ms, and answers a second."""
    waits_ms: list[list[float]] = [[] for _ in asks]
    began_s = time.perf_counter()

    def call(place: int) -> None:
        rng = np.random.default_rng([seed, place])
        while (asked_s := time.perf_counter()) < began_s + seconds:
            asks[place](f"user-{rng.integers(N_USERS)}")
            waits_ms[place].append(1000 * (time.perf_counter() - asked_s))

    threads = [threading.Thread(target=call, args=(place,)) for place in range(len(asks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [wait for each in waits_ms for wait in each]
    return everything, len(everything) / (time.perf_counter() - began_s)


class Ways:
    """The ways to ask, and what was measured of each."""

    def __init__(self, port: int, recommender: Recommender) -> None:
        self._port = port
        self._recommender = recommender
        self._waits_ms: dict[tuple[str, int], list[float]] = {}
        self._per_s: dict[tuple[str, int], list[float]] = {}

    def measure(self, n_callers: int, *, seconds: float, seed: int) -> None:
        """Ask by each way in turn."""
        callers = [OverHttp(self._port) for _ in range(n_callers)]
        ways: dict[str, list[Ask]] = {
            "http": [each.recommend for each in callers],
            "kafka": [self._kafka] * n_callers,
            "event": [each.click for each in callers],
        }
        for way, asks in ways.items():
            waits_ms, per_s = measured(asks, seconds=seconds, seed=seed)
            self._waits_ms.setdefault((way, n_callers), []).extend(waits_ms)
            self._per_s.setdefault((way, n_callers), []).append(per_s)

    def forget(self) -> None:
        """Forget what was measured while warming up."""
        self._waits_ms.clear()
        self._per_s.clear()

    def summary(self) -> list[dict[str, Any]]:
        """Return a row for each way and number of callers."""
        rows = []
        for (way, n_callers), waits_ms in self._waits_ms.items():
            p50, p99 = np.percentile(waits_ms, [50, 99])
            rows.append(
                {
                    "way": way,
                    "callers": n_callers,
                    "per_s": round(float(np.mean(self._per_s[way, n_callers])), 1),
                    "p50_ms": round(float(p50), 2),
                    "p99_ms": round(float(p99), 2),
                    "n": len(waits_ms),
                }
            )
        return rows

    def _kafka(self, user: str) -> None:
        self._recommender.recommend(user, k=10, timeout_s=TIMEOUT_S)


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--events", type=int, default=20_000, help="clicks that are learned first")
    options.add_argument("--seconds", type=float, default=5.0, help="of each way, a round")
    options.add_argument("--rounds", type=int, default=2)
    chosen = options.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        config = load_config(
            os.devnull,
            env={},
            flags={
                "kafka.bootstrap_servers": stack.enter_context(kafka_service(folder / "kafka")),
                "topics.prefix": f"bench-{uuid.uuid4().hex[:8]}-",
                "store.url": f"sqlite:{folder}/store.db",
                "http.port": port,
            },
        )
        system = stack.enter_context(
            local_system(config, config_path=Path(os.devnull), log_dir=folder)
        )
        recommender = stack.enter_context(Recommender(config=system.config))
        with Publisher(config=system.config) as publisher:
            for item in range(N_ITEMS):
                publisher.publish_item(f"item-{item}")
            rng = np.random.default_rng(chosen.seed)
            for user, item in (rng.random((chosen.events, 2)) ** 3).tolist():
                publisher.publish(
                    type="click",
                    user_id=f"user-{int(user * N_USERS)}",
                    item_id=f"item-{int(item * N_ITEMS)}",
                )
        system.wait_until_ready(recommender, timeout_s=TIMEOUT_S)
        assert system.wait_until_served(chosen.events, timeout_s=TIMEOUT_S) == 0
        ways = Ways(port, recommender)
        ways.measure(4, seconds=WARM_UP_S, seed=chosen.seed)
        ways.forget()
        for number in range(chosen.rounds):
            for n_callers in CALLERS:
                ways.measure(n_callers, seconds=chosen.seconds, seed=chosen.seed + number + 1)
        samples = system.metrics()
    write(
        {
            "benchmark": "http",
            "seed": chosen.seed,
            "n_users": N_USERS,
            "n_items": N_ITEMS,
            "events": chosen.events,
            "seconds": chosen.seconds,
            "rounds": chosen.rounds,
            "ways": ways.summary(),
            "scoring_ms": round(
                1000
                * samples["streamer_scorer_request_seconds_sum"]
                / samples["streamer_scorer_request_seconds_count"],
                2,
            ),
            "environment": environment(
                "confluent-kafka", "fastapi", "msgspec", "numba", "numpy", "uvicorn"
            ),
        },
        chosen.json,
    )


if __name__ == "__main__":
    main()
