"""The learner: partitions it owns, learned and committed one batch after the other."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from streamer.commit_ids import commit_id
from streamer.errors import LearningError, StoreUnavailable, being_loaded
from streamer.learner.backlog import WAITING_BYTES_MAX, Backlog
from streamer.learner.batch import RewardFunction
from streamer.learner.catalogue import LearnedCatalogue
from streamer.learner.join.join import Join
from streamer.learner.pipeline import CommitPipeline
from streamer.learner.practice.practice import Practice
from streamer.learner.settings import LearnerCounts, LearnerSettings
from streamer.learner.step import DeadLetter, PartitionLearner, Step
from streamer.learner.users import FollowedUsers
from streamer.learner.users_backlog import UsersBacklog
from streamer.protocols import (
    Checkpoint,
    Clock,
    Entry,
    MessageBatch,
    ParameterStore,
    PartitionImage,
    Schedule,
)
from streamer.telemetry import tell_unavailable
from streamer_models.state.model import Model
from streamer_models.state.partition import PartitionState
from streamer_models.state.shared import SharedState
from streamer_models.state.table import Change

log = logging.getLogger(__name__)

T = TypeVar("T")

PUBLISH_SAMPLE = 256
"""Publish times kept an entry: 256 * 8 B = 2 kB, enough for a p99 over a second's commits."""

_ENTRIES_SIZED = 1_000
_RETRY_S = (0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(slots=True)
class _Owned:
    """One partition this learner owns."""

    learner: PartitionLearner
    backlog: Backlog
    users: UsersBacklog
    version: int
    commit_id: int
    generation: int
    committed_offsets: dict[str, int]
    checkpoint_due_ms: int
    entry_bytes: deque[int]
    log_bytes: int

    @property
    def state(self) -> PartitionState:
        return self.learner.state


Committed = Callable[[float, int], None]
"""Told of each commit: the seconds it took and the rows it changed."""
RateFactor = Callable[[int], float]
"""What learning rates are multiplied by for the next so many messages of the events topic."""


class Learner:
    """Learns partitions of events, and of decisions they answer, into a parameter store.

    All batches form one sequence and are committed in that order, so nothing committed has seen
    anything that was not. State in memory is ahead of the store by the batch in hand and the
    commits under way; on any error all of it is dropped and loaded afresh from the store.

    Parameters
    ----------
    store
        Already laid out for ``models``: see :class:`streamer.store.of_models.StoreOfModels`.
    owner
        Unique name of this learner; it fences off former owners of its partitions.
    dead_letter
        Called with bad messages before the offsets behind them are committed.
    practice
        Learns each step; None: the blend practises on no event.
    catalogue
        What is known of items beside events; None: nothing.
    users
        What users say of themselves; None: nothing.
    committed
        Called after each commit, for metrics, in the thread that commits.
    rate_factor
        Asked once a batch. It may depend on anything: what it says is recorded with the commit.
    pipeline_depth
        Commits that may be under way while the next batch is learned, always carried out in order;
        0: each is done before the next batch.
    """

    def __init__(
        self,
        *,
        store: ParameterStore,
        models: Sequence[Model],
        settings: LearnerSettings,
        rewards: RewardFunction,
        owner: str,
        clock: Clock,
        dead_letter: DeadLetter,
        practice: Practice | None = None,
        catalogue: LearnedCatalogue | None = None,
        users: FollowedUsers | None = None,
        committed: Committed = lambda seconds, n_rows: None,
        rate_factor: RateFactor = lambda n_events: 1.0,
        pipeline_depth: int = 0,
    ) -> None:
        self.counts = LearnerCounts()
        self._store = store
        self._models = models
        self._settings = settings
        self._rewards = rewards
        self._owner = owner
        self._clock = clock
        self._dead_letter = dead_letter
        self._practice = practice
        self._catalogue = catalogue or LearnedCatalogue.empty()
        self._users = users or FollowedUsers.none()
        self._committed = committed
        self._rate_factor = rate_factor
        self._pipeline = CommitPipeline(pipeline_depth)
        self._shared = SharedState(models)
        self._owned: dict[int, _Owned] = {}
        self._versions: dict[int, int] = {}
        self._commit_ids: dict[int, int] = {}
        self._stored: dict[int, int] = {}  # the last versions known to be in the store
        self._n_gone = -1  # deletions of items that are carried out; -1: it is not known

    # --- owning partitions -----------------------------------------------------------------------

    def assign(self, partitions: Sequence[int]) -> dict[tuple[str, int], int]:
        """Own exactly ``partitions`` and load everything afresh.

        Returns
        -------
        dict
            (topic, partition) → offset to read from: the stored one less the windows of duplicates
            and of joins, whose messages are read again without being learned.
        """
        self.release()
        for partition in partitions:
            self._retried(partial(self._store.acquire, partition, self._owner))
        for partition in range(self._settings.n_partitions):
            image = self._retried(partial(self._store.load, partition))
            self._versions[partition] = image.version
            self._commit_ids[partition] = image.commit_id
            if partition in partitions:
                self._owned[partition] = self._own(image)
            else:
                add_image(self._shared, image)
        self._tell_of_older_copies()
        self._n_gone = -1
        topic = self._settings.users
        self._users.start({p: o.committed_offsets.get(topic, 0) for p, o in self._owned.items()})
        log.info("partitions_assigned", extra={"partitions": list(partitions)})
        return self.reread_from

    def _tell_of_older_copies(self) -> None:
        """Say which partitions have lost entries that were in the store, and what comes of it."""
        known, self._stored = self._stored, dict(self._versions)
        lost = {
            p: (was, now) for p, now in self._versions.items() if now < (was := known.get(p, 0))
        }
        if not lost:
            return
        said = ", ".join(f"partition {p} from {was} to {now}" for p, (was, now) in lost.items())
        extra = {
            "partitions": sorted(lost),
            "reason": f"{said}: the store, or this part of it, was emptied or set back to an older"
            " copy; what was learned since is learned again from the topics",
        }
        others = [p for p, version in self._versions.items() if version and p not in lost]
        if others:
            extra["remedy"] = (
                f"partitions {others} keep what they learned from what is gone, so that `streamer"
                " store verify` can't execute it again (--from-checkpoint begins after it):"
                " `streamer store rebuild` forgets all, to learn it again from the topics"
            )
        log.warning("partitions_went_back", extra=extra)

    def _own(self, image: PartitionImage) -> _Owned:
        settings = self._settings
        partition = image.checkpoint.partition
        state = PartitionState(
            partition,
            self._models,
            self._shared,
            bounds=settings.bounds,
            entities=settings.entities,
        )
        load_image(state, image)
        learner = PartitionLearner(
            state,
            self._models,
            settings,
            self._rewards,
            next_offsets=image.offsets,
            counts=self.counts,
            dead_letter=self._dead_letter,
            practice=self._practice,
            of_items=self._catalogue.inputs,
            begins_anew=image.version > 0 and image.generation != settings.generation,
        )
        join = settings.join
        # What the log holds already counts, or learners that end early would never trim it.
        entry_bytes = [entry.change.n_bytes for entry in image.entries]
        return _Owned(
            learner=learner,
            backlog=Backlog(
                {topic: learner.next_offsets[topic] for topic in settings.topics},
                learner.reread_from(),
                ahead_max_ms=0 if join is None else join.ahead_max_ms,
                ahead_max={} if join is None else {settings.topic: join.unnamed_max},
            ),
            users=UsersBacklog(),
            version=image.version,
            commit_id=image.commit_id,
            generation=image.generation,
            committed_offsets=dict(learner.next_offsets),
            checkpoint_due_ms=self._checkpoint_due_ms(),
            entry_bytes=deque(entry_bytes, maxlen=_ENTRIES_SIZED),
            log_bytes=sum(entry_bytes),
        )

    def release(self) -> None:
        """Drop all state. Nothing is lost: what was not committed will be learned again."""
        self._pipeline.abandon()
        self._owned.clear()
        self._versions.clear()
        self._commit_ids.clear()
        self._shared = SharedState(self._models)

    def flush(self) -> None:
        """Wait until everything learned is committed; raises as :meth:`learn`."""
        self._pipeline.flush()

    @property
    def offsets(self) -> dict[tuple[str, int], int]:
        """(topic, partition owned) → next offset after what is committed, of topics that learners
        share out."""
        return {
            (topic, p): offset
            for p, owned in self._owned.items()
            for topic, offset in owned.committed_offsets.items()
            if topic in self._settings.topics
        }

    @property
    def reread_from(self) -> dict[tuple[str, int], int]:
        """(topic, partition owned) → where another learner would begin to read, were it to take
        over from what is committed; nothing before it is needed any more."""
        return {
            (topic, p): offset
            for p, owned in self._owned.items()
            for topic, offset in owned.learner.reread_from().items()
        }

    @property
    def waiting(self) -> set[tuple[str, int]]:
        """(topic, partition) of which no more is to be read until others have caught up."""
        return {(topic, p) for p, owned in self._owned.items() for topic in owned.backlog.waiting}

    @property
    def n_open(self) -> int:
        """Decisions of the partitions owned that feedback may still change."""
        return sum(join.n_open for join in self._joins())

    @property
    def n_early(self) -> int:
        """Feedback that waits for its decision to be read."""
        return sum(join.n_early for join in self._joins())

    def _joins(self) -> Iterator[Join]:
        for owned in self._owned.values():
            if owned.learner.join is not None:
                yield owned.learner.join

    # --- learning --------------------------------------------------------------------------------

    def learn(
        self,
        batches: Sequence[MessageBatch],
        *,
        lag: Mapping[tuple[str, int], int] = MappingProxyType({}),
    ) -> None:
        """Learn and commit batches, partition after partition.

        Parameters
        ----------
        lag
            (topic, partition) → messages known to wait at the broker; absent: none. While there
            are more to read, what is ahead of them waits: see :class:`Backlog`.

        Raises
        ------
        Fenced
            Another learner has taken one of the partitions.
        LogTrimmed
            This learner fell behind what others committed, or the store went back to an older
            copy and they committed again.
        StoreUnavailable
            The store did not answer within the deadline.
        LearningError
            A parameter is no longer finite.
        """
        self._pipeline.check()
        self._follow()
        self._catalogue.follow()
        self._forget_items()
        for batch in batches:
            owned = self._owned.get(batch.partition)
            if owned is not None and len(batch):
                owned.backlog.put(batch)
        self._read_users()
        for partition, owned in self._owned.items():
            waiting = {topic: lag.get((topic, partition), 0) for topic in self._settings.topics}
            while known := owned.backlog.known(waiting):
                for batch in known:
                    owned.learner.reread(batch)
            while True:
                self._learn_ready(owned, waiting)
                if not self._learn_users(owned, waiting):
                    break  # else what waited for it may be learned now

    def _forget_items(self) -> None:
        """Forget the items that are deleted, when there are more or partitions came."""
        if self._n_gone == self._catalogue.n_gone:
            return
        gone = self._catalogue.gone
        for owned in self._owned.values():
            for step in owned.learner.forget_items(gone):
                self._commit(owned, {}, step)
        self._n_gone = self._catalogue.n_gone

    def _learn_ready(self, owned: _Owned, waiting: Mapping[str, int]) -> None:
        topic = self._settings.topic
        stop = owned.users.stop(self._clock.now_ms())
        read = owned.backlog.ready(waiting, {} if stop is None else {topic: stop})
        if read:
            n_events = len(read.get(topic, ()))
            factor = self._rate_factor(n_events)
            share = 0.0 if self._practice is None else self._practice.share(n_events, owned.state)
            steps = owned.learner.learn(read, rate_factor=factor, practice_share=share)
            for step in steps:
                self._commit(owned, read, step)

    def _read_users(self) -> None:
        if sum(owned.users.n_bytes for owned in self._owned.values()) > WAITING_BYTES_MAX:
            return
        for read in self._users.poll():
            owned = self._owned.get(read.batch.partition)
            if owned is not None and len(read.batch):
                owned.users.put(read, self._clock.now_ms())

    def _learn_users(self, owned: _Owned, waiting: Mapping[str, int]) -> bool:
        """Learn what users say, as far as it may be now; whether there was some."""
        topic = self._settings.topic
        reached = partial(owned.backlog.has_reached, topic)
        idle = not waiting[topic] and owned.backlog.is_empty(topic)
        batch = owned.users.take(reached, self._clock.now_ms(), idle=idle)
        if batch is None:
            return False
        for step in owned.learner.learn_users(batch, int(batch.offsets[-1]) + 1):
            self._commit(owned, {}, step)
        return True

    def _commit(self, owned: _Owned, read: Mapping[str, MessageBatch], step: Step) -> None:
        """Commit what a step changed.

        (1) Take what others committed meanwhile and shorten the own step for it. (2) Collect the
        changed rows. (3) One store transaction. (4) Apply what the others committed.
        """
        partition = owned.state.partition
        seen = self._seen(partition)
        others = self._committed_by_others()  # (1)
        changes = [entry.change for entry in others]
        if changes:
            for model in self._models:
                model.rescale(self._shared, changes)
        change = owned.state.collect()  # (2)
        _check_finite(change, partition, step)
        merged = seen | {entry.partition: entry.version for entry in others}
        events = _between(read.get(self._settings.topic), step.offsets)
        schedule = Schedule(
            version=owned.version + 1,
            offsets=step.offsets,
            seen=seen,
            merged=merged,
            rate_factor=step.rate_factor,
            generation=self._settings.generation,
            practice_share=step.practice_share,
            catalogue=self._catalogue.offsets,
        )
        committed_ms = self._clock.now_ms()
        entry = Entry(
            partition=partition,
            schedule=schedule,
            change=change,
            watermark_ms=owned.state.watermark_ms,
            publish_ms=_sample(events),
            committed_ms=committed_ms,
            n_events=len(events),
            parent_id=owned.commit_id,
            commit_id=commit_id(owned.commit_id, schedule, committed_ms),
        )
        self._pipeline.submit(lambda: self._store_entry(owned, entry))  # (3)
        owned.version = self._versions[partition] = entry.version
        owned.commit_id = self._commit_ids[partition] = entry.commit_id
        owned.generation = entry.schedule.generation
        self.counts.n_commits += 1
        for entity, ids in change.ids.items():
            self.counts.n_evicted[entity] += len(ids.removed)
        self._apply(others)  # (4)
        self._note_size(owned, change)
        if (
            owned.state.n_dirty > self._settings.checkpoint_rows_max
            or owned.log_bytes > self._settings.log_bytes_max // 2
        ):
            self._checkpoint(owned)

    def _store_entry(self, owned: _Owned, entry: Entry) -> None:
        began_s = time.monotonic()
        self._retried(lambda: self._store.commit(entry, owner=self._owner))
        self._stored[entry.partition] = entry.version
        for topic, (_, to_offset) in entry.schedule.offsets.items():
            owned.committed_offsets[topic] = to_offset
        n_rows = sum(map(len, entry.change.tables.values()))
        self._committed(time.monotonic() - began_s, n_rows)

    def _seen(self, partition: int) -> dict[int, int]:
        return {q: v for q, v in self._versions.items() if q != partition and v}

    def _retried(self, call: Callable[[], T]) -> T:
        """The answer of the store, asked again until the deadline while it does not answer."""
        deadline = time.monotonic() + self._settings.commit_deadline_s
        attempt = 0
        while True:
            try:
                return call()
            except StoreUnavailable as error:
                if time.monotonic() > deadline:
                    raise
                tell_unavailable(log, error, attempt)
                self._clock.sleep(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
                attempt += 1

    # --- what other learners commit --------------------------------------------------------------

    def _committed_by_others(self) -> list[Entry]:
        others = {q: v for q, v in self._versions.items() if q not in self._owned}
        if not others:
            return []
        ids = self._commit_ids
        return self._retried(lambda: self._store.follow(others, timeout_s=0, commit_ids=ids))

    def _follow(self) -> None:
        while entries := self._committed_by_others():
            self._apply(entries)

    def _apply(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            with being_loaded(entry.partition):
                self._shared.apply(entry.partition, entry.change)
            self._versions[entry.partition] = self._stored[entry.partition] = entry.version
            self._commit_ids[entry.partition] = entry.commit_id

    # --- checkpoints -----------------------------------------------------------------------------

    def checkpoint_due(self) -> None:
        """Write the checkpoints whose time has come."""
        for owned in self._owned.values():
            if self._clock.now_ms() >= owned.checkpoint_due_ms and owned.state.n_dirty:
                self._checkpoint(owned)

    def checkpoint_all(self) -> None:
        """Write a checkpoint of every partition, as before an orderly stop, and wait for it."""
        for owned in self._owned.values():
            if owned.state.n_dirty:
                self._checkpoint(owned)
        self._pipeline.flush()

    def _note_size(self, owned: _Owned, change: Change) -> None:
        """Remember how large the latest entries are."""
        owned.log_bytes += change.n_bytes
        owned.entry_bytes.append(change.n_bytes)

    def _checkpoint_due_ms(self) -> int:
        return self._clock.now_ms() + int(1000 * self._settings.checkpoint_interval_s)

    def _checkpoint(self, owned: _Owned) -> None:
        names, removed, tables = owned.state.take_checkpoint()
        checkpoint = Checkpoint(
            partition=owned.state.partition,
            version=owned.version,
            offsets=dict(owned.learner.next_offsets),
            watermark_ms=owned.state.watermark_ms,
            names=names,
            removed=removed,
            tables=tables,
            log_entries_max=_n_fitting(owned.entry_bytes, self._settings.log_bytes_max // 2),
            generation=owned.generation,
            sizes=owned.state.stored_sizes(),
            commit_id=owned.commit_id,
        )
        owned.log_bytes = 0
        self._pipeline.submit(
            lambda: self._retried(lambda: self._store.checkpoint(checkpoint, owner=self._owner))
        )
        owned.checkpoint_due_ms = self._checkpoint_due_ms()
        self.counts.n_checkpoints += 1


def load_image(state: PartitionState, image: PartitionImage) -> None:
    """Bring an empty partition's state to what the store has of it.

    Raises
    ------
    StoreError
        Where that does not go together.
    """
    with being_loaded(state.partition):
        state.load(image.checkpoint.names, image.checkpoint.tables)
        for entry in image.entries:
            state.apply(entry.change)
    last = image.entries[-1].watermark_ms if image.entries else 0
    state.watermark_ms = max(image.checkpoint.watermark_ms, last)


def add_image(shared: SharedState, image: PartitionImage) -> None:
    """Add what a partition owned elsewhere has contributed; raises as :func:`load_image`."""
    checkpoint = image.checkpoint
    with being_loaded(checkpoint.partition):
        shared.load(checkpoint.partition, checkpoint.names, checkpoint.tables)
        for entry in image.entries:
            shared.apply(checkpoint.partition, entry.change)


def _between(
    batch: MessageBatch | None, offsets: Mapping[str, tuple[int, int]]
) -> NDArray[np.int64]:
    """Publish times of the messages at a half-open range of offsets of their topic."""
    if batch is None or batch.topic not in offsets:
        return np.zeros(0, dtype=np.int64)
    first, last = np.searchsorted(batch.offsets, offsets[batch.topic])
    return batch.publish_ms[first:last]


def _check_finite(change: Change, partition: int, step: Step) -> None:
    for name, rows in change.tables.items():
        if rows.values.dtype.kind == "f" and not np.isfinite(rows.values).all():
            key = rows.keys[~np.isfinite(rows.values).all(axis=1)][0]
            raise LearningError(
                f"table {name}, key {key:016x}: a parameter is no longer finite after partition"
                f" {partition} offsets {step.offsets}; nothing of this batch was committed. Lower"
                " the learning rate, or look for extreme rewards, and start again"
            )


def _n_fitting(sizes: deque[int], total_max: int) -> int:
    """How many of the last ``sizes`` add up to at most ``total_max``, at least one; no limit is
    known where all of them do."""
    from_last = np.cumsum(np.array(sizes, dtype=np.int64)[::-1])
    n_fitting = int(np.searchsorted(from_last, total_max, side="right"))
    return 1 << 31 if n_fitting == len(sizes) else max(1, n_fitting)


def _sample(publish_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    known = np.sort(publish_ms[publish_ms >= 0])
    if len(known) <= PUBLISH_SAMPLE:
        return known
    return known[np.linspace(0, len(known) - 1, PUBLISH_SAMPLE).astype(np.int64)]
