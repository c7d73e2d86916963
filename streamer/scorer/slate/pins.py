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
from streamer_models.state.ids.id_table import id_key


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

    Those behind the end have the last places that no other pin has, in their order.

    Parameters
    ----------
    pins
        In the order of positions.

    >>> pins = [Pin(position=at, item_id=item) for at, item in ((0, "a"), (3, "b"), (9, "z"))]
    >>> found, places = placed(pins, 1)
    >>> [(pin.position, pin.item_id) for pin in found], places.tolist()
    ([(0, 'a'), (2, 'z'), (3, 'b')], [1])
    """
    if not pins:
        return [], np.arange(n_chosen)
    n = len(pins) + n_chosen
    inside = [pin for pin in pins if pin.position < n]
    behind = pins[len(inside) :]
    left = np.setdiff1d(np.arange(n), [pin.position for pin in inside])
    places = left[len(left) - len(behind) :].tolist()
    moved = [replace(pin, position=at) for pin, at in zip(behind, places, strict=True)]
    found = sorted([*inside, *moved], key=lambda pin: pin.position)
    free = free_slots(n_chosen, [pin.position for pin in found])
    return found, free.astype(np.intp)
