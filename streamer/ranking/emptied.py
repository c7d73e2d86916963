"""What empties a slate, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from streamer.events.pages import unpacked_keys
from streamer.ranking.context import RequestContext
from streamer_models.state.ids.id_table import keys_of
from streamer_models.state.table import Keys

_IDS_SAID_MAX: Final = 3


def why_empty(context: RequestContext) -> str | None:
    """Return what leaves nothing to recommend for a request: of the candidates that it names, or of
    the catalogue by its rules; None: nothing that is known."""
    if not context.request.candidates:
        return None if context.ruled is None else context.ruled.why_empty()
    item_ids = list(dict.fromkeys(context.request.candidates))
    said = ", ".join(_of_candidates(context, item_ids))
    candidates = "1 candidate" if len(item_ids) == 1 else f"{len(item_ids):,} candidates"
    return f"of {candidates} of the request, {said}" if said else None


def _of_candidates(context: RequestContext, item_ids: list[str]) -> Iterator[str]:
    catalogue, request, keys = context.catalogue, context.request, keys_of(item_ids)
    unknown = [
        each
        for each in item_ids
        if len(catalogue) and catalogue.get(each) is None and not catalogue.is_blocked(each)
    ]
    if unknown:
        shown = ", ".join(map(repr, unknown[:_IDS_SAID_MAX]))
        more = ", …" if len(unknown) > _IDS_SAID_MAX else ""
        yield f"the catalogue does not know {len(unknown):,} ({shown}{more})"
    if n := int(catalogue.blocked(keys).sum()):
        yield f"{n:,} deleted or unavailable"
    if n := _n_among(keys, catalogue.not_out(context.at_ms)):
        yield f"{n:,} not out yet or ended"
    if n := _n_among(keys, context.barred):
        yield f"the user met {n:,}"
    asked = [*(request.exclude or ()), *(request.seed_items or ())]
    if n := _n_among(keys, keys_of(asked)):
        yield f"{n:,} excluded"
    if request.after and (n := _n_among(keys, unpacked_keys(request.after))):
        yield f"{n:,} on the pages before"
    if context.ruled is not None:
        slots = catalogue.columns.slots(keys)
        if said := context.ruled.why_none_of(slots):
            yield said


def _n_among(keys: Keys, others: Keys) -> int:
    return int(np.isin(keys, others).sum())
