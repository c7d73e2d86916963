"""How long requests take, alone and while commits are followed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from prometheus_client import CollectorRegistry

from streamer.clock import SystemClock
from streamer.protocols import Entry
from streamer.replica.metrics import ReplicaMetrics
from streamer.replica.replica import Replica
from streamer.store.memory import MemoryStore
from streamer_models.state.model import Model

SYNC_S = 0.02


def fresh_replica(models: Sequence[Model]) -> Replica:
    """A replica of one partition that knows nothing yet, for commits to be applied to."""
    return Replica(
        store=MemoryStore(),
        models=models,
        n_partitions=1,
        clock=SystemClock(),
        metrics=ReplicaMetrics(CollectorRegistry()),
    )


def measure(call: Callable[[], object], n: int) -> dict[str, float]:
    """Quantiles of ``n`` calls in ms: of wall time, and of this thread's CPU time, which other
    processes of the machine hardly touch."""
    wall_s, cpu_s = np.empty(n), np.empty(n)
    for i in range(n):
        began, began_cpu = time.perf_counter(), time.thread_time()
        call()
        wall_s[i], cpu_s[i] = time.perf_counter() - began, time.thread_time() - began_cpu
    quantiles: dict[str, float] = {}
    for name, seconds in (("", wall_s), ("cpu_", cpu_s)):
        p50, p99 = np.percentile(1000 * seconds, [50, 99])
        quantiles |= {f"{name}p50_ms": round(p50, 3), f"{name}p99_ms": round(p99, 3)}
    return quantiles


def while_following(
    replica: Replica, commits: Sequence[Entry], call: Callable[[], object], n: int
) -> dict[str, float]:
    """The same while another thread applies a commit every 20 ms; with the commits a second."""
    done = threading.Event()
    n_applied = 0

    def follow() -> None:
        nonlocal n_applied
        while not done.wait(SYNC_S) and n_applied < len(commits):
            replica.apply([commits[n_applied]])
            n_applied += 1

    follower = threading.Thread(target=follow)
    follower.start()
    began = time.perf_counter()
    result = measure(call, n)
    seconds = time.perf_counter() - began
    done.set()
    follower.join()
    return {**result, "commits_per_s": round(n_applied / seconds, 1)}
