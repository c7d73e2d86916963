"""How far the events have come, over all their partitions."""

from __future__ import annotations

from collections.abc import Collection


class Watermark:
    """Time that all partitions of the events have reached; it never falls.

    Partitions from which nothing comes for a while are not waited for. Where all are idle, nobody
    can be behind the one that has come furthest.

    Attributes
    ----------
    at_ms
        -1: not known, for some partition has not told anything yet.
    """

    def __init__(self, sources: Collection[int]) -> None:
        self.at_ms = -1
        self._latest_ms: dict[int, int | None] = dict.fromkeys(sources)
        self._idle: set[int] = set()

    def note(self, source: int, latest_ms: int, *, idle: bool = False) -> None:
        """A partition has come to ``latest_ms`` (-1: nothing has come of it yet)."""
        before = self._latest_ms.get(source)
        if latest_ms >= 0:
            self._latest_ms[source] = max(latest_ms, before or 0)
        (self._idle.add if idle else self._idle.discard)(source)
        self.at_ms = max(self.at_ms, self._reached_ms())

    def _reached_ms(self) -> int:
        if any(
            latest is None and source not in self._idle
            for source, latest in self._latest_ms.items()
        ):
            return -1
        known = {source: each for source, each in self._latest_ms.items() if each is not None}
        awaited = [each for source, each in known.items() if source not in self._idle]
        return min(awaited) if awaited else max(known.values(), default=-1)
