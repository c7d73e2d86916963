"""Is memory flat once the bounds are reached, while ever new users and items come?

``python -m benchmarks.bench_soak --minutes 2 --json OUT`` runs two processes for so long, side by
side, broker and store in memory:

- ``learner``: a learner alone;
- ``system``: learner, store and a scorer that follows them and answers a few requests a round, so
  that there are decisions and arms too.

Events are each of a user and an item never seen before; the tables of users, items, features and
arms have ``--rows`` rows. ``samples`` are events so far and resident memory in MB. Of each process:
``bytes_an_id`` is what it grew by while the tables filled, over one user and one item (with their
rows of features, and in ``system`` the bytes of the store and of the scorer); ``growth`` is the
resident memory at the end of the second half of the run over that at its start, 1 where it is flat,
and ``bytes_an_id_after`` what every event of it left. A scorer appends rows to chunks of up to
131,072 and uses the emptiest again, so it takes some 400,000 events until it has all its memory:
``--minutes 10`` where the machine is slow.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final

import msgspec
import numpy as np
import psutil

from benchmarks.bench_flood import BOUNDS, TOPIC_MS, Flood
from benchmarks.environment import environment, parser, write
from streamer.application.services.processes import collect_garbage_rarely
from streamer.config import Config, feature_definitions, load_config
from streamer.events import Event
from streamer.simulation.live import LiveSystem

EVENTS_A_ROUND: Final = 1_000
REQUESTS_A_ROUND: Final = 5
ROUND_MS: Final = 1_000
"""By the clock of the system; a learner checkpoints every ten of them."""
SETTLED: Final = 3
"""Times the rows: by then every table has doubled for the last time and every id has been dropped
once."""
DOCUMENTED: Final = {"scorer, user": 2_200, "scorer, item": 400 + 9_600}
"""Bytes of rows in a scorer by the README, with one partition."""


def soak_config(rows: int) -> Config:
    """Small bounds, short joins, and no more of the delta log than followers need: what waits
    until a join's horizon is over stays in memory too, in the broker's. Few events practise, for
    more of them a minute, and no features are windowed: workers hold those, for as long as a window
    is open."""
    flags = dict.fromkeys(BOUNDS.values(), rows) | {
        "topics.partitions": 1,
        "bandit.arms_max": rows,
        "learner.dedup_window": rows,
        "store.log_entries_kept": 10,
        "join.window_s": 5.0,
        "join.horizon_s": 20.0,
        "practice.share": 0.02,
    }
    config = load_config(env={}, flags=flags)
    held = {
        each.name: config.features[each.name]
        for each in feature_definitions(config)
        if each.held_by != "windows"
    }
    return msgspec.structs.replace(config, features=held)


def learner_round(config: Config) -> Callable[[], int]:
    """A learner; what is returned lets it learn a round and says how many events it has learned."""
    flood = Flood(config)

    def more() -> int:
        flood.publish(EVENTS_A_ROUND)
        flood.learn()
        flood.learner.checkpoint_due()
        return flood.learner.counts.n_messages

    return more


def system_round(config: Config) -> Callable[[], int]:
    """The same with a scorer, which answers users who came just before."""
    system = LiveSystem(config, start_ms=TOPIC_MS, sync_interval_ms=ROUND_MS, keeps_messages=False)

    def more() -> int:
        first, now_ms = system.counts.n_messages, system.clock.now_ms()
        for n in range(first, first + EVENTS_A_ROUND):
            user, item = f"user-{n:09}", f"item-{n:09}"
            system.publish(
                Event(event_id=f"e-{n:09}", type="click", user_id=user, item_id=item, ts=now_ms)
            )
        system.advance(now_ms + ROUND_MS)
        system.ask([f"user-{first + n:09}" for n in range(REQUESTS_A_ROUND)])
        return system.counts.n_messages

    return more


ROUNDS: Final = {"learner": learner_round, "system": system_round}


def soak(name: str, rows: int, minutes: float) -> list[tuple[int, float]]:
    """Samples of (events, MB) of one process, one a round."""
    collect_garbage_rarely()
    more, process = ROUNDS[name](soak_config(rows)), psutil.Process()
    more()  # compiles
    samples: list[tuple[int, float]] = []
    deadline = time.monotonic() + 60 * minutes
    while time.monotonic() < deadline:
        samples.append((more(), round(process.memory_info().rss / 1e6, 1)))
    return samples


def judged(samples: list[tuple[int, float]], rows: int) -> dict[str, Any]:
    """What the samples of one process say."""
    n_events, mb = np.array([n for n, _ in samples]), np.array([mb for _, mb in samples])
    full = mb[np.searchsorted(n_events, rows, side="right") - 1]
    n_filled = max(0, min(rows, int(n_events[-1])) - int(n_events[0]))
    after = n_events > max(SETTLED * rows, n_events[-1] / 2)
    found: dict[str, Any] = {
        "n_events": int(n_events[-1]),
        "start_mb": float(mb[0]),
        "full_mb": float(full),
        "end_mb": float(mb[-1]),
        "bytes_an_id": round(1e6 * float(full - mb[0]) / n_filled) if n_filled else None,
        "samples": samples[:: max(1, len(samples) // 60)],
    }
    if after.sum() >= 8:
        first, *_, last = np.array_split(mb[after], 4)
        slope = np.polyfit(n_events[after], 1e6 * mb[after], 1)[0]
        found |= {
            "growth": round(float(np.median(last) / np.median(first)), 4),
            "bytes_an_id_after": round(float(slope), 1),
        }
    return found


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--minutes", type=float, default=2.0, help="how long")
    options.add_argument("--rows", type=int, default=5_000, help="bound of each table")
    chosen = options.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(ROUNDS), mp_context=spawn) as pool:
        running = {name: pool.submit(soak, name, chosen.rows, chosen.minutes) for name in ROUNDS}
        found = {name: judged(each.result(), chosen.rows) for name, each in running.items()}
    write(
        {
            "benchmark": "soak",
            "seed": chosen.seed,
            "minutes": chosen.minutes,
            "rows": chosen.rows,
            **found,
            "documented_bytes": DOCUMENTED,
            "environment": environment("msgspec", "numba", "numpy", "orjson"),
        },
        chosen.json,
    )


if __name__ == "__main__":
    main()
