"""Item → categories, as the compacted ``items`` topic says it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from streamer.errors import BadMessage
from streamer.events import decode_keyed_item
from streamer.protocols import ItemsReader

ITEMS_MAX: Final = 2_000_000
"""Bound of known items, some 200 B each; the one that was published longest ago is forgotten."""
_N_MESSAGES: Final = 10_000


class ItemCategories:
    """Callable: the categories of an item; none for one that the topic has not named."""

    def __init__(self, reader: ItemsReader, *, items_max: int = ITEMS_MAX) -> None:
        self._reader = reader
        self._items_max = items_max
        self._categories: dict[str, tuple[str, ...]] = {}

    def __call__(self, item_id: str) -> Sequence[str]:
        return self._categories.get(item_id, ())

    def __len__(self) -> int:
        return len(self._categories)

    def load(self) -> None:
        """Read all that is there now."""
        ends = self._reader.end_offsets()
        while any(self._reader.positions.get(where, 0) < end for where, end in ends.items()):
            self.follow(timeout_s=1.0)

    def follow(self, *, timeout_s: float = 0.0) -> None:
        """Read what has come; bad messages are passed over, the scorer tells of them."""
        for batch in self._reader.poll(n_max=_N_MESSAGES, timeout_s=timeout_s):
            for key, value in zip(batch.keys, batch.values, strict=True):
                self._apply(key, value)

    def _apply(self, key: bytes | None, value: bytes | None) -> None:
        if value is None:
            self._categories.pop((key or b"").decode(errors="replace"), None)
            return
        try:
            item = decode_keyed_item(key, value)
        except BadMessage:
            return
        self._categories.pop(item.item_id, None)
        self._categories[item.item_id] = tuple(map(sys.intern, item.categories or ()))
        if len(self._categories) > self._items_max:
            del self._categories[next(iter(self._categories))]
