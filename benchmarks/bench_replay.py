"""How fast is prequential top-k evaluation, and how does it compare with river doing the same?

``python benchmarks/bench_replay.py --json OUT`` makes up a log of clicks on 3,000 items, all of
which are seen before the clock starts, then takes turns, several rounds of each, at

- ``mf-softmax`` and ``mf-bpr``: ``streamer replay``'s experiment with this model alone: each event
  ranks all items that the user has not consumed, is counted in every metric, and is learned by the
  live code, one by one;
- ``popularity``: the same with a model that costs next to nothing, so what is left is the
  experiment's own;
- ``river``: for each event ``reco.BiasedMF.rank`` over the same candidates, then ``learn_one``, and
  no metric at all (on fewer events: it is slow).

With a log (``python -m benchmarks.bench_replay ml-latest-small --positives "value>=5"``) the live
funnel is replayed instead, by one process and by one a core, several rounds of each: events/s of
all that is learned, the survey not counted.

Rates are of ranked events/s by the wall clock, medians over the rounds, on one core; ``cpu_us`` is
the processor time an event, which tells more where the cores are shared. Against ourselves, a
replay's time is that of all it does, also of what comes before the first ranked event.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from river import optim, reco

from benchmarks.environment import environment, parser, write
from streamer.config import Config, load_config
from streamer.config.specs import parse_specs
from streamer.events import Event, Item, User
from streamer.replay.experiment import Experiment, with_defaults
from streamer.replay.processes import PlannedReplay, n_cores, replay_by
from streamer.replay.result import result_of
from streamer.replay.settings import Settings
from streamer_producers.datasets import open_log
from streamer_producers.log import Malformed

N_USERS, N_ITEMS, N_FACTORS = 2_000, 3_000, 32
TOPIC_MS = 1_700_000_000_000
MODELS = ("mf-softmax", "mf-bpr", "popularity")


class MadeUpLog:
    """Clicks in memory: every item once, then skewed users on skewed items."""

    name = "made-up"
    n_malformed = 0
    malformed: Sequence[Malformed] = ()
    gone: Sequence[str] = ()

    def __init__(self, n_events: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        users = (N_USERS * rng.random(N_ITEMS + n_events) ** 2).astype(int)
        skewed = (N_ITEMS * rng.random(n_events) ** 2).astype(int)
        items = np.concatenate([rng.permutation(N_ITEMS), skewed])
        self.n_estimated = len(users)
        self._events = [
            Event(
                event_id=f"event-{at}",
                type="click",
                user_id=f"user-{user}",
                item_id=f"item-{item}",
                ts=TOPIC_MS + at * 1_000,
            )
            for at, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True))
        ]

    def events(self) -> Iterator[Event]:
        return iter(self._events)

    def items(self) -> Iterator[Item]:
        return iter(())

    def users(self) -> Iterator[User]:
        return iter(())


@dataclass(slots=True)
class Timing:
    """Rounds of one contender."""

    wall_us: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)


class Clock:
    """Seconds of the wall clock and of the processor since it was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter(), time.process_time()

    def wall_s(self) -> float:
        return time.perf_counter() - self._started[0]

    def cpu_s(self) -> float:
        return time.process_time() - self._started[1]


def replay(log: MadeUpLog, model: str) -> Clock:
    """The whole of it: both passes, and learning the first event of each item."""
    clock = Clock()
    warmup = N_ITEMS / log.n_estimated
    experiment = Experiment(log, parse_specs([model]), Settings(warmup=warmup), config=Config())
    outcome = experiment.run()
    assert outcome.n_first_seen == 0
    return clock


def rank_with_river(log: MadeUpLog, n_events: int) -> Clock:
    """The same by river's own documentation: rank the candidates, then learn."""
    model = reco.BiasedMF(
        n_factors=N_FACTORS,
        bias_optimizer=optim.SGD(0.025),
        latent_optimizer=optim.SGD(0.05),
        seed=0,
    )
    events = list(log.events())
    consumed: dict[str, set[Hashable]] = {}
    items: set[Hashable] = set()

    def learn(event: Event) -> None:
        model.learn_one(user=event.user_id, item=event.item_id, y=1.0)  # type: ignore[no-untyped-call]
        consumed.setdefault(event.user_id, set()).add(event.item_id)
        items.add(event.item_id)

    for event in events[:N_ITEMS]:
        learn(event)
    clock = Clock()
    for event in events[N_ITEMS : N_ITEMS + n_events]:
        model.rank(event.user_id, items - consumed.get(event.user_id, set()))
        learn(event)
    return clock


def funnel_rates(log: str, positives: str | None, seed: int, n_rounds: int) -> dict[str, Any]:
    """Events/s of the funnel's replay of a log, by processes; all must find the same."""
    config = load_config(env={}, flags={})
    settings = with_defaults(Settings(positives=positives, seed=seed), warmup=None)
    open_it = partial(open_log, log, types=config.event_types, sort=True)
    replay = PlannedReplay(open_it, parse_specs(["funnel"]), settings, config)
    rates: dict[int, list[float]] = {n: [] for n in sorted({1, n_cores()})}
    recalls = set()
    for _ in range(n_rounds):
        for n, rounds in rates.items():
            experiment = replay.experiment()
            result = result_of(replay_by(n, replay, experiment, experiment.survey()))
            rounds.append(result.events_per_s)
            recalls.add(result.metrics["funnel"][f"recall@{settings.k}"])
    (recall,) = recalls
    medians = {n: statistics.median(rounds) for n, rounds in rates.items()}
    return {
        "benchmark": "replay of the funnel",
        "log": log,
        "seed": seed,
        "n_learned": result.events_learned,
        "n_ranked": result.events_scored,
        "recall": recall,
        "events_per_s": {str(n): round(rate, 1) for n, rate in medians.items()},
        "vs_one_process": {str(n): round(rate / medians[1], 2) for n, rate in medians.items()},
        "rounds": {str(n): rounds for n, rounds in rates.items()},
        "environment": environment("msgspec", "numba", "numpy"),
    }


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("log", nargs="?", help="a log that the funnel replays instead")
    options.add_argument("--positives", help="of that log, as streamer replay takes it")
    options.add_argument("--events", type=int, default=20_000, help="ranked events a round")
    options.add_argument("--river-events", type=int, default=100, help="of river's rounds")
    options.add_argument("--rounds", type=int, default=3, help="rounds of each contender")
    chosen = options.parse_args()
    if chosen.log is not None:
        found = funnel_rates(chosen.log, chosen.positives, chosen.seed, chosen.rounds)
        write(found, chosen.json)
        return
    log = MadeUpLog(chosen.events, chosen.seed)
    compiled = MadeUpLog(200, chosen.seed)
    for model in MODELS:
        replay(compiled, model)
    timings = {name: Timing() for name in (*MODELS, "river")}
    for _ in range(chosen.rounds):
        for name, timing in timings.items():
            n = chosen.river_events if name == "river" else chosen.events
            clock = rank_with_river(log, n) if name == "river" else replay(log, name)
            timing.wall_us.append(1e6 * clock.wall_s() / n)
            timing.cpu_us.append(1e6 * clock.cpu_s() / n)
    rates = {name: 1e6 / statistics.median(each.wall_us) for name, each in timings.items()}
    cpu_us = {name: statistics.median(each.cpu_us) for name, each in timings.items()}
    write(
        {
            "benchmark": "replay",
            "seed": chosen.seed,
            "n_events": chosen.events,
            "n_river_events": chosen.river_events,
            "n_items": N_ITEMS,
            "n_users": N_USERS,
            "n_factors": N_FACTORS,
            "n_rounds": chosen.rounds,
            "events_per_s": {name: round(rate, 1) for name, rate in rates.items()},
            "events_per_cpu_s": {name: round(1e6 / each, 1) for name, each in cpu_us.items()},
            "cpu_us": {name: round(each, 1) for name, each in cpu_us.items()},
            "vs_river": {name: round(rates[name] / rates["river"], 1) for name in MODELS},
            "vs_river_by_cpu": {name: round(cpu_us["river"] / cpu_us[name], 1) for name in MODELS},
            "wall_us": {name: timing.wall_us for name, timing in timings.items()},
            "environment": environment("msgspec", "numba", "numpy", "river"),
        },
        chosen.json,
    )


if __name__ == "__main__":
    main()
