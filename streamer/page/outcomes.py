"""What came of the last slates: click rates by surface, variant, channel and slot, and how well
rewards were predicted."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np

from streamer.config import Config, TopicRole
from streamer.events import Decision
from streamer.learner.join.clicks import NO_SURFACE, SLOT_NAMES, slot_names
from streamer.learner.join.counts import PINNED, UNNAMED, UNREPORTED
from streamer.ope.bandit_log import Faults, Floats, PublishedLines
from streamer.ope.experiment_log import joined_slates, short_decisions
from streamer.page.predictions import Predictions, predictions
from streamer.page.recipients import Recipients, recipients
from streamer.protocols import MessageBatch
from streamer_models.bandits.pinned_slots import free_slots

Kept = TypeVar("Kept")

EVENTS_MAX: Final = 5_000
SLATES_MAX: Final = 1_000
_NOT_ASTRAY: Final = (PINNED, UNNAMED, UNREPORTED)


@dataclass(frozen=True, slots=True)
class Rate:
    """What came of the items that were shown under one name.

    Attributes
    ----------
    n_items
        Whose outcome is known.
    n_taken
        With a positive reward.
    reward
        Sum of all rewards.
    """

    by: str
    name: str
    n_items: int
    n_taken: int
    reward: float

    @property
    def click_rate(self) -> float:
        """Share of the items that were taken."""
        return self.n_taken / self.n_items


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What came of the last slates.

    Attributes
    ----------
    from_ms
        All slates and events since then were looked at; 0: all that there are.
    n_slates
        Whose window of feedback is over.
    n_matched
        Events that answer a slate.
    astray
        Reason → events that name a slate and found none, or could answer several.
    n_pinned
        Events of items that were pinned into their slates: they answer no choice, and are not
        astray.
    rates
        Of each surface, variant and channel, the most shown first, and of each slot, the first
        first.
    predicted
        Rewards expected and observed of the items.
    """

    from_ms: int
    n_slates: int
    n_matched: int
    astray: Mapping[str, int]
    n_pinned: int
    rates: tuple[Rate, ...]
    predicted: Predictions

    @property
    def n_feedback(self) -> int:
        """Events that answer a slate or went astray; browsing and what is of a pinned item are
        neither."""
        return self.n_matched + sum(self.astray.values())

    @property
    def match_rate(self) -> float:
        """Share of the feedback that found its slate; NaN without any."""
        return self.n_matched / self.n_feedback if self.n_feedback else float("nan")

    def said(self, now_ms: int) -> str:
        """Return in sentences how many slates these are of, and what became of the events."""
        since = "all that the topics hold"
        if self.from_ms:
            since = f"of the last {max(0, now_ms - self.from_ms) / 1000:,.0f} s"
        sentences = [
            f"{self.n_slates:,} slates whose window of feedback (join.window_s) is over, {since};",
            f"{self.n_matched:,} of {self.n_feedback:,} events that could answer one did.",
            *(f"{n:,} {why}." for why, n in self.astray.items()),
        ]
        if n := self.n_pinned:
            are = "is" if n == 1 else "are"
            sentences.append(f"Besides, {n:,} {are} of pinned items, no choices.")
        return " ".join(sentences)


class RecentSlates:
    """The last slates and the last events.

    Memory: some 1.5 kB a slate, 250 B an event.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._window_ms = round(1_000 * config.join.window_s)
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._events = _LastTaken[bytes](EVENTS_MAX)
        self._decisions = _LastTaken[Decision](SLATES_MAX)

    def take(self, role: TopicRole, batch: MessageBatch) -> None:
        """Take messages of the events or the decisions."""
        times = batch.publish_ms.tolist()
        published = [
            (ms, value) for ms, value in zip(times, batch.values, strict=True) if value is not None
        ]
        if role == "events":
            self._events.take(batch, published)
        elif role == "decisions":
            short = short_decisions(_KeptLines(published), Faults(strict=False))
            self._decisions.take(batch, ((each.ts, each) for each in short))

    def outcomes(self, now_ms: int) -> Outcomes:
        """Join what is kept as the learner does, and sum up the slates whose window is over."""
        from_ms = max(self._events.from_ms, self._decisions.from_ms)
        decisions = [each for ms, each in self._decisions.kept if ms >= from_ms]
        # What comes right after the first slate kept may answer one before it.
        answers_from_ms = from_ms + self._window_ms if from_ms else 0
        events = [each for each in self._events.kept if each[0] >= answers_from_ms]
        joined = joined_slates(self._config, decisions, _KeptLines(events), Faults(strict=False))
        settled = [
            each
            for each in joined.decisions
            if answers_from_ms <= each.ts <= now_ms - self._window_ms
        ]
        rewarded = [(each, joined.rewards.of(each)) for each in settled]
        unused = joined.rewards.unused
        return Outcomes(
            from_ms=answers_from_ms,
            n_slates=len(settled),
            n_matched=joined.rewards.n_matched,
            astray={why: n for why, n in unused.items() if n and why not in _NOT_ASTRAY},
            n_pinned=unused[PINNED],
            rates=tuple(self._rates((each, rewards.tolist()) for each, rewards in rewarded)),
            predicted=_predicted((each, joined.rewards.scores(each)) for each in settled),
        )

    def recipients(self, item_id: str) -> Recipients:
        """Return who got an item in the slates kept."""
        return recipients((each for _, each in self._decisions.kept), item_id)

    def _rates(self, slates: Iterable[tuple[Decision, Sequence[float]]]) -> list[Rate]:
        gained: dict[tuple[str, str], list[float]] = {}
        for decision, rewards in slates:
            named = [("surface", decision.surface or NO_SURFACE)]
            named += [(f"experiment {n}", v) for n, v in (decision.variants or {}).items()]
            slots = slot_names(free_slots(len(decision.items), decision.pinned_at))
            channels: Sequence[str | None] = decision.channels or [None] * len(slots)
            for slot, channel, reward in zip(slots, channels, rewards, strict=True):
                if np.isnan(reward):
                    continue
                of_item = [] if channel is None else [("channel", channel)]
                for by in (*named, *of_item, ("slot", slot)):
                    gained.setdefault(by, []).append(reward)
        found = [
            Rate(by, name, len(each), sum(reward > 0 for reward in each), sum(each))
            for (by, name), each in gained.items()
        ]
        return sorted(found, key=_order)


def _predicted(slates: Iterable[tuple[Decision, Floats | None]]) -> Predictions:
    """Sum up the items of slates whose outcome is known and was predicted.

    Parameters
    ----------
    slates
        With what came of what was expected of each item; None: it can't be said.
    """
    ts_ms: list[int] = []
    expected: list[float] = []
    observed: list[float] = []
    for decision, scores in slates:
        if decision.expected is None or scores is None:
            continue
        for foreseen, score in zip(decision.expected, scores.tolist(), strict=True):
            if not np.isnan(score):
                ts_ms.append(decision.ts)
                expected.append(foreseen)
                observed.append(score)
    return predictions(ts_ms, np.array(expected), np.array(observed))


def _order(rate: Rate) -> tuple[str, int, str]:
    place = SLOT_NAMES.index(rate.name) if rate.by == "slot" else -rate.n_items
    return rate.by, place, rate.name


class _LastTaken(Generic[Kept]):
    """What is kept of the last messages of a topic, with its times.

    Attributes
    ----------
    from_ms
        All that was published since then is kept, of every partition; 0: all that there ever was.
    """

    def __init__(self, n_max: int) -> None:
        self._n_max = n_max
        self._begun: set[int] = set()
        self.kept: deque[tuple[int, Kept]] = deque()
        self.from_ms = 0

    def take(self, batch: MessageBatch, found: Iterable[tuple[int, Kept]]) -> None:
        """Keep what a batch holds."""
        if len(batch) and batch.partition not in self._begun:
            self._begun.add(batch.partition)
            if batch.offsets[0] > 0:  # what is before it was deleted, or is not read
                self.from_ms = max(self.from_ms, int(batch.publish_ms[0]))
        self.kept.extend(found)
        while len(self.kept) > self._n_max:
            self.from_ms = max(self.from_ms, self.kept.popleft()[0] + 1)


class _KeptLines(PublishedLines):
    """Messages, with when they were published, as the lines of a log."""

    def __init__(self, published: Sequence[tuple[int, bytes]]) -> None:
        self._published = published

    def __str__(self) -> str:
        return "the last messages"

    def published(self) -> Iterator[tuple[int, int, bytes]]:
        return ((number, *each) for number, each in enumerate(self._published, 1))
