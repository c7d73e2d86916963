"""Fields of the catalogue's items in columns: what expressions are answered over.

An item's slot is its row among the facts and one more; slot 0 stands for every item that no
message described, which has no value in any column.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.catalogue.item_facts import ItemFacts
from streamer.catalogue.labels import LabelColumn
from streamer.events import Item
from streamer_models.state.ids.id_table import id_key, keys_of
from streamer_models.state.table import Keys, Slots, grown

MISSING, NUMBER, TEXT, TRUTH = range(4)
"""Kinds of values; those of two kinds are never the same."""
COLUMNS_MAX: Final = 64
"""Columns kept, those asked for last: 9 B a slot each, of lists some 20 B a label."""
_JOURNAL_MAX: Final = 4_096
_SLOTS_MIN: Final = 1_024

Kinds = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Values:
    """Values of one field, or of one request.

    Attributes
    ----------
    kinds
        ``(n,)`` or ``()``.
    bits
        Likewise: of a number its float64, of a text its 64-bit key, of a truth 0 or 1.
    """

    kinds: Kinds
    bits: NDArray[np.uint64]

    @property
    def numbers(self) -> NDArray[np.float64]:
        """The same bits as numbers, which means something where ``kinds`` says so."""
        return self.bits.view(np.float64)

    @classmethod
    def of(cls, value: str | float | bool | None) -> Values:
        """Return one value, shaped ``()``; None: there is none."""
        kind, bits = _packed(value)
        return cls(np.array(kind, dtype=np.int8), np.array(bits, dtype=np.uint64))

    def at(self, slots: Slots) -> Values:
        """Return those of some slots."""
        return Values(self.kinds[slots], self.bits[slots])


@dataclass(frozen=True, slots=True)
class Changed:
    """An item that came, changed or went; ``slot`` is 0 where it went."""

    key: int
    slot: int


class ItemColumns:
    """Columns over the slots of a catalogue's items, made when first asked for.

    For use by one thread at a time, the one that the catalogue is followed by.

    Attributes
    ----------
    revision
        Items put and removed so far.
    known
        ``(n_slots,)`` whether an item is in a slot.
    keys, ids
        ``(n_slots,)`` of the item in each slot, or of one that was there.
    """

    def __init__(self, items: Mapping[str, Item], facts: ItemFacts) -> None:
        self.revision = 0
        self.known = np.zeros(_SLOTS_MIN, dtype=np.bool_)
        self.keys: Keys = np.zeros(_SLOTS_MIN, dtype=np.uint64)
        self.ids = [""] * _SLOTS_MIN
        self._items = items
        self._facts = facts
        self._changed: deque[tuple[Changed, int]] = deque(maxlen=_JOURNAL_MAX)
        self._values: OrderedDict[str, Values] = OrderedDict()
        self._labels: dict[str, LabelColumn] = {}

    @property
    def n_slots(self) -> int:
        """Length of every column; free slots have no values."""
        return len(self.known)

    def slots(self, keys: Keys) -> Slots:
        """``(n,)`` slots of items, 0 where nothing is known of one."""
        found: Slots = self._facts.rows(keys) + np.int32(1)
        return found

    def changes_since(self, revision: int) -> list[Changed] | None:
        """Return what came after a revision, in order; None: that is too long ago."""
        found = self._since(revision)
        return None if found is None else [change for change, _ in found]

    def slots_since(self, revision: int) -> Slots | None:
        """Return the different slots whose content changed after a revision, as above."""
        found = self._since(revision)
        return None if found is None else np.unique(np.array([s for _, s in found], dtype=np.int32))

    def _since(self, revision: int) -> list[tuple[Changed, int]] | None:
        n = self.revision - revision
        if n > len(self._changed):
            return None
        return list(islice(reversed(self._changed), n))[::-1]

    # --- following the catalogue -----------------------------------------------------------------

    def put(self, item: Item, row: int) -> None:
        """Take what is said of an item, in place of what was said before."""
        slot = row + 1
        if slot >= self.n_slots:
            self._reserve(2 * slot)
        self.known[slot] = True
        for field, column in self._values.items():
            column.kinds[slot], column.bits[slot] = _packed(_value(item, field))
        for name, labels in self._labels.items():
            labels.put(slot, _labels(item, name))
        self.ids[slot] = item.item_id
        self.keys[slot] = self._note(item.item_id, slot, slot)

    def remove(self, item_id: str, row: int) -> None:
        """Forget an item."""
        slot = row + 1
        self.known[slot] = False
        for column in self._values.values():
            column.kinds[slot], column.bits[slot] = MISSING, 0
        for labels in self._labels.values():
            labels.put(slot, ())
        self._note(item_id, 0, slot)

    def _note(self, item_id: str, now: int, slot: int) -> int:
        """Note a change; the key of the item."""
        self.revision += 1
        key = id_key(item_id.encode())
        self._changed.append((Changed(key, now), slot))
        return key

    def _reserve(self, n_slots: int) -> None:
        self.known = grown(self.known, n_slots)
        self.keys = grown(self.keys, n_slots)
        self.ids += [""] * (n_slots - len(self.ids))
        for field, column in self._values.items():
            self._values[field] = Values(grown(column.kinds, n_slots), grown(column.bits, n_slots))
        for labels in self._labels.values():
            labels.reserve(n_slots)

    # --- asking ----------------------------------------------------------------------------------

    def values(self, field: str) -> Values:
        """Return the column of a field with one value, such as ``attributes.price``.

        The first time it looks at every item: some .3 s for 100,000.
        """
        column = self._values.get(field)
        if column is None:
            column = self._values[field] = self._made(field)
            if len(self._values) > COLUMNS_MAX:
                self._values.popitem(last=False)
        self._values.move_to_end(field)
        return column

    def labels(self, field: str) -> LabelColumn:
        """Return the column of ``categories`` or ``tags``; as :meth:`values`."""
        column = self._labels.get(field)
        if column is None:
            labels = [_labels(item, field) for item in self._items.values()]
            column = LabelColumn.of(self.n_slots, self._slots_of_all(), labels)
            self._labels[field] = column
        return column

    def _slots_of_all(self) -> Slots:
        return self.slots(keys_of(list(self._items)))

    def _made(self, field: str) -> Values:
        column = Values(np.zeros(self.n_slots, np.int8), np.zeros(self.n_slots, np.uint64))
        slots = self._slots_of_all()
        packed = [_packed(_value(item, field)) for item in self._items.values()]
        column.kinds[slots] = np.array([kind for kind, _ in packed], dtype=np.int8)
        column.bits[slots] = np.array([bits for _, bits in packed], dtype=np.uint64)
        return column


def _value(item: Item, field: str) -> str | float | bool | None:
    _, dot, name = field.partition(".")
    found: str | float | bool | None
    found = (item.attributes or {}).get(name) if dot else getattr(item, field)
    return found


def _labels(item: Item, field: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(getattr(item, field) or ()))


def _packed(value: str | float | bool | None) -> tuple[int, int]:
    if value is None:
        return MISSING, 0
    if isinstance(value, bool):
        return TRUTH, int(value)
    if isinstance(value, str):
        return TEXT, id_key(value.encode())
    return NUMBER, int(np.float64(value + 0.0).view(np.uint64))  # -0.0 is 0.0
