"""Feedback that names its request and waits for that decision to be read."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator
from itertools import takewhile

from streamer.learner.join.feedback import ItemFeedback

Place = tuple[int, int]
"""An offset, and the greatest event time before it."""


class EarlyFeedback:
    """Feedback by the request it names; bounded by offsets.

    Parameters
    ----------
    lateness_ms
        Feedback waits until decisions have been read up to so long after it.
    """

    def __init__(self, lateness_ms: int) -> None:
        self._lateness_ms = lateness_ms
        self._of_request: defaultdict[str, list[ItemFeedback]] = defaultdict(list)
        self._by_ts: list[tuple[int, int, str]] = []
        self._waiting: dict[int, tuple[str, ItemFeedback]] = {}  # by offset, rising

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def first(self) -> Place | None:
        """Of the feedback with the lowest offset."""
        for _, feedback in self._waiting.values():
            return feedback.offset, feedback.watermark_ms
        return None

    def put(self, request_id: str, feedback: ItemFeedback) -> None:
        """Let feedback wait; offsets rise."""
        self._waiting[feedback.offset] = request_id, feedback
        self._of_request[request_id].append(feedback)
        expires_ms = feedback.ts_ms + self._lateness_ms
        heapq.heappush(self._by_ts, (expires_ms, feedback.offset, request_id))

    def claim(self, request_id: str) -> list[ItemFeedback]:
        """All that waits for a request, in order of offsets."""
        claimed = self._of_request.pop(request_id, [])
        for feedback in claimed:
            del self._waiting[feedback.offset]
        return claimed

    def expire(self, decisions_ms: int) -> Iterator[str]:
        """Drop feedback whose decision would have been read by now; the requests it named."""
        while self._by_ts and self._by_ts[0][0] < decisions_ms:
            _, offset, _ = heapq.heappop(self._by_ts)
            if offset in self._waiting:
                yield self._drop(offset)

    def bound(self, from_offset: int) -> int:
        """Drop feedback from before an offset; return how much."""
        dropped = list(takewhile(lambda offset: offset < from_offset, self._waiting))
        for offset in dropped:
            self._drop(offset)
        return len(dropped)

    def _drop(self, offset: int) -> str:
        request_id, _ = self._waiting.pop(offset)
        kept = [each for each in self._of_request[request_id] if each.offset != offset]
        if kept:
            self._of_request[request_id] = kept
        else:
            del self._of_request[request_id]
        return request_id
