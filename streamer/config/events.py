"""Types of events, as the configuration has them: ``[events.NAME]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from msgspec import Meta

from streamer.config.section import Section


class EventConfig(Section, frozen=True, kw_only=True):
    """A type of event; its reward is ``weight * clip((value - zero) / (one - zero), -1, 1)``."""

    weight: Annotated[
        float,
        Meta(
            ge=-1_000,
            le=1_000,
            description="reward; negative: dislike; 0: no feedback. A type that is added must have"
            " one",
        ),
    ] = 0.0
    value_range: Annotated[
        tuple[Annotated[float, Meta(ge=-1e9, le=1e9)], ...],
        Meta(
            max_length=2,
            description="[zero, one]: the values worth nothing and worth the whole weight; "
            "[]: the value does not matter. An event without a value is worth the weight",
        ),
    ] = ()


DEFAULT_EVENTS: Final[Mapping[str, EventConfig]] = {
    "impression": EventConfig(weight=0.0),
    "click": EventConfig(weight=1.0),
    "watch": EventConfig(weight=1.0, value_range=(0.0, 1.0)),
    "like": EventConfig(weight=2.0),
    "dislike": EventConfig(weight=-1.0),
    "share": EventConfig(weight=2.0),
    "comment": EventConfig(weight=1.0),
    "follow": EventConfig(weight=1.0),
    "purchase": EventConfig(weight=3.0),
    "rating": EventConfig(weight=1.0, value_range=(2.5, 5.0)),
    "skip": EventConfig(weight=-0.5),
}
"""Types that are known without a line of configuration."""
