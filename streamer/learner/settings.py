"""What a learner is told, and what it counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from streamer.events import EventTypes
from streamer.learner.join.counts import JoinCounts
from streamer.learner.join.join import JoinSettings
from streamer_models.state.partition import Bounds
from streamer_models.state.table import ID_ENTITIES


@dataclass(frozen=True, slots=True)
class LearnerSettings:
    """What a learner is told, beside the models.

    Attributes
    ----------
    topic
        Of the events.
    event_types
        The types that are known; events of others are rejected.
    join
        How feedback finds its decision; None: decisions are not read.
    dedup_window
        Offsets within which an event id may not repeat.
    idle_expiry_ms
        Event time after which an id without events is dropped; 0: never.
    checkpoint_interval_s, checkpoint_rows_max
        A partition's rows are written when either is reached.
    log_bytes_max
        Bound of a partition's delta log: rows are written, and the log trimmed, when half of it
        has come since the last time; half at most is left to followers.
    generation
        Of the settings and the models, in the store's layout; recorded with each commit.
    users
        The topic of users.
    entities
        Entities to have ids of, whatever the models ask for.
    commit_deadline_s
        How long a call of the store is tried again while the store does not answer.
    """

    topic: str
    n_partitions: int
    bounds: Bounds
    dedup_window: int
    idle_expiry_ms: int
    checkpoint_interval_s: float
    checkpoint_rows_max: int
    log_bytes_max: int
    commit_deadline_s: float = 30.0
    join: JoinSettings | None = None
    event_types: EventTypes = field(default_factory=EventTypes)
    generation: int = 0
    users: str = ""
    entities: tuple[str, ...] = ()

    @property
    def topics(self) -> tuple[str, ...]:
        """What is shared out: the events, and the decisions where they are joined."""
        return (self.topic,) if self.join is None else (self.topic, self.join.topic)

    @property
    def inputs(self) -> tuple[str, ...]:
        """All topics that commits are learned from."""
        return (*self.topics, self.users) if self.users else self.topics


@dataclass(slots=True)
class LearnerCounts:
    """What a learner has done since it started."""

    n_messages: int = 0
    n_learned: int = 0
    n_duplicates: int = 0
    n_unrewarded: int = 0
    n_unadmitted: int = 0
    n_ahead: int = 0
    n_clipped: Counter[str] = field(default_factory=Counter)
    n_rejected: int = 0
    n_erased: int = 0
    n_commits: int = 0
    n_checkpoints: int = 0
    n_rejoins: int = 0
    n_evicted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ID_ENTITIES, 0))
    join: JoinCounts = field(default_factory=JoinCounts)
