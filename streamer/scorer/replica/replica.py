"""A read-only copy of all partitions' parameters that follows their delta logs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamer.errors import LogTrimmed
from streamer.protocols import Clock, Entry, ParameterStore, PartitionImage
from streamer.scorer.freshness import FreshnessWindow
from streamer.scorer.replica.arms import BanditState
from streamer.scorer.replica.decayed_state import DecayedState
from streamer.scorer.replica.items import ItemState
from streamer.scorer.replica.users import UserState
from streamer.scorer.replica.version import Version, version_name
from streamer.telemetry import ScorerMetrics
from streamer_models.counters.popularity import Popularity
from streamer_models.state.protocols import Model, model_of
from streamer_models.state.table import IdChange

log = logging.getLogger(__name__)

_NO_KEYS = np.zeros(0, dtype=np.uint64)


@dataclass(slots=True)
class _State:
    """What the follower thread writes."""

    items: ItemState
    users: UserState
    bandit: BanditState
    decayed: DecayedState
    versions: dict[int, int]
    watermark_ms: int = 0


class Replica:
    """Merged item rows, user rows, what the bandit has learned and what fades, of every partition.

    One thread calls :meth:`load` and :meth:`follow`; any thread calls :meth:`current`. A version
    is immutable and is put in place by setting one reference: a reader that holds one sees the
    same numbers from start to end, whatever is applied meanwhile.

    Bounds: as many rows as the partitions' id tables hold together, and up to a quarter dead ones
    (at least 1,024) before they are packed. An item takes 8 B a factor and 4 to 8 B a counter
    cell, an item that was shown 40 B and 8 B a counter cell more; a user, an item's own statistics
    and rows of the learner's features take twice their size at most, since rows are written to a
    log; a time of a last event some 50 B more for each partition that says one.

    Parameters
    ----------
    store
        Laid out for ``models``.
    models
        Whose tables the store holds; they say what new item rows start from.
    n_partitions
        Partitions to follow, from 0.
    """

    def __init__(
        self,
        *,
        store: ParameterStore,
        models: Sequence[Model],
        n_partitions: int,
        clock: Clock,
        metrics: ScorerMetrics,
    ) -> None:
        popular = model_of(models, Popularity)
        self.half_lives = np.zeros(0, np.int64) if popular is None else popular.half_lives
        self.freshness = FreshnessWindow()
        self._store = store
        self._models = models
        self._n_partitions = n_partitions
        self._clock = clock
        self._metrics = metrics
        metrics.show_freshness(
            lambda: self.freshness.summary().p50_ms, lambda: self.freshness.summary().p99_ms
        )
        self._state = self._empty()
        self._version = self._published(self._state)

    def current(self) -> Version:
        """The newest version; before :meth:`load` an empty one."""
        return self._version

    # --- the follower thread ---------------------------------------------------------------------

    def load(self) -> None:
        """Read all partitions afresh and put a version of them in place.

        Raises
        ------
        StoreUnavailable
            The version in place stays.
        """
        state = self._empty()
        for partition in range(self._n_partitions):
            _take_image(state, self._store.load(partition))
        self._state = state
        self._version = self._published(state)

    def follow(self, *, timeout_s: float) -> int:
        """Wait for commits and apply those that are there; the number applied.

        Where the log was trimmed beyond what this replica has seen, it loads everything again.

        Raises
        ------
        StoreUnavailable
            May be called again.
        """
        try:
            entries = self._store.follow(self._state.versions, timeout_s=timeout_s)
        except LogTrimmed as error:
            log.warning("replica_reloads", extra={"reason": str(error)})
            self._metrics.reloads.inc()
            self.load()
            return 0
        self.apply(entries)
        return len(entries)

    def apply(self, entries: Sequence[Entry]) -> None:
        """Fold commits in, in their order within each partition, as one new version."""
        if not entries:
            return
        for entry in entries:
            _take_entry(self._state, entry)
        self._version = self._published(self._state)
        now_ms = self._clock.now_ms()
        self.freshness.add(np.concatenate([now_ms - entry.publish_ms for entry in entries]))

    # --- parts -----------------------------------------------------------------------------------

    def _empty(self) -> _State:
        return _State(
            items=ItemState(self._models, self.half_lives),
            users=UserState(self._models),
            bandit=BanditState(self._models, self.half_lives),
            decayed=DecayedState(self._models),
            versions=dict.fromkeys(range(self._n_partitions), 0),
        )

    def _published(self, state: _State) -> Version:
        version = Version(
            model_version=version_name(state.versions),
            watermark_ms=state.watermark_ms,
            items=state.items.publish(state.watermark_ms),
            users=state.users.publish(),
            bandit=state.bandit.publish(state.watermark_ms),
            decayed=state.decayed.publish(),
        )
        self._metrics.versions.inc()
        self._metrics.items.set(len(state.items.ids.map))
        self._metrics.users.set(version.users.n_users)
        return version


def _take_image(state: _State, image: PartitionImage) -> None:
    checkpoint = image.checkpoint
    admitted = {
        entity: IdChange(keys, names, _NO_KEYS)
        for entity, (keys, names) in checkpoint.names.items()
    }
    if "item" in admitted:
        state.items.admit(admitted["item"])
    if "user" in admitted:
        state.users.admit(admitted["user"])
    if "arm" in admitted:
        state.bandit.admit(admitted["arm"])
    state.decayed.admit(admitted)
    state.items.add(checkpoint.tables)
    state.bandit.add(checkpoint.tables)
    state.decayed.add(checkpoint.tables, checkpoint.partition)
    for name, rows in checkpoint.tables.items():
        state.users.put(name, rows)
    state.versions[checkpoint.partition] = checkpoint.version
    state.watermark_ms = max(state.watermark_ms, checkpoint.watermark_ms)
    for entry in image.entries:
        _take_entry(state, entry)


def _take_entry(state: _State, entry: Entry) -> None:
    expected = state.versions[entry.partition] + 1
    assert entry.version == expected, (entry.partition, entry.version, expected)
    state.items.apply(entry.change)
    state.users.apply(entry.change)
    state.bandit.apply(entry.change)
    state.decayed.apply(entry.change, entry.partition)
    state.versions[entry.partition] = entry.version
    state.watermark_ms = max(state.watermark_ms, entry.watermark_ms)
