"""One partition, learned a step at a time: the same in a learner and in a verification."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.events.decoding import Rejected
from streamer.learner.batch import DecodedBatch, RewardFunction, decode_batch
from streamer.learner.dedup import DedupWindow
from streamer.learner.join.answers import DecidedBatch, FeedbackBatch, decode_decisions
from streamer.learner.join.counts import JoinCounts
from streamer.learner.join.join import Cursor, Join, Joined
from streamer.learner.join.shown import Shown
from streamer.learner.practice.practice import Practice
from streamer.learner.settings import LearnerCounts, LearnerSettings
from streamer.learner.users import decode_users
from streamer.protocols import MessageBatch
from streamer_models.state.ids.id_column import IdColumn
from streamer_models.state.ids.id_table import IdTable
from streamer_models.state.ingest import Feedback, Segment, admit_profiles, event_parts
from streamer_models.state.inputs import (
    NO_CHOICES,
    NO_EVENTS,
    NO_EXAMPLES,
    NO_FEEDBACK,
    NOTHING,
    NOTHING_SHOWN,
    Events,
    Inputs,
    ShownItems,
)
from streamer_models.state.model import Model, learn, make_room
from streamer_models.state.partition import PartitionState
from streamer_models.state.table import ARM, FEATURE_ITEM, FEATURE_USER, ITEM, PROFILE, USER, Slots

_FORGOTTEN_AT_ONCE: Final = 1_000
"""Items of a commit, which withdraws some kB of each."""

DeadLetter = Callable[[MessageBatch, Sequence[Rejected]], None]
"""Puts rejected messages where they are kept; returns when they are safe."""

Read = Mapping[str, MessageBatch]
"""Topic → what was read of a partition of it."""


@dataclass(frozen=True, slots=True)
class Step:
    """What has been learned and waits to be collected.

    Attributes
    ----------
    offsets
        A half-open range of each topic; all empty where deleted items are forgotten.
    rate_factor, practice_share
        As it was learned with.
    """

    offsets: dict[str, tuple[int, int]]
    rate_factor: float
    practice_share: float


@dataclass(frozen=True, slots=True)
class _EventsPart:
    """A range of the events topic that one step takes.

    Attributes
    ----------
    segment
        Its feedback by slots.
    events
        All its events.
    answers
        Those that may answer a decision; None where none are joined.
    """

    segment: Segment
    events: Events
    answers: FeedbackBatch | None


class PartitionLearner:
    """Decodes, joins and learns what comes into one partition.

    Parameters
    ----------
    state
        Loaded from the store, or empty.
    next_offsets
        Topic → first offset not learned yet.
    counts
        What is counted; a learner's partitions share one.
    begins_anew
        Whether the last commit was learned with other settings: what was joined then stays, and
        joins begin with what comes next.
    dead_letter
        Told of bad messages before anything behind them is learned.
    practice
        Learns each step; None: nothing practises.
    of_items
        Inputs that hold what the catalogue says, and nothing else; whoever calls :meth:`learn`
        keeps it as of what is recorded.
    """

    def __init__(
        self,
        state: PartitionState,
        models: Sequence[Model],
        settings: LearnerSettings,
        rewards: RewardFunction,
        *,
        next_offsets: Mapping[str, int],
        counts: LearnerCounts,
        dead_letter: DeadLetter,
        practice: Practice | None = None,
        of_items: Inputs = NOTHING,
        begins_anew: bool = False,
    ) -> None:
        self.state = state
        self.next_offsets = {topic: next_offsets.get(topic, 0) for topic in settings.topics}
        if settings.users in next_offsets:
            self.next_offsets[settings.users] = next_offsets[settings.users]
        self.dedup = DedupWindow(settings.dedup_window)
        self._models = models
        self._settings = settings
        self._rewards = rewards
        self._counts = counts
        self._dead_letter = dead_letter
        self._practice = practice
        self._of_items = of_items
        self._cursor = Cursor(*state.cursor)
        if begins_anew and settings.join is not None:
            # Kept with the first step: what is not committed must not get into a checkpoint.
            self._cursor = replace(
                self._cursor,
                events_from=self.next_offsets[settings.topic],
                decisions_from=self.next_offsets[settings.join.topic],
            )
        self._events_from = self._cursor.events_from
        self.join = None if settings.join is None else Join(settings.join, self._cursor)

    def reread_from(self) -> dict[str, int]:
        """Topic → where to read from, to have the windows of duplicates and of joins again."""
        events = self.next_offsets[self._settings.topic]
        if self._settings.join is None:
            return {self._settings.topic: max(0, events - self._settings.dedup_window)}
        cursor = self._cursor
        events = min(events, cursor.events_from)
        return {
            self._settings.topic: max(0, events - self._settings.dedup_window),
            self._settings.join.topic: cursor.decisions_from,
        }

    def reread(self, batch: MessageBatch) -> None:
        """Take messages that are learned already, and restore the windows by them."""
        answered, decided = None, None
        if batch.topic == self._settings.topic:
            decoded = decode_batch(
                batch,
                types=self._settings.event_types,
                dedup=self.dedup,
                rewards=self._rewards,
                join=self._settings.join,
            )
            if decoded.answers is not None:
                _, answered = decoded.answers.until(self._events_from)
        elif self._settings.join is not None:
            join = self._settings.join
            decided, _ = decode_decisions(batch, join.feature_names, join.slate_names)
        if self.join is not None:
            self.join.counts = JoinCounts()  # what is counted here was counted before
            self.join.take(decided, answered, again=True)
            self.join.counts = self._counts.join

    def learn(
        self, read: Read, *, rate_factor: float = 1.0, practice_share: float = 0.0
    ) -> Iterator[Step]:
        """Learn new messages; after each step the caller collects what it changed.

        Whatever a step took lies in its ranges of offsets, so that a step which is committed needs
        nothing of one that is not.

        Parameters
        ----------
        rate_factor
            What learning rates are multiplied by; to be recorded with the commit.
        practice_share
            Share of the positive events that practise; to be recorded with the commit.
        """
        topic = self._settings.topic
        decided = self._decided(read)
        decoded = self._decoded(read.get(topic))
        events_to = _end(read.get(topic), self.next_offsets[topic])

        def step(part: _EventsPart | None, decisions: DecidedBatch | None) -> Step:
            offsets = self._learn_step(part, decisions, practice_share)
            return Step(offsets, rate_factor, practice_share)

        rest = None
        for decisions in self._decisions_parts(decided):
            if decided is None or decisions.to_offset == decided.to_offset:
                rest = decisions
            else:  # before any event: what answers the rest would else wait, and may be given up
                yield step(None, decisions)
        for part in self._events_parts(decoded, events_to, rate_factor):
            yield step(part, rest)
            rest = None
        if rest is not None:
            yield step(None, rest)

    def learn_users(self, batch: MessageBatch, to_offset: int) -> Iterator[Step]:
        """Take what users say of themselves, up to an offset; as :meth:`learn`.

        Of a user who is deleted all rows go, and a step begins with those: what is withdrawn is
        withdrawn as it was committed.
        """
        topic, models = self._settings.users, self._models
        said, rejected = decode_users(batch)
        self._reject(batch, rejected)
        at = self.next_offsets.get(topic, 0)
        while at < to_offset:
            n_gone = _n_first(said.gone)
            self._erase(said.user_ids[:n_gone])
            rest = said.slice(n_gone, len(said))
            rest = rest.slice(0, _n_first(~rest.gone))
            n, profiles = admit_profiles(rest.user_ids, rest.rows, rest.offsets, self.state)
            learn(models, replace(self._of_items, profiles=profiles), self.state)
            said = said.slice(n_gone + n, len(said))
            end = int(said.offsets[0]) if len(said) else to_offset
            self.next_offsets[topic] = end
            yield self._plain_step({topic: (at, end)})
            at = end

    def _plain_step(self, taken: dict[str, tuple[int, int]]) -> Step:
        """Return a step that learned no events; it says where their topics are all the same."""
        if self.join is not None:  # a partition may enter other settings with it
            self.state.keep_cursor(astuple(self._cursor))
        return Step(self._nothing_taken() | taken, rate_factor=1.0, practice_share=1.0)

    def _nothing_taken(self) -> dict[str, tuple[int, int]]:
        return {topic: (self.next_offsets[topic],) * 2 for topic in self._settings.topics}

    def forget_items(self, item_ids: Sequence[str]) -> Iterator[Step]:
        """Drop all that was learned of items; as :meth:`learn`, but a step takes of no topic.

        Parameters
        ----------
        item_ids
            Those that the catalogue says are deleted, as of what is recorded; some may be unknown.
        """
        while True:
            found = False
            for entity in (ITEM, ARM, FEATURE_ITEM):
                if (ids := self.state.ids.get(entity)) is not None:
                    slots = _known(ids, item_ids)[:_FORGOTTEN_AT_ONCE]
                    self.state.evict(entity, slots)
                    found = found or len(slots) > 0
            if not found:
                return
            yield self._plain_step({})

    def _erase(self, user_ids: Sequence[str]) -> None:
        """Drop all that belongs to some users."""
        self._counts.n_erased += len(user_ids)
        for entity in (PROFILE, USER, FEATURE_USER):
            if (ids := self.state.ids.get(entity)) is not None:
                self.state.evict(entity, _known(ids, user_ids))

    def _learn_step(
        self, part: _EventsPart | None, decided: DecidedBatch | None, practice_share: float
    ) -> dict[str, tuple[int, int]]:
        """Learn a range of the events, a range of the decisions, and what joining them taught."""
        settings, counts = self._settings, self._counts
        offsets = self._nothing_taken()
        feedback, events, answers = NO_FEEDBACK, NO_EVENTS, None
        if part is not None:
            segment, events, answers = part.segment, part.events, part.answers
            feedback = segment.batch
            counts.n_learned += len(feedback)
            counts.n_unadmitted += segment.n_unadmitted
            offsets[settings.topic] = segment.from_offset, segment.to_offset
        joined = None
        if settings.join is not None:
            joined = self._joined(decided, answers)
            if decided is not None:
                topic = settings.join.topic
                offsets[topic] = self.next_offsets[topic], decided.to_offset
        arms = self.state.ids.get(ARM)
        n_refused = 0 if arms is None else arms.n_refused
        inputs = replace(
            self._of_items,
            feedback=feedback,
            events=events,
            shown=NOTHING_SHOWN if joined is None else _items(joined.shown),
            examples=NO_EXAMPLES if joined is None else joined.examples,
            choices=NO_CHOICES if joined is None else joined.choices,
        )
        if self._practice is None:
            learn(self._models, inputs, self.state)
        else:
            answering = self._answering(answers, offsets)
            self._practice.learn(self._models, inputs, self.state, practice_share, answering)
        if arms is not None:
            counts.join.n_unadmitted += arms.n_refused - n_refused
        self.next_offsets |= {topic: end for topic, (_, end) in offsets.items()}
        return offsets

    def _answering(
        self, answers: FeedbackBatch | None, offsets: Mapping[str, tuple[int, int]]
    ) -> NDArray[np.int64] | None:
        """Offsets of events that teach the blend through the slates they name, and not twice; None
        where they can't.

        Before the first decision they name requests of others: a log of the past is learned.
        """
        join = self._settings.join
        if answers is None or join is None or not join.slate_names or not offsets[join.topic][1]:
            return None
        return answers.naming

    def _events_parts(
        self, decoded: DecodedBatch, to_offset: int, rate_factor: float
    ) -> Iterator[_EventsPart]:
        """Events in parts between which ids are evicted."""
        answers, answers_now = decoded.answers, None
        for segment, events in event_parts(
            decoded.feedback,
            decoded.events,
            self.state,
            self._models,
            from_offset=self.next_offsets[self._settings.topic],
            to_offset=to_offset,
            idle_expiry_ms=self._settings.idle_expiry_ms,
            rate_factor=rate_factor,
        ):
            if answers is not None:
                answers_now, answers = answers.until(segment.to_offset)
            yield _EventsPart(segment, events, answers_now)

    def _decisions_parts(self, decided: DecidedBatch | None) -> Iterator[DecidedBatch]:
        """Decisions in parts between which ids are evicted."""
        rest = decided
        ahead = NOTHING_SHOWN if decided is None else _items(decided.decisions)
        while rest is not None:
            end = make_room(self._models, Inputs(shown=ahead), self.state)
            part, rest = rest.until(rest.to_offset if end is None else end)
            ahead = ahead.slice(int(np.searchsorted(ahead.offsets, part.to_offset)), len(ahead))
            yield part

    def _decided(self, read: Read) -> DecidedBatch | None:
        join = self._settings.join
        batch = None if join is None else read.get(join.topic)
        if join is None or batch is None:
            return None
        decided, rejected = decode_decisions(batch, join.feature_names, join.slate_names)
        self._reject(batch, rejected)
        return decided

    def _decoded(self, batch: MessageBatch | None) -> DecodedBatch:
        if batch is None:
            return _NOTHING
        settings = self._settings
        decoded = decode_batch(
            batch,
            types=settings.event_types,
            dedup=self.dedup,
            rewards=self._rewards,
            join=settings.join,
        )
        self._reject(batch, decoded.rejected)
        self._counts.n_messages += len(batch)
        self._counts.n_duplicates += decoded.n_duplicates
        self._counts.n_unrewarded += decoded.n_unrewarded
        self._counts.n_ahead += decoded.n_ahead
        self._counts.n_clipped.update(decoded.n_clipped)
        return decoded

    def _reject(self, batch: MessageBatch, rejected: Sequence[Rejected]) -> None:
        if rejected:
            self._dead_letter(batch, rejected)
            self._counts.n_rejected += len(rejected)

    def _joined(self, decided: DecidedBatch | None, answers: FeedbackBatch | None) -> Joined:
        """Join, and keep from where the joins can be had again."""
        assert self.join is not None
        self.join.counts = self._counts.join
        joined = self.join.take(decided, answers)
        self._cursor = self.join.cursor()
        self.state.keep_cursor(astuple(self._cursor))
        return joined


def _n_first(flags: NDArray[np.bool_]) -> int:
    """How many are true before the first that is not."""
    return len(flags) if flags.all() else int(np.argmin(flags))


def _known(ids: IdTable, names: Sequence[str]) -> Slots:
    slots: Slots = np.unique(ids.slots_of(names))
    return slots[slots >= 0]


def _items(decisions: Sequence[Shown]) -> ShownItems:
    """Items of decisions in columns."""
    n_items = [len(shown.item_ids) for shown in decisions]
    return ShownItems(
        offsets=np.repeat(np.array([shown.offset for shown in decisions], np.int64), n_items),
        ts_ms=np.repeat(np.array([shown.ts_ms for shown in decisions], np.int64), n_items),
        item_ids=IdColumn.of([item_id for shown in decisions for item_id in shown.item_ids]),
    )


_NOTHING = DecodedBatch(
    feedback=Feedback(
        offsets=np.zeros(0, dtype=np.int64),
        ts_ms=np.zeros(0, dtype=np.int64),
        user_ids=[],
        item_ids=[],
        rewards=np.zeros(0, dtype=np.float32),
        values=np.zeros(0, dtype=np.float64),
    ),
    events=NO_EVENTS,
    answers=None,
    rejected=[],
    n_duplicates=0,
    n_unrewarded=0,
)


def _end(batch: MessageBatch | None, otherwise: int) -> int:
    return otherwise if batch is None or not len(batch) else int(batch.offsets[-1]) + 1
