"""What slates are ranked for, as the configuration has it: ``[objectives.NAME]``."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Final

from msgspec import Meta

from streamer.config.section import Section
from streamer.events.messages import OBJECTIVES_MAX


class ObjectiveConfig(Section, frozen=True, kw_only=True):
    """An outcome that is foreseen by itself; slates are ranked by the weighted sum of all."""

    events: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...],
        Meta(
            max_length=32,
            description="event types (`[events.NAME]`) that bring it, each 1, or the share of its"
            " `value_range`; must be given",
        ),
    ] = ()
    weight: Annotated[
        float,
        Meta(
            ge=-1_000,
            le=1_000,
            description="of what is expected of it in the score; read when a slate is made, so"
            " others need no other store; below 0: it is to be avoided",
        ),
    ] = 1.0


DEFAULT_OBJECTIVES: Final[Mapping[str, ObjectiveConfig]] = {}


def objective_problems(
    objectives: Mapping[str, ObjectiveConfig], types: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield (field below ``objectives``, problem) of what contradicts itself."""
    if len(objectives) > OBJECTIVES_MAX:
        last = max(objectives)
        yield f"{last}.events", f"{len(objectives)} objectives are over {OBJECTIVES_MAX}; join some"
    for name, each in objectives.items():
        if not each.events:
            yield f"{name}.events", 'an objective needs types of events, as ["purchase"]'
        for event in each.events:
            if event not in types:
                yield f"{name}.events", f"{event!r} is no type of event; add it to [events]"
    if objectives and not any(each.weight for each in objectives.values()):
        yield f"{next(iter(objectives))}.weight", "all weights are 0; give one another value"
