"""A read-only copy of all partitions' parameters that follows their delta logs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from streamer.errors import LogTrimmed, being_loaded
from streamer.protocols import Clock, Entry, ParameterStore, PartitionImage
from streamer.replica.freshness import FreshnessWindow
from streamer.replica.merged_state import MergedState
from streamer.replica.metrics import ReplicaMetrics
from streamer.replica.version import Version, version_name
from streamer_models.state.model import Model

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _State:
    """What the follower thread writes."""

    merged: MergedState
    versions: dict[int, int]
    commit_ids: dict[int, int] = field(default_factory=dict)
    positions: dict[tuple[str, int], int] = field(default_factory=dict)
    watermark_ms: int = 0


class Replica:
    """Merged rows of every partition, of every table that a model declares readable.

    One thread calls :meth:`load` and :meth:`follow`; any thread calls :meth:`current`. A version
    is immutable and is put in place by setting one reference: a reader that holds one sees the
    same numbers from start to end, whatever is applied meanwhile.

    Bounds: as many rows as the partitions' id tables hold together, and up to a quarter dead ones
    (at least 1,024) before they are packed. A table that is read in rows takes twice their size at
    most, since they are written to a log; neighbour lists those of each partition; one that is read
    in columns or factors its integers, and 4 B a column or factor; one whose maximum is read 50 B
    more and the row for each partition.

    Parameters
    ----------
    store
        Laid out for ``models``.
    models
        Whose tables the store holds; they say what new item rows start from.
    n_partitions
        Partitions to follow, from 0.
    began_at
        Partition → version with which it began empty, if that is not 0.
    """

    def __init__(
        self,
        *,
        store: ParameterStore,
        models: Sequence[Model],
        n_partitions: int,
        clock: Clock,
        metrics: ReplicaMetrics,
        began_at: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        self.freshness = FreshnessWindow()
        self._store = store
        self._models = models
        self._n_partitions = n_partitions
        self._began_at = began_at
        self._clock = clock
        self._metrics = metrics
        metrics.show_freshness(
            lambda: self.freshness.summary().p50_ms, lambda: self.freshness.summary().p99_ms
        )
        self._state = self._empty()
        self._learned_to: dict[tuple[str, int], int] = {}
        self._put_in_place(None)

    def current(self) -> Version:
        """The newest version; before :meth:`load` an empty one."""
        return self._version

    def learned_to(self, topic: str, partition: int) -> int:
        """Return the offset up to which :meth:`current` has learned a partition of a topic; any
        thread."""
        return self._learned_to.get((topic, partition), 0)

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
            image = self._store.load(partition)
            with being_loaded(partition):
                _take_image(state, image)
        self._state = state
        self._put_in_place(None)

    def follow(self, *, timeout_s: float) -> int:
        """Wait for commits and apply those that are there; the number applied.

        Where the log was trimmed beyond what this replica has seen, or the store has other commits
        than those it has seen, it loads everything again.

        Raises
        ------
        StoreUnavailable
            May be called again.
        """
        try:
            entries = self._store.follow(
                self._state.versions, timeout_s=timeout_s, commit_ids=self._state.commit_ids
            )
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
            with being_loaded(entry.partition):
                _take_entry(self._state, entry)
        self._put_in_place(self._version)
        now_ms = self._clock.now_ms()
        self.freshness.add(np.concatenate([now_ms - entry.publish_ms for entry in entries]))

    # --- parts -----------------------------------------------------------------------------------

    def _empty(self) -> _State:
        return _State(
            merged=MergedState(self._models),
            versions={p: self._began_at.get(p, 0) for p in range(self._n_partitions)},
        )

    def _put_in_place(self, before: Version | None) -> None:
        """Serve the state as it is now, after a version of the same state."""
        state = self._state
        self._version = version = Version.of(
            version_name(state.versions),
            state.watermark_ms,
            self._models,
            state.merged.publish(state.watermark_ms),
            before=before,
        )
        self._learned_to = dict(state.positions)  # behind the version, which is no older
        self._metrics.versions.inc()
        self._metrics.items.set(version.items.ids.n_live)
        self._metrics.users.set(version.users.n_users)
        for (topic, partition), position in state.positions.items():
            self._metrics.position.labels(topic, str(partition)).set(position)


def _take_image(state: _State, image: PartitionImage) -> None:
    checkpoint = image.checkpoint
    state.merged.load(checkpoint.partition, checkpoint.names, checkpoint.tables)
    state.versions[checkpoint.partition] = checkpoint.version
    state.commit_ids[checkpoint.partition] = checkpoint.commit_id
    for topic, position in checkpoint.offsets.items():
        state.positions[topic, checkpoint.partition] = position
    state.watermark_ms = max(state.watermark_ms, checkpoint.watermark_ms)
    for entry in image.entries:
        _take_entry(state, entry)


def _take_entry(state: _State, entry: Entry) -> None:
    expected = state.versions[entry.partition] + 1
    assert entry.version == expected, (entry.partition, entry.version, expected)
    state.merged.apply(entry.partition, entry.change)
    state.versions[entry.partition] = entry.version
    state.commit_ids[entry.partition] = entry.commit_id
    for topic, (_, position) in entry.schedule.offsets.items():
        state.positions[topic, entry.partition] = position
    state.watermark_ms = max(state.watermark_ms, entry.watermark_ms)
