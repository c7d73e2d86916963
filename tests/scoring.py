"""A learner's partitions, driven by hand into a memory store, for tests of the scorer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from streamer.catalogue.catalogue import Catalogue
from streamer.commit_ids import commit_id
from streamer.config import (
    BanditConfig,
    Config,
    FeatureConfig,
    PopularityConfig,
    SlateConfig,
    feature_definitions,
)
from streamer.config.section import Section
from streamer.events import FeatureEntity, FeatureValue, Item, Request, encode, feature_value_key
from streamer.events.types import IMPRESSION
from streamer.model_set import decayed_features
from streamer.protocols import STORE_SCHEMA_VERSION, Checkpoint, Entry, Layout, Schedule
from streamer.ranking.columns import feature_names
from streamer.ranking.known_features import NOTHING_KNOWN, FeatureSource
from streamer.ranking.recall.blend import BlendSettings
from streamer.ranking.recall.chosen import ChosenSettings
from streamer.ranking.recall.factorization import FactorizationSettings
from streamer.ranking.recall.fresh import FreshSettings
from streamer.ranking.recall.neighbours import NextSettings, SimilarSettings
from streamer.ranking.recall.popular import PopularSettings
from streamer.ranking.recall.random import RandomSettings
from streamer.ranking.recall.session import SessionSettings
from streamer.ranking.recall.time_of_day import TimeOfDaySettings
from streamer.ranking.recall.trending import TrendingSettings
from streamer.ranking.recall.trending_feature import TrendingFeatureSettings
from streamer.replica.replica import Replica
from streamer.replica.version import Version
from streamer.scorer.funnel import Funnel, Slate
from streamer.scorer.metrics import ScorerMetrics
from streamer.simulation.broker import ManualClock
from streamer.store.memory import MemoryStore
from streamer.windows.latest import LatestFeatures
from streamer_models.bandits.bandit import Bandit
from streamer_models.counters.decayed_features import DecayedFeatures
from streamer_models.counters.history import UserHistory
from streamer_models.counters.impressions import UserImpressions
from streamer_models.counters.popularity import Popularity
from streamer_models.factorization.mf import ImplicitMF
from streamer_models.state.ingest import Feedback, learn_feedback
from streamer_models.state.inputs import Events, Examples, Inputs, ShownItems
from streamer_models.state.model import Model, learn
from streamer_models.state.partition import Bounds, PartitionState, all_specs
from streamer_models.state.shared import SharedState

HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000
TOPIC = "events"


def small_models(*, n_factors: int = 4, bandit: Bandit | None = None) -> list[Model]:
    return [
        UserHistory(length=8),
        Popularity(half_lives_s=(3_600, 86_400)),
        ImplicitMF(n_factors=n_factors, loss="bpr", n_negatives=2, seed=3),
        *([] if bandit is None else [bandit]),
    ]


@dataclass(frozen=True, slots=True)
class Click:
    """``user`` liked ``item``, and maybe rated it."""

    user: str
    item: str
    ts_ms: int = START_MS
    rating: float = np.nan


@dataclass(frozen=True, slots=True)
class Shown:
    """``item`` was shown and earned a reward: NaN is not known yet, ``before`` was thought."""

    item: str
    reward: float
    before: float = np.nan
    features: tuple[float, ...] = ()
    ts_ms: int = START_MS
    weight: float = 1.0


class Partitions:
    """Learners of ``n`` partitions that see only their own contributions, and their store."""

    def __init__(
        self,
        n: int = 2,
        *,
        bounds: Bounds | None = None,
        log_entries_kept: int = 1_000,
        models: Sequence[Model] | None = None,
    ) -> None:
        self.models = list(models or small_models())
        self.store = MemoryStore(log_entries_kept=log_entries_kept)
        self.store.ensure_layout(Layout(STORE_SCHEMA_VERSION, n, tuple(all_specs(self.models))))
        bounds = bounds or Bounds(users_max=1_000, items_max=1_000)
        self.states = [
            PartitionState(p, self.models, SharedState(self.models), bounds=bounds)
            for p in range(n)
        ]
        self.versions = [0] * n
        self.offsets = [0] * n
        self.commit_ids = [0] * n
        for partition in range(n):
            self.store.acquire(partition, "tests")

    def commit(
        self, partition: int, clicks: Sequence[Click], *, published_ms: int = START_MS
    ) -> list[Entry]:
        """Learn clicks and commit them, one entry a segment."""
        state, start = self.states[partition], self.offsets[partition]
        n = len(clicks)
        feedback = Feedback(
            offsets=np.arange(start, start + n, dtype=np.int64),
            ts_ms=np.array([click.ts_ms for click in clicks], dtype=np.int64),
            user_ids=[click.user for click in clicks],
            item_ids=[click.item for click in clicks],
            rewards=np.ones(n, dtype=np.float32),
            values=np.array([click.rating for click in clicks], dtype=np.float64),
        )
        segments = learn_feedback(
            feedback, state, self.models, from_offset=start, to_offset=start + n
        )
        return [self._commit(partition, segment.to_offset, n, published_ms) for segment in segments]

    def show(self, partition: int, shown: Sequence[Shown]) -> Entry:
        """Learn outcomes of items shown, and commit them."""
        bandit = next(model for model in self.models if isinstance(model, Bandit))
        state, n = self.states[partition], len(shown)
        offsets = np.full(n, self.offsets[partition], dtype=np.int64)
        ts_ms = np.array([each.ts_ms for each in shown], dtype=np.int64)
        items = [each.item for each in shown]
        features = np.zeros((n, bandit.n_features), dtype=np.float32)
        features[:, 0] = 1.0
        for row, each in zip(features, shown, strict=True):
            row[: len(each.features)] = each.features
        rewards = (np.array([each.before for each in shown]), np.array([e.reward for e in shown]))
        weights = np.array([each.weight for each in shown])
        weighed = weights if (weights != 1.0).any() else None
        inputs = Inputs(
            shown=ShownItems(offsets, ts_ms, items),
            examples=Examples(offsets, ts_ms, items, features, *rewards, weights=weighed),
        )
        learn(self.models, inputs, state)
        state.watermark_ms = max(state.watermark_ms, int(ts_ms.max()))
        return self._commit(partition, self.offsets[partition] + 1, n, START_MS)

    def impress(self, partition: int, user: str, items: Sequence[str]) -> Entry:
        """Tell that a user was shown items, and commit it."""
        n, start = len(items), self.offsets[partition]
        offsets = np.arange(start, start + n, dtype=np.int64)
        types = np.full(n, IMPRESSION, dtype=np.int8)
        ts_ms, values = np.full(n, START_MS), np.full(n, np.nan)
        events = Events(offsets, ts_ms, types, values, [user] * n, items, [""] * n)
        learn(self.models, Inputs(events=events), self.states[partition])
        return self._commit(partition, start + n, n, START_MS)

    def _commit(self, partition: int, to_offset: int, n_events: int, published_ms: int) -> Entry:
        state = self.states[partition]
        offsets = {TOPIC: (self.offsets[partition], to_offset)}
        schedule = Schedule(self.versions[partition] + 1, offsets, {}, {})
        parent_id = self.commit_ids[partition]
        entry = Entry(
            partition=partition,
            schedule=schedule,
            change=state.collect(),
            watermark_ms=state.watermark_ms,
            publish_ms=np.full(4, published_ms, dtype=np.int64),
            committed_ms=published_ms,
            n_events=n_events,
            parent_id=parent_id,
            commit_id=commit_id(parent_id, schedule, published_ms),
        )
        self.store.commit(entry, owner="tests")
        self.versions[partition] = entry.version
        self.commit_ids[partition] = entry.commit_id
        self.offsets[partition] = to_offset
        return entry

    def checkpoint(self, partition: int) -> None:
        names, removed, tables = self.states[partition].take_checkpoint()
        checkpoint = Checkpoint(
            partition=partition,
            version=self.versions[partition],
            offsets={TOPIC: self.offsets[partition]},
            watermark_ms=self.states[partition].watermark_ms,
            names=names,
            removed=removed,
            tables=tables,
            commit_id=self.commit_ids[partition],
        )
        self.store.checkpoint(checkpoint, owner="tests")


RECALL: dict[str, Section] = {
    "mf": FactorizationSettings(candidates=20, weight=1.0),
    "trending": TrendingSettings(candidates=10, weight=0.3, half_life_s=3_600.0),
    "trending_feature": TrendingFeatureSettings(candidates=10),
    "fresh": FreshSettings(candidates=0),
    "chosen": ChosenSettings(candidates=0),
    "random": RandomSettings(candidates=0),
    "popular": PopularSettings(candidates=0),
    "similar": SimilarSettings(candidates=0),
    "next": NextSettings(candidates=0),
    "time_of_day": TimeOfDaySettings(candidates=0),
    "session": SessionSettings(factors=0),
    "blend": BlendSettings(weight=0.0),
}
"""Factorization and what trends alone: two channels that a few clicks and one's head can follow."""
TWO_CHANNELS: Mapping[str, Any] = {
    "recall.mf.candidates": 200,
    "recall.mf.weight": 1.0,
    "recall.trending.candidates": 100,
    "recall.trending.weight": 0.3,
    "recall.popular.candidates": 0,
    "recall.similar.candidates": 0,
    "recall.next.candidates": 0,
    "recall.time_of_day.candidates": 0,
    "recall.session.factors": 0,
    "recall.fresh.candidates": 0,
    "recall.chosen.candidates": 0,
    "recall.blend.weight": 0.0,
}
"""The same as flags."""


def recalling(**changes: Mapping[str, object]) -> dict[str, Section]:
    """``RECALL`` with some settings of some channels changed."""
    changed = {name: replace(RECALL[name], **given) for name, given in changes.items()}
    return RECALL | changed


CONFIG = Config(
    recall=RECALL,
    popularity=PopularityConfig(half_lives_s=(3_600.0, 86_400.0)),
    bandit=BanditConfig(policy="greedy"),
)


def bandit_of(config: Config) -> Bandit:
    """What learns for the features of a configuration."""
    return Bandit(
        n_features=len(feature_names(config)),
        half_lives_s=config.popularity.half_lives_s,
        half_life_s=config.bandit.half_life_s,
        per_arm=config.bandit.form == "disjoint",
    )


class Shop:
    """Learned clicks, a catalogue, and a funnel over the newest version."""

    def __init__(
        self,
        recall: Mapping[str, Section] = RECALL,
        *,
        bandit: BanditConfig = CONFIG.bandit,
        learned: Partitions | None = None,
        features: Mapping[str, FeatureConfig] | None = None,
        slate: SlateConfig = CONFIG.slate,
    ) -> None:
        self.config = replace(CONFIG, recall=dict(recall), bandit=bandit, slate=slate)
        if features is not None:
            self.config = replace(self.config, features=dict(features))
        self.known: FeatureSource = NOTHING_KNOWN
        fading = decayed_features(self.config)
        models = small_models(bandit=bandit_of(self.config))
        models += [DecayedFeatures(fading)] if fading else []
        models += (
            [UserImpressions(event_type=IMPRESSION, length=bandit.impressions)]
            if bandit.impressions
            else []
        )
        self.learned = learned or Partitions(1, models=models)
        metrics = ScorerMetrics(CollectorRegistry())
        self.catalogue = Catalogue(metrics=metrics.catalogue, config=self.config.catalogue)
        self.replica = Replica(
            store=self.learned.store,
            models=self.learned.models,
            n_partitions=1,
            clock=ManualClock(START_MS),
            metrics=metrics.replica,
        )
        self.funnel = Funnel(self.config)

    def click(self, *clicks: Click) -> None:
        self.learned.commit(0, clicks)

    def show(self, *shown: Shown) -> None:
        self.learned.show(0, shown)

    def impress(self, user: str, *items: str) -> None:
        self.learned.impress(0, user, items)

    def publish(self, item_id: str, **given: Any) -> None:
        item = Item(item_id=item_id, **given)
        self.catalogue.apply(item_id.encode(), encode(item))

    def version(self) -> Version:
        self.replica.follow(timeout_s=0)
        return self.replica.current()

    def request(self, user: str, **given: object) -> Request:
        return replace(Request(request_id="r1", user_id=user, ts=START_MS), **given)

    def ask(self, user: str, **given: object) -> Slate:
        request = self.request(user, **given)
        return self.funnel.recommend(request, self.version(), self.catalogue, known=self.known)


class Told(LatestFeatures):
    """What is known of the features of a shop, told value by value."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(feature_definitions(shop.config))
        shop.known = self

    def tell(
        self,
        entity: FeatureEntity,
        name: str,
        values: Mapping[str, float],
        *,
        end_ms: int = START_MS,
    ) -> None:
        """Values by entity, of a window that ended then."""
        for entity_id, value in values.items():
            message = FeatureValue(
                entity=entity,
                id=entity_id,
                name=name,
                value=value,
                window_start=0,
                window_end=end_ms,
                computed_ts=end_ms,
            )
            self.take([feature_value_key(name, entity_id)], [encode(message)])


def crowd(item: str, n: int, *, ts_ms: int = START_MS) -> list[Click]:
    return [Click(f"crowd{i}", item, ts_ms) for i in range(n)]


def two_tastes(shop: Shop) -> None:
    """Half of the users like the even items, half the odd ones; each has met five of ten."""
    rng = np.random.default_rng(1)
    clicks = []
    for user in range(60):
        liked = rng.permutation(10)[:5] * 2 + user % 2
        clicks += [Click(f"u{user}", f"i{item}") for item in liked]
    order = rng.permutation(len(clicks) * 8) % len(clicks)
    shop.click(*(clicks[i] for i in order))
