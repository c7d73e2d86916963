"""Tokens of items, as a catalogue names them: categories, tags and the like, by hash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.id_table import id_key
from streamer_models.state.items.item_rows import ITEMS_MAX, ItemRows
from streamer_models.state.table import Keys, grown

TOKENS: Final = 4_096
"""Tokens that are told apart: what has the same hash is the same token (Weinberger et al. 2009)."""
NUMBERS: Final = TOKENS - 512
"""The first token of numbers: those of words are below it."""
RANGES: Final = {"words": NUMBERS, "numbers": TOKENS - NUMBERS}
"""How many tokens each sort has: what is learned by token depends on it."""
TOKENS_MAX: Final = 12
"""Tokens of an item that count."""
NO_TOKEN: Final = -1
UNITS: Final = 1 << 16
"""What a weight of 1 counts as."""

Tokens = NDArray[np.int32]
Weights = NDArray[np.float32]


def token_of(text: str, *, number: bool = False) -> int:
    """Return the token, in ``range(TOKENS)``, of a word or of a number that a catalogue says.

    >>> token_of("categories=Drama"), token_of("year=year 1995", number=True)
    (2558, 3643)
    """
    hashed = id_key(text.encode())
    return NUMBERS + hashed % (TOKENS - NUMBERS) if number else hashed % NUMBERS


class ItemTokens:
    """Weighted tokens of items by key: 96 B an item, and 21 to 33 of a key and a map.

    At ``items_max`` items that are not known yet are passed over.

    Attributes
    ----------
    rows
        Which row of ``tokens`` and ``weights`` is whose, and how many items were refused.
    tokens
        ``(n_rows, TOKENS_MAX)`` int32, those an item has and then ``NO_TOKEN``.
    weights
        ``(n_rows, TOKENS_MAX)`` float32.
    """

    def __init__(self, *, items_max: int = ITEMS_MAX) -> None:
        self.rows = ItemRows(items_max)
        self.tokens: Tokens = np.zeros((0, TOKENS_MAX), dtype=np.int32)
        self.weights: Weights = np.zeros((0, TOKENS_MAX), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def put(self, item_id: str, tokens: Sequence[int], weights: Sequence[float]) -> None:
        """Take the tokens of an item, in place of those it had; the first ``TOKENS_MAX`` count."""
        tokens, weights = tokens[:TOKENS_MAX], weights[:TOKENS_MAX]
        if not tokens:
            self.remove(item_id)
            return
        row = self.rows.take(item_id)
        if row < 0:
            return
        if row >= len(self.tokens):
            self._reserve(self.rows.capacity)
        self._leave(row)
        self.tokens[row, : len(tokens)] = tokens
        self.weights[row, : len(tokens)] = weights

    def remove(self, item_id: str) -> None:
        """Forget an item; one that is not known is passed over."""
        row = self.rows.release(item_id)
        if row >= 0:
            self._leave(row)

    def of(self, keys: Keys) -> tuple[Tokens, Weights]:
        """Return ``(n, TOKENS_MAX)`` tokens and weights of items, none where they are not known."""
        rows = self.rows.map.find(keys)
        tokens = np.full((len(keys), TOKENS_MAX), NO_TOKEN, dtype=np.int32)
        weights = np.zeros((len(keys), TOKENS_MAX), dtype=np.float32)
        if len(self):
            _gather(rows, self.tokens, self.weights, tokens, weights)
        return tokens, weights

    def _reserve(self, n_rows: int) -> None:
        n_before = len(self.tokens)
        self.tokens, self.weights = grown(self.tokens, n_rows), grown(self.weights, n_rows)
        self.tokens[n_before:] = NO_TOKEN

    def _leave(self, row: int) -> None:
        self.tokens[row] = NO_TOKEN
        self.weights[row] = 0


@numba.njit(cache=True, nogil=True)
def _gather(
    rows: NDArray[np.int32], tokens: Tokens, weights: Weights, found: Tokens, weighed: Weights
) -> None:
    for i in range(len(rows)):
        if rows[i] >= 0:
            found[i] = tokens[rows[i]]
            weighed[i] = weights[rows[i]]


NO_TOKENS: Final = ItemTokens(items_max=0)
"""Of a catalogue that says nothing."""
