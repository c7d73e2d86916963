"""Which items a slate may hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.catalogue.catalogue import Catalogue
from streamer.ranking.context import RequestContext
from streamer.replica.items import ItemView
from streamer_models.state.id_table import keys_of


class Allowed:
    """Rows that may be in the slate of a request. For use by one thread at a time: it remembers
    which rows are available while rows and catalogue stay the same."""

    def __init__(self) -> None:
        self._made_for = (-1, -1)
        self._blocked = np.zeros(0, dtype=np.bool_)

    def __call__(self, context: RequestContext) -> NDArray[np.bool_]:
        """Return ``(n_rows,)`` whether each row may be in the slate, the caller's own."""
        request, items = context.request, context.items
        allowed = self._available(items, context.catalogue)
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
