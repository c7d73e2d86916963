"""What exploring is worth: regret against simulated users, whose click probabilities are known.

Three studies, each contender learning from its own clicks alone, with the same users, times and
coins for all. Regret of a decision is the expected clicks of the best slate less those of the slate
shown.

``live``: the whole system in one process, as it comes (bandit), without exploration (greedy), with
the fixed blend in place of the bandit, beside popularity and random slates. Tastes drift.

``policies``: bandit policies of ``models`` that are told the tastes of who asks, over many more
decisions, while tastes and trends drift. What popularity and greedy forgo is the same; what is left
out is all that the system has to find out about tastes by itself.

``change``: all tastes change at once. How many decisions until a window of 1,000 has 90 % of the
reward that the same policy had before, forgetting and not? Rewards are taken as a share of what the
best slates get, since the best of the new tastes may be worth more or less than that of the old.

    python -m benchmarks.bench_regret --json regret.json
"""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import regret_live, regret_policies
from benchmarks.environment import environment, parser, write
from benchmarks.regret_policies import AT_ONCE, K, Played
from streamer_models.evaluation.ope.intervals import t_quantile
from streamer_producers.simulator import SimulatorConfig

N_WORKERS = 2
WINDOW = 1_000
"""Decisions over which a reward is averaged to say that it has recovered."""
RECOVERED = 0.9
PHASES = (1_000, 5_000, 20_000, 50_000, 100_000, 200_000)
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Task:
    """One run of one seed, in a process of its own."""

    study: str
    seed: int
    n_decisions: int
    contender: str = ""


def run(task: Task) -> dict[str, Played]:
    """By contender."""
    if task.study == "live":
        world = SimulatorConfig(n_users=200, n_items=300, seed=task.seed)
        make = regret_live.contenders(task.seed)[task.contender]
        return {task.contender: regret_live.play(world, make, n_decisions=task.n_decisions)}
    if task.study == "policies":
        world = SimulatorConfig(n_users=200, n_items=40, new_item_share=0.0, seed=task.seed)
        made = regret_policies.drifting(world.n_items, world.n_factors + 1)
        return regret_policies.play(world, made, n_decisions=task.n_decisions)
    world = SimulatorConfig(
        n_users=20,
        n_items=30,
        new_item_share=0.0,
        drift_share=0.0,
        trend_scale=0.0,
        change_at_s=change_at(task.n_decisions) / AT_ONCE * regret_policies.STEP_MS / 1000,
        seed=task.seed,
    )
    made = regret_policies.changing(world.n_users, world.n_items)
    return regret_policies.play(world, made, n_decisions=task.n_decisions)


def change_at(n_decisions: int) -> int:
    """Decisions before tastes change: as many as two fifths of all, in whole batches."""
    return n_decisions * 2 // 5 // AT_ONCE * AT_ONCE


Results = dict[str, dict[int, dict[str, Played]]]
"""Study → seed → contender."""


def run_all(tasks: Sequence[Task]) -> Results:
    """Two at a time, the longest first, with a bar that says how far it is."""
    results: Results = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    context = multiprocessing.get_context("spawn")
    with Progress(*columns) as progress, ProcessPoolExecutor(N_WORKERS, context) as pool:
        bar = progress.add_task("runs", total=len(tasks))
        running = {pool.submit(run, task): task for task in tasks}
        for future in as_completed(running):
            task = running[future]
            found = results.setdefault(task.study, {}).setdefault(task.seed, {})
            found.update(future.result())
            progress.update(bar, advance=1, description=f"{task.study}, seed {task.seed} done")
    return results


# --- what came of it ----------------------------------------------------------------------------


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean over seeds, and its 95 % interval by Student's t."""
    mean = float(np.mean(values))
    n = len(values)
    half = math.nan
    if n > 1:
        half = t_quantile(0.975, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return {"mean": round(mean, 4), "low": round(mean - half, 4), "high": round(mean + half, 4)}


def summary(by_seed: dict[int, dict[str, Played]], n_decisions: int) -> dict[str, Any]:
    """Cumulative regret and rewards of each contender, whole and by phase, over seeds."""
    names = next(iter(by_seed.values())).keys()
    found: dict[str, Any] = {}
    for name in names:
        runs = [by_seed[seed][name] for seed in sorted(by_seed)]
        found[name] = {
            "cumulative_regret": interval(
                [AT_ONCE * float((r.best - r.shown).sum()) for r in runs]
            ),
            "clicks_an_item": interval([float(r.shown.mean()) / K for r in runs]),
            "best_an_item": interval([float(r.best.mean()) / K for r in runs]),
            "clicks_an_item_until": _by_phase(runs, n_decisions),
        }
    return found


def _by_phase(runs: Sequence[Played], n_decisions: int) -> dict[str, float]:
    """Mean reward since the phase before."""
    marks = [mark for mark in PHASES if mark < n_decisions] + [n_decisions]
    means = {}
    for start, end in zip([0, *marks], marks, strict=False):
        steps = slice(start // AT_ONCE, end // AT_ONCE)
        means[str(end)] = round(float(np.mean([r.shown[steps].mean() for r in runs])) / K, 4)
    return means


def regret(played: Played) -> float:
    """In expected clicks of a slate, summed over steps."""
    return float((played.best - played.shown).sum())


def ratio(by_seed: dict[int, dict[str, Played]], name: str, to: str) -> dict[str, float]:
    """Cumulative regret of one contender over another's, seed by seed."""
    return interval([regret(runs[name]) / regret(runs[to]) for runs in by_seed.values()])


def recovery(played: Played, n_before: int) -> tuple[int, bool]:
    """Decisions after the change until a window has ``RECOVERED`` of the former reward, and
    whether one had; else as many as there were."""
    window, change = WINDOW // AT_ONCE, n_before // AT_ONCE
    sums = np.concatenate([[0.0], np.cumsum(played.shown[change:] / played.best[change:])])
    means = (sums[window:] - sums[:-window]) / window
    back = np.flatnonzero(means >= RECOVERED * _former(played, n_before))
    if not len(back):
        return AT_ONCE * (len(played.shown) - change), False
    return AT_ONCE * (int(back[0]) + window), True


def _former(played: Played, n_before: int) -> float:
    """Reward of the last tenth before the change, as a share of the best one."""
    last = slice(n_before // AT_ONCE * 9 // 10, n_before // AT_ONCE)
    return float((played.shown[last] / played.best[last]).mean())


def recoveries(by_seed: dict[int, dict[str, Played]], n_before: int) -> dict[str, Any]:
    """Of both versions, and the share of decisions the forgetting one needs of the other's: at
    most that where the other has not recovered."""
    found: dict[str, list[tuple[int, bool]]] = {
        name: [recovery(runs[name], n_before) for runs in by_seed.values()]
        for name in ("keeping", "forgetting")
    }
    pairs = zip(found["forgetting"], found["keeping"], strict=True)
    return {
        "decisions_before": n_before,
        "decisions_to_recover": {name: [n for n, _ in each] for name, each in found.items()},
        "recovered": {name: [done for _, done in each] for name, each in found.items()},
        "share_of_best_before": {
            name: interval([_former(runs[name], n_before) for runs in by_seed.values()])
            for name in found
        },
        "share_of_decisions": interval([fast / slow for (fast, _), (slow, _) in pairs]),
    }


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--seeds", type=int, default=5, help="runs of each contender, 2 to 9")
    options.add_argument("--decisions", type=int, default=200_000, help="of the policies")
    options.add_argument("--live-decisions", type=int, default=10_000, help="of the system")
    options.add_argument("--live-seeds", type=int, default=3, help="runs of the system")
    options.add_argument("--change-decisions", type=int, default=100_000, help="around the change")
    options.add_argument("--quick", action="store_true", help="a twentieth of everything, 2 seeds")
    chosen = options.parse_args()
    scale: Callable[[int], int] = lambda n: max(2_000, n // 20) if chosen.quick else n  # noqa: E731
    n_seeds = 2 if chosen.quick else chosen.seeds
    n_live_seeds = min(n_seeds, chosen.live_seeds)
    n_live, n_policies = scale(chosen.live_decisions), scale(chosen.decisions)
    n_change = scale(chosen.change_decisions)
    seeds = range(chosen.seed, chosen.seed + n_seeds)
    tasks = [Task("policies", seed, n_policies) for seed in seeds]
    tasks += [Task("change", seed, n_change) for seed in seeds]
    tasks += [
        Task("live", seed, n_live, name)
        for seed in seeds[:n_live_seeds]
        for name in regret_live.contenders(seed)
    ]
    began_s = time.monotonic()
    results = run_all(tasks)
    live, policies = results["live"], results["policies"]
    write(
        {
            "benchmark": "regret",
            "seeds": list(seeds),
            "live": {
                "seeds": list(seeds[:n_live_seeds]),
                "n_decisions": n_live,
                "settings": regret_live.SMALL,
                "contenders": summary(live, n_live),
                "vs_popularity": ratio(live, "bandit", "popularity"),
                "vs_greedy": ratio(live, "bandit", "greedy"),
                "vs_blend": ratio(live, "bandit", "blend"),
            },
            "policies": {
                "n_decisions": n_policies,
                "contenders": summary(policies, n_policies),
                **{
                    f"{name}_vs_{other}": ratio(policies, name, other)
                    for name in ("linucb", "linear-thompson")
                    for other in ("popularity", "greedy")
                },
            },
            "change": {
                "n_decisions": n_change,
                **recoveries(results["change"], change_at(n_change)),
            },
            "wall_s": round(time.monotonic() - began_s, 1),
            "environment": environment("msgspec", "numba", "numpy", "rich"),
        },
        chosen.json,
    )


if __name__ == "__main__":
    main()
