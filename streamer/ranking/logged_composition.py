"""How a logged slate was composed."""

from __future__ import annotations

from streamer.errors import BadMessage
from streamer.events import Decision
from streamer_models.bandits.composition import UNCOMPOSED, Composition
from streamer_models.bandits.composition_bytes import unpacked
from streamer_models.bandits.composition_settings import CompositionSettings


def composition_of(decision: Decision) -> Composition:
    """Return the composition that a decision logged.

    Raises
    ------
    BadMessage
        Where it can't be read.
    """
    try:
        settings = CompositionSettings.logged(decision.policy_parameters)
        n, k = len(decision.candidates), len(decision.items)
        if not settings.on or not n:
            return UNCOMPOSED
        return unpacked(settings, decision.composition or b"", n, k, decision.pinned_at)
    except ValueError as error:
        raise BadMessage(f"decision: it can't be drawn again: {error}") from error
