"""A small events topic in memory, learners over it, and what they left in a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from streamer.clock import SystemClock
from streamer.config import Config
from streamer.events import Event, encode
from streamer.events.decoding import Rejected
from streamer.events.types import IMPRESSION
from streamer.learner.learner import Learner, RateFactor
from streamer.learner.rewards import Rewards
from streamer.learner.settings import LearnerSettings
from streamer.learner.step import DeadLetter
from streamer.protocols import STORE_SCHEMA_VERSION, Layout, MessageBatch, ParameterStore
from streamer.verify.parameters import Contents, image_contents
from streamer_models.counters.decayed_counters import DecayedFeature
from streamer_models.counters.decayed_features import DecayedFeatures
from streamer_models.counters.history import UserHistory
from streamer_models.counters.impressions import UserImpressions
from streamer_models.counters.last_events import LastEvent
from streamer_models.counters.popularity import Popularity
from streamer_models.factorization.mf import ImplicitMF
from streamer_models.state.model import Model
from streamer_models.state.partition import Bounds, all_specs
from tests.default_types import CODES

TOPIC = "events"
START_MS = 1_700_000_000_000
TYPES: tuple[str, ...] = ("click", "click", "like", "skip", "impression")

ITEM_RATE = DecayedFeature(
    name="item_rate",
    entity="item",
    numerator=(CODES["click"], CODES["like"]),
    denominator=(CODES["impression"],),
    half_life_ms=20_000,
    smoothing=3.0,
)
USER_CLICKS = DecayedFeature(
    name="user_clicks", entity="user", numerator=(CODES["click"],), half_life_ms=60_000
)
ITEM_RECENCY = LastEvent(name="item_recency", entity="item", types=(CODES["click"], CODES["like"]))

# Small bounds, so that a few thousand events evict; a rare item is not admitted at once.
SETTINGS = LearnerSettings(
    topic=TOPIC,
    n_partitions=1,
    bounds=Bounds(users_max=60, items_max=40, item_sightings_min=2, feature_rows_max=50),
    dedup_window=50,
    idle_expiry_ms=0,
    checkpoint_interval_s=1e9,
    checkpoint_rows_max=1_000_000,
    log_bytes_max=1_000_000_000,
    commit_deadline_s=0.0,
)


def with_settings(**changes: Any) -> LearnerSettings:
    return replace(SETTINGS, **changes)


def small_models() -> list[Model]:
    return [
        UserHistory(length=5),
        Popularity(half_lives_s=(60.0, 3600.0)),
        ImplicitMF(n_factors=4, n_negatives=3, recent_share=0.7, n_recent_items=32, seed=3),
        DecayedFeatures([ITEM_RATE, USER_CLICKS, ITEM_RECENCY]),
        UserImpressions(event_type=IMPRESSION, length=6),
    ]


def make_log(n: int, *, seed: int, n_users: int = 100, n_items: int = 80) -> list[bytes | None]:
    """Events of skewed users and items; some repeat, some teach nothing, some are broken."""
    rng = np.random.default_rng(seed)
    log: list[bytes | None] = []
    for i in range(n):
        event = Event(
            event_id=f"{seed}-{i if rng.random() > 0.03 else max(0, i - 7)}",
            type=TYPES[rng.integers(len(TYPES))],
            user_id=f"user-{seed}-{int(n_users * rng.random() ** 2)}",
            item_id=f"item-{int(n_items * rng.random() ** 2)}",
            ts=START_MS + 500 * i + int(rng.integers(0, 5_000)),
        )
        log.append(b'{"event_id": 7' if rng.random() < 0.02 else encode(event))
    return log


def messages(log: Sequence[bytes | None], partition: int, start: int, end: int) -> MessageBatch:
    """Messages of a log at offsets ``[start, end)``, as a source hands them out."""
    offsets = np.arange(start, min(end, len(log)), dtype=np.int64)
    return MessageBatch(TOPIC, partition, list(log[start:end]), offsets, START_MS + 500 * offsets)


class LogStream:
    """A partition of such a topic from an offset on, for verification.

    Parameters
    ----------
    low
        First offset that is still there.
    """

    def __init__(
        self, log: Sequence[bytes | None], partition: int, at: int = 0, *, low: int = 0
    ) -> None:
        self._log = log
        self._partition = partition
        self._at = max(at, low)

    def take(self, to_offset: int) -> MessageBatch:
        batch = messages(self._log, self._partition, self._at, to_offset)
        self._at = max(self._at, to_offset)
        return batch


class Dead(list[tuple[int, str]]):
    """Dead letters of a learner: (offset, reason)."""

    def __call__(self, batch: MessageBatch, rejected: Sequence[Rejected]) -> None:
        self.extend((int(batch.offsets[bad.index]), bad.reason) for bad in rejected)


default_rewards = Rewards(Config().events)


def make_learner(
    store: ParameterStore,
    models: Sequence[Model],
    settings: LearnerSettings,
    *,
    owner: str = "a",
    dead: DeadLetter | None = None,
    pipeline_depth: int = 0,
    rate_factor: RateFactor = lambda n_events: 1.0,
) -> Learner:
    store.ensure_layout(
        Layout(STORE_SCHEMA_VERSION, settings.n_partitions, tuple(all_specs(models)))
    )
    return Learner(
        store=store,
        models=models,
        settings=settings,
        rewards=default_rewards,
        owner=owner,
        clock=SystemClock(),
        dead_letter=dead if dead is not None else Dead(),
        pipeline_depth=pipeline_depth,
        rate_factor=rate_factor,
    )


def stored(
    store: ParameterStore, models: Sequence[Model], settings: LearnerSettings
) -> list[Contents]:
    """What the store has of every partition."""
    return [image_contents(store.load(p), models, settings) for p in range(settings.n_partitions)]
