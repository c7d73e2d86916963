"""What can be recommended, as the compacted ``items`` topic says it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numba
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamer.catalogue.columns import ItemColumns
from streamer.catalogue.content import NOTHING_LEARNED, CatalogueContent
from streamer.catalogue.described import DescribedFields
from streamer.catalogue.expiries import Expiries
from streamer.catalogue.item_facts import ItemFacts
from streamer.catalogue.metrics import CatalogueMetrics
from streamer.config import CatalogueConfig
from streamer.errors import BadMessage
from streamer.events import Item, decode_keyed_item
from streamer.events.decoding import deleted_id
from streamer.protocols import ItemsReader, MessageBatch
from streamer_models.state.ids.id_table import id_key, keys_of
from streamer_models.state.ids.key_map import KeyMap
from streamer_models.state.seeding import random_bits, scaled_below, stream
from streamer_models.state.table import Keys, grown

ITEMS_MAX = 1_000_000
"""Bound of known items and of blocked ids, each: some 1 kB and 200 B apiece in Python objects."""

_DOMAIN = np.uint64(0x6361746C67)  # "catlg"

Reject = Callable[[MessageBatch, int, str], None]
"""Takes a batch, the place of a bad message in it, and the reason."""


class Catalogue:
    """item_id → :class:`Item`, and the ids that must not be recommended.

    An item that says ``available: false`` and one that was deleted are never recommended, one with
    ``created_ts`` not before and one with ``expires_ts`` not from then on. An id that no message
    ever named may be: publishing items is optional. A tombstone is compacted away in the end (a day
    by default), and with it goes the memory of the id: to retire an item for good, publish it with
    ``available: false``.

    At ``items_max`` the item published longest ago is forgotten, and read as unknown; likewise at
    most ``items_max`` ids are blocked. What is forgotten is counted.

    Parameters
    ----------
    config
        What is learned of items.

    Attributes
    ----------
    tokens, embeddings
        What is learned of the known items.
    revision
        Rises whenever an id becomes blocked or is allowed again.
    facts
        What ranking needs of the known items, by key.
    expiries
        Of the known items.
    columns
        Fields of the known items, for expressions.
    described
        Which fields the known items have.
    """

    def __init__(
        self,
        *,
        metrics: CatalogueMetrics,
        config: CatalogueConfig = NOTHING_LEARNED,
        items_max: int = ITEMS_MAX,
    ) -> None:
        self.revision = 0
        self._content = CatalogueContent(config)
        self.tokens = self._content.tokens
        self.embeddings = self._content.embeddings
        self._n_numbers = config.embedding
        self.facts = ItemFacts()
        self.expiries = Expiries()
        self._metrics = metrics
        self._items_max = items_max
        self._items: dict[str, Item] = {}
        self._packed: dict[str, bytes] = {}  # embeddings as they were published, in float32
        self.columns = ItemColumns(self._items, self.facts)
        self.described = DescribedFields()
        self._blocked: dict[str, int] = {}  # id → key, in the order they were blocked
        self._blocked_map = KeyMap()
        self._drawn_from: list[str] = []
        self._keys: Keys = np.zeros(64, dtype=np.uint64)  # of those, in their order
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def get(self, item_id: str) -> Item | None:
        """What the topic says of an item, but for its embedding; None where it says nothing, or
        that it is gone."""
        return self._items.get(item_id)

    def published(self, item_id: str) -> Item | None:
        """What the topic says of an item, its embedding to the precision of float32; as
        :meth:`get`. For any thread."""
        item, packed = self._items.get(item_id), self._packed.get(item_id)
        if item is None or packed is None:
            return item
        numbers = [float(str(each)) for each in np.frombuffer(packed, dtype=np.float32)]
        return replace(item, embedding=numbers)

    def is_blocked(self, item_id: str) -> bool:
        """Whether an item is unavailable or deleted."""
        return item_id in self._blocked

    def blocked(self, keys: Keys) -> NDArray[np.bool_]:
        """``(n,)`` whether the item of each key is unavailable or deleted."""
        found: NDArray[np.bool_] = self._blocked_map.find(keys) >= 0
        return found

    def is_out(self, item_id: str, at_ms: int) -> bool:
        """Whether an item has come out and has not ended."""
        item = self._items.get(item_id)
        return item is None or (
            (item.created_ts is None or item.created_ts <= at_ms)
            and (item.expires_ts is None or item.expires_ts > at_ms)
        )

    def not_out(self, at_ms: int) -> Keys:
        """``(n,)`` keys of the items that are still to come out or have ended; may repeat."""
        return np.concatenate([self.facts.ahead(at_ms), self.expiries.ended(at_ms)])

    def outings(self, at_ms: int) -> tuple[int, int, int, int]:
        """Return what stays the same for as long as :meth:`not_out` does."""
        facts, expiries = self.facts, self.expiries
        n_ahead, n_ended = facts.n_ahead(at_ms), expiries.n_ended(at_ms)
        return facts.revision, expiries.revision, n_ahead, n_ended

    def show(self, now_ms: int) -> None:
        """Bring the metrics that move with time up to date."""
        self._metrics.ahead.set(self.facts.n_ahead(now_ms))

    def newest(self) -> Iterator[str]:
        """Ids of the available items, the one published last first."""
        return (item_id for item_id, item in reversed(self._items.items()) if item.available)

    def drawn(self, n: int, seed: int) -> Keys:
        """Keys of at most ``n`` different known items, each as likely, be it available or not.

        A function of the seed and of the topic up to here.
        """
        return _drawn(self._keys[: len(self._drawn_from)], n, np.uint64(seed))

    def drawn_among(self, item_ids: Sequence[str], n: int, seed: int) -> Keys:
        """Those of at most ``n`` of some items, as :meth:`drawn`; those that are not known are left
        out."""
        known = keys_of([item_id for item_id in item_ids if item_id in self._items])
        return _drawn(known, n, np.uint64(seed))

    # --- following the topic ---------------------------------------------------------------------

    def follow(self, reader: ItemsReader, *, n_max: int, timeout_s: float, reject: Reject) -> int:
        """Take up to ``n_max`` messages; the number taken. Bad ones are told to ``reject``."""
        batches = reader.poll(n_max=n_max, timeout_s=timeout_s)
        for batch in batches:
            for place, (key, value) in enumerate(zip(batch.keys, batch.values, strict=True)):
                try:
                    self.apply(key, value)
                except BadMessage as error:
                    reject(batch, place, str(error))
        return sum(map(len, batches))

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Take one message of the topic.

        Raises
        ------
        BadMessage
            Nothing is changed then.
        """
        if value is not None:
            self._put(decode_keyed_item(key, value, embedding=self._n_numbers))
            return
        item_id = deleted_id(key, "item")
        if (former := self._items.pop(item_id, None)) is not None:
            self._forget(former)
        self._metrics.items.set(len(self._items))
        self._block(item_id)

    def _put(self, item: Item) -> None:
        item_id = item.item_id
        self._content.put(item)
        if item.embedding is None:
            self._packed.pop(item_id, None)
        else:  # 4 B a number: a list of Python numbers takes eight times as much
            self._packed[item_id] = np.array(item.embedding, dtype=np.float32).tobytes()
            item = replace(item, embedding=None)
        former = self._items.pop(item_id, None)  # what is published again is the newest again
        self.described.put(former, item)
        if not item.available:
            self._block(item_id)
        else:
            self._allow(item_id)
        self._items[item_id] = item
        if item_id not in self._places:
            self._places[item_id] = place = len(self._drawn_from)
            self._drawn_from.append(item_id)
            if place == len(self._keys):
                self._keys = grown(self._keys, 2 * place)
            self._keys[place] = id_key(item_id.encode())
        self.columns.put(item, self.facts.put(item))
        self.expiries.put(item_id, item.expires_ts)
        if len(self._items) > self._items_max:
            forgotten = next(iter(self._items))
            self._forget(self._items.pop(forgotten))
            self._metrics.dropped.inc()
        self._metrics.items.set(len(self._items))

    def _forget(self, item: Item) -> None:
        item_id = item.item_id
        self.described.put(item, None)
        self.columns.remove(item_id, self.facts.remove(item_id))
        self.expiries.remove(item_id)
        self._content.forget(item_id)
        self._packed.pop(item_id, None)
        last = self._drawn_from.pop()
        place = self._places.pop(item_id)
        if last != item_id:
            self._drawn_from[place] = last
            self._keys[place] = self._keys[len(self._drawn_from)]
            self._places[last] = place

    def _block(self, item_id: str) -> None:
        if item_id in self._blocked:
            return
        key = id_key(item_id.encode())
        self._blocked[item_id] = key
        self._blocked_map.insert(np.array([key], dtype=np.uint64), np.zeros(1, dtype=np.int32))
        self.revision += 1
        if len(self._blocked) > self._items_max:
            self._allow(next(iter(self._blocked)))
            self._metrics.dropped.inc()

    def _allow(self, item_id: str) -> None:
        key = self._blocked.pop(item_id, None)
        if key is not None:
            self._blocked_map.remove(np.array([key], dtype=np.uint64))
            self.revision += 1


@numba.njit(cache=True, nogil=True)
def _drawn(keys: Keys, n: int, seed: np.uint64) -> Keys:
    """Those of ``n`` draws from ``keys``, in their order, none twice."""
    found = np.empty(min(n, len(keys)), dtype=np.uint64)
    start, n_found = stream(seed, _DOMAIN, np.uint64(0)), 0
    for i in range(n if len(keys) else 0):
        key = keys[scaled_below(random_bits(start, np.uint64(i)), len(keys))]
        if not np.any(found[:n_found] == key):
            found[n_found] = key
            n_found += 1
    return found[:n_found]
