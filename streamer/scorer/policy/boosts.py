"""What rules add to candidates before a slate is drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.errors import BadMessage
from streamer.events import Decision

Floats = NDArray[np.float64]


def boosts_of(raised: Floats, values: Floats) -> Floats:
    """Return what is added to each value of the candidates.

    Rewards expected lie around 0 and are negative for many, so a boost is no factor: it is in
    standard deviations of the values, and in units of them where all are equal.

    Parameters
    ----------
    raised
        ``(n,)`` by how many standard deviations.
    """
    deviation = float(np.std(values))
    return raised * (deviation or 1.0)


def logged_boosts(decision: Decision) -> Floats | None:
    """Return what was added to the candidates of a decision; None: nothing.

    Raises
    ------
    BadMessage
        Where they are not as many numbers as candidates.
    """
    if decision.boosts is None:
        return None
    if len(decision.boosts) != 8 * len(decision.candidates):
        raise BadMessage(
            f"decision: it can't be drawn again: boosts of {len(decision.boosts)} bytes for"
            f" {len(decision.candidates)} candidates; send a float64 for each"
        )
    return np.frombuffer(decision.boosts, dtype="<f8").astype(np.float64)


def packed_boosts(boosts: Floats | None) -> bytes | None:
    """Return boosts as decisions hold them."""
    return None if boosts is None else boosts.astype("<f8").tobytes()
