"""What came of the last slates: click rates by surface, by variant and by channel of the reason."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from streamer.config import Config, TopicRole
from streamer.errors import BadMessage
from streamer.events import Decision, decode_recommendation
from streamer.learner.join.counts import UNNAMED, UNREPORTED
from streamer.ope.bandit_log import Faults
from streamer.ope.experiment_log import joined_slates, short_decisions
from streamer.protocols import MessageBatch
from streamer.ranking.recall.registry import registered

EVENTS_MAX: Final = 5_000
SLATES_MAX: Final = 1_000
_BROWSING: Final = (UNNAMED, UNREPORTED)
NO_SURFACE: Final = "(none)"


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
    rates
        Of each surface, variant and channel, the most shown first.
    """

    from_ms: int
    n_slates: int
    n_matched: int
    astray: Mapping[str, int]
    rates: tuple[Rate, ...]

    @property
    def n_feedback(self) -> int:
        """Events that answer a slate or went astray; browsing is neither."""
        return self.n_matched + sum(self.astray.values())

    @property
    def match_rate(self) -> float:
        """Share of the feedback that found its slate; NaN without any."""
        return self.n_matched / self.n_feedback if self.n_feedback else float("nan")


class RecentSlates:
    """The last slates, the reasons of their items, and the last events.

    Memory: some 1.5 kB a slate, 250 B an event.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._window_ms = round(1_000 * config.join.window_s)
        self._channels = tuple(
            (text, channel.name)
            for channel in registered()
            for text in (channel.reason, channel.reason_with.partition("{}")[0])
            if text
        )
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._events: deque[tuple[int, bytes]] = deque(maxlen=EVENTS_MAX)
        self._decisions: deque[Decision] = deque(maxlen=SLATES_MAX)
        self._reasons: OrderedDict[str, dict[str, str]] = OrderedDict()
        self._n_events = self._n_decisions = 0

    def take(self, role: TopicRole, batch: MessageBatch) -> None:
        """Take messages of the events, the decisions or the recommendations."""
        values = [value for value in batch.values if value is not None]
        if role == "events":
            self._events.extend(zip(batch.publish_ms.tolist(), values, strict=False))
            self._n_events += len(values)
        elif role == "decisions":
            short = list(short_decisions(_KeptLines(values), Faults(strict=False)))
            self._decisions.extend(short)
            self._n_decisions += len(short)
        elif role == "recommendations":
            for value in values:
                self._take_reasons(value)

    def outcomes(self, now_ms: int, *, cut: Iterable[TopicRole]) -> Outcomes:
        """Join what is kept as the learner does, and sum up the slates whose window is over.

        Parameters
        ----------
        cut
            Topics that have older messages than were taken.
        """
        cut = {*cut}
        from_ms = 0
        if self._events and ("events" in cut or self._n_events > len(self._events)):
            from_ms = min(ms for ms, _ in self._events)
        if self._decisions and ("decisions" in cut or self._n_decisions > len(self._decisions)):
            from_ms = max(from_ms, min(each.ts for each in self._decisions))
        decisions = [each for each in self._decisions if each.ts >= from_ms]
        # What comes right after the first slate kept may answer one before it.
        answers_from_ms = from_ms + self._window_ms if from_ms else 0
        events = [value for ms, value in self._events if ms >= answers_from_ms]
        joined = joined_slates(self._config, decisions, _KeptLines(events), Faults(strict=False))
        settled = [
            each
            for each in joined.decisions
            if answers_from_ms <= each.ts <= now_ms - self._window_ms
        ]
        unused = joined.rewards.unused
        return Outcomes(
            from_ms=answers_from_ms,
            n_slates=len(settled),
            n_matched=joined.rewards.n_matched,
            astray={why: n for why, n in unused.items() if n and why not in _BROWSING},
            rates=tuple(self._rates((each, joined.rewards.of(each).tolist()) for each in settled)),
        )

    def _rates(self, slates: Iterable[tuple[Decision, Sequence[float]]]) -> list[Rate]:
        gained: dict[tuple[str, str], list[float]] = {}
        for decision, rewards in slates:
            reasons = self._reasons.get(decision.request_id, {})
            named = [("surface", decision.surface or NO_SURFACE)]
            named += [(f"experiment {n}", v) for n, v in (decision.variants or {}).items()]
            for item_id, reward in zip(decision.items, rewards, strict=True):
                if np.isnan(reward):
                    continue
                for by in named:
                    gained.setdefault(by, []).append(reward)
                if (reason := reasons.get(item_id)) is not None:
                    gained.setdefault(("channel", self.channel_of(reason)), []).append(reward)
        found = [
            Rate(by, name, len(each), sum(reward > 0 for reward in each), sum(each))
            for (by, name), each in gained.items()
        ]
        return sorted(found, key=lambda rate: (rate.by, -rate.n_items, rate.name))

    def channel_of(self, reason: str) -> str:
        """Return the channel whose reason it is; the reason itself where it is none's."""
        for text, name in self._channels:
            if reason == text or (text.endswith(" ") and reason.startswith(text)):
                return name
        return reason

    def _take_reasons(self, value: bytes) -> None:
        try:
            found = decode_recommendation(value)
        except BadMessage:
            return
        for slate in (found, *(found.rows or ())):  # each row is a decision of its own
            self._reasons[slate.request_id] = {item.item_id: item.reason for item in slate.items}
        while len(self._reasons) > SLATES_MAX:
            self._reasons.popitem(last=False)


class _KeptLines:
    """Messages as the lines of a log."""

    def __init__(self, values: Sequence[bytes]) -> None:
        self._values = values

    def __str__(self) -> str:
        return "the last messages"

    def lines(self) -> Iterator[tuple[int, bytes]]:
        return enumerate(self._values, 1)
