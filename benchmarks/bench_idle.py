"""What do the processes of ``streamer up`` take of a core where nothing happens?

``python -m benchmarks.bench_idle --json OUT`` starts the embedded broker, a learner and a scorer on
a SQLite store, lets them learn 20 clicks and answer 20 requests, closes the clients it did that
with, and then leaves them alone.
``percent_of_core`` is the processor time of each process over the seconds that followed, of the
broker that of this process, which holds it; ``wakeups_per_s`` counts the context switches of each
thread of learner and scorer. ``request_ms`` is the median of the requests, one after the other.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.environment import environment, parser, write
from streamer.application.local.system import LocalSystem, local_system
from streamer.client import Publisher, Recommender
from streamer.config import load_config

N_EVENTS = N_REQUESTS = 20
TIMEOUT_S = 180.0


def cpu_s(process: psutil.Process) -> float:
    """Processor time of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def switches(process: psutil.Process) -> dict[str, int]:
    """Context switches of each thread so far, by its name and number."""
    counted = {}
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        name = f"{(task / 'comm').read_text().strip()} {task.name}"
        counted[name] = sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return counted


def used(system: LocalSystem) -> list[float]:
    """Use a system a little; how long each request took."""
    request_s = []
    with (
        Recommender(config=system.config) as recommender,
        Publisher(config=system.config) as publisher,
    ):
        system.wait_until_ready(recommender, timeout_s=TIMEOUT_S)
        for n in range(N_EVENTS):
            publisher.publish(type="click", user_id=f"user-{n}", item_id=f"item-{n % 7}")
        publisher.flush()
        assert system.wait_until_served(N_EVENTS, timeout_s=TIMEOUT_S) == 0
        for _ in range(N_REQUESTS):
            began_s = time.perf_counter()
            recommender.recommend("user-1", preview=True)
            request_s.append(time.perf_counter() - began_s)
            time.sleep(0.05)
    return request_s


def measure(seconds: float, log_dir: Path) -> dict[str, Any]:
    """Start everything, use it a little, and watch it do nothing."""
    config = load_config(os.devnull, env={}, flags={"store.url": f"sqlite:{log_dir}/store.db"})
    with local_system(config, config_path=Path(os.devnull), log_dir=log_dir) as system:
        request_s = used(system)
        here = psutil.Process()
        processes = {"broker": here}
        for child in here.children():
            command = child.cmdline()
            processes |= {name: child for name in ("learn", "score") if name in command}
        time.sleep(10.0)  # what backs off has backed off
        before = {name: (cpu_s(each), switches(each)) for name, each in processes.items()}
        time.sleep(seconds)
        percent, wakeups = {}, {}
        for name, each in processes.items():
            cpu_before_s, switches_before = before[name]
            percent[name] = round(100 * (cpu_s(each) - cpu_before_s) / seconds, 2)
            if name != "broker":
                rates = {
                    thread: round((n - switches_before.get(thread, 0)) / seconds, 1)
                    for thread, n in switches(each).items()
                }
                wakeups[name] = {thread: rate for thread, rate in rates.items() if rate >= 1}
    return {
        "percent_of_core": percent,
        "learner_and_scorer_percent": round(percent["learn"] + percent["score"], 2),
        "wakeups_per_s": wakeups,
        "request_ms": round(1000 * statistics.median(request_s), 1),
    }


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--seconds", type=float, default=20.0, help="how long to watch")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(chosen.seconds, Path(folder))
    write(
        {
            "benchmark": "idle",
            "seed": chosen.seed,
            "seconds": chosen.seconds,
            **found,
            "environment": environment("confluent-kafka", "numpy"),
        },
        chosen.json,
    )


if __name__ == "__main__":
    main()
