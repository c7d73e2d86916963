"""Feedback that names no request and waits until decisions are known up to its time, in columns.

Where events are many and requests few, next to all of it is dropped without answering anything: it
stays columns until it is due, and only then becomes an object an event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np

from streamer.learner.join.feedback import FeedbackRows, ItemFeedback

_TOGETHER: Final = 64
"""Rows that a part has at least, but for the last: few events at a time would make as many parts,
of 2 kB each."""


class UnnamedFeedback:
    """What waits, by offset; bounded by offsets."""

    def __init__(self) -> None:
        self._parts: deque[FeedbackRows] = deque()
        self._earliest: deque[int] = deque()  # event time of each part

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @property
    def first(self) -> tuple[int, int] | None:
        """Lowest offset of what waits, and the greatest event time before it."""
        if not self._parts:
            return None
        return int(self._parts[0].offsets[0]), int(self._parts[0].watermark_ms[0])

    def put(self, rows: FeedbackRows) -> None:
        """Let rows wait; offsets rise."""
        if not len(rows):
            return
        if self._parts and len(self._parts[-1]) < _TOGETHER:
            self._earliest.pop()
            parts = [self._parts.pop(), rows]
        else:
            parts = [rows]
        self._keep(FeedbackRows.concat(parts))  # a copy: not the messages themselves

    def due(self, decisions_ms: int) -> Sequence[ItemFeedback]:
        """Take out what lies before a time that decisions are known up to, in order of time."""
        due: list[ItemFeedback] = []
        if self._earliest and min(self._earliest) <= decisions_ms:
            parts, self._parts, self._earliest = self._parts, deque(), deque()
            for part in parts:
                is_due = part.ts_ms <= decisions_ms
                due += part.take(is_due).feedback()
                self._keep(part.take(~is_due))
        return sorted(due, key=lambda feedback: (feedback.ts_ms, feedback.offset))

    def bound(self, from_offset: int) -> None:
        """Drop what lies before an offset."""
        while self._parts and self._parts[0].offsets[-1] < from_offset:
            self._parts.popleft()
            self._earliest.popleft()
        if self._parts and self._parts[0].offsets[0] < from_offset:
            part = self._parts[0]
            self._parts[0] = part.slice(int(np.searchsorted(part.offsets, from_offset)), len(part))

    def _keep(self, part: FeedbackRows) -> None:
        if len(part):
            self._parts.append(part)
            self._earliest.append(int(part.ts_ms.min()))
