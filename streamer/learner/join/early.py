"""Feedback that waits: for its decision to be read, or for the time to be known up to its own."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterator
from itertools import takewhile
from typing import Final

from streamer.learner.join.shown import ItemFeedback

_SPARE: Final = 1_000
"""Feedback that was dropped and may stay in the heap."""
Place = tuple[int, int]
"""An offset, and the greatest event time before it."""


class EarlyFeedback:
    """Feedback by the request it names, and feedback that names none; bounded by offsets.

    Parameters
    ----------
    lateness_ms
        Feedback waits until decisions have been read up to so long after it.
    """

    def __init__(self, lateness_ms: int) -> None:
        self._lateness_ms = lateness_ms
        self._named: defaultdict[str, list[ItemFeedback]] = defaultdict(list)
        self._unnamed: list[tuple[int, int, ItemFeedback]] = []
        self._unnamed_order: deque[int] = deque()  # offsets, rising
        self._by_ts: list[tuple[int, int, str]] = []
        self._waiting: dict[int, ItemFeedback] = {}  # by offset, rising
        self._request_of: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def first(self) -> Place | None:
        """Of the feedback with the lowest offset."""
        for feedback in self._waiting.values():
            return feedback.offset, feedback.watermark_ms
        return None

    def put(self, request_id: str | None, feedback: ItemFeedback) -> None:
        """Let feedback wait; offsets rise."""
        self._waiting[feedback.offset] = feedback
        if request_id is None:
            heapq.heappush(self._unnamed, (feedback.ts_ms, feedback.offset, feedback))
            self._unnamed_order.append(feedback.offset)
            return
        self._named[request_id].append(feedback)
        self._request_of[feedback.offset] = request_id
        expires_ms = feedback.ts_ms + self._lateness_ms
        heapq.heappush(self._by_ts, (expires_ms, feedback.offset, request_id))

    def claim(self, request_id: str) -> list[ItemFeedback]:
        """All that waits for a request, in order of offsets."""
        claimed = self._named.pop(request_id, [])
        for feedback in claimed:
            del self._waiting[feedback.offset], self._request_of[feedback.offset]
        return claimed

    def due(self, decisions_ms: int) -> Iterator[ItemFeedback]:
        """Feedback that names no request, once decisions are known up to its time."""
        while self._unnamed and self._unnamed[0][0] <= decisions_ms:
            _, offset, feedback = heapq.heappop(self._unnamed)
            if self._waiting.pop(offset, None) is not None:
                yield feedback

    def expire(self, decisions_ms: int) -> Iterator[str]:
        """Drop feedback whose decision would have been read by now; the requests it named."""
        while self._by_ts and self._by_ts[0][0] < decisions_ms:
            _, offset, _ = heapq.heappop(self._by_ts)
            if offset in self._request_of:
                yield self._drop(offset)

    def bound(self, named_from: int, unnamed_from: int) -> int:
        """Drop feedback from before an offset, and earlier what names no request; return how much
        of the former."""
        while self._unnamed_order and self._unnamed_order[0] < unnamed_from:
            self._waiting.pop(self._unnamed_order.popleft(), None)
        n_unnamed = len(self._waiting) - len(self._request_of)
        if len(self._unnamed) > 2 * n_unnamed + _SPARE:  # most of it was dropped
            self._unnamed = [each for each in self._unnamed if each[1] in self._waiting]
            heapq.heapify(self._unnamed)
        dropped = list(takewhile(lambda offset: offset < named_from, self._waiting))
        for offset in dropped:
            self._drop(offset)
        return len(dropped)

    def _drop(self, offset: int) -> str:
        request_id = self._request_of.pop(offset)
        del self._waiting[offset]
        kept = [each for each in self._named[request_id] if each.offset != offset]
        if kept:
            self._named[request_id] = kept
        else:
            del self._named[request_id]
        return request_id
