"""One partition, learned a step at a time: the same in a learner and in a verification."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from streamer.events.decoding import Rejected
from streamer.learner.batch import DecodedBatch, RewardFunction, decode_batch
from streamer.learner.dedup import DedupWindow
from streamer.learner.join.answers import DecidedBatch, FeedbackBatch, decode_decisions
from streamer.learner.join.counts import JoinCounts
from streamer.learner.join.join import Cursor, Join
from streamer.learner.settings import LearnerCounts, LearnerSettings
from streamer.protocols import MessageBatch
from streamer_models.bandits.bandit import Bandit
from streamer_models.counters.decayed_counting import Counting
from streamer_models.counters.decayed_features import DecayedFeatures
from streamer_models.counters.impressions import UserImpressions
from streamer_models.state.ingest import Feedback, Segment, learn_feedback
from streamer_models.state.partition import PartitionState
from streamer_models.state.protocols import Model, model_of

DeadLetter = Callable[[MessageBatch, Sequence[Rejected]], None]
"""Puts rejected messages where they are kept; returns when they are safe."""

Inputs = Mapping[str, MessageBatch]
"""Topic → what was read of a partition of it."""


@dataclass(frozen=True, slots=True)
class Step:
    """What has been learned and waits to be collected: a half-open range of each topic."""

    offsets: dict[str, tuple[int, int]]


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
    dead_letter
        Told of bad messages before anything behind them is learned.
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
    ) -> None:
        self.state = state
        self.next_offsets = {topic: next_offsets.get(topic, 0) for topic in settings.topics}
        self.dedup = DedupWindow(settings.dedup_window)
        self._models = models
        self._settings = settings
        self._rewards = rewards
        self._counts = counts
        self._dead_letter = dead_letter
        self._bandit = model_of(models, Bandit)
        self._features = model_of(models, DecayedFeatures)
        self._impressions = model_of(models, UserImpressions)
        self._start = self._cursor()
        self.join = None if settings.join is None else Join(settings.join, self._start)

    def reread_from(self) -> dict[str, int]:
        """Topic → where to read from, to have the windows of duplicates and of joins again."""
        events = self.next_offsets[self._settings.topic]
        if self._settings.join is None:
            return {self._settings.topic: max(0, events - self._settings.dedup_window)}
        cursor = self._cursor()
        events = min(events, cursor.events_from)
        return {
            self._settings.topic: max(0, events - self._settings.dedup_window),
            self._settings.join.topic: cursor.decisions_from,
        }

    def _cursor(self) -> Cursor:
        """Of the joins, as it was last kept."""
        if self._settings.join is None:
            return Cursor()
        assert self._bandit is not None, "decisions are joined for a bandit"
        return Cursor(*self._bandit.cursor(self.state))

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
                _, answered = decoded.answers.until(self._start.events_from)
        elif self._settings.join is not None:
            decided, _ = decode_decisions(batch, self._settings.join.feature_names)
        if self.join is not None:
            self.join.counts = JoinCounts()  # what is counted here was counted before
            self.join.take(decided, answered)
            self.join.counts = self._counts.join

    def learn(self, inputs: Inputs, *, rate_factor: float = 1.0) -> Iterator[Step]:
        """Learn new messages; after each step the caller collects what it changed.

        Whatever a step took lies in its ranges of offsets, so that a step which is committed needs
        nothing of one that is not.

        Parameters
        ----------
        rate_factor
            What learning rates are multiplied by; to be recorded with the commit.
        """
        settings, counts = self._settings, self._counts
        decided = self._decided(inputs)
        decoded = self._decoded(inputs.get(settings.topic))
        answered, impressions = decoded.answers, decoded.impressions
        events_to = _end(inputs.get(settings.topic), self.next_offsets[settings.topic])
        segments = self._segments(decoded, events_to, rate_factor)
        for segment, shown in zip_longest(segments, self._fitting(decided)):
            offsets = {topic: (at, at) for topic, at in self.next_offsets.items()}
            answers_now = None
            if segment is not None:
                if self._impressions is not None and impressions is not None:
                    shown_now, impressions = impressions.until(segment.to_offset)
                    self._impressions.show(shown_now, self.state)
                counts.n_learned += segment.n_learned
                counts.n_unadmitted += segment.n_unadmitted
                offsets[settings.topic] = segment.from_offset, segment.to_offset
                if answered is not None:
                    answers_now, answered = answered.until(segment.to_offset)
            if settings.join is not None:
                self._learn_outcomes(shown, answers_now)
                if shown is not None:
                    topic = settings.join.topic
                    offsets[topic] = self.next_offsets[topic], shown.to_offset
            self.next_offsets |= {topic: end for topic, (_, end) in offsets.items()}
            yield Step(offsets)

    def _segments(
        self, decoded: DecodedBatch, to_offset: int, rate_factor: float
    ) -> Iterator[Segment]:
        """Learn and count events, having evicted what had to go before each part of them."""
        counting = None
        if self._features is not None and decoded.counted is not None:
            counting = Counting(self._features, decoded.counted, self.state)
        at, feedback = self.next_offsets[self._settings.topic], decoded.feedback
        while True:
            end = None if counting is None else counting.make_room()
            end = to_offset if end is None else end
            n = int(np.searchsorted(feedback.offsets, end))
            for segment in learn_feedback(
                feedback.part(0, n),
                self.state,
                self._models,
                from_offset=at,
                to_offset=end,
                idle_expiry_ms=self._settings.idle_expiry_ms,
                rate_factor=rate_factor,
            ):
                if counting is not None:
                    counting.count(segment)
                yield segment
            at, feedback = end, feedback.part(n, len(feedback))
            if at == to_offset:
                return

    def _fitting(self, decided: DecidedBatch | None) -> Iterator[DecidedBatch]:
        """Decisions in parts whose arms fit, having evicted what had to go before each part."""
        rest = decided
        while rest is not None:
            assert self._bandit is not None
            slates = [shown.item_ids for shown in rest.decisions]
            part, rest = rest.split(self._bandit.make_room(slates, self.state))
            yield part

    def _decided(self, inputs: Inputs) -> DecidedBatch | None:
        join = self._settings.join
        batch = None if join is None else inputs.get(join.topic)
        if join is None or batch is None:
            return None
        decided, rejected = decode_decisions(batch, join.feature_names)
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
            features=self._features,
            with_impressions=self._impressions is not None,
        )
        self._reject(batch, decoded.rejected)
        self._counts.n_messages += len(batch)
        self._counts.n_duplicates += decoded.n_duplicates
        self._counts.n_unrewarded += decoded.n_unrewarded
        return decoded

    def _reject(self, batch: MessageBatch, rejected: Sequence[Rejected]) -> None:
        if rejected:
            self._dead_letter(batch, rejected)
            self._counts.n_rejected += len(rejected)

    def _learn_outcomes(self, decided: DecidedBatch | None, answered: FeedbackBatch | None) -> None:
        """Join, and bring the bandit's statistics up to what is known now."""
        assert self.join is not None
        assert self._bandit is not None
        self.join.counts = self._counts.join
        joined = self.join.take(decided, answered)
        k = [len(shown.item_ids) for shown in joined.shown]
        self._counts.join.n_unadmitted += self._bandit.show(
            [item_id for shown in joined.shown for item_id in shown.item_ids],
            np.repeat(np.array([shown.offset for shown in joined.shown], dtype=np.int64), k),
            np.repeat(np.array([shown.ts_ms for shown in joined.shown], dtype=np.int64), k),
            self.state,
        )
        self._bandit.learn_examples(joined.examples, self.state)
        cursor = self.join.cursor()
        self._bandit.keep_cursor(
            (
                cursor.events_from,
                cursor.events_watermark_ms,
                cursor.decisions_from,
                cursor.decisions_watermark_ms,
            ),
            self.state,
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
    answers=None,
    counted=None,
    impressions=None,
    rejected=[],
    n_duplicates=0,
    n_unrewarded=0,
)


def _end(batch: MessageBatch | None, otherwise: int) -> int:
    return otherwise if batch is None or not len(batch) else int(batch.offsets[-1]) + 1
