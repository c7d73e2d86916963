"""How a logged slate was composed."""

from __future__ import annotations

from streamer.errors import BadMessage
from streamer.events import Decision
from streamer_models.bandits.composition import (
    UNCOMPOSED,
    Composition,
    CompositionSettings,
    unpacked,
)


def composition_of(decision: Decision) -> Composition:
    """Return the composition that a decision logged.

    Raises
    ------
    BadMessage
        Where it can't be read.
    """
    try:
        settings = CompositionSettings.logged(decision.policy_parameters)
        if not settings.fields or not decision.candidates:
            return UNCOMPOSED
        return unpacked(settings, decision.composition or b"", len(decision.candidates))
    except ValueError as error:
        raise BadMessage(f"decision: it can't be drawn again: {error}") from error
