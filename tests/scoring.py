"""A learner's partitions, driven by hand into a memory store, for tests of the scorer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.history import UserHistory
from models.ingest import Feedback, learn_feedback
from models.mf import ImplicitMF
from models.partition import Bounds, PartitionState, all_specs
from models.popularity import Popularity
from models.protocols import Model
from models.shared import SharedState
from streamer.protocols import Checkpoint, Entry, Layout, Schedule
from streamer.store.memory import MemoryStore

HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000
TOPIC = "events"


def small_models(*, n_factors: int = 4) -> list[Model]:
    return [
        UserHistory(length=8),
        Popularity(half_lives_s=(3_600, 86_400)),
        ImplicitMF(n_factors=n_factors, loss="bpr", n_negatives=2, seed=3),
    ]


@dataclass(frozen=True, slots=True)
class Click:
    """``user`` liked ``item``, and maybe rated it."""

    user: str
    item: str
    ts_ms: int = START_MS
    rating: float = np.nan


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
        self.store.ensure_layout(Layout(1, n, tuple(all_specs(self.models)), "test"))
        bounds = bounds or Bounds(users_max=1_000, items_max=1_000)
        self.states = [
            PartitionState(p, self.models, SharedState(self.models), bounds=bounds)
            for p in range(n)
        ]
        self.versions = [0] * n
        self.offsets = [0] * n
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
        entries = []
        for segment in segments:
            offsets = {TOPIC: (segment.from_offset, segment.to_offset)}
            entry = Entry(
                partition=partition,
                schedule=Schedule(self.versions[partition] + 1, offsets, {}, {}),
                change=state.collect(),
                watermark_ms=state.watermark_ms,
                publish_ms=np.full(4, published_ms, dtype=np.int64),
                committed_ms=published_ms,
                n_events=n,
            )
            self.store.commit(entry, owner="tests")
            self.versions[partition] = entry.version
            self.offsets[partition] = segment.to_offset
            entries.append(entry)
        return entries

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
        )
        self.store.checkpoint(checkpoint, owner="tests")
