"""Until when items may be recommended."""

from __future__ import annotations

from bisect import bisect_right, insort

import numpy as np

from streamer_models.state.ids.id_table import id_key
from streamer_models.state.table import Keys


class Expiries:
    """Items that end, in the order of their times: some 200 B an item that has one.

    Attributes
    ----------
    revision
        Rises with each change.
    """

    def __init__(self) -> None:
        self.revision = 0
        self._ends_ms: dict[str, int] = {}
        self._order: list[tuple[int, int]] = []  # ends, keys

    def __len__(self) -> int:
        return len(self._ends_ms)

    def put(self, item_id: str, ends_ms: int | None) -> None:
        """Take when an item ends, in place of what was said before; None: it does not."""
        if self._ends_ms.get(item_id) == ends_ms:
            return
        self.remove(item_id)
        if ends_ms is not None:
            self._ends_ms[item_id] = ends_ms
            insort(self._order, (ends_ms, id_key(item_id.encode())))
            self.revision += 1

    def remove(self, item_id: str) -> None:
        """Forget an item; one that does not end is passed over."""
        ends_ms = self._ends_ms.pop(item_id, None)
        if ends_ms is not None:
            del self._order[bisect_right(self._order, (ends_ms, id_key(item_id.encode()))) - 1]
            self.revision += 1

    def n_ended(self, at_ms: int) -> int:
        """Return how many items have ended."""
        return bisect_right(self._order, at_ms, key=lambda each: each[0])

    def ended(self, at_ms: int) -> Keys:
        """``(n,)`` keys of the items that have ended."""
        n = self.n_ended(at_ms)
        return np.array([key for _, key in self._order[:n]], dtype=np.uint64)
