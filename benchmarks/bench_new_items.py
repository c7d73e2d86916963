"""Who sees an item in its first seconds, where the catalogue says what it is and where it does not?

``python -m benchmarks.bench_new_items --json OUT`` plays in the simulated world of
``bench_regret``, whose click probabilities are known: after half of the time an item arrives every
few seconds, and users who never asked before come too. The same users, times and coins each time:
with the categories that the catalogue has of items and without them, by the defaults and with one
place in ten for items of the last minute (``slate.fresh``, ``recall.fresh.days``), since by the
defaults an item without words, which nobody has met, may not be shown at all.

An item's *lovers* are the fifth of the users who would click it most likely. Reported are the
share of an item's impressions in its first ten seconds that are theirs (a fifth would be chance;
no number where no item had one), how many new items are shown at all by then, and the regret of a
decision before and after the arrivals begin, of users who were there and of those who come.
Intervals are t over the seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from rich.progress import track

from benchmarks.environment import environment, parser, write
from benchmarks.regret_live import K, Met
from streamer.config import load_config
from streamer.events import Item
from streamer.simulation.live import LiveSystem
from streamer_models.evaluation.ope.intervals import t_quantile
from streamer_producers.simulator import Simulator, SimulatorConfig

AT_ONCE: Final = 10
STEP_MS: Final = 2_000
FIRST_MS: Final = 10_000
LOVERS: Final = 0.2
KNOWN: Final = 0.75
"""Share of the users who ask from the start."""


KINDS: Final[dict[str, dict[str, Any]]] = {
    "defaults": {},
    "one place in ten": {"slate.fresh": ("1 in 10",), "recall.fresh.days": 1 / 1440},
}
"""Name → settings."""


@dataclass(slots=True)
class Seen:
    """What one run showed."""

    loved: list[float] = field(default_factory=list)
    n_arrived: int = 0
    n_shown: int = 0
    regret: dict[str, list[float]] = field(
        default_factory=lambda: {"before": [], "after": [], "new users": []}
    )

    def figures(self) -> dict[str, float]:
        """Return the numbers of the run."""
        return {
            "lovers' share of first impressions": float(np.mean(self.loved or [np.nan])),
            "share of items shown in 10 s": self.n_shown / max(self.n_arrived, 1),
            **{f"regret {name}": float(np.mean(each)) for name, each in self.regret.items()},
        }


def play(seed: int, n_steps: int, *, described: bool, settings: dict[str, Any]) -> Seen:
    """Play one world, whose items begin to arrive after half of the steps."""
    half_s = n_steps // 2 * STEP_MS / 1000
    world = SimulatorConfig(
        n_users=200, n_items=300, new_item_share=0.3, arrival_span_s=2 * half_s, seed=seed
    )
    simulator = Simulator(world)
    config = load_config(env={}, flags={"topics.partitions": 1, "learner.seed": seed, **settings})
    live = LiveSystem(
        config, start_ms=world.start_ms, sync_interval_ms=STEP_MS, keeps_messages=False
    )
    live.publish(*_described(simulator.items(), described))
    rng, met, seen = np.random.default_rng([seed, 1]), Met(simulator), Seen()
    n_known = int(KNOWN * world.n_users)
    born: dict[str, int] = {}
    first: dict[str, list[bool]] = {}
    for step in range(n_steps):
        before_ms, ts_ms = live.clock.now_ms(), world.start_ms + (step + 1) * STEP_MS
        late = step >= n_steps // 2
        arrived = simulator.arrivals(before_ms, ts_ms)
        live.publish(*_described(arrived, described))
        live.advance(ts_ms)
        if late:
            born |= {each.item_id: ts_ms for each in arrived}
        rows = rng.choice(world.n_users if late else n_known, AT_ONCE, replace=False)
        user_ids = [simulator.user_ids[row] for row in rows]
        for user_id, answer in zip(user_ids, live.ask(user_ids, k=K), strict=True):
            slate = answer.item_ids
            ideal = simulator.best_slate(user_id, K, ts_ms, exclude=met.of(user_id))
            regret = simulator.expected_clicks(user_id, ideal, ts_ms)
            regret -= simulator.expected_clicks(user_id, slate, ts_ms)
            is_new = late and simulator.user_ids.index(user_id) >= n_known
            seen.regret["new users" if is_new else "after" if late else "before"].append(regret)
            for item_id in slate:
                if item_id in born and ts_ms - born[item_id] < FIRST_MS:
                    first.setdefault(item_id, []).append(_loves(simulator, user_id, item_id, ts_ms))
            events = simulator.react(user_id, slate, ts_ms, answer.recommendation.request_id)
            met.note(events)
            live.publish(*events)
    seen.n_arrived, seen.n_shown = len(born), len(first)
    seen.loved = [float(np.mean(each)) for each in first.values()]
    return seen


def _described(items: Sequence[Item], described: bool) -> list[Item]:
    return [each if described else replace(each, categories=[], title=None) for each in items]


def _loves(simulator: Simulator, user_id: str, item_id: str, ts_ms: int) -> bool:
    of_all = [
        float(simulator.click_probabilities(user, [item_id], ts_ms)[0])
        for user in simulator.user_ids
    ]
    own = float(simulator.click_probabilities(user_id, [item_id], ts_ms)[0])
    return own >= float(np.quantile(of_all, 1 - LOVERS))


def main() -> None:
    """Play all seeds and say what came of them."""
    options = parser(__doc__ or "")
    options.add_argument("--seeds", type=int, default=5, help="worlds, from --seed on")
    options.add_argument("--steps", type=int, default=300, help=f"of {AT_ONCE} requests each")
    asked = options.parse_args()
    runs: dict[tuple[str, bool], list[dict[str, float]]] = {
        (kind, described): [] for kind in KINDS for described in (True, False)
    }
    jobs = [(seed, run) for seed in range(asked.seed, asked.seed + asked.seeds) for run in runs]
    for seed, (kind, described) in track(jobs, description="worlds"):
        seen = play(seed, asked.steps, described=described, settings=KINDS[kind])
        runs[kind, described].append(seen.figures())
    figures = {}
    for kind in KINDS:
        with_words, without = runs[kind, True], runs[kind, False]
        change = [
            {key: one[key] - other[key] for key in one}
            for one, other in zip(with_words, without, strict=True)
        ]
        figures[kind] = {
            "described": _summary(with_words),
            "not described": _summary(without),
            "change": _summary(change),
        }
    write(
        {
            "benchmark": "new items",
            "n_seeds": asked.seeds,
            "n_decisions": asked.steps * AT_ONCE,
            "figures": figures,
            "environment": environment("streamer", "numpy", "numba"),
        },
        asked.json,
    )


def _summary(runs: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return mean and half of a 95 % interval over the seeds that have the number."""
    found = {}
    for key in runs[0]:
        values = np.array([each[key] for each in runs])
        values = values[np.isfinite(values)]
        half = (
            t_quantile(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
            if len(values) > 1
            else np.nan
        )
        mean = float(values.mean()) if len(values) else np.nan
        found[key] = {
            "mean": round(mean, 4), "half": round(float(half), 4), "n_seeds": len(values)
        }  # fmt: skip
    return found


if __name__ == "__main__":
    main()
