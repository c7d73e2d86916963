"""How long does one decision take: score 100 candidates, choose one, learn its outcome?

``python benchmarks/bench_bandit.py --json OUT`` takes turns, several rounds of each, with 16, 32
and 64 features, at the same made-up decisions:

- ``linucb_shared``, ``linucb_disjoint``, ``thompson_shared`` (64 draws): ours, one ``choose`` and
  one ``update`` a decision, propensities and exact statistics included; ``disjoint_batched`` with
  one ``update`` a hundred decisions;
- ``mabwiser``: its LinUCB (disjoint), decision by decision, and ``mabwiser_batched``: a hundred
  predicted at once and learned at once, which is what its interface is made for;
- ``river``: ``bandit.LinUCBDisjoint``;
- ``obp``: its LinUCB (disjoint), installed into a temporary folder;
- ``vw``: Vowpal Wabbit, ``--cb_explore_adf --squarecb``, one model over the features of actions.
  Its text examples are formatted beforehand, so its parser is timed and Python's is not.
  ``vw_driver``: its own loop over a binary cache, without any Python.

Ratios are of microseconds a decision, medians over the rounds, theirs over ours: above 1, ours is
faster. ``vs_*`` compare ``linucb_shared``; ``disjoint_vs_*`` our disjoint form, which is what
MABWiser, river and obp do; ``batched_vs_mabwiser`` both with batches. What is not installed is
skipped, and the result says why (``pip install mabwiser vowpalwabbit river``).
"""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bandit_contenders import (
    UNIFORM_SHARE,
    VW_ARGUMENTS,
    Contender,
    Decisions,
    mabwiser,
    obp,
    our_batches,
    our_contender,
    ours,
    river,
    rows_for,
    temporary_folder,
    vw,
    vw_driver,
    vw_lines,
)
from benchmarks.environment import environment, parser, write
from streamer_models.bandits.composition import UNCOMPOSED

N_DECISIONS = 200
OURS = ("linucb_shared", "linucb_disjoint", "thompson_shared")
RATIOS = {
    "vs_mabwiser": ("mabwiser", "linucb_shared"),
    "vs_river": ("river", "linucb_shared"),
    "vs_obp": ("obp", "linucb_shared"),
    "vs_vw": ("vw", "linucb_shared"),
    "vs_vw_driver": ("vw_driver", "linucb_shared"),
    "disjoint_vs_mabwiser": ("mabwiser", "linucb_disjoint"),
    "disjoint_vs_river": ("river", "linucb_disjoint"),
    "disjoint_vs_obp": ("obp", "linucb_disjoint"),
    "batched_vs_mabwiser": ("mabwiser_batched", "disjoint_batched"),
    "thompson_vs_vw": ("vw", "thompson_shared"),
}


def contenders(decisions: Decisions, folder: Path, skipped: dict[str, str]) -> dict[str, Contender]:
    """All that can be had; why not, for the others, is noted in ``skipped``."""
    made = {kind: our_contender(kind, decisions) for kind in OURS}
    made["disjoint_batched"] = our_batches("linucb_disjoint", decisions)
    if _there("mabwiser", skipped):
        made["mabwiser"] = mabwiser(decisions, batched=False, n=40)
        made["mabwiser_batched"] = mabwiser(decisions, batched=True, n=400)
    if _there("river", skipped):
        made["river"] = river(decisions, n=5)
    if _there("vowpalwabbit", skipped):
        lines = vw_lines(decisions)
        made["vw"] = vw(decisions, lines, n=200)
        made["vw_driver"] = vw_driver(decisions, lines, folder)
    try:
        (folder / "obp").mkdir(exist_ok=True)
        made["obp"] = obp(decisions, folder / "obp", n=40)
    except (subprocess.SubprocessError, ImportError, AttributeError) as error:
        skipped["obp"] = f"{type(error).__name__}: {error}"
    return made


def _there(package: str, skipped: dict[str, str]) -> bool:
    if importlib.util.find_spec(package) is None:
        skipped[package] = "not installed"
        return False
    return True


def measure(made: dict[str, Contender], n_rounds: int) -> None:
    """Take turns, so that whatever else the machine does touches all alike."""
    for contender in made.values():  # compile, and touch every arm's memory
        contender.run(0, contender.n)
    for turn in range(1, n_rounds + 1):
        for contender in made.values():
            began = time.perf_counter()
            reward = contender.run(turn * contender.n, contender.n)
            contender.wall_s.append(time.perf_counter() - began)
            contender.reward += reward / (n_rounds * contender.n)


def parts(kind: str, decisions: Decisions, n_rounds: int) -> dict[str, float]:
    """Where a decision of ours goes, in microseconds: each step alone, medians of rounds."""
    policy = ours(kind, decisions)
    arms, n = decisions.arms, len(decisions)
    chosen, rewards, ts_ms = np.zeros(1, dtype=np.intp), np.ones(1), np.zeros(1, dtype=np.int64)
    rows = [rows_for(kind, decisions, t) for t in range(n)]
    estimates = [policy.estimate(x, arms) for x in rows]
    steps: dict[str, Callable[[int], object]] = {
        "estimate": lambda t: policy.estimate(rows[t], arms),
        "draw": lambda t: policy.policy.draw(estimates[t], 1, t, UNCOMPOSED),
        "update": lambda t: policy.update(rows[t][chosen], arms[chosen], rewards, ts_ms),
    }
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(n_rounds):
        for name, step in steps.items():
            began = time.perf_counter()
            for t in range(n):
                step(t)
            taken[name].append((time.perf_counter() - began) / n)
    return {name: round(1e6 * statistics.median(times), 1) for name, times in taken.items()}


def result_by_d(d: int, made: dict[str, Contender]) -> dict[str, Any]:
    """What one number of features came to."""
    us = {
        name: 1e6 * statistics.median(contender.wall_s) / contender.n
        for name, contender in made.items()
    }
    ratios = {
        name: round(us[theirs] / us[mine], 1)
        for name, (theirs, mine) in RATIOS.items()
        if theirs in us
    }
    return {
        "d": d,
        **ratios,
        "us_a_decision": {name: round(value, 1) for name, value in us.items()},
        "mean_reward": {name: round(contender.reward, 3) for name, contender in made.items()},
        "n_decisions_a_round": {name: contender.n for name, contender in made.items()},
    }


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--rounds", type=int, default=5, help="rounds of each contender")
    options.add_argument("--features", type=int, nargs="+", default=[16, 32, 64])
    chosen = options.parse_args()
    skipped: dict[str, str] = {}
    by_d, where = [], {}
    with temporary_folder() as name:
        for d in chosen.features:
            decisions = Decisions.made_up(N_DECISIONS, d, chosen.seed)
            made = contenders(decisions, Path(name), skipped)
            measure(made, chosen.rounds)
            by_d.append(result_by_d(d, made))
            where[d] = {kind: parts(kind, decisions, chosen.rounds) for kind in OURS}
        packages = ["numba", "numpy"]
        for package in ("mabwiser", "river", "vowpalwabbit", "obp"):
            try:
                version(package)
                packages.append(package)
            except PackageNotFoundError:
                skipped.setdefault(package, "not installed")
        write(
            {
                "benchmark": "bandit",
                "seed": chosen.seed,
                "n_candidates": 100,
                "n_rounds": chosen.rounds,
                "uniform_share": UNIFORM_SHARE,
                "vw_arguments": VW_ARGUMENTS,
                **{
                    ratio: {str(row["d"]): row[ratio] for row in by_d if ratio in row}
                    for ratio in RATIOS
                },
                "by_d": by_d,
                "parts_us": {str(d): by_kind for d, by_kind in where.items()},
                "skipped": skipped,
                "environment": environment(*packages),
            },
            chosen.json,
        )


if __name__ == "__main__":
    main()
