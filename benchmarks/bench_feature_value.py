"""What are features that move with time worth, where trends last minutes, and on MovieLens?

Simulated users ask the live system, each contender of its own, and learn it from their clicks on
what it showed and on what they come across by browsing; at any time some items surge: everybody
wants them, for some minutes. Users, times, coins and finds are the same for all contenders, so they
are compared in pairs, over seeds.

- ``all``: as it comes, with windowed and fading features and those of time;
- ``windows``: without the fading ones; ``fading``: without the windowed ones;
- ``none``: without any of them.

Reward is the expected clicks of a slate of five, regret what the best slate would have had more.
Intervals are of Student's t over seeds, 95 %. On a log (``--log``, such as a folder of MovieLens)
``all`` and ``none`` are replayed as a funnel, and their recall@10 compared: nobody reacts to what a
replay shows, so the ranker stays at its prior there, and the features must do no harm.

    python -m benchmarks.bench_feature_value --log ml-latest-small --json feature_value.json
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_regret import interval
from benchmarks.environment import environment, parser, write
from benchmarks.regret_live import AT_ONCE, STEP_MS, System, play
from benchmarks.regret_policies import Played
from streamer.config import Config, feature_definitions, load_config
from streamer.config.specs import parse_specs
from streamer.replay.experiment import Experiment
from streamer.replay.result import result_of
from streamer.replay.settings import Settings
from streamer_producers.datasets import open_log
from streamer_producers.simulator import Simulator, SimulatorConfig

N_WORKERS = 2
HELD: dict[str, tuple[str, ...]] = {
    "all": ("windows", "learner"),
    "windows": ("windows",),
    "fading": ("learner",),
    "none": (),
}
"""Contender → whose features it ranks by."""


@dataclass(frozen=True, slots=True)
class World:
    """Size of a run, and what surges."""

    users: int
    items: int
    minutes: int
    surges: int
    surge_minutes: float
    browsed: int

    def of(self, seed: int) -> SimulatorConfig:
        return SimulatorConfig(
            n_users=self.users,
            n_items=self.items,
            n_surges=self.surges,
            surge_s=60.0 * self.surge_minutes,
            seed=seed,
        )

    @property
    def n_decisions(self) -> int:
        return self.minutes * 60_000 // STEP_MS * AT_ONCE


class Browsed(System):
    """A live system that is told what users find by themselves, too."""

    def __init__(self, simulator: Simulator, flags: dict[str, Any], *, n_a_step: int) -> None:
        super().__init__(simulator, flags)
        self._n_a_step = n_a_step

    def ask(self, user_ids: Sequence[str], ts_ms: int) -> list[list[str]]:
        times = np.full(self._n_a_step, ts_ms - STEP_MS, np.int64)
        self.publish(self._simulator.organic_events(times))
        return super().ask(user_ids, ts_ms)


def flags_of(contender: str) -> dict[str, Any]:
    """Settings that leave out what a contender has not."""
    held = HELD[contender]
    if not held:
        return {"windows.default_features": False, "bandit.time_features": False}
    return {
        f"features.{each.name}.ranks": False
        for each in feature_definitions(Config())
        if each.held_by not in held
    }


def played(contender: str, seed: int, world: World) -> Played:
    """One run, in a process of its own."""
    flags = flags_of(contender) | {"learner.seed": seed}
    return play(
        world.of(seed),
        lambda sim: Browsed(sim, flags, n_a_step=world.browsed),
        n_decisions=world.n_decisions,
    )


def play_all(
    world: World, seeds: Sequence[int], contenders: Sequence[str]
) -> dict[str, list[Played]]:
    """Contender → a run a seed."""
    found: dict[tuple[str, int], Played] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(N_WORKERS, context) as pool:
        running = {
            pool.submit(played, contender, seed, world): (contender, seed)
            for seed in seeds
            for contender in contenders
        }
        for future in as_completed(running):
            found[running[future]] = future.result()
    return {contender: [found[contender, seed] for seed in seeds] for contender in contenders}


def compared(runs: dict[str, list[Played]]) -> dict[str, Any]:
    """Rewards and regrets a slate, of the second half too, when all have learned; and how much
    each contender's reward is above that of ``none``."""
    result: dict[str, Any] = {}
    for contender, of_seeds in runs.items():
        result[contender] = {
            "reward_a_slate": interval([float(run.shown.mean()) for run in of_seeds]),
            "regret_a_slate": interval([float((run.best - run.shown).mean()) for run in of_seeds]),
        }
        if contender == "none":
            continue
        pairs = list(zip(of_seeds, runs["none"], strict=True))
        half = len(of_seeds[0].shown) // 2
        result[contender] |= {
            "above_none": interval([float((a.shown - b.shown).mean()) for a, b in pairs]),
            "above_none_second_half": interval(
                [float((a.shown - b.shown)[half:].mean()) for a, b in pairs]
            ),
            "share_of_nones": interval(
                [float(a.shown.mean() / b.shown.mean() - 1.0) for a, b in pairs]
            ),
        }
    return result


def replayed(path: Path, warmup: float) -> dict[str, Any]:
    """Recall@10 of the funnel on a log, with and without, and by user the difference's interval."""
    recalls: dict[str, Any] = {}
    for contender in ("all", "none"):
        config = load_config(env={}, flags=flags_of(contender))
        log = open_log(path, show_progress=False)
        settings = Settings(warmup=warmup)
        outcome = Experiment(log, parse_specs(["funnel"]), settings, config=config).run()
        result = result_of(outcome)
        recalls[contender] = {
            "recall@10": result.metrics["funnel"]["recall@10"],
            "standard_error": result.standard_errors["funnel"]["recall@10"],
        }
    difference = np.subtract(recalls["all"]["recall@10"], recalls["none"]["recall@10"])
    return {"log": path.name, "warmup": warmup, **recalls, "all_above_none": float(difference)}


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--users", type=int, default=400)
    options.add_argument("--items", type=int, default=300)
    options.add_argument("--minutes", type=int, default=60, help="of event time; 600 requests each")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--surges", type=int, default=5, help="items that surge at any time")
    options.add_argument("--surge-minutes", type=float, default=10.0)
    options.add_argument("--browsed", type=int, default=5, help="clicks by browsing every 2 s")
    options.add_argument(
        "--contenders", nargs="+", choices=list(HELD), default=list(HELD), help="beside none"
    )
    options.add_argument("--log", type=Path, help="a log to be replayed, such as ml-latest-small")
    options.add_argument("--warmup", type=float, default=0.3, help="share of it learned only")
    given = options.parse_args()
    world = World(
        given.users, given.items, given.minutes, given.surges, given.surge_minutes, given.browsed
    )
    contenders = list(dict.fromkeys([*given.contenders, "none"]))
    seeds = range(given.seed, given.seed + given.seeds)
    result = {
        "world": asdict(world) | {"seeds": list(seeds), "requests": world.n_decisions},
        "simulated": compared(play_all(world, seeds, contenders)),
        "replayed": replayed(given.log, given.warmup) if given.log else None,
        "environment": environment("numpy", "numba"),
    }
    write(result, given.json)


if __name__ == "__main__":
    main()
