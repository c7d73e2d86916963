"""Which messages repeat an event id: a window of offsets, rebuilt by reading them again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class DedupWindow:
    """An event repeats when its id stood at one of the last ``n_offsets`` offsets of the partition.

    That is a function of the log alone: after a restart, feeding it the messages of the window
    before the first new one restores it. It holds at most ``n_offsets`` ids and one batch more,
    about 150 bytes each: 100,000 are 15 MB a partition.

    Parameters
    ----------
    n_offsets
        Length of the window; 0 turns duplicates' removal off.
    """

    def __init__(self, n_offsets: int) -> None:
        self.n_offsets = n_offsets
        self._last: dict[str, int] = {}
        self._batches: deque[tuple[int, list[str]]] = deque()
        self._repeated: set[str] = set()

    def __len__(self) -> int:
        return len(self._last)

    def fresh(self, event_ids: list[str], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """``(n,)`` whether each event is new; the window then holds them all."""
        fresh = np.ones(len(event_ids), dtype=np.bool_)
        if not event_ids or not self.n_offsets:
            return fresh
        last = self._last
        at = offsets.tolist()
        if len(set(event_ids)) == len(event_ids) and last.keys().isdisjoint(event_ids):
            last.update(zip(event_ids, at, strict=True))
        else:
            for i, (event_id, offset) in enumerate(zip(event_ids, at, strict=True)):
                before = last.get(event_id)
                if before is not None:
                    fresh[i] = offset - before > self.n_offsets
                    self._repeated.add(event_id)
                last[event_id] = offset
        self._batches.append((at[-1], event_ids))
        self._expire(at[-1] - self.n_offsets)
        return fresh

    def _expire(self, before: int) -> None:
        """Forget batches that ended before the window; an id seen again since then stays."""
        last = self._last
        while self._batches and self._batches[0][0] < before:
            end, event_ids = self._batches.popleft()
            if self._repeated.isdisjoint(event_ids):
                deque(map(last.pop, event_ids), maxlen=0)  # no Python step an id
            else:
                self._forget_repeated(event_ids, end)

    def _forget_repeated(self, event_ids: Sequence[str], end: int) -> None:
        for event_id in event_ids:
            if self._last.get(event_id, end + 1) <= end:  # else a later batch has it too
                del self._last[event_id]
                self._repeated.discard(event_id)
