"""The seams: what the services see of Kafka, of the store and of time, and what passes through.

Services depend on these protocols alone, so a replay runs the live services without a broker.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.columns import Columns
from streamer_models.state.table import Change, Keys, Rows, TableSpec

# --- time -------------------------------------------------------------------------------------


class Clock(Protocol):
    """Wall time and waiting; a manual one drives replay."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""

    def sleep(self, seconds: float) -> None: ...


# --- messages in and out ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MessageBatch(Columns):
    """Messages of one partition of one topic, in offset order, in columns.

    Attributes
    ----------
    values
        Raw payloads; ``None`` is a tombstone.
    offsets
        ``(n,)`` int64, rising.
    publish_ms
        ``(n,)`` int64, the message's own (create) time, ms since the epoch; -1 where it has none.
    keys
        Keys of the messages where the reader was told to keep them, else empty: the events' hot
        path does without. A tombstone says by its key alone what it deletes.
    """

    topic: str
    partition: int
    values: list[bytes | None]
    offsets: NDArray[np.int64]
    publish_ms: NDArray[np.int64]
    keys: list[bytes | None] = field(default_factory=list)


def joined_batches(batches: Sequence[MessageBatch]) -> MessageBatch:
    """Batches of one partition, each behind the one before, as one."""
    return MessageBatch(
        batches[0].topic,
        batches[0].partition,
        [value for batch in batches for value in batch.values],
        np.concatenate([batch.offsets for batch in batches]),
        np.concatenate([batch.publish_ms for batch in batches]),
        [key for batch in batches for key in batch.keys],
    )


def no_messages(topic: str, partition: int) -> MessageBatch:
    """Return a batch without messages."""
    no_numbers = np.zeros(0, dtype=np.int64)
    return MessageBatch(topic, partition, [], no_numbers, no_numbers)


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema as a registry has it.

    Attributes
    ----------
    kind
        ``AVRO``, ``PROTOBUF`` or ``JSON``.
    text
        Its definition: JSON, or of Protobuf a FileDescriptorProto in Base64.
    imports
        Name → definition of what it refers to, each behind those that it refers to itself.
    """

    kind: str
    text: str
    imports: Mapping[str, str]


class Source(Protocol):
    """Where messages come from.

    The callbacks run inside :meth:`poll`. ``on_assign(partitions)`` returns the offset to start
    from for each ``(topic, partition)``; ``on_revoke(partitions)`` returns when everything of
    those partitions is committed or dropped.
    """

    def poll(self, *, n_max: int, timeout_s: float) -> list[MessageBatch]:
        """Up to ``n_max`` messages, at most one batch a (topic, partition), none after the time."""

    def hold(self, held: Collection[tuple[str, int]]) -> None:
        """Hand out nothing of these (topic, partition) until called again without them."""

    def tell_applied(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Tell the broker the next offsets, for lag tools only; never read back. Not awaited."""

    def lag(self) -> dict[tuple[str, int], int]:
        """Messages known to be waiting, by (topic, partition)."""

    def close(self) -> None: ...


class ItemsReader(Protocol):
    """Reads the items topic from its start, without a group; its batches carry keys."""

    @property
    def positions(self) -> dict[tuple[str, int], int]:
        """Next offset to read, by (topic, partition)."""

    def end_offsets(self) -> dict[tuple[str, int], int]:
        """Offset behind the last message, by (topic, partition)."""

    def poll(self, *, n_max: int, timeout_s: float) -> list[MessageBatch]:
        """Up to ``n_max`` messages, none after the time."""


class UsersReader(Protocol):
    """Reads partitions of the users topic, without a group; its batches carry keys."""

    def partitions(self, *topics: str, timeout_s: float | None = None) -> Sequence[tuple[str, int]]:
        """Every partition the topics have; raises TopicMismatch where one is missing."""

    def start(self, starts: Mapping[tuple[str, int], int]) -> object:
        """Read exactly these from now on."""

    def end_offsets(self, partitions: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """Offset behind the last message of any partitions, by (topic, partition)."""

    def poll(self, *, n_max: int, timeout_s: float) -> list[MessageBatch]:
        """Up to ``n_max`` messages, none after the time."""


@dataclass(frozen=True, slots=True)
class DeliveredAt:
    """Where a topic has a message; an offset below 0: the broker did not say it."""

    topic: str
    partition: int
    offset: int


class Sink(Protocol):
    """Where messages go: buffered, bounded, delivered in order a key."""

    def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        on_too_large: Callable[[], None] | None = None,
    ) -> None:
        """Queue one message; waits (bounded) while the buffer is full.

        ``on_too_large`` is called, now or by a later call, where the topic refuses the message for
        its size; without it such a message is a failure.

        Raises
        ------
        DeliveryFailed
            When an earlier message was refused or the buffer stayed full.
        """

    def flush(self, timeout_s: float) -> None:
        """Wait until all is acknowledged, else raise DeliveryFailed."""

    def close(self) -> None: ...


# --- the parameter store ----------------------------------------------------------------------

STORE_SCHEMA_VERSION = 2
"""Raised whenever a record or a table of the stores changes its form."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Settings of one model, in clear, and the tables it keeps.

    Attributes
    ----------
    settings
        Name → value, as JSON has them.
    tables
        By the names that the model uses.
    since
        Generation in which its tables began.
    """

    settings: dict[str, Any]
    tables: tuple[TableSpec, ...]
    since: int = 0

    def stored_name(self, table: str) -> str:
        """Return the name of a table in the store: a table that began anew is another one.

        >>> ModelSettings({}, (), since=3).stored_name("arm_rates")
        'arm_rates@3'
        """
        return f"{table}@{self.since}" if self.since else table


@dataclass(frozen=True, slots=True)
class Generation:
    """Settings that commits were learned with, in clear.

    Attributes
    ----------
    learner
        Key of the configuration → value, of what may change from one generation to the next and
        is no model's: rewards of event types, joins.
    models
        By name.
    config
        The other keys of the configuration that models are made from.
    """

    learner: dict[str, Any] = field(default_factory=dict)
    models: dict[str, ModelSettings] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def stored_tables(self) -> tuple[TableSpec, ...]:
        """The models' tables by their names in the store."""
        return tuple(
            replace(spec, name=model.stored_name(spec.name))
            for model in self.models.values()
            for spec in model.tables
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """What a store is laid out for, and the settings that it was learned with.

    Attributes
    ----------
    tables
        All tables that ever were, by their names in the store; those that began later come last.
    fixed
        Key of the configuration → value, of what no store can go on without.
    generations
        Oldest first; an entry's schedule says of which it is.
    topic_ids
        Topic → id that the broker gave it, of those whose id is known: a topic that was deleted
        and made anew has the same name and another id.
    copying
        Partition → version that it will have, while the store is made into a copy of another;
        empty once it is whole.
    forgetting
        Whether all partitions are being forgotten, and some may still have what was learned.
    """

    schema_version: int
    n_partitions: int
    tables: tuple[TableSpec, ...]
    fixed: dict[str, Any] = field(default_factory=dict)
    generations: tuple[Generation, ...] = (Generation(),)
    topic_ids: dict[str, str] = field(default_factory=dict)
    copying: dict[int, int] = field(default_factory=dict)
    forgetting: bool = False

    @property
    def newest(self) -> int:
        """The newest generation."""
        return len(self.generations) - 1

    @property
    def given_up(self) -> tuple[str, ...]:
        """Tables of models that began anew or are gone: no commit of the newest generation has
        rows of them."""
        ever = (spec.name for each in self.generations for spec in each.stored_tables)
        now = {spec.name for spec in self.generations[-1].stored_tables}
        return tuple(dict.fromkeys(name for name in ever if name not in now))


@dataclass(frozen=True, slots=True)
class Schedule:
    """What an entry was learned from: enough to execute it again.

    Attributes
    ----------
    version
        1, 2, 3 … within the partition.
    offsets
        Input topic → ``(from, to)``: the half-open range of offsets this entry took. ``from`` is
        the ``to`` of the entry before.
    seen
        Other partition → version of its last change that had been applied before learning.
    merged
        Other partition → version of its last change known when this one's step was scaled; the
        same as ``seen`` unless others committed meanwhile.
    rate_factor
        What learning rates were multiplied by: 1 but for a while after a drift.
    generation
        Index of the settings in the store's layout; it never falls.
    practice_share
        Share of the positive events that the ranking practised on.
    catalogue
        Partition of the items topic → next offset of what the catalogue said then; absent: nothing.
    """

    version: int
    offsets: dict[str, tuple[int, int]]
    seen: dict[int, int]
    merged: dict[int, int]
    rate_factor: float = 1.0
    generation: int = 0
    practice_share: float = 1.0
    catalogue: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit of one partition, as it stands in the delta log.

    Attributes
    ----------
    watermark_ms
        Greatest event time the partition has applied.
    publish_ms
        A sorted sample (at most 256) of the publish times of the messages behind this entry.
    committed_ms
        Wall time of the commit; read by metrics alone.
    n_events
        Messages behind this entry.
    parent_id, commit_id
        Ids of the commit before this one and of this one, by :mod:`streamer.commit_ids`; 0: not
        known.
    """

    partition: int
    schedule: Schedule
    change: Change
    watermark_ms: int
    publish_ms: NDArray[np.int64]
    committed_ms: int
    n_events: int
    parent_id: int = 0
    commit_id: int = 0

    @property
    def version(self) -> int:
        return self.schedule.version


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Rows of one partition as of ``version``: those changed since the last checkpoint, or all.

    Attributes
    ----------
    names
        Entity → ``(keys, names)`` of ids; in a checkpoint to be written those admitted since.
    removed
        Entity → keys of ids dropped since; empty in a loaded one.
    tables
        Table → full rows (``values`` is ``(n, width)``): this partition's own rows and its
        contributions to shared ones.
    log_entries_max
        Entries to leave to followers at most, where they are so large that the store's own
        ``log_entries_kept`` would be too many.
    generation
        Of the last entry up to there.
    sizes
        Table → rows that the store has of it after this checkpoint, and ``names:`` of an entity →
        names; what is absent is not known.
    commit_id
        Of the last entry up to there; 0: not known.
    """

    partition: int
    version: int
    offsets: dict[str, int]
    watermark_ms: int
    names: dict[str, tuple[Keys, tuple[bytes, ...]]]
    removed: dict[str, Keys]
    tables: dict[str, Rows]
    log_entries_max: int = 1 << 31
    generation: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    commit_id: int = 0


@dataclass(frozen=True, slots=True)
class PartitionImage:
    """All the store has of one partition: the last checkpoint, and the entries after it."""

    checkpoint: Checkpoint
    entries: list[Entry] = field(default_factory=list)

    @property
    def version(self) -> int:
        return self.entries[-1].version if self.entries else self.checkpoint.version

    @property
    def generation(self) -> int:
        """Generation of the settings that the last entry was learned with."""
        last = self.entries[-1].schedule if self.entries else self.checkpoint
        return last.generation

    @property
    def commit_id(self) -> int:
        """Id of the last commit; 0: not known."""
        return self.entries[-1].commit_id if self.entries else self.checkpoint.commit_id

    @property
    def offsets(self) -> dict[str, int]:
        """Next offset to take, by topic; a topic never taken from is absent."""
        offsets = dict(self.checkpoint.offsets)
        for entry in self.entries:
            offsets |= {topic: to for topic, (_, to) in entry.schedule.offsets.items()}
        return offsets


class ParameterStore(Protocol):
    """Durable parameters, by partition. Every method may raise StoreUnavailable."""

    def ensure_layout(self, layout: Layout) -> None:
        """Write the layout into an empty store, else compare.

        Raises
        ------
        LayoutMismatch
            Naming what differs, the stored and the asked value, and the remedy.
        """

    def layout(self) -> Layout | None:
        """What the store is laid out for now; None for an empty store."""

    def replace_layout(self, layout: Layout, *, expected: Layout | None) -> bool:
        """Write a layout in place of the one that is there; False where that is not ``expected``
        (any more), and nothing is changed."""

    def acquire(self, partition: int, owner: str) -> None:
        """Make ``owner`` the only one that may commit to ``partition`` from now on."""

    def owner(self, partition: int) -> str | None:
        """Who may commit to a partition; None: nobody ever acquired it."""

    def load(self, partition: int) -> PartitionImage:
        """A consistent image; of a partition never committed: version 0, no offsets, no rows."""

    def commit(self, entry: Entry, *, owner: str) -> None:
        """Append an entry, in one transaction: (1) check owner, version and offsets; (2) append
        to the delta log and to the schedule; (3) set version, offsets and watermark.

        Raises
        ------
        Fenced
            When ``owner`` doesn't hold the partition, the stored version is not
            ``entry.version - 1``, or that of another commit than the entry's parent, or a stored
            offset is not the entry's ``from`` (a topic not yet stored counts as equal). Nothing is
            changed then.
        """

    def checkpoint(self, checkpoint: Checkpoint, *, owner: str) -> None:
        """In one transaction: check the owner, drop ``removed`` ids (their names and their rows in
        every table of the entity) and then write names and rows, set the checkpoint version, trim
        the delta log up to it, but keep the last ``log_entries_kept`` (or
        ``checkpoint.log_entries_max``, if that is less) for followers. Rows of the layout's
        ``given_up`` tables go.

        Raises
        ------
        Fenced
            As :meth:`commit`, or when ``checkpoint.version`` is beyond the stored version.
        """

    def forget(self, partition: int, *, owner: str) -> None:
        """In one transaction: check the owner, and drop all that was learned of a partition: names,
        rows, log, schedule, offsets, whatever there is, damaged or not.

        The version rises by one, to that of an empty checkpoint: followers load the partition
        again, and the next entry is the one after it.

        Raises
        ------
        Fenced
            When ``owner`` doesn't hold the partition.
        """

    def follow(
        self,
        after: Mapping[int, int],
        *,
        timeout_s: float,
        commit_ids: Mapping[int, int] = MappingProxyType({}),
    ) -> list[Entry]:
        """Entries with a version above ``after[partition]``, rising within a partition; waits up
        to ``timeout_s`` for the first (0: does not wait). Bounded: at most some hundred a call.

        Parameters
        ----------
        commit_ids
            Partition → id of the commit at ``after[partition]`` that the follower has; absent: not
            known.

        Raises
        ------
        LogTrimmed
            When the next entry of a partition is no longer in its log, or the partition has
            another commit at that version: its store went back to an older copy.
        """

    def versions(self) -> dict[int, int]:
        """Partition → version of its last entry (partitions without one are absent)."""

    def schedule(self, partition: int) -> Iterator[Schedule]:
        """The recorded schedule, oldest first (``schedule_entries_max`` are kept)."""

    def close(self) -> None: ...


class RestorableStore(ParameterStore, Protocol):
    """A store that can become a copy of another."""

    def restore(self, image: PartitionImage, schedules: Sequence[Schedule], *, owner: str) -> None:
        """In one transaction: check the owner, and write a partition that was never committed as
        another store has it.

        Parameters
        ----------
        schedules
            Those recorded up to the version of the image, oldest first.

        Raises
        ------
        Fenced
            When ``owner`` doesn't hold the partition, or it has commits.
        """
