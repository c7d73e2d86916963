"""Items of a slate that a request puts at positions, and where they stand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamer.events import Pin
from streamer.events.pages import unpacked_keys
from streamer.ranking.context import RequestContext
from streamer_models.bandits.pinned_slots import free_slots
from streamer_models.state.id_table import id_key


def pins_of(context: RequestContext, k: int) -> list[Pin]:
    """Return at most ``k`` of the pins of a request, in the order of positions: those whose item
    may be shown.

    It may where it is available and out, no rule and no filter bars it, and neither the request nor
    the pages before exclude it. That the user met it, or that it is no candidate, bars it not.
    """
    request, catalogue = context.request, context.catalogue
    if not request.pinned:
        return []
    shown_before = frozenset(unpacked_keys(request.after or "").tolist())
    found = [
        pin
        for pin in sorted(request.pinned, key=lambda pin: pin.position)
        if not catalogue.is_blocked(pin.item_id)
        and catalogue.is_out(pin.item_id, context.at_ms)
        and pin.item_id not in (request.exclude or ())
        and (key := id_key(pin.item_id.encode())) not in shown_before
        and (context.ruled is None or not context.ruled.bars(key))
    ]
    return found[:k]


def placed(pins: Sequence[Pin], n_chosen: int) -> tuple[list[Pin], NDArray[np.intp]]:
    """Return the pins at the places where they stand among ``n_chosen`` others, and ``(n_chosen,)``
    the places of these.

    >>> pins = [Pin(position=0, item_id="a"), Pin(position=9, item_id="z")]
    >>> found, places = placed(pins, 2)
    >>> [pin.position for pin in found], places.tolist()
    ([0, 3], [1, 2])
    """
    n = len(pins) + n_chosen
    found: list[Pin] = []
    for i, pin in enumerate(pins):
        # Behind the end there is no gap: those left stand last, in their order.
        found.append(replace(pin, position=min(pin.position, n - len(pins) + i)))
    free = free_slots(n_chosen, [pin.position for pin in found])
    return found, free.astype(np.intp)
