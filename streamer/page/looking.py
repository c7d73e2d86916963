"""What the page shows now: looked at once for all who look, and only while somebody does."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import Final

from streamer.dead_letters import kind_of_letter
from streamer.errors import BadMessage, KafkaUnavailable, StreamerError
from streamer.events.decoding import decode_dead_letter
from streamer.http.served_app import ServedApp
from streamer.page.figures import Figures, FigureSeries, OwnMetrics
from streamer.page.followed import FollowedTopics
from streamer.page.outcomes import EVENTS_MAX, SLATES_MAX, Outcomes, RecentSlates
from streamer.page.recipients import Recipients

log = logging.getLogger(__name__)

_EVERY_S: Final = 0.9
"""Looks of two who look fall together where they are closer than this."""
_OUTCOMES_EVERY_S: Final = 5.0
"""Joining 1,000 slates with 5,000 events takes some 0.1 s of the interpreter that scores."""
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Seen:
    """One look.

    Attributes
    ----------
    letters
        Kind → dead letters of the last hour.
    failed
        Why the topics could not be read; None: they were.
    """

    at_ms: int
    figures: Figures
    letters: Counter[str]
    outcomes: Outcomes | None
    failed: str | None


class Looking:
    """Looks at a service and its topics at most once a second, in a thread, for any number of
    pages.

    Attributes
    ----------
    series
        The figures of the last minutes.
    """

    def __init__(self, served: ServedApp) -> None:
        self.served = served
        self._metrics = OwnMetrics(served.config, served.registry)
        self._slates = RecentSlates(served.config)
        self._topics = FollowedTopics(
            served.config,
            {
                "events": EVENTS_MAX,
                "decisions": SLATES_MAX,
                "dead_letters": SLATES_MAX,
            },
        )
        self._letters: deque[tuple[int, str]] = deque(maxlen=SLATES_MAX)
        self.series = FigureSeries()
        self._lock = asyncio.Lock()
        self._looked_s = self._joined_s = -math.inf
        self._outcomes: Outcomes | None = None
        self._seen: Seen | None = None

    async def seen(self) -> Seen:
        """Return a look of within the last second."""
        async with self._lock:
            if self._seen is None or time.monotonic() - self._looked_s >= _EVERY_S:
                self._seen = await asyncio.to_thread(self._look)
            return self._seen

    async def recipients(self, item_id: str) -> Recipients:
        """Return who got an item in the slates of late.

        Raises
        ------
        KafkaUnavailable
            When the topics can't be read.
        """
        seen = await self.seen()
        if seen.failed is not None:
            raise KafkaUnavailable(seen.failed)
        async with self._lock:
            return await asyncio.to_thread(self._slates.recipients, item_id)

    async def rest(self) -> None:
        """Let go of the broker until the next look."""
        async with self._lock:
            await asyncio.to_thread(self._forget)

    def _forget(self) -> None:
        self._topics.close()
        self._slates.clear()
        self._letters.clear()
        self._outcomes, self._joined_s = None, -math.inf

    def _look(self) -> Seen:
        now_ms = self.served.parts.clock.now_ms()
        failed = None
        try:
            self._take()
        except StreamerError as error:
            failed = str(error)
            self._forget()
        now_s = time.monotonic()
        if failed is None and now_s - self._joined_s >= _OUTCOMES_EVERY_S:
            self._outcomes = self._slates.outcomes(now_ms)
            self._joined_s = now_s
        figures = self._metrics.figures(now_s, {} if failed else self._topics.ends)
        self.series.note(figures, now_s)
        self._looked_s = now_s
        letters = Counter(kind for ms, kind in self._letters if ms >= now_ms - _HOUR_MS)
        return Seen(now_ms, figures, letters, self._outcomes, failed)

    def _take(self) -> None:
        found = self._topics.look()
        if self._topics.begun:
            self._slates.clear()
            self._letters.clear()
        for role, batch in found:
            if role != "dead_letters":
                self._slates.take(role, batch)
                continue
            for ms, value in zip(batch.publish_ms.tolist(), batch.values, strict=True):
                try:
                    letter = decode_dead_letter(value)
                except BadMessage:
                    continue
                self._letters.append((ms, kind_of_letter(letter)))
