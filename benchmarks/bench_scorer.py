"""How long does a request take at 100,000 items, and what does keeping up with commits cost?

``python benchmarks/bench_scorer.py --json OUT`` times, in one thread: recall alone, a request, a
request of a new user; a request by every policy of the bandit; what the follower does for one
commit; and requests again while a follower thread applies commits at their live rhythm. Every item
is in the catalogue, was shown and has values of all features that rank. OpenBLAS is held to one
thread.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from benchmarks.request_times import fresh_replica, measure, while_following
from streamer.catalogue.catalogue import Catalogue
from streamer.catalogue.metrics import CatalogueMetrics
from streamer.config import BanditConfig, load_config
from streamer.events import FeatureEntity, FeatureValue, Item, Request, encode, feature_value_key
from streamer.model_set import decayed_features
from streamer.protocols import Entry, Schedule
from streamer.ranking.columns import feature_names, followed_definitions
from streamer.ranking.context import RequestContext
from streamer.ranking.recall.channel import Channel
from streamer.ranking.recall.factorization import FactorizationChannel
from streamer.ranking.recall.trending import TrendingChannel
from streamer.replica.replica import Replica
from streamer.scorer.funnel import Funnel
from streamer.windows.latest import LatestFeatures
from streamer_models.bandits.bandit import N_RATES, OUTCOMES, RATES, STATISTICS, Bandit
from streamer_models.bandits.linear_statistics import amend
from streamer_models.counters.decay import add_counted, add_decayed, forward_weights
from streamer_models.counters.decayed_features import DecayedFeatures
from streamer_models.counters.decayed_layout import ID_ENTITY_OF
from streamer_models.counters.history import UserHistory
from streamer_models.counters.popularity import Popularity
from streamer_models.factorization.mf import ImplicitMF
from streamer_models.state.ids.id_table import id_key
from streamer_models.state.model import Model
from streamer_models.state.partition import all_specs
from streamer_models.state.table import ARM, Change, IdChange, Keys, Rows
from tests.scoring import TWO_CHANNELS

NOW_MS = 1_700_000_000_000
CONFIG = load_config(env={}, flags=TWO_CHANNELS)
"""Factorization and popularity: `bench_funnel` has the default funnel."""
POLICIES = get_args(get_args(get_type_hints(BanditConfig, include_extras=True)["policy"])[0])
_NONE = np.zeros(0, dtype=np.uint64)
_REQUEST = Request(request_id="r", user_id="u", ts=NOW_MS)


@dataclass(frozen=True, slots=True)
class Size:
    """What is scored, and how many events a commit holds."""

    n_items: int
    n_users: int
    n_factors: int
    n_events: int


class World:
    """Made-up parameters of one partition, and commits that change some of them."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.popularity = Popularity(half_lives_s=CONFIG.popularity.half_lives_s)
        self.fading = DecayedFeatures(decayed_features(CONFIG))
        self.models: list[Model] = [
            self.fading,
            UserHistory(),
            self.popularity,
            ImplicitMF(n_factors=size.n_factors),
            Bandit(
                n_features=len(feature_names(CONFIG)),
                half_lives_s=CONFIG.popularity.half_lives_s,
            ),
        ]
        self._specs = {spec.name: spec for spec in all_specs(self.models)}
        self._item_names = tuple(b"item-%d" % i for i in range(size.n_items))
        self._user_names = tuple(b"user-%d" % i for i in range(size.n_users))
        self._items = np.array([id_key(name) for name in self._item_names], dtype=np.uint64)
        self._users = np.array([id_key(name) for name in self._user_names], dtype=np.uint64)
        self._rng = np.random.default_rng(0)
        self._version = 0

    def everything(self) -> Entry:
        """Admits everybody and writes every row."""
        ids = {
            "item": IdChange(self._items, self._item_names, _NONE),
            "user": IdChange(self._users, self._user_names, _NONE),
            ARM: IdChange(self._items, self._item_names, _NONE),
            ID_ENTITY_OF["item"]: IdChange(self._items, self._item_names, _NONE),
            ID_ENTITY_OF["user"]: IdChange(self._users, self._user_names, _NONE),
        }
        tables = self._tables(self._items, self._users) | self._outcomes(self._items, 10_000)
        return self._entry(Change({}, ids, tables))

    def commit(self) -> Entry:
        """Events on skewed items, four uniform negatives each, every event by another user."""
        n = self.size.n_events
        liked = (self._rng.pareto(1.0, size=n) * 20).astype(np.int64) % self.size.n_items
        negatives = self._rng.integers(self.size.n_items, size=4 * n)
        items = self._items[np.unique(np.concatenate([liked, negatives]))]
        users = self._users[self._rng.permutation(self.size.n_users)[:n]]
        shown = self._items[self._rng.integers(self.size.n_items, size=n)]
        tables = self._tables(items, users) | self._outcomes(np.unique(shown), n)
        return self._entry(Change({}, {}, tables))

    def _tables(self, items: Keys, users: Keys) -> dict[str, Rows]:
        k, n_items, n_users = self.size.n_factors, len(items), len(users)
        cells = np.zeros((n_items, self._specs["item_popularity"].width), dtype=np.int64)
        add_decayed(
            cells,
            np.arange(n_items, dtype=np.int32),
            NOW_MS - self._rng.integers(7_200_000, size=n_items),
            np.ones(n_items, dtype=np.float32),
            self.popularity.half_lives,
        )
        factors = self._rng.integers(-(1 << 20), 1 << 20, size=(n_items, k + 1), dtype=np.int32)
        of_users = self._rng.standard_normal((n_users, k + 1)).astype(np.float32)
        return {
            "item_factors": Rows(items, factors),
            "item_counts": Rows(items, np.ones((n_items, 1), dtype=np.int64)),
            "item_popularity": Rows(items, cells),
            "user_factors": Rows(users, of_users),
            "user_history": Rows(users, self._rng.choice(self._items, size=(n_users, 1))),
            **self._counted("item", items),
            **self._counted("user", users),
        }

    def _counted(self, entity: str, keys: Keys) -> dict[str, Rows]:
        """An event of every counted type for each."""
        held = self.fading.last_events.get(entity, ())
        last = {
            self.fading.last_table(entity): Rows(
                keys, np.full((len(keys), len(held)), NOW_MS - 60_000)
            )
        }
        table, counters = self.fading.table(entity), self.fading.kernel_counters[entity]
        codes = np.flatnonzero(self.fading.counts_type[entity])
        n = len(keys) * len(codes)
        cells = np.zeros((len(keys), self._specs[table].width), dtype=np.int64)
        dated = forward_weights(np.full(n, NOW_MS - 60_000), self.fading.half_lives)
        slots = np.repeat(np.arange(len(keys), dtype=np.int32), len(codes))
        types, values = np.tile(codes.astype(np.int8), len(keys)), np.full(n, np.nan)
        add_counted(cells, slots, np.arange(n), types, values, *dated, counters)
        return {table: Rows(keys, cells)} | (last if held else {})

    def _outcomes(self, arms: Keys, n_examples: int) -> dict[str, Rows]:
        """Every arm shown once, and statistics of random examples."""
        n, cells = len(arms), np.zeros((len(arms), self._specs[RATES].width), dtype=np.int64)
        slots, ts_ms = np.arange(n, dtype=np.int32), np.full(n, NOW_MS - 60_000)
        half_lives = np.repeat(self.popularity.half_lives, N_RATES)
        add_decayed(cells, slots, ts_ms, np.ones(n, dtype=np.float32), half_lives)
        d = len(feature_names(CONFIG))
        row = np.zeros((1, self._specs[STATISTICS].width), dtype=np.int64)
        x = self._rng.standard_normal((n_examples, d)).astype(np.float32)
        x[:, 0] = 1.0
        nothing, rewards = np.full(n_examples, np.nan), self._rng.random(n_examples)
        amend(row, np.zeros(n_examples, dtype=np.int32), x, nothing, rewards)
        return {
            OUTCOMES: Rows(arms, np.ones((n, 4), dtype=np.int64)),
            RATES: Rows(arms, cells),
            STATISTICS: Rows(np.zeros(1, dtype=np.uint64), row),
        }

    def catalogue(self) -> Catalogue:
        """Every item with two of twenty categories."""
        catalogue = Catalogue(metrics=CatalogueMetrics(CollectorRegistry()))
        for i, name in enumerate(self._item_names):
            categories = [f"category {i % 20}", f"category {i % 7}"]
            item = Item(item_id=name.decode(), categories=categories, created_ts=NOW_MS - i)
            catalogue.apply(name, encode(item))
        return catalogue

    def known(self) -> LatestFeatures:
        """Every windowed feature of every entity."""
        definitions = followed_definitions(CONFIG)
        ids: dict[FeatureEntity, list[str]] = {
            "item": [name.decode() for name in self._item_names],
            "user": [name.decode() for name in self._user_names],
            "category": [f"category {i}" for i in range(20)],
        }
        known = LatestFeatures(definitions)
        for each in definitions:
            keys, values = [], []
            for entity_id in ids[each.entity]:
                value = FeatureValue(
                    entity=each.entity,
                    id=entity_id,
                    name=each.name,
                    value=float(self._rng.random()),
                    window_start=0,
                    window_end=NOW_MS,
                    computed_ts=NOW_MS,
                )
                keys.append(feature_value_key(each.name, entity_id))
                values.append(encode(value))
            known.take(keys, values)
        return known

    def _entry(self, change: Change) -> Entry:
        self._version += 1
        return Entry(
            partition=0,
            schedule=Schedule(self._version, {}, {}, {}),
            change=change,
            watermark_ms=NOW_MS,
            publish_ms=np.full(256, NOW_MS, dtype=np.int64),
            committed_ms=NOW_MS,
            n_events=self.size.n_events,
        )

    def replica(self) -> Replica:
        """A replica that holds everything."""
        replica = fresh_replica(self.models)
        replica.apply([self.everything()])
        return replica


class Asking:
    """Requests of random users over a replica, and the parts of answering them."""

    def __init__(
        self,
        world: World,
        replica: Replica,
        catalogue: Catalogue,
        known: LatestFeatures,
        policy: str,
    ) -> None:
        self._known = known
        self._n_users = world.size.n_users
        self._replica = replica
        self._channels: list[Channel[Any]] = [FactorizationChannel(CONFIG), TrendingChannel(CONFIG)]
        self._funnel = Funnel(replace(CONFIG, bandit=BanditConfig(policy=policy)))
        self._catalogue = catalogue
        self._rng = np.random.default_rng(1)

    def known_user(self) -> None:
        self._ask(f"user-{self._rng.integers(self._n_users)}")

    def new_user(self) -> None:
        self._ask(f"stranger-{self._rng.integers(1 << 40)}")

    def _ask(self, user_id: str) -> None:
        request = Request(request_id=f"r{self._rng.integers(1 << 40)}", user_id=user_id, ts=NOW_MS)
        slate = self._funnel.recommend(
            request, self._replica.current(), self._catalogue, known=self._known
        )
        assert len(slate.item_ids) == CONFIG.scorer.k_default

    def recall(self) -> None:
        version = self._replica.current()
        user_row = int(self._rng.integers(self._n_users))
        context = RequestContext(
            _REQUEST, version, self._catalogue, user_row, _NONE, _NONE, NOW_MS, 0
        )
        for channel in self._channels:
            found = channel.recall(context, version.items.live, channel.settings.candidates)
            assert len(found.rows) == channel.settings.candidates


def run(size: Size, n_requests: int) -> dict[str, object]:
    """Everything, as one JSON result."""
    world = World(size)
    began = time.perf_counter()
    replica = world.replica()
    fill_s = time.perf_counter() - began
    given = replica, world.catalogue(), world.known()
    asking = Asking(world, *given, CONFIG.bandit.policy)
    by_policy = {policy: Asking(world, *given, policy) for policy in POLICIES}
    for each in by_policy.values():
        each.known_user()
    for call in (asking.known_user, asking.new_user, asking.recall):
        call()
    commits = [world.commit() for _ in range(40)]
    replica.apply([commits.pop(0)])  # what is not compiled yet is now
    return {
        "size": asdict(size),
        "fill_s": round(fill_s, 2),
        "recall": measure(asking.recall, n_requests),
        "request": measure(asking.known_user, n_requests),
        "request_new_user": measure(asking.new_user, n_requests),
        "request_by_policy": {
            policy: measure(each.known_user, n_requests // 4) for policy, each in by_policy.items()
        },
        "apply_commit": measure(lambda: replica.apply([commits.pop(0)]), len(commits)),
        "request_while_following": while_following(
            replica, [world.commit() for _ in range(100)], asking.known_user, min(n_requests, 500)
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--factors", type=int, default=32)
    parser.add_argument("--events", type=int, default=500, help="a commit")
    parser.add_argument("--requests", type=int, default=1_000)
    given = parser.parse_args()
    result = run(Size(given.items, given.users, given.factors, given.events), given.requests)
    text = json.dumps(result, indent=2)
    if given.json is not None:
        given.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
