"""Feedback that names no request and waits until decisions are known up to its time, in columns:
where events are many and requests few, next to all of it answers nothing."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np

from streamer.learner.join.feedback import FeedbackRows

_TOGETHER: Final = 64
"""Rows that a part has at least, but for the last: few events at a time would make as many parts,
of 2 kB each."""


class UnnamedFeedback:
    """What waits, by offset."""

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

    def due(self, decisions_ms: int, from_offset: int) -> FeedbackRows | None:
        """Take out what lies before an offset, or before a time that decisions are known up to;
        in order of time."""
        due = []
        while self._parts and self._parts[0].offsets[-1] < from_offset:
            due.append(self._parts.popleft())
            self._earliest.popleft()
        if self._parts and self._parts[0].offsets[0] < from_offset:
            part = self._parts[0]
            n = int(np.searchsorted(part.offsets, from_offset))
            due.append(part.slice(0, n))
            self._parts[0] = part.slice(n, len(part))
        if self._earliest and min(self._earliest) <= decisions_ms:
            parts, self._parts, self._earliest = self._parts, deque(), deque()
            for part in parts:
                is_due = part.ts_ms <= decisions_ms
                due.append(part.take(is_due))
                self._keep(part.take(~is_due))
        if not due:
            return None
        rows = FeedbackRows.concat(due)
        return rows.take(np.lexsort((rows.offsets, rows.ts_ms)))

    def _keep(self, part: FeedbackRows) -> None:
        if len(part):
            self._parts.append(part)
            self._earliest.append(int(part.ts_ms.min()))
