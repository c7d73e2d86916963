"""Factors of all rows, as integers to merge and as blocks of floats to score with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.replica.dense_rows import DenseRows
from streamer.replica.id_rows import IdView
from streamer_models.state.readable import ReadFactors
from streamer_models.state.table import FIXED_POINT_UNIT, Slots

BLOCK_ROWS: Final = 1_024
"""Rows of factors that are copied together: 1,024 * 32 factors * 4 B = 131 kB, some 10 µs."""
_BLOCK_BITS = 10

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FactorView:
    """Factors and biases of one version, immutable.

    Attributes
    ----------
    blocks
        ``(BLOCK_ROWS, k)`` float32 each; versions share those that did not change.
    biases
        ``(n_rows,)`` float32.
    """

    ids: IdView
    blocks: tuple[Floats, ...]
    biases: Floats

    def scores(self, factors: Floats) -> Floats:
        """``(n_rows,)`` ``p · q_i + b_i`` for all rows, dead ones too; ``factors`` is ``(k,)``."""
        scores = np.empty(len(self.blocks) * BLOCK_ROWS, dtype=np.float32)
        for i, block in enumerate(self.blocks):
            np.dot(block, factors, out=scores[i * BLOCK_ROWS : (i + 1) * BLOCK_ROWS])
        scores = scores[: len(self.biases)]
        scores += self.biases
        return scores

    def rows(self, rows: Slots) -> Floats:
        """``(n, k)`` factors of rows."""
        k = self.blocks[0].shape[1] if self.blocks else 0
        found = np.empty((len(rows), k), dtype=np.float32)
        blocks = rows >> _BLOCK_BITS
        for block in np.unique(blocks).tolist():
            here = blocks == block
            found[here] = self.blocks[block][rows[here] & (BLOCK_ROWS - 1)]
        return found


class FactorStore(DenseRows):
    """Merged rows of factors; for the follower thread alone, but for what :meth:`publish` makes.

    A version copies the blocks of changed rows, and all biases.
    """

    def __init__(self, reading: ReadFactors) -> None:
        super().__init__(reading.spec)
        self._blocks: list[Floats] = []
        self._biases: Floats = np.zeros(0, dtype=np.float32)
        self._view: FactorView | None = None

    def pack(self, kept: Slots) -> None:
        """Renumber: row ``kept[i]`` becomes row ``i``."""
        super().pack(kept)
        self._blocks = []
        self._biases = self._biases[:0]
        self._view = None

    def publish(self, ids: IdView, watermark_ms: int) -> FactorView:
        """The factors as they are now, immutable."""
        rows = self._take_touched(ids.n_rows)
        view = self._view
        if view is None or len(rows):
            biases = self._refreshed(rows, ids.n_rows)
        elif view.ids is ids:
            return view
        else:
            biases = view.biases
        self._view = FactorView(ids, tuple(self._blocks), biases)
        return self._view

    def _refreshed(self, rows: Slots, n_rows: int) -> Floats:
        if len(self._biases) < len(self.values):
            more = np.zeros(len(self.values) - len(self._biases), dtype=np.float32)
            self._biases = np.concatenate([self._biases, more])
        unit = np.float32(FIXED_POINT_UNIT)
        self._biases[rows] = self.values[rows, -1] * unit
        for block in np.unique(rows >> _BLOCK_BITS).tolist():
            whole = self.values[block * BLOCK_ROWS : (block + 1) * BLOCK_ROWS, :-1]
            fresh = whole.astype(np.float32, order="C")
            fresh *= unit
            if block < len(self._blocks):
                self._blocks[block] = fresh
            else:
                assert block == len(self._blocks), (block, len(self._blocks))
                self._blocks.append(fresh)
        return self._biases[:n_rows].copy()
