"""What became of each item of a logged decision: the events that answer it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.config import JoinConfig
from streamer.errors import BadMessage, LogRefused
from streamer.events import Decision, Rejected
from streamer.events.event_columns import EventColumns, decode_events
from streamer.events.messages import IN_SECONDS
from streamer.events.rejection import in_seconds
from streamer.learner.configured import join_settings_of
from streamer.learner.dedup import DedupWindow
from streamer.learner.join.answers import DecidedBatch, FeedbackBatch, answers
from streamer.learner.join.counts import UNNAMED, UNREPORTED
from streamer.learner.join.join import Join
from streamer.learner.join.shown import Shown, pinned_in, scores
from streamer.learner.rewards import Rewards
from streamer.ope.ahead import NONE_SENT, ArrivalTimes, Sent, far_reason, with_next
from streamer.ope.bandit_log import Faults, Lines, published_lines
from streamer.ope.repeats import Repeats

_BATCH: Final = 1_000
_NO_BOUND: Final = 1 << 62
_NO_FEATURES: Final = np.empty((0, 0), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Lines of events: their numbers and contents, when they were published (negative: unknown),
    the good ones, and (index, reason) of the bad ones."""

    lines: list[int]
    contents: list[bytes]
    published_ms: NDArray[np.int64]
    columns: EventColumns
    bad: list[tuple[int, str]]

    @property
    def sent(self) -> Sent:
        """The times of the good ones, and whose they are."""
        return Sent(self.columns.ts_ms, self.columns.user_ids.hashes.astype(np.int64))


class LoggedRewards:
    """Rewards by request and item, as the learner's join has them once all is known.

    The join is the learner's own, without the bounds of its memory: all decisions are read first,
    then the events, each file in its order, and what is later or further out of order than
    ``[join]`` allows answers nothing. An event whose time lies ahead of those around it counts as
    they do, and over a day ahead as malformed (:class:`streamer.ope.ahead.ArrivalTimes`), so that
    the clock of one phone makes no others late. A slate of which nothing was reported was not
    seen, where the log reports impressions and ``join.unanswered`` says so; where it reports none,
    it was.

    Memory: one record a decision.

    Attributes
    ----------
    n_matched, unused
        Events that answer a decision; those that could and don't, by the reason.
    n_ahead
        Events that count as of those around them.
    repeats
        Events that repeat an ``event_id``.
    n_unanswered
        Slates of which the learner learns nothing, since nothing was reported of them.
    reports_impressions
        Whether the log says what was seen: those slates have no rewards then.
    published_ms
        Time of the newest event of which it is known when it was published; 0: of none. None lies
        after that, so one clock that is ahead moves it no further than to now.
    """

    def __init__(
        self, file: Lines, rewards: Rewards, join: JoinConfig, *, dedup_window: int
    ) -> None:
        self._file = file
        self._reward = rewards
        self._default_reward = join.default_reward
        self._settings = replace(
            join_settings_of(join, topic="", feature_names=(), objectives=tuple(rewards.weights)),
            decisions_max=_NO_BOUND,
            feedback_max=_NO_BOUND,
        )
        self._dedup_window = dedup_window
        self._expected: list[Shown] = []
        self._rewards: dict[str, NDArray[np.float64]] = {}
        self._gains: dict[str, NDArray[np.float64]] = {}
        self.n_matched = self.n_unanswered = self.n_ahead = self.published_ms = 0
        self.reports_impressions = False
        self.unused: Counter[str] = Counter()
        self.repeats = Repeats(dedup_window)
        self._unreadable = ""

    @property
    def objectives(self) -> Sequence[str]:
        """Names of the columns of :meth:`gains`."""
        return self._settings.objectives

    def expect(self, decision: Decision) -> None:
        """Wait for feedback on a decision."""
        shown = Shown(
            request_id=decision.request_id,
            user_id=decision.user_id,
            offset=len(self._expected),
            ts_ms=decision.ts,
            item_ids=decision.items,
            features=np.empty((len(decision.items), 0), dtype=np.float32),
            expected=None,
            pinned=pinned_in(decision),
        )
        shown.tell_apart(len(self._settings.objectives))
        self._expected.append(shown)
        self._rewards[decision.request_id] = shown.applied
        self._gains[decision.request_id] = shown.gained

    def read(self, faults: Faults) -> None:
        """Read the events and settle all decisions that wait."""
        decided, self._expected = self._expected, []
        last_ms = max((shown.ts_ms for shown in decided), default=0)
        join, dedup = Join(self._settings), DedupWindow(self._dedup_window)
        join.take(DecidedBatch(decided, len(decided)), None)
        self.unused, self.reports_impressions = Counter(), False
        self.n_ahead = self.published_ms = 0
        self.repeats = Repeats(self._dedup_window)
        n_events, n_good, first = 0, 0, ""
        clock = ArrivalTimes(self._settings.lateness_ms)
        for batch, following in with_next(self._batches()):
            columns, bad = batch.columns, batch.bad
            times = clock.counted(batch.sent, NONE_SENT if following is None else following.sent)
            self.n_ahead += int(times.ahead.sum())
            bad += zip(
                columns.index[times.far].tolist(),
                map(far_reason, columns.ts_ms[times.far].tolist()),
                strict=True,
            )
            columns = replace(columns, ts_ms=times.ts_ms).take(np.flatnonzero(~times.far))
            for index, said in sorted(bad):
                first = first or f"{self._file}:{batch.lines[index]}: {said}"
                faults.add(self._file, batch.lines[index], BadMessage(said))
            n_events, n_good = n_events + len(batch.lines), n_good + len(columns)
            if len(columns):
                last_ms = max(last_ms, int(columns.ts_ms.max()))
                known = columns.ts_ms[batch.published_ms[columns.index] >= 0]
                self.published_ms = max(self.published_ms, int(known.max(initial=0)))
                numbers = np.array([batch.lines[i] for i in columns.index.tolist()], dtype=np.int64)
                fresh = dedup.fresh(columns.event_ids, numbers)
                self._note(batch, columns, fresh)
                join.take(None, self._answers(columns, numbers, fresh))
        self._unreadable = ""
        if n_events and not n_good:
            self._unreadable = f"none of the {n_events:,} events can be read"
            self._unreadable += f", so the log can't be weighed; {first}"
        self._end(join, decided, last_ms)

    def _batches(self) -> Iterator[_Batch]:
        lines = (each for each in published_lines(self._file) if not each[2].isspace())
        while batch := list(islice(lines, _BATCH)):
            published_ms = np.array([ms for _, ms, _ in batch], dtype=np.int64)
            contents = [line for _, _, line in batch]
            columns, rejected = decode_events(contents, published_ms, self._reward.event_types)
            columns, refused = _without_seconds(columns)
            bad = [(each.index, each.reason) for each in (*rejected, *refused)]
            numbers = [number for number, _, _ in batch]
            yield _Batch(numbers, contents, published_ms, columns, bad)

    def refuse_unreadable(self) -> None:
        """Refuse events of which none could be read: all rewards would be missing.

        Raises
        ------
        LogRefused
            With how many there are, and what is wrong with the first.
        """
        if self._unreadable:
            raise LogRefused(self._unreadable)

    def _note(self, batch: _Batch, columns: EventColumns, fresh: NDArray[np.bool_]) -> None:
        """Count those that repeat another."""
        if not self._dedup_window:
            return
        hashes = columns.event_ids.hashes.tolist()
        for at, event_id, is_fresh in zip(
            columns.index.tolist(), hashes, fresh.tolist(), strict=True
        ):
            if is_fresh:
                self.repeats.note(event_id, batch.contents[at])
            else:
                where = f"{self._file}:{batch.lines[at]}"
                self.repeats.count(event_id, batch.contents[at], where)

    def _answers(
        self, columns: EventColumns, numbers: NDArray[np.int64], fresh: NDArray[np.bool_]
    ) -> FeedbackBatch:
        """The events that may answer a decision, at the numbers of their lines."""
        reward = self._reward(columns.types, columns.values)
        found = answers(
            columns,
            numbers,
            fresh,
            reward,
            self._reward.outcomes(columns.types, columns.values),
            to_offset=int(numbers[-1]) + 1,
            match_without_request=self._settings.match_without_request != "never",
        )
        self.reports_impressions |= bool(found.answers.seen.any())
        if self._settings.match_without_request == "never":
            unnamed = ~np.isnan(reward) & (columns.request_ids.n_bytes == 0)
            self.unused[UNNAMED] += int(unnamed.sum())
        return found

    def _end(self, join: Join, decided: list[Shown], last_ms: int) -> None:
        """Let the time pass that feedback waits for decisions, and windows for feedback."""
        n_decided = len(decided)
        end_ms = last_ms + self._settings.window_ms + self._settings.lateness_ms + 1
        end = Shown("", "", n_decided, end_ms, [], _NO_FEATURES, expected=None)
        join.take(DecidedBatch([end], n_decided + 1), None)
        self.n_matched = join.counts.n_matched
        self.unused.update(join.counts.astray)
        if self._settings.match_without_request == "reported":
            of_unreported = (len(each.guessed) for each in decided if not each.is_reported)
            self.unused[UNREPORTED] += sum(of_unreported)
        unanswered = [name for name, each in self._rewards.items() if np.isnan(each).all()]
        self.n_unanswered = len(unanswered)
        if not self.reports_impressions:
            for name in unanswered:
                self._rewards[name][:] = self._default_reward
                self._gains[name][:] = 0.0

    def of(self, decision: Decision) -> NDArray[np.float64]:
        """``(k,)`` rewards of its items in the order shown; NaN: not seen."""
        return self._rewards[decision.request_id]

    def gains(self, decision: Decision) -> NDArray[np.float64]:
        """``(k, n_objectives)`` what its items brought, in the order shown; NaN: not seen."""
        return self._gains[decision.request_id]

    def scores(self, decision: Decision) -> NDArray[np.float64] | None:
        """``(k,)`` what came of what its policy expected of its items, in the order shown: their
        rewards, or what they brought of its objectives by its weights; NaN: not seen. None where
        that can't be said, as other objectives are configured now."""
        rewards, gains = self.of(decision), self.gains(decision)
        return scores(decision.objectives, self.objectives, rewards, gains)


def _without_seconds(columns: EventColumns) -> tuple[EventColumns, list[Rejected]]:
    """Return the events, and those whose time is in seconds apart, as HTTP refuses them."""
    low, high = IN_SECONDS
    bad = (columns.ts_ms >= low) & (columns.ts_ms <= high)
    if not bad.any():
        return columns, []
    refused = [
        Rejected(index, in_seconds(ts, "ts"))
        for index, ts in zip(columns.index[bad].tolist(), columns.ts_ms[bad].tolist(), strict=True)
    ]
    return columns.take(np.flatnonzero(~bad)), refused
