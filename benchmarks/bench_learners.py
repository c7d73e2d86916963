"""What is lost where several learners know of each other only every so often?

``python -m benchmarks.bench_learners LOG --positives "value>=5" --json OUT`` replays a log in the
live system with four partitions of users, learned

- ``funnel``: by one learner, which knows each event as soon as it is learned;
- ``several:every=100``: by four, of a partition each, which take what the others have committed
  every 100 events; between, each goes on with its own;
- ``several:every=1000``: the same every 1,000 events.

The scorer follows all commits at once, so what is measured is what learners learn from stale
parameters of others, and what their sums come to. ``vs_one`` is the share of each metric of one
learner that is left. A made-up log, without LOG, has popular items and no tastes: it shows that all
runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.bench_replay import MadeUpLog
from benchmarks.environment import environment, parser, write
from streamer.config import Config, load_config
from streamer.config.specs import parse_specs
from streamer.learner.service import LearnerService
from streamer.model_set import store_layout
from streamer.protocols import Entry, Source
from streamer.replay.experiment import Experiment
from streamer.replay.funnel_model import FunnelModel, funnel_config
from streamer.replay.knobs import Knobs
from streamer.replay.model_kind import ModelKind
from streamer.replay.models import MODELS
from streamer.replay.result import Numbers, result_of
from streamer.replay.settings import Settings
from streamer.simulation.live import LiveSystem
from streamer.store.of_models import StoreOfModels
from streamer_producers.datasets import open_log

N_LEARNERS: Final = 4
EVERY: Final = (100, 1_000)
N_MADE_UP: Final = 2_000
LATE: Final = {"store.log_entries_kept": 100_000, "store.log_bytes_max": 10_000_000_000}
"""A learner that takes nothing for a while needs what was committed meanwhile to be there."""
METRICS: Final = ("recall@10", "ndcg@10")


class LateStore(StoreOfModels):
    """A store whose reader hears of commits when it is told that it is time."""

    due = False

    def follow(self, after: Mapping[int, int], *, timeout_s: float, **known: Any) -> list[Entry]:
        if not self.due:
            return []
        entries = super().follow(after, timeout_s=timeout_s, **known)
        self.due = bool(entries)
        return entries


class SeveralLearners(LiveSystem):
    """A live system with a learner a partition."""

    def __init__(self, config: Config, *, every: int, **arguments: Any) -> None:
        self._every, self._n_rounds = every, 0
        self._several: list[tuple[LateStore, LearnerService, Source]] = []
        super().__init__(config, **arguments)

    def _start_learner(self) -> None:
        super()._start_learner()  # what it says of itself is asked of the first
        self._several.clear()
        for partition in range(self.config.topics.partitions):
            store = LateStore(self.store, store_layout(self.config, self._models), learns=True)
            learner, service = self._new_learner(store, [partition])
            self._several.append((store, service, service.join()))
            if not partition:
                self._learner = learner

    def _learn_published(self) -> None:
        self._n_rounds += 1
        if self._n_rounds % self._every == 0:
            for store, _, _ in self._several:
                store.due = True
        for _, service, source in self._several:
            while service.round(source, timeout_s=0.0) == self._n_max:
                pass


class SeveralModel(FunnelModel):
    """The funnel over :class:`SeveralLearners`."""

    def __init__(self, config: Config, *, every: int) -> None:
        super().__init__(config)
        self._every = every

    def _begin(self, start_ms: int) -> LiveSystem:
        return SeveralLearners(
            self._config,
            every=self._every,
            start_ms=start_ms,
            sync_interval_ms=0,
            policy=self._policy,
            keeps_messages=False,
        )


def _shown(numbers: Numbers, one: Numbers) -> dict[str, float]:
    found: dict[str, float] = {}
    for metric in METRICS:
        value, of_one = numbers[metric] or 0.0, one[metric] or 0.0
        found |= {metric: value, f"{metric}_vs_one": value / of_one if of_one else 0.0}
    return found


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument(
        "log",
        type=Path,
        nargs="?",
        help="a file or a folder that replay takes; none: a made-up one",
    )
    arguments.add_argument("--positives", help="as streamer replay takes it")
    given = arguments.parse_args()
    config, seed = load_config(env={}, flags={}), given.seed
    several = funnel_config(config, LATE, seed=seed, n_partitions=N_LEARNERS)
    MODELS["several"] = ModelKind(
        lambda *, seed, every: SeveralModel(several, every=every), {"every": int}
    )
    log = (
        MadeUpLog(N_MADE_UP, seed)
        if given.log is None
        else open_log(given.log, types=config.event_types, strict=False, sort=True)
    )
    settings = Settings(positives=given.positives, seed=seed, knobs=Knobs(partitions=N_LEARNERS))
    specs = parse_specs(["funnel", *(f"several:every={n}" for n in EVERY)])
    result = result_of(Experiment(log, specs, settings, config=config).run())
    found = {
        name: _shown(numbers, result.metrics["funnel"]) for name, numbers in result.metrics.items()
    }
    write(
        {
            "models": found,
            "standard_error": result.standard_errors["funnel"][METRICS[0]],
            "log": result.log.name,
            "seed": seed,
            "environment": environment("numpy", "numba"),
        },
        given.json,
    )


if __name__ == "__main__":
    main()
