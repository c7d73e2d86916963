"""Categories of items, by the rows of an experiment."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from streamer.events import Item

CATEGORIES_MAX = 256
"""Different categories that are told apart, the first ones: a row is as many bytes."""


class LogCategories:
    """Knows the categories of a log's items; rows are added as their items are first learned.

    Parameters
    ----------
    items
        The log's items.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        numbers: dict[str, int] = {}
        self._of_item: dict[str, tuple[int, ...]] = {}
        for item in items:
            for name in item.categories or ():
                if len(numbers) < CATEGORIES_MAX:
                    numbers.setdefault(name, len(numbers))
            known = [numbers[name] for name in item.categories or () if name in numbers]
            if known:
                self._of_item[item.item_id] = tuple(known)
        self._rows: NDArray[np.bool_] = np.zeros((256, len(numbers)), dtype=np.bool_)
        self._n = 0

    def __len__(self) -> int:
        """Items that have a category."""
        return len(self._of_item)

    def add(self, item_id: str) -> None:
        """Let the next row be of this item."""
        if self._n == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[self._n, list(self._of_item.get(item_id, ()))] = True
        self._n += 1

    @property
    def n_categories(self) -> int:
        """Different categories that are told apart."""
        return int(self._rows.shape[1])

    @property
    def categories(self) -> NDArray[np.bool_]:
        """``(n_items, n_categories)``."""
        return self._rows[: self._n]
