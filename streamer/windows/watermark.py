"""How far the events have come, over all their partitions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

_STEP_MS: Final = 200
_STEPS_MAX: Final = 3_000
"""Of what is remembered of a partition: ten minutes."""


class Watermark:
    """Time that all partitions of the events have reached; it never falls.

    A partition that is idle, that is to say whose end had been read at a moment T, does not hold
    the others up, but only with what they had told by T: what was published to both after T may
    have been read of the others first. So it has to be said again and again that a partition is
    idle, and one of which nobody says anything is waited for. Where all are idle, nobody can be
    behind the one that has come furthest.

    Attributes
    ----------
    at_ms
        -1: not known, for some partition has not told anything yet.
    """

    def __init__(self, sources: Collection[int]) -> None:
        self.at_ms = -1
        self._told = {source: _Told() for source in sources}
        self._idle_at_ms: dict[int, int] = {}

    def note(self, source: int, latest_ms: int, *, idle: bool = False, at_ms: int = 0) -> None:
        """A partition has come to ``latest_ms`` (-1: nothing has come of it yet).

        Parameters
        ----------
        at_ms
            By the clock of whoever reads the partition: when that was read, or, of an idle one,
            some moment at which there was no more to read. 0 where one reader has all partitions.
        """
        self._told.setdefault(source, _Told()).note(at_ms, latest_ms)
        if idle:
            self._idle_at_ms[source] = at_ms
        else:
            self._idle_at_ms.pop(source, None)
        self.at_ms = max(self.at_ms, self._reached_ms())

    def _reached_ms(self) -> int:
        idle = self._idle_at_ms
        until_ms = min(idle.values()) if idle else None
        reached = {source: told.until(until_ms) for source, told in self._told.items()}
        awaited = [each for source, each in reached.items() if source not in idle]
        return min(awaited) if awaited else max(reached.values(), default=-1)


class _Told:
    """What one partition has told, and when: at the end of each step of time."""

    def __init__(self) -> None:
        self._steps: dict[int, int] = {}  # rising both
        self._latest_ms = -1

    def note(self, at_ms: int, latest_ms: int) -> None:
        last = next(reversed(self._steps), 0)
        step = max(last, -(-at_ms // _STEP_MS) * _STEP_MS)  # what comes again is no older
        self._latest_ms = max(self._latest_ms, latest_ms)
        self._steps[step] = self._latest_ms
        if len(self._steps) > _STEPS_MAX:
            del self._steps[next(iter(self._steps))]

    def until(self, at_ms: int | None) -> int:
        """The latest event time told by then; -1: none."""
        if at_ms is None:
            return self._latest_ms
        return next((each for at, each in reversed(self._steps.items()) if at <= at_ms), -1)
