"""What each user has consumed, for any number of users, in flat arrays."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

_NONE = -1


class Histories:
    """Item rows by user, as chains: 8 B a consumption and 8 B a user, no object each.

    Examples
    --------
    >>> histories = Histories()
    >>> for user_row, item_row in [(0, 5), (1, 6), (0, 7)]:
    ...     histories.add(user_row, item_row)
    >>> histories.items(0).tolist(), histories.items(9).tolist(), len(histories)
    ([7, 5], [], 3)
    """

    def __init__(self) -> None:
        self._newest: NDArray[np.int32] = np.full(256, _NONE, dtype=np.int32)
        self._lengths: NDArray[np.int32] = np.zeros(256, dtype=np.int32)
        self._items: NDArray[np.int32] = np.zeros(1_024, dtype=np.int32)
        self._older: NDArray[np.int32] = np.zeros(1_024, dtype=np.int32)
        self._n = 0

    def __len__(self) -> int:
        """Consumptions in all."""
        return self._n

    def add(self, user_row: int, item_row: int) -> None:
        """Add a consumption, once more if it is there already."""
        if user_row >= len(self._newest):
            self._newest = grown(self._newest, user_row + 1, fill=_NONE)
            self._lengths = grown(self._lengths, user_row + 1)
        if self._n == len(self._items):
            self._items = grown(self._items, self._n + 1)
            self._older = grown(self._older, self._n + 1)
        self._items[self._n] = item_row
        self._older[self._n] = self._newest[user_row]
        self._newest[user_row] = self._n
        self._lengths[user_row] += 1
        self._n += 1

    def n_of(self, user_row: int) -> int:
        """Consumptions of a user; 0 for one that is unknown."""
        return int(self._lengths[user_row]) if 0 <= user_row < len(self._lengths) else 0

    def items(self, user_row: int) -> NDArray[np.int32]:
        """``(n,)`` item rows of a user, the newest first."""
        found = np.empty(self.n_of(user_row), dtype=np.int32)
        if len(found):
            _follow(self._items, self._older, int(self._newest[user_row]), found)
        return found

    def has(self, user_row: int, item_row: int) -> bool:
        """Whether a user has consumed an item."""
        if not 0 <= user_row < len(self._newest):
            return False
        return bool(_has(self._items, self._older, int(self._newest[user_row]), item_row))

    def mark(self, user_row: int, flags: NDArray[np.uint8], flag: int) -> None:
        """Set the flags of a user's items."""
        if 0 <= user_row < len(self._newest):
            _mark(self._items, self._older, int(self._newest[user_row]), flags, flag)


def grown(array: NDArray[np.int32], size: int, *, fill: int = 0) -> NDArray[np.int32]:
    """The same with at least ``size`` entries, twice as many as before."""
    longer = np.full(max(size, 2 * len(array)), fill, dtype=array.dtype)
    longer[: len(array)] = array
    return longer


@numba.njit(cache=True, nogil=True)
def _follow(
    items: NDArray[np.int32], older: NDArray[np.int32], at: int, found: NDArray[np.int32]
) -> None:
    for i in range(len(found)):
        found[i] = items[at]
        at = older[at]


@numba.njit(cache=True, nogil=True)
def _has(items: NDArray[np.int32], older: NDArray[np.int32], at: int, item: int) -> bool:
    while at != _NONE:
        if items[at] == item:
            return True
        at = older[at]
    return False


@numba.njit(cache=True, nogil=True)
def _mark(
    items: NDArray[np.int32],
    older: NDArray[np.int32],
    at: int,
    flags: NDArray[np.uint8],
    flag: int,
) -> None:
    while at != _NONE:
        flags[items[at]] = flag
        at = older[at]
