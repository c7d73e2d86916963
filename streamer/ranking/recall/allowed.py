"""Which items a slate may hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.catalogue.catalogue import Catalogue
from streamer.catalogue.columns import ItemColumns
from streamer.ranking.context import RequestContext
from streamer.replica.items import ItemView
from streamer_models.state.ids.id_table import keys_of
from streamer_models.state.table import Slots


class Allowed:
    """Rows that may be in the slate of a request. For use by one thread at a time: it remembers
    which rows are available, which are not out, and what the catalogue knows of which, while rows
    and catalogue stay the same."""

    def __init__(self) -> None:
        self._not_out_for: tuple[int, ...] = ()
        self._not_out = np.zeros(0, dtype=np.int32)
        self._made_for = (-1, -1)
        self._blocked = np.zeros(0, dtype=np.bool_)
        self._slots_for = (-1, -1)
        self._slots = np.zeros(0, dtype=np.int32)

    def __call__(self, context: RequestContext) -> NDArray[np.bool_]:
        """Return ``(n_rows,)`` whether each row may be in the slate, the caller's own."""
        request, items = context.request, context.items
        allowed = self._available(items, context.catalogue)
        allowed[self._not_out_rows(items, context.catalogue, context.at_ms)] = False
        if context.ruled is not None:
            allowed &= ~context.ruled.out[self._slots_of_rows(items, context.catalogue.columns)]
        if request.candidates:
            wanted = items.map.find(keys_of(request.candidates))
            wanted = wanted[wanted >= 0]
            chosen = np.zeros(items.n_rows, dtype=np.bool_)
            chosen[wanted] = allowed[wanted]
            allowed = chosen
        ruled_out = items.map.find(context.excluded())
        allowed[ruled_out[ruled_out >= 0]] = False
        return allowed

    def _available(self, items: ItemView, catalogue: Catalogue) -> NDArray[np.bool_]:
        """Only rows that are new are looked up."""
        if self._made_for != (items.generation, catalogue.revision):
            self._made_for = items.generation, catalogue.revision
            self._blocked = self._blocked[:0]
        n_known = len(self._blocked)
        if n_known < items.n_rows:
            more = catalogue.blocked(items.keys[n_known : items.n_rows])
            self._blocked = np.concatenate([self._blocked, more])
        return items.live & ~self._blocked[: items.n_rows]

    def _not_out_rows(self, items: ItemView, catalogue: Catalogue, at_ms: int) -> Slots:
        made_for = (items.generation, items.n_rows, *catalogue.outings(at_ms))
        if self._not_out_for != made_for:
            self._not_out_for = made_for
            rows = items.map.find(catalogue.not_out(at_ms))
            self._not_out = rows[rows >= 0]
        return self._not_out

    def _slots_of_rows(self, items: ItemView, columns: ItemColumns) -> Slots:
        """Only rows that are new, and items that changed, are looked up."""
        generation, revision = self._slots_for
        changes = columns.changes_since(revision) if generation == items.generation else None
        if changes is None:
            self._slots = self._slots[:0]
        elif changes:
            rows = items.map.find(np.array([each.key for each in changes], dtype=np.uint64))
            for row, each in zip(rows.tolist(), changes, strict=True):
                if 0 <= row < len(self._slots):
                    self._slots[row] = each.slot
        n_known = len(self._slots)
        if n_known < items.n_rows:
            more = columns.slots(items.keys[n_known : items.n_rows])
            self._slots = np.concatenate([self._slots, more])
        self._slots_for = items.generation, columns.revision
        return self._slots[: items.n_rows]
