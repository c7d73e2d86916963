"""What a log's catalogue says of items, by the rows of an experiment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamer.events import Item

CATEGORIES_MAX = 256
"""Different categories that are told apart, the first ones: a row is as many bytes."""

T = TypeVar("T", bound=np.generic)


class LogRows(Generic[T]):
    """A row of an item's values, zeros where none are known; rows are added as items are first
    learned.

    Parameters
    ----------
    of_item
        Item → ``(width,)`` values.
    none
        ``(width,)`` zeros.
    """

    def __init__(self, of_item: Mapping[str, NDArray[T]], none: NDArray[T]) -> None:
        self._of_item = of_item
        self._none = none
        self._rows: NDArray[T] = np.tile(none, (256, 1))
        self._n = 0

    def __len__(self) -> int:
        """Items of which values are known."""
        return len(self._of_item)

    def add(self, item_id: str) -> None:
        """Let the next row be of this item."""
        if self._n == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[self._n] = self._of_item.get(item_id, self._none)
        self._n += 1

    @property
    def width(self) -> int:
        """Values of an item."""
        return len(self._none)

    @property
    def values(self) -> NDArray[T]:
        """``(n_items, width)``."""
        return self._rows[: self._n]


def category_rows(items: Iterable[Item]) -> LogRows[np.bool_]:
    """Return which categories items have."""
    numbers: dict[str, int] = {}
    of_item: dict[str, list[int]] = {}
    for item in items:
        for name in item.categories or ():
            if len(numbers) < CATEGORIES_MAX:
                numbers.setdefault(name, len(numbers))
        known = [numbers[name] for name in item.categories or () if name in numbers]
        if known:
            of_item[item.item_id] = known
    none = np.zeros(len(numbers), dtype=np.bool_)
    places = np.arange(len(numbers))
    return LogRows({each: np.isin(places, known) for each, known in of_item.items()}, none)


def vector_rows(items: Iterable[Item]) -> LogRows[np.float32]:
    """Return the embeddings of items, of those as long as the first one."""
    of_item: dict[str, NDArray[np.float32]] = {}
    n_numbers = 0
    for item in items:
        if item.embedding is not None:
            n_numbers = n_numbers or len(item.embedding)
            if len(item.embedding) == n_numbers:
                of_item[item.item_id] = np.array(item.embedding, dtype=np.float32)
    return LogRows(of_item, np.zeros(n_numbers, dtype=np.float32))
