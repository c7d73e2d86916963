"""What is learned of items from what the catalogue says, and how it is followed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from streamer.catalogue.tokens import item_tokens
from streamer.config import CatalogueConfig
from streamer.errors import BadMessage
from streamer.events import Item, decode_keyed_item
from streamer.protocols import ItemsReader, MessageBatch
from streamer_models.state.inputs import Inputs
from streamer_models.state.items.item_embeddings import ItemEmbeddings
from streamer_models.state.items.item_tokens import ItemTokens

GONE_MAX: Final = 20_000
"""Deleted items that are known, some 0.2 kB each: after a deletion all are looked up, 4 ms."""
NOTHING_LEARNED: Final = CatalogueConfig(fields=())
"""Settings by which nothing is learned of items."""
_ITEMS_A_ROUND: Final = 1_000
_POLL_S: Final = 0.1


class CatalogueContent:
    """Tokens and embeddings of the items, as the items topic says them up to some offsets.

    What can't be read of the topic is passed over: whoever serves the catalogue refuses it with a
    letter.

    Parameters
    ----------
    config
        Fields that tokens are taken from, and numbers of an embedding.

    Attributes
    ----------
    tokens, embeddings
        By key.
    offsets
        Partition of the items topic → next offset to take; absent: nothing of it was taken.
    gone
        Ids of the items that were deleted and not published since, the last ``GONE_MAX`` of them.
    n_gone
        Deletions taken so far.
    """

    def __init__(self, config: CatalogueConfig) -> None:
        self.tokens = ItemTokens()
        self.embeddings = ItemEmbeddings(config.embedding)
        self.offsets: dict[int, int] = {}
        self.gone: dict[str, None] = {}
        self.n_gone = 0
        self._config = config

    @property
    def is_learned(self) -> bool:
        """Whether anything is learned of items."""
        return bool(self._config.fields or self._config.embedding)

    @property
    def inputs(self) -> Inputs:
        """What models are given of items: it follows the catalogue."""
        return Inputs(item_tokens=self.tokens, item_embeddings=self.embeddings)

    def load(self, reader: ItemsReader) -> None:
        """Take the topic up to its present end."""
        ends = reader.end_offsets()
        while any(reader.positions.get(where, 0) < end for where, end in ends.items()):
            self._take(reader.poll(n_max=_ITEMS_A_ROUND, timeout_s=_POLL_S))

    def follow(self, reader: ItemsReader) -> None:
        """Take all that is there."""
        while batches := reader.poll(n_max=_ITEMS_A_ROUND, timeout_s=0.0):
            self._take(batches)

    def apply(self, batch: MessageBatch) -> None:
        """Take messages of one partition."""
        for key, value in zip(batch.keys, batch.values, strict=True):
            with contextlib.suppress(BadMessage, UnicodeDecodeError):
                if value is None:
                    self._delete((key or b"").decode())
                else:
                    self.put(decode_keyed_item(key, value, embedding=self._config.embedding))
        if len(batch):
            self.offsets[batch.partition] = int(batch.offsets[-1]) + 1

    def put(self, item: Item) -> None:
        """Take what is said of one item, in place of what was said before.

        Its embedding is brought to a length of one; without one that it had is gone.
        """
        self.gone.pop(item.item_id, None)
        self.tokens.put(item.item_id, *item_tokens(item, self._config.fields))
        if not self._config.embedding:
            return
        if item.embedding is None:
            self.embeddings.remove(item.item_id)
        else:
            vector = np.array(item.embedding) / math.hypot(*item.embedding)
            self.embeddings.put(item.item_id, vector.astype(np.float32))

    def forget(self, item_id: str) -> None:
        """Forget what was said of an item."""
        self.tokens.remove(item_id)
        self.embeddings.remove(item_id)

    def _delete(self, item_id: str) -> None:
        self.forget(item_id)
        self.gone.pop(item_id, None)
        self.gone[item_id] = None
        self.n_gone += 1
        if len(self.gone) > GONE_MAX:
            del self.gone[next(iter(self.gone))]

    def _take(self, batches: Sequence[MessageBatch]) -> None:
        for batch in batches:
            self.apply(batch)
