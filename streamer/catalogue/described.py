"""Which fields the items of a catalogue have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from streamer.events import Item

NAMES_MAX: Final = 200
"""Names of attributes that are given, those that most items have."""
_ATTRIBUTES: Final = "attributes."
_FIELDS: Final = ("title", "created_ts", "expires_ts", "categories", "tags")


class DescribedFields:
    """How many items have a value in each field, so that settings that read others can be told."""

    def __init__(self) -> None:
        self._n_items: Counter[str] = Counter()

    def put(self, former: Item | None, item: Item | None) -> None:
        """Take what is said of an item in place of what was said before; None: nothing."""
        of_former, of_item = _fields_of(former), _fields_of(item)
        if of_former == of_item:
            return
        self._n_items.update(of_item)
        for field in of_former:
            self._n_items[field] -= 1
            if not self._n_items[field]:
                del self._n_items[field]

    def __contains__(self, field: str) -> bool:
        """Whether an item has a value in a field, such as ``title`` or ``attributes.price``; every
        item has its id."""
        return field == "item_id" or field in self._n_items

    def __iter__(self) -> Iterator[str]:
        return iter(self._n_items)

    def names(self) -> list[str]:
        """Return fields that items have, ``NAMES_MAX`` at most, those of the most items first."""
        return [name for name, _ in self._n_items.most_common(NAMES_MAX)]


def _fields_of(item: Item | None) -> list[str]:
    if item is None:
        return []
    found = [field for field in _FIELDS if getattr(item, field) not in (None, [])]
    return found + [_ATTRIBUTES + name for name in item.attributes or ()]
