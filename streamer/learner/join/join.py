"""Feedback finds the decision it answers, and both become examples for the bandit.

What is learned is a function of the events up to an offset and of the decisions up to an offset,
not of the order in which the two were read: feedback that comes before its decision waits for it,
the sums of the bandit can be amended, and whether feedback is late is a matter of event times and
of the order within one topic. So nothing of this has to be stored: after a restart, both topics
are read again from a *cursor* (:class:`Cursor`), without learning, and the joins are open as they
were. The bounds are numbers of offsets for the same reason. What waits in one topic for the other
is not dropped by them while topics are read again: which of the two is ahead then is chance.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.events.messages import ANYBODY
from streamer.learner.join.answers import DecidedBatch, FeedbackBatch
from streamer.learner.join.counts import (
    AMBIGUOUS,
    DISORDERED,
    LATE,
    NOT_SHOWN,
    OTHER_USER,
    PINNED,
    UNKNOWN,
    UNNAMED,
    JoinCounts,
)
from streamer.learner.join.early import EarlyFeedback
from streamer.learner.join.feedback import FeedbackRows, ItemFeedback
from streamer.learner.join.shown import Combine, Matching, Settled, Shown
from streamer.learner.join.unnamed import UnnamedFeedback
from streamer.ranking.columns.position import POSITION
from streamer_models.state.inputs import NO_CHOICES, Choices, Examples, Gains

UNNAMED_SHARE: Final = 10
"""One part in so many of ``feedback_max`` is for feedback without a request_id. Where events are
many and requests few, all of it waits for the next decision and next to none answers one: 10,000 *
500 B = 5 MB a partition, not 50."""


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """What a join is told; see the section ``[join]`` of the configuration.

    Attributes
    ----------
    topic
        Of the decisions.
    feature_names
        Of the features that the bandit learns from.
    slate_names
        Of what the blend logs of the items shown and learns from; none: it learns from no slate.
    ahead_max_ms
        How far one topic may be read ahead of the other, in publish time, while there is more to
        read of the other.
    unanswered
        Whether a slate of which nothing was reported counts as seen and not taken.
    objectives
        Names of the outcomes that are told apart, in the order of their bits.
    propensity_weight_max
        As how many examples what was shown counts at most, by its propensity.
    """

    topic: str
    feature_names: tuple[str, ...]
    window_ms: int
    horizon_ms: int
    lateness_ms: int
    default_reward: float
    combine: Combine
    match_without_request: Matching
    decisions_max: int
    feedback_max: int
    ahead_max_ms: int = 10_000
    unanswered: bool = False
    slate_names: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ()
    propensity_weight_max: float = 1.0

    @property
    def unnamed_max(self) -> int:
        """In how many events feedback without a request_id waits for decisions up to its time."""
        return max(1, self.feedback_max // UNNAMED_SHARE)


@dataclass(frozen=True, slots=True)
class Cursor:
    """From where both topics must be read again to have the joins open as they are.

    Attributes
    ----------
    events_from, decisions_from
        Offsets of the first message that still matters, else of the next one.
    events_watermark_ms, decisions_watermark_ms
        Greatest event time before each.
    """

    events_from: int = 0
    events_watermark_ms: int = 0
    decisions_from: int = 0
    decisions_watermark_ms: int = 0


@dataclass(frozen=True, slots=True)
class Joined:
    """What a step of the join found out.

    Attributes
    ----------
    shown
        New decisions.
    examples
        Outcomes that became known or were amended.
    choices
        Slates of which it became known or was amended what was taken up.
    """

    shown: Sequence[Shown]
    examples: Examples
    choices: Choices


class Join:
    """Open decisions and early feedback of one partition.

    Parameters
    ----------
    settings
        Windows and bounds.
    cursor
        Where reading begins; what came before it is settled.
    """

    def __init__(self, settings: JoinSettings, cursor: Cursor | None = None) -> None:
        cursor = cursor or Cursor()
        self.counts = JoinCounts()
        self._settings = settings
        self._events_next = cursor.events_from
        self._decisions_next = cursor.decisions_from
        self._events_ms = cursor.events_watermark_ms
        self._decisions_ms = cursor.decisions_watermark_ms
        self._open: dict[str, Shown] = {}  # in order of offsets
        self._by_user: defaultdict[str, list[str]] = defaultdict(list)
        self._early = EarlyFeedback(settings.lateness_ms)
        self._unnamed = UnnamedFeedback()
        self._to_close: list[tuple[int, int, str]] = []
        self._to_drop: list[tuple[int, int, str]] = []
        self._answered: list[tuple[int, int, str]] = []  # by offset: first feedback of decisions
        self._past: list[tuple[int, int, int]] = []  # (offset, watermark, ts) of what is forgotten
        self._changed: dict[int, Shown] = {}  # by offset
        self._closing: set[int] = set()
        self._gone: dict[str, int] = {}  # decisions that are forgotten: until when they are kept
        self._is_again = False

    @property
    def n_open(self) -> int:
        return len(self._open)

    @property
    def n_early(self) -> int:
        return len(self._early) + len(self._unnamed)

    def take(
        self, decided: DecidedBatch | None, events: FeedbackBatch | None, *, again: bool = False
    ) -> Joined:
        """Take what comes next in either topic, and say what it teaches.

        Parameters
        ----------
        again
            It was taken before, by another join, and maybe in another order: so nothing is given up
            for how much waits, until something new is taken.
        """
        if self._is_again and not again:
            self._catch_up()
        self._is_again = again
        new = [] if decided is None else [s for s in decided.decisions if self._decide(s)]
        if decided is not None:
            self._decisions_next = decided.to_offset
            self.counts.n_foreign += decided.n_foreign
            self.counts.n_without_slate += decided.n_without_slate
        if events is not None:
            self._take_events(events)
            self._events_next = events.to_offset
        self._match_unnamed()
        self._close()
        changed = sorted(self._changed.items())
        examples, choices = self._examples(changed), self._choices(changed)
        self.counts.clicks.note([shown for _, shown in changed if shown.closed])
        self._changed.clear()
        self._closing.clear()
        self._drop()
        if not again:
            self.counts.n_lost += self._early.bound(self._events_next - self._settings.feedback_max)
        return Joined(new, examples, choices)

    def _catch_up(self) -> None:
        """Give up what had been given up before, now that all is there again."""
        counts, self.counts = self.counts, JoinCounts()
        self._is_again = False
        self.take(None, None)
        self.counts = counts

    def cursor(self) -> Cursor:
        """From where this state can be had again; a function of what was taken alone."""
        while self._answered and self._answered[0][2] not in self._open:
            heapq.heappop(self._answered)
        events = self._events_next, self._events_ms
        if self._answered:
            events = min(events, self._answered[0][:2])
        for waiting in (self._early, self._unnamed):
            if waiting.first is not None:
                events = min(events, waiting.first)
        decisions = self._decisions_next, self._decisions_ms
        if self._open:
            oldest = next(iter(self._open.values()))
            decisions = oldest.offset, oldest.watermark_ms
            # One that may have been meant as well by an event that names none: see _meant.
            earliest_ms = max(decisions[1], oldest.ts_ms) - self._settings.window_ms
            while self._past and self._past[0][2] < earliest_ms:
                heapq.heappop(self._past)
            if self._past:
                decisions = min(decisions, self._past[0][:2])
        return Cursor(*events, *decisions)

    # --- decisions -------------------------------------------------------------------------------

    def _decide(self, shown: Shown) -> bool:
        """Open a decision; False for one that repeats a request still open."""
        shown.watermark_ms = self._decisions_ms
        self._decisions_ms = max(self._decisions_ms, shown.ts_ms)
        shown.kept_until_ms = shown.ts_ms + self._settings.horizon_ms + self._settings.lateness_ms
        known = self._open.get(shown.request_id)
        if known is not None and self._is_repeated(known, shown):
            self.counts.n_repeated += 1
            known.kept_until_ms = max(known.kept_until_ms, shown.kept_until_ms)
            known.last_offset = shown.offset
            return False
        if known is not None:
            self._close_one(known)  # so long ago that it is forgotten, wherever steps end
            self._forget(known)
        if shown.gained.shape[1] != len(self._settings.objectives):
            shown.tell_apart(len(self._settings.objectives))
        self.counts.decided(shown.ts_ms, shown.variants)
        self._open[shown.request_id] = shown
        if shown.user_id != ANYBODY:  # one visitor's event says nothing of another one's slate
            self._by_user[shown.user_id].append(shown.request_id)
        closes_ms = shown.ts_ms + self._settings.window_ms
        heapq.heappush(self._to_close, (closes_ms, shown.offset, shown.request_id))
        heapq.heappush(self._to_drop, (shown.kept_until_ms, shown.offset, shown.request_id))
        for feedback in self._early.claim(shown.request_id):
            self._match(shown, feedback)
        return True

    def _is_repeated(self, known: Shown, shown: Shown) -> bool:
        """Whether a decision is open, by time and by number, until just before another."""
        from_offset = shown.offset - self._settings.decisions_max
        return known.kept_until_ms >= shown.watermark_ms and known.last_offset >= from_offset

    # --- feedback --------------------------------------------------------------------------------

    def _take_events(self, events: FeedbackBatch) -> None:
        if not len(events.ts_ms):
            return
        before = np.maximum.accumulate(np.concatenate([[self._events_ms], events.ts_ms]))
        self._events_ms = int(before[-1])
        answers = events.answers
        at = answers.at
        rows = FeedbackRows(events.offsets[at], events.ts_ms[at], before[at], answers)
        until_ms = self._decisions_ms + self._settings.horizon_ms
        self.counts.answering(rows.ts_ms, answers.named, until_ms)
        named = rows.take(answers.named)
        request_ids = named.answers.request_ids.strings()
        for request_id, feedback in zip(request_ids, named.feedback(), strict=True):
            shown = self._open.get(request_id)
            if shown is not None:
                self._match(shown, feedback)
            elif feedback.watermark_ms <= self._gone.get(request_id, -1):
                self.counts.late(LATE)  # it would wait in vain, for a decision that came before
            else:
                self._early.put(request_id, feedback)
        self._take_unnamed(rows.take(~answers.named))

    def _take_unnamed(self, rows: FeedbackRows) -> None:
        """Let wait what may answer a decision that is open or still to be read."""
        waits = rows.ts_ms > self._decisions_ms
        of_past = np.flatnonzero(~waits)
        waits[of_past] = self._have_open(rows.take(of_past))
        self.counts.astray[UNNAMED] += int((~waits).sum())
        self._unnamed.put(rows.take(waits))

    def _have_open(self, rows: FeedbackRows) -> NDArray[np.bool_]:
        """Return ``(n,)`` whether a decision of the user is open."""
        if not self._by_user:
            return np.zeros(len(rows), dtype=np.bool_)
        users = rows.answers.user_ids.strings()
        return np.fromiter((user in self._by_user for user in users), np.bool_, len(rows))

    def _match(self, shown: Shown, feedback: ItemFeedback) -> None:
        """Give feedback to a decision; whichever of the two came first, the outcome is the same."""
        late_ms = shown.ts_ms + self._settings.horizon_ms
        lateness_ms = self._settings.lateness_ms
        if feedback.ts_ms > late_ms:
            self.counts.late(LATE)
        elif feedback.watermark_ms > late_ms + lateness_ms:
            self.counts.late(DISORDERED)
        elif feedback.ts_ms + lateness_ms < shown.watermark_ms:  # it would not have waited
            self.counts.unmatched(DISORDERED)
        elif feedback.user_id != shown.user_id:
            self.counts.unmatched(OTHER_USER)
        elif feedback.item_id in shown.pinned:
            self.counts.astray[PINNED] += 1
        elif not shown.take(feedback):
            self.counts.unmatched(NOT_SHOWN)
        else:
            if (
                feedback.named
                or shown.is_reported
                or self._settings.match_without_request == "always"
            ):
                self.counts.matched(feedback.ts_ms - shown.ts_ms)
            self._changed[shown.offset] = shown
            if feedback.offset < shown.answered_from:
                shown.answered_from = feedback.offset
                place = feedback.offset, feedback.watermark_ms, shown.request_id
                heapq.heappush(self._answered, place)

    def _match_unnamed(self) -> None:
        """Match events without a request_id once every decision up to their time is known, or so
        much has waited since that it is taken to be.

        Only where one slate alone can be meant; most such events answer none, and are not counted.
        """
        from_offset = 0 if self._is_again else self._events_next - self._settings.unnamed_max
        due = self._unnamed.due(self._decisions_ms, from_offset)
        if due is None:
            return
        may_answer = self._have_open(due)
        self.counts.astray[UNNAMED] += int((~may_answer).sum())
        for feedback in due.take(may_answer).feedback():
            found = self._meant(feedback)
            if len(found) == 1:
                self._match(found[0], feedback)
            elif found:
                self.counts.n_ambiguous += 1
                self.counts.astray[AMBIGUOUS] += 1
            else:
                self.counts.astray[UNNAMED] += 1

    def _meant(self, feedback: ItemFeedback) -> list[Shown]:
        """Open slates that showed the user the item within the window before the feedback.

        One that is forgotten by then in one order of reading is not meant in any.
        """
        found = []
        earliest_ms = feedback.ts_ms - self._settings.window_ms
        kept_ms = self._settings.horizon_ms + self._settings.lateness_ms
        for request_id in reversed(self._by_user.get(feedback.user_id, ())):
            shown = self._open[request_id]
            if (
                shown.watermark_ms < feedback.ts_ms
                and earliest_ms <= shown.ts_ms <= feedback.ts_ms
                and feedback.watermark_ms <= shown.ts_ms + kept_ms
                and feedback.item_id in shown.item_ids
            ):
                found.append(shown)
            if shown.watermark_ms < earliest_ms:
                break  # none before it is of a later time
        return found

    # --- time passes -----------------------------------------------------------------------------

    def _close(self) -> None:
        now_ms = max(self._events_ms, self._decisions_ms)
        while self._to_close and self._to_close[0][0] < now_ms:
            _, offset, request_id = heapq.heappop(self._to_close)
            shown = self._open.get(request_id)
            if shown is not None and shown.offset == offset:
                self._close_one(shown)
        for shown in self._beyond_bound():  # so that their default rewards are not lost
            if not shown.closed:
                self.counts.n_closed_early += 1
                self._close_one(shown)

    def _close_one(self, shown: Shown) -> None:
        shown.closed = True
        self._closing.add(shown.offset)
        self._changed[shown.offset] = shown

    def _beyond_bound(self) -> list[Shown]:
        """Open decisions that are too many, oldest first."""
        first = self._decisions_next - self._settings.decisions_max
        return list(takewhile(lambda shown: shown.last_offset < first, self._open.values()))

    def _examples(self, changed: Sequence[tuple[int, Shown]]) -> Examples:
        rows: list[tuple[Shown, Settled]] = []
        for offset, shown in changed:
            settled = list(
                shown.settle(
                    self._settings.default_reward,
                    self._settings.combine,
                    unanswered=self._settings.unanswered,
                    matching=self._settings.match_without_request,
                )
            )
            rows += [(shown, each) for each in settled]
            self._count(shown, settled, closing=offset in self._closing)
        return self._of_rows(rows)

    def _count(self, shown: Shown, settled: Sequence[Settled], *, closing: bool) -> None:
        objectives = self._settings.objectives
        for each in settled:
            if each.is_rewarded_anew:
                self.counts.learned(each.before, each.after, shown.variants)
            self.counts.gain(objectives, each.gains_before, each.gains_after)
        scores = shown.scores(objectives, shown.applied, shown.gained)
        if scores is None or shown.expected is None:
            return
        if settled:
            rewards = np.array([each.before for each in settled])
            before = shown.scores(
                objectives, rewards, np.array([each.gains_before for each in settled])
            )
            assert before is not None, "the scores of now are known"
            for each, was in zip(settled, before.tolist(), strict=True):
                expected, now = float(shown.expected[each.position]), float(scores[each.position])
                self.counts.foreseen(expected, was, now)
        if closing:
            self.counts.closed(shown.expected, scores)

    def _of_rows(self, rows: Sequence[tuple[Shown, Settled]]) -> Examples:
        n, gains = len(rows), None
        features = np.zeros((n, len(self._settings.feature_names)), dtype=np.float32)
        for i, (shown, each) in enumerate(rows):
            features[i] = shown.features[each.position]
        if POSITION in self._settings.feature_names:
            at = self._settings.feature_names.index(POSITION)
            of_slots = {shown.offset: np.log1p(shown.slots()) for shown, _ in rows}
            for i, (shown, each) in enumerate(rows):
                features[i, at] = of_slots[shown.offset][each.position]
        if self._settings.objectives:
            shape = n, len(self._settings.objectives)
            gains = Gains(
                np.array([each.gains_before for _, each in rows]).reshape(shape),
                np.array([each.gains_after for _, each in rows]).reshape(shape),
            )
        return Examples(
            offsets=np.fromiter((shown.offset for shown, _ in rows), np.int64, n),
            ts_ms=np.fromiter((shown.ts_ms for shown, _ in rows), np.int64, n),
            arm_ids=[shown.item_ids[each.position] for shown, each in rows],
            features=features,
            before=np.fromiter((each.before for _, each in rows), np.float64, n),
            after=np.fromiter((each.after for _, each in rows), np.float64, n),
            gains=gains,
            weights=self._weights(rows),
        )

    def _weights(self, rows: Sequence[tuple[Shown, Settled]]) -> NDArray[np.float64] | None:
        """Return ``(n,)`` weights by inverse propensity; None where all count alike."""
        most = self._settings.propensity_weight_max
        if most == 1.0:
            return None
        propensities = [
            1.0 if shown.propensities is None else shown.propensities[each.position]
            for shown, each in rows
        ]
        weights: NDArray[np.float64] = np.minimum(1.0 / np.array(propensities, np.float64), most)
        return weights

    def _choices(self, changed: Sequence[tuple[int, Shown]]) -> Choices:
        """What changed of slates as choices, after their outcomes were settled."""
        rows = [
            (offset, shown.slate, *change)
            for offset, shown in changed
            if shown.slate is not None
            and (change := shown.choose(self._settings.combine)) is not None
        ]
        if not rows:
            return NO_CHOICES
        offsets, slates, before, after = zip(*rows, strict=True)
        return Choices(np.array(offsets, dtype=np.int64), slates, before, after)

    def _drop(self) -> None:
        """Forget decisions that nothing can change any more, and feedback nobody will ask for."""
        # A repeat must meet what it repeats, and feedback its decision, whichever topic is ahead.
        now_ms = min(self._events_ms, self._decisions_ms)
        while self._to_drop and self._to_drop[0][0] < now_ms:
            _, offset, request_id = heapq.heappop(self._to_drop)
            shown = self._open.get(request_id)
            if shown is None or shown.offset != offset:
                continue
            if shown.kept_until_ms >= now_ms:  # it was repeated
                heapq.heappush(self._to_drop, (shown.kept_until_ms, offset, request_id))
            else:
                self._forget(shown)
        for shown in self._beyond_bound():
            self._forget(shown)
        for request_id in self._early.expire(self._decisions_ms):
            if request_id in self._gone:
                self.counts.late(LATE)
            else:
                self.counts.unmatched(UNKNOWN)

    def _forget(self, shown: Shown) -> None:
        del self._open[shown.request_id]
        heapq.heappush(self._past, (shown.offset, shown.watermark_ms, shown.ts_ms))
        if shown.user_id != ANYBODY:
            theirs = self._by_user[shown.user_id]
            theirs.remove(shown.request_id)
            if not theirs:
                del self._by_user[shown.user_id]
        self._gone[shown.request_id] = shown.kept_until_ms
        while len(self._gone) > self._settings.decisions_max:
            del self._gone[next(iter(self._gone))]
