"""Features that move with time, as the configuration has them: ``[features.NAME]``.

What they mean together, :mod:`streamer.config.feature_definition` says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta

from streamer.config.section import Section
from streamer.events import FeatureEntity
from streamer.events.types import TYPE_NAME_MAX

Measure = Literal["count", "value", "users", "recency"]
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""Of a feature: environment variables have no case."""
_DURATION: Final = r"^([1-9][0-9]{0,8}(ms|s|m|h|d))?$"

_Type = Annotated[
    str, Meta(min_length=1, max_length=TYPE_NAME_MAX, examples=["click", "impression"])
]
Types = _Type | tuple[_Type, ...]
Duration = Annotated[str, Meta(pattern=_DURATION, examples=["500ms", "90s", "5m", "1h", "7d", ""])]


class FeatureConfig(Section, frozen=True, kw_only=True):
    """A feature: whose, what is counted, over which time; durations are such as "90s" or "1h"."""

    entity: Annotated[FeatureEntity, Meta(description="whose feature it is")] = "item"
    numerator: Annotated[
        Types,
        Meta(
            description="event types (`[events.NAME]`) that are counted, one or a list; must be"
            " given"
        ),
    ] = ()
    denominator: Annotated[
        Types, Meta(description="event types it is divided by the count of; []: not divided")
    ] = ()
    measure: Annotated[
        Measure,
        Meta(
            description="what an event of the numerator adds: 1, its value, or its user, once; "
            "recency: nothing is added up, it is the seconds since the last one, held by the "
            "learner"
        ),
    ] = "count"
    window: Annotated[Duration, Meta(description="length of the window")] = ""
    hop: Annotated[
        Duration,
        Meta(
            description='time between two results; "": the window (tumbling), or half_life / 8. '
            "What the learner holds is read at any time and has none"
        ),
    ] = ""
    half_life: Annotated[
        Duration,
        Meta(
            description="in place of window: counts that fade; held by the learner, but for those "
            "by category"
        ),
    ] = ""
    session_gap: Annotated[
        Duration, Meta(description="in place of window: a session ends after so long without one")
    ] = ""
    smoothing: Annotated[
        float,
        Meta(ge=0, le=1e6, description="events that the ratio of the parent entity is worth"),
    ] = 0.0
    lateness: Annotated[
        Duration, Meta(description='how late events may be; "": windows.lateness_s')
    ] = ""
    stale_after: Annotated[
        Duration,
        Meta(
            description="a value is missing when its window ended so long ago; "
            '"": the window or half-life, of a session a day'
        ),
    ] = ""
    ranks: Annotated[
        bool, Meta(description="whether candidates are ranked by it; else it is published alone")
    ] = True


DEFAULT_FEATURES: Final[Mapping[str, FeatureConfig]] = {
    "item_ctr_1h": FeatureConfig(
        entity="item",
        numerator="click",
        denominator="impression",
        window="1h",
        hop="5m",
        smoothing=20.0,
    ),
    "item_ctr_5m": FeatureConfig(
        entity="item",
        numerator="click",
        denominator="impression",
        half_life="5m",
        smoothing=20.0,
    ),
    "item_clicks_10m": FeatureConfig(entity="item", numerator="click", window="10m", hop="1m"),
    "item_users_1h": FeatureConfig(
        entity="item", numerator="click", measure="users", window="1h", hop="5m", ranks=False
    ),
    "category_ctr_1h": FeatureConfig(
        entity="category",
        numerator="click",
        denominator="impression",
        window="1h",
        hop="5m",
        smoothing=20.0,
    ),
    "item_recency": FeatureConfig(entity="item", numerator="click", measure="recency"),
    # Crossed with the blend, they let a bandit weigh it anew from what it showed itself.
    "user_clicks_30m": FeatureConfig(
        entity="user", numerator="click", half_life="30m", ranks=False
    ),
    "user_session_clicks": FeatureConfig(
        entity="user", numerator="click", session_gap="30m", ranks=False
    ),
    "global_ctr_1h": FeatureConfig(
        entity="global",
        numerator="click",
        denominator="impression",
        window="1h",
        hop="5m",
        ranks=False,
    ),
}
"""What serves without a line of configuration; :class:`FeatureConfig` says how to change it."""
