"""What users had taken up when a model is trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Consumed:
    """Items by user, each once, as the rows of a sparse matrix of zeros and ones.

    Attributes
    ----------
    starts
        ``(n_users + 1,)``: the items of user u are ``items[starts[u] : starts[u + 1]]``.
    items
        Item rows, rising for each user.
    counts
        ``(n_items,)`` users of each item; 0 for one that no user has taken up.
    """

    starts: NDArray[np.int64]
    items: Rows
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, user_rows: Rows, item_rows: Rows) -> Consumed:
        """Return what some events say, of which a pair may come more than once."""
        n_users = int(user_rows.max(initial=-1)) + 1
        n_items = int(item_rows.max(initial=-1)) + 1
        pairs = np.unique(user_rows.astype(np.int64) * n_items + item_rows)
        users, items = np.divmod(pairs, max(n_items, 1))
        starts = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=n_users))])
        return cls(starts, items.astype(np.int32), np.bincount(items, minlength=n_items))

    @property
    def n_users(self) -> int:
        return len(self.starts) - 1

    @property
    def n_items(self) -> int:
        return len(self.counts)

    def of_user(self, user_row: int) -> Rows:
        """``(n,)`` items of a user; none for one that is unknown."""
        if not 0 <= user_row < self.n_users:
            return self.items[:0]
        return self.items[self.starts[user_row] : self.starts[user_row + 1]]

    def by_item(self) -> tuple[NDArray[np.int64], Rows]:
        """The same by item: ``(n_items + 1,)`` starts, and user rows, rising for each item."""
        users = np.repeat(np.arange(self.n_users, dtype=np.int32), np.diff(self.starts))
        starts = np.concatenate([[0], np.cumsum(self.counts)])
        return starts, users[np.argsort(self.items, kind="stable")]
