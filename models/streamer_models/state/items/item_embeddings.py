"""Embeddings of items, as a catalogue gives them: one matrix that follows each update in place."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.fixed_point import LANES, dots
from streamer_models.state.items.item_rows import ITEMS_MAX, ItemRows
from streamer_models.state.table import Keys, grown

Vectors = NDArray[np.float32]


class ItemEmbeddings:
    """Vectors of length one by item: 4 B a number, and 21 to 33 B of a key and a map, an item.

    At ``items_max`` items that are not known yet are passed over.

    Parameters
    ----------
    n_numbers
        Numbers of each vector; 0: none is ever put.

    Attributes
    ----------
    rows
        Which row of the matrix is whose, and how many items were refused.
    """

    def __init__(self, n_numbers: int, *, items_max: int = ITEMS_MAX) -> None:
        self.n_numbers = n_numbers
        self.rows = ItemRows(items_max)
        width = -(-n_numbers // LANES) * LANES
        self._vectors: Vectors = np.zeros((0, width), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def keys(self) -> Keys:
        """``(n_rows,)`` key of the item in each row, or of one that was there."""
        return self.rows.keys

    def put(self, item_id: str, vector: Vectors) -> None:
        """Take the vector ``(n_numbers,)``, of length one, of an item, in place of the one before.

        Raises
        ------
        ValueError
            For a vector of another length.
        """
        if len(vector) != self.n_numbers:
            raise ValueError(
                f"item {item_id}: an embedding of {len(vector)} numbers, where each has"
                f" {self.n_numbers}; give vectors of one length"
            )
        row = self.rows.take(item_id)
        if row < 0:
            return
        if row >= len(self._vectors):
            self._vectors = grown(self._vectors, self.rows.capacity)
        self._vectors[row, : self.n_numbers] = vector

    def remove(self, item_id: str) -> None:
        """Forget an item; one that is not known is passed over."""
        row = self.rows.release(item_id)
        if row >= 0:
            self._vectors[row] = 0

    def of(self, keys: Keys) -> tuple[Vectors, NDArray[np.bool_]]:
        """Return ``(n, width)`` vectors of items, padded with zeros to ``width``, and whether each
        item has one."""
        found = np.zeros((len(keys), self._vectors.shape[1]), dtype=np.float32)
        rows = self.rows.map.find(keys)
        known = rows >= 0
        found[known] = self._vectors[rows[known]]
        return found, known

    def cosines(self, profile: Vectors) -> Vectors:
        """Return ``(n_rows,)`` cosines of all items with a vector ``(width,)`` of length one, -inf
        in a row that no item has.

        The order of additions is fixed, so equal vectors have equal cosines, in whatever row and
        process.
        """
        n = len(self.keys)
        found = np.empty(n, dtype=np.float32)
        dots(profile, self._vectors, n, found)
        found[~self.rows.live] = -np.inf
        return found


NO_EMBEDDINGS: Final = ItemEmbeddings(0, items_max=0)
"""Of a catalogue that gives none."""
