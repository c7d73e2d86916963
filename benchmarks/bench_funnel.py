"""What does the default funnel cost: an event to learn, to practise on, and a request?

``python -m benchmarks.bench_funnel --json OUT`` learns made-up clicks of skewed users on skewed
items with the models of the default configuration, in one thread and without Kafka or a store, and
then answers requests of known and of new users from a replica of what was learned: without a
catalogue by the greedy policy, alone and while another thread follows commits of 500 events at
their live rhythm; and with a catalogue of all items under rules, variety and caps by the default
policy. Times of learning are CPU time of the thread; a commit's size is what its arrays and names
hold.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from prometheus_client import CollectorRegistry

from benchmarks.environment import environment, parser, write
from benchmarks.request_times import fresh_replica, measure, while_following
from streamer.application.services.warm_up import warm_up
from streamer.catalogue.catalogue import Catalogue
from streamer.catalogue.metrics import CatalogueMetrics
from streamer.config import Config, load_config
from streamer.events import Item, Request, encode
from streamer.learner.practice.practice import Practice
from streamer.model_set import bounds, build_models
from streamer.protocols import Entry, Schedule
from streamer.replica.replica import Replica
from streamer.scorer.funnel import Funnel
from streamer_models.state.ingest import Feedback, admit
from streamer_models.state.inputs import Inputs
from streamer_models.state.partition import PartitionState
from streamer_models.state.shared import SharedState

START_MS = 1_700_000_000_000
BATCH = 500
N_FOLLOWED = 100
DAY_MS = 86_400_000
REGIONS = ("eu", "us", "in")
COMPOSED: Final[Mapping[str, object]] = {
    "rules.region.only": (
        "item.attributes.region == 'all' || item.attributes.region == request.context.region"
    ),
    "rules.minimum_age.exclude": "now_ms - item.created_ts < 60 * 60 * 1000",
    "rules.own.when": "item.attributes.brand == 'own'",
    "rules.own.boost": 1.0,
    "slate.diversity": 0.2,
    "slate.caps": ["categories<=2 in 5"],
}
"""Rules, variety and caps as docs/rules.md and docs/slates.md have them."""


def clicks(n: int, n_items: int, n_users: int, seed: int) -> Iterator[Feedback]:
    """Batches of clicks, ten a second; users keep to a fiftieth of the items each."""
    rng = np.random.default_rng(seed)
    for start in range(0, n, BATCH):
        users = (n_users * rng.random(BATCH) ** 2).astype(int)
        near = (users * 7_919 + (n_items // 50 * rng.random(BATCH) ** 2).astype(int)) % n_items
        items = np.where(
            rng.random(BATCH) < 0.7, near, (n_items * rng.random(BATCH) ** 3).astype(int)
        )
        yield Feedback(
            offsets=np.arange(start, start + BATCH),
            ts_ms=START_MS + 100 * np.arange(start, start + BATCH),
            user_ids=[f"user-{user}" for user in users.tolist()],
            item_ids=[f"item-{item}" for item in items.tolist()],
            rewards=np.ones(BATCH, dtype=np.float32),
            values=np.full(BATCH, np.nan),
        )


class Learning:
    """A partition that learns with the models of a configuration, and a replica of it."""

    def __init__(self, config: Config) -> None:
        self.models = build_models(config)
        warm_up(config)
        self.practice = Practice(config)
        shared = SharedState(self.models)
        self.state = PartitionState(0, self.models, shared, bounds=bounds(config))
        self.replica = fresh_replica(self.models)
        self.n_bytes = self.n_cells = 0
        self.cpu_s = 0.0
        self._version = 0

    def take(self, batch: Feedback, share: float) -> None:
        """Learn a batch, practising on a share of it, and follow its commit."""
        self.replica.apply(self.commits(batch, share))

    def commits(self, batch: Feedback, share: float) -> list[Entry]:
        """Learn a batch, practising on a share of it: what a scorer follows, at most an entry."""
        entries = []
        start, end = int(batch.offsets[0]), int(batch.offsets[-1]) + 1
        for segment in admit(batch, self.state, from_offset=start, to_offset=end):
            began_s = time.thread_time()
            inputs = Inputs(feedback=segment.batch)
            self.practice.learn(self.models, inputs, self.state, share)
            change = self.state.collect()
            self.cpu_s += time.thread_time() - began_s
            self.n_bytes += change.n_bytes
            self.n_cells += sum(len(rows) for rows in change.tables.values())
            self._version += 1
            entries.append(
                Entry(
                    partition=0,
                    schedule=Schedule(self._version, {}, {}, {}),
                    change=change,
                    watermark_ms=self.state.watermark_ms,
                    publish_ms=segment.batch.ts_ms,
                    committed_ms=self.state.watermark_ms,
                    n_events=len(segment.batch),
                )
            )
        return entries


def described(n_items: int) -> Catalogue:
    """Every item with two of twenty-seven categories, a region and a brand."""
    catalogue = Catalogue(metrics=CatalogueMetrics(CollectorRegistry()))
    for i in range(n_items):
        item = Item(
            item_id=f"item-{i}",
            categories=[f"kind {i % 20}", f"other kind {i % 7}"],
            created_ts=START_MS - DAY_MS - i,
            attributes={"region": ("all", *REGIONS)[i % 4], "brand": ("own", "a", "b")[i % 3]},
        )
        catalogue.apply(item.item_id.encode(), encode(item))
    return catalogue


def learned_us(learning: Learning, batches: list[Feedback], share: float) -> float:
    """CPU µs an event, the median batch."""
    found = []
    for batch in batches:
        before_s = learning.cpu_s
        learning.take(batch, share)
        found.append(1e6 * (learning.cpu_s - before_s) / len(batch))
    return float(np.median(found))


class Asking:
    """Requests of known users in turn and of new ones, from the newest version of a replica."""

    def __init__(
        self, funnel: Funnel, catalogue: Catalogue, replica: Replica, known: Sequence[int]
    ) -> None:
        self._funnel = funnel
        self._catalogue = catalogue
        self._replica = replica
        self._known = itertools.cycle(known)
        self._i = itertools.count()
        for _ in REGIONS:
            self.known_user()

    def known_user(self) -> None:
        self._ask(f"user-{next(self._known)}")

    def new_user(self) -> None:
        self._ask(f"new-{next(self._i)}")

    def _ask(self, user_id: str) -> None:
        i, version = next(self._i), self._replica.current()
        request = Request(
            request_id=f"{user_id}-{i}",
            user_id=user_id,
            ts=version.watermark_ms + 1_000 + i,
            context={"region": REGIONS[i % len(REGIONS)]},
        )
        slate = self._funnel.recommend(request, version, self._catalogue)
        assert slate.item_ids
        assert all(slate.reasons)


def run(
    config: Config, n_items: int, n_events: int, n_requests: int, seed: int
) -> dict[str, object]:
    """Everything for one number of items."""
    learning, n_users = Learning(config), 20_000
    batches = list(clicks(n_events + (60 + N_FOLLOWED) * BATCH, n_items, n_users, seed))
    measured = batches[-60 - N_FOLLOWED : -N_FOLLOWED]
    for i, batch in enumerate(batches[: -60 - N_FOLLOWED]):
        learning.take(batch, 0.02)
        if i % 20 == 0:
            print(f"\r{n_items:,} items: {i * BATCH:,} events learned", end="", flush=True)
    learning.n_bytes = learning.n_cells = 0
    plain_us = learned_us(learning, measured[:30], 0.0)
    n_bytes, n_cells = learning.n_bytes / (30 * BATCH), learning.n_cells / (30 * BATCH)
    practised_us = learned_us(learning, measured[30:], 0.25)
    replica = learning.replica
    commits = [entry for batch in batches[-N_FOLLOWED:] for entry in learning.commits(batch, 0.02)]
    known = np.random.default_rng(seed).integers(0, n_users // 4, n_requests)

    def asking(funnel: Funnel, catalogue: Catalogue) -> Asking:
        funnel.prepare(catalogue)
        return Asking(funnel, catalogue, replica, known.tolist())

    plain = asking(Funnel(config), Catalogue(metrics=CatalogueMetrics(CollectorRegistry())))
    composed = asking(Funnel(load_config(env={}, flags=COMPOSED)), described(n_items))
    print()
    return {
        "n_items": len(replica.current().items.ids.keys),
        "learn_us": round(plain_us, 2),
        "practise_us": round((practised_us - plain_us) / 0.25, 1),
        "commit_bytes_an_event": round(n_bytes),
        "commit_rows_and_cells_an_event": round(n_cells, 1),
        "known_user": measure(plain.known_user, n_requests),
        "new_user": measure(plain.new_user, n_requests),
        "composed": {
            "known_user": measure(composed.known_user, n_requests),
            "new_user": measure(composed.new_user, n_requests),
        },
        "known_user_while_following": while_following(
            replica, commits, plain.known_user, n_requests
        ),
    }


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--items", type=int, nargs="+", default=[3_000, 100_000])
    options.add_argument("--events", type=int, default=200_000, help="learned before measuring")
    options.add_argument("--requests", type=int, default=500)
    given = options.parse_args()
    config = load_config(env={}, flags={"bandit.policy": "greedy"})
    results = [
        run(config, n_items, given.events, given.requests, given.seed) for n_items in given.items
    ]
    write(
        {"benchmark": "funnel", "seed": given.seed, "results": results,
         "environment": environment("numba", "numpy")},
        given.json,
    )  # fmt: skip


if __name__ == "__main__":
    main()
