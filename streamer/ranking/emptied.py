"""What empties a slate, and which of the items that a request names are unknown, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from streamer.events.pages import unpacked_keys
from streamer.ranking.context import RequestContext
from streamer_models.state.ids.id_table import id_key, keys_of
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


def unknown_seeds(context: RequestContext) -> str | None:
    """Return which of a request's ``seed_items`` are unknown: neither has the catalogue them, nor
    was anything learned of them; None: none is."""
    asked = list(dict.fromkeys(context.request.seed_items or ()))
    unknown = [item_id for item_id in asked if not _is_known(context, item_id)]
    if not unknown:
        return None
    named = _named(context, unknown)
    if len(unknown) == len(asked):
        return f"nothing is known of the seed_items ({named}), so the items go with none of them"
    return f"nothing is known of {len(unknown):,} of {len(asked):,} seed_items ({named})"


def _is_known(context: RequestContext, item_id: str) -> bool:
    catalogue = context.catalogue
    if catalogue.get(item_id) is not None or catalogue.is_blocked(item_id):
        return True
    return context.items.map.find_one(id_key(item_id.encode())) >= 0


def _named(context: RequestContext, unknown: Sequence[str]) -> str:
    """Return unknown ids, each with the known one that it may mean."""
    shown = ", ".join(_with_near(context, item_id) for item_id in unknown[:_IDS_SAID_MAX])
    return shown + (", …" if len(unknown) > _IDS_SAID_MAX else "")


def _with_near(context: RequestContext, item_id: str) -> str:
    near = written_alike(item_id, lambda each: _is_known(context, each))
    return repr(item_id) if near is None else f"{item_id!r}: did you mean {near!r}?"


def written_alike(item_id: str, is_known: Callable[[str], bool]) -> str | None:
    """Return a known id that is written as an unknown one is, but for capitals and spaces around
    it; None: there is none.

    Ids that differ in a letter or a digit are mostly of another item, and to compare all of a
    large catalogue would keep those waiting who ask for what there is.
    """
    bare = item_id.strip()
    for near in (bare, bare.lower(), bare.upper(), bare.title(), bare.capitalize()):
        if near and near != item_id and is_known(near):
            return near
    return None


def _of_candidates(context: RequestContext, item_ids: list[str]) -> Iterator[str]:
    catalogue, request, keys = context.catalogue, context.request, keys_of(item_ids)
    unknown = [
        each
        for each in item_ids
        if len(catalogue) and catalogue.get(each) is None and not catalogue.is_blocked(each)
    ]
    if unknown:
        yield f"the catalogue does not know {len(unknown):,} ({_named(context, unknown)})"
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
