"""Lists of labels of the catalogue's items, in columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.id_table import id_key
from streamer_models.state.table import Keys, Slots, grown

_ENTRIES_MIN = 1_024


class LabelColumn:
    """Which labels each slot has: an entry a label, 12 B, and 12 B a slot.

    What a slot had before stays behind as entries of nobody, until these are half of all.
    """

    def __init__(self, n_slots: int) -> None:
        self._starts = np.zeros(n_slots, dtype=np.int64)
        self.lengths = np.zeros(n_slots, dtype=np.int32)
        self._keys: Keys = np.zeros(_ENTRIES_MIN, dtype=np.uint64)
        self._owners = np.zeros(_ENTRIES_MIN, dtype=np.int32)
        self._n_entries = self._n_left = 0

    @classmethod
    def of(cls, n_slots: int, slots: Slots, labels: Sequence[Sequence[str]]) -> Self:
        """Return a column in which some slots have labels."""
        column = cls(n_slots)
        lengths = np.array([len(each) for each in labels], dtype=np.int32)
        column._keys = np.array([key for each in labels for key in _keys(each)], dtype=np.uint64)
        column._owners = np.repeat(slots, lengths)
        column._n_entries = len(column._keys)
        column.lengths[slots] = lengths
        column._starts[slots] = np.cumsum(lengths) - lengths
        return column

    def reserve(self, n_slots: int) -> None:
        """Make room for more slots."""
        self._starts = grown(self._starts, n_slots)
        self.lengths = grown(self.lengths, n_slots)

    def put(self, slot: int, labels: Sequence[str]) -> None:
        """Give a slot its different labels, in place of what it had."""
        start, length = int(self._starts[slot]), int(self.lengths[slot])
        self._owners[start : start + length] = 0
        self._n_left += length
        if self._n_left > max(self._n_entries // 2, _ENTRIES_MIN):
            self.lengths[slot] = 0
            self._compact()
        end = self._n_entries + len(labels)
        if end > len(self._keys):
            self._keys = grown(self._keys, 2 * end)
            self._owners = grown(self._owners, 2 * end)
        self._keys[self._n_entries : end] = _keys(labels)
        self._owners[self._n_entries : end] = slot
        self._starts[slot], self.lengths[slot] = self._n_entries, len(labels)
        self._n_entries = end

    def having(self, keys: Keys) -> NDArray[np.bool_]:
        """``(n_slots,)`` whether each slot has a label: the same one, of shape ``()``, or one each,
        ``(n_slots,)``."""
        found = np.zeros(len(self.lengths), dtype=np.bool_)
        owners, of_labels = self._owners[: self._n_entries], self._keys[: self._n_entries]
        same = of_labels == (keys[owners] if keys.ndim else keys)
        found[owners[same]] = True
        found[0] = False  # what nobody owns
        return found

    def _compact(self) -> None:
        kept = np.flatnonzero(self._owners[: self._n_entries])
        self._keys, self._owners = self._keys[kept], self._owners[kept]
        self._n_entries, self._n_left = len(kept), 0
        owners, starts = np.unique(self._owners, return_index=True)
        self._starts[owners] = starts


def _keys(labels: Sequence[str]) -> list[int]:
    return [id_key(label.encode()) for label in labels]
