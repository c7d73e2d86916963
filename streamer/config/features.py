"""Definitions of features that move with time: ``[features.NAME]`` and what it means.

The texts of the configuration are :class:`FeatureConfig`; :func:`definition` checks them together
and turns durations into milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from streamer.config.section import Section
from streamer.events import EventType, FeatureEntity

Measure = Literal["count", "value", "users"]
HeldBy = Literal["learner", "windows"]
"""Who computes a feature: the learner, within its commits, or the windows' workers beside it."""
LEARNERS_ENTITIES: Final[frozenset[FeatureEntity]] = frozenset(
    {"user", "item", "surface", "global"}
)
"""Those the learner has fading features of: an event names them itself, without the catalogue."""
PARENTS: Final[dict[FeatureEntity, FeatureEntity]] = {
    "user": "global",
    "item": "global",
    "category": "global",
    "surface": "global",
    "user_category": "category",
}
"""Entity → the one its rates are smoothed towards."""

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""Of a feature: environment variables have no case."""
PANES_MAX: Final = 2_000
_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = r"^([1-9][0-9]{0,8}(ms|s|m|h|d))?$"

Types = EventType | tuple[EventType, ...]
Duration = Annotated[str, Meta(pattern=_DURATION)]


class FeatureConfig(Section, frozen=True, kw_only=True):
    """A feature: whose, what is counted, over which time; durations are such as "90s" or "1h"."""

    entity: Annotated[FeatureEntity, Meta(description="whose feature it is")] = "item"
    numerator: Annotated[
        Types, Meta(description="event types that are counted, one or a list; must be given")
    ] = ()
    denominator: Annotated[
        Types, Meta(description="event types it is divided by the count of; []: not divided")
    ] = ()
    measure: Annotated[
        Measure,
        Meta(description="what an event of the numerator adds: 1, its value, or its user, once"),
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
    "user_clicks_30m": FeatureConfig(entity="user", numerator="click", half_life="30m"),
    "user_session_clicks": FeatureConfig(entity="user", numerator="click", session_gap="30m"),
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


@dataclass(frozen=True, slots=True)
class FeatureDefinition:
    """One feature, checked: every duration in milliseconds.

    Attributes
    ----------
    window_ms, hop_ms
        0 for sessions; of a fading feature ``window_ms`` is 0, and ``hop_ms`` is not where the
        windows' workers compute it.
    parent
        Entity whose ratio smooths this one; None where ``smoothing`` is 0.
    ranks
        Whether it is among the columns that candidates are ranked by.
    """

    name: str
    entity: FeatureEntity
    numerator: tuple[EventType, ...]
    denominator: tuple[EventType, ...]
    measure: Measure
    window_ms: int
    hop_ms: int
    half_life_ms: int
    session_gap_ms: int
    smoothing: float
    lateness_ms: int
    stale_after_ms: int
    ranks: bool

    @property
    def parent(self) -> FeatureEntity | None:
        return PARENTS[self.entity] if self.smoothing else None

    @property
    def held_by(self) -> HeldBy:
        """Counts that fade are the learner's, unless they need to know categories."""
        fades = self.half_life_ms and self.entity in LEARNERS_ENTITIES
        return "learner" if fades else "windows"


class Refused(Exception):
    """A definition that can't be: the ``fields`` at fault, and why."""

    def __init__(self, problem: str, *fields: str) -> None:
        super().__init__(problem)
        self.fields = fields


def definition(name: str, given: FeatureConfig, *, lateness_s: float) -> FeatureDefinition:
    """The feature that a table of the configuration asks for.

    Raises
    ------
    Refused
        For settings that contradict each other, with what would be right.
    """
    numerator, denominator = _types(given.numerator), _types(given.denominator)
    _check_counted(given, numerator, denominator)
    window_ms, half_life_ms, gap_ms = map(
        milliseconds, (given.window, given.half_life, given.session_gap)
    )
    kinds = [field for field in ("window", "half_life", "session_gap") if getattr(given, field)]
    if len(kinds) != 1:
        said = " and ".join(kinds) or "none of them"
        raise Refused(
            f"{said} given; give exactly one of window, half_life and session_gap, and"
            ' "" for one that the default set has',
            *(kinds or ["window"]),
        )
    if given.measure == "users" and kinds != ["window"]:
        raise Refused(f"distinct users need a window, not {kinds[0]}", "measure", kinds[0])
    if kinds == ["half_life"] and given.entity in LEARNERS_ENTITIES:
        _check_learners(given)
    lateness_ms = milliseconds(given.lateness) or round(lateness_s * 1000)
    return FeatureDefinition(
        name=name,
        entity=given.entity,
        numerator=numerator,
        denominator=denominator,
        measure=given.measure,
        window_ms=window_ms,
        hop_ms=_hop_ms(given, window_ms, half_life_ms),
        half_life_ms=half_life_ms,
        session_gap_ms=gap_ms,
        smoothing=given.smoothing,
        lateness_ms=lateness_ms,
        stale_after_ms=milliseconds(given.stale_after)
        or window_ms
        or half_life_ms
        or _UNITS_MS["d"],
        ranks=given.ranks,
    )


def milliseconds(duration: str) -> int:
    """Length of a duration; "" is 0.

    >>> milliseconds("90s"), milliseconds("1h")
    (90000, 3600000)
    """
    unit = duration.lstrip("0123456789")
    return int(duration.removesuffix(unit)) * _UNITS_MS[unit] if duration else 0


def _types(given: Types) -> tuple[EventType, ...]:
    return (given,) if isinstance(given, str) else given


def _check_counted(
    given: FeatureConfig, numerator: tuple[EventType, ...], denominator: tuple[EventType, ...]
) -> None:
    if not numerator:
        raise Refused('names no event type: give one, such as "click", or a list', "numerator")
    if given.measure == "users" and denominator:
        raise Refused(
            "distinct users are not divided: leave the denominator out", "measure", "denominator"
        )
    if given.smoothing and given.entity not in PARENTS:
        raise Refused("the whole has no parent to smooth towards: give 0", "entity", "smoothing")
    if given.smoothing and not denominator:
        raise Refused("only a ratio is smoothed: give a denominator, or 0", "smoothing")
    if given.smoothing and given.session_gap:
        raise Refused(
            "sessions of parent and child have no common end: give 0", "smoothing", "session_gap"
        )


def _check_learners(given: FeatureConfig) -> None:
    for field, reason in (
        ("hop", "it is known at every moment"),
        ("lateness", "a late event counts as if it had come in time"),
        ("stale_after", "it fades by itself"),
    ):
        if getattr(given, field):
            raise Refused(
                f"a half_life of {given.entity!r} is held by the learner: {reason}; leave it out,"
                ' or give "" for one that the default set has',
                field,
            )


def _hop_ms(given: FeatureConfig, window_ms: int, half_life_ms: int) -> int:
    if half_life_ms and given.entity in LEARNERS_ENTITIES:
        return 0
    if given.session_gap:
        if given.hop:
            raise Refused("sessions do not hop: leave it out", "hop", "session_gap")
        return 0
    hop_ms = milliseconds(given.hop)
    if half_life_ms:
        hop_ms = hop_ms or max(1, half_life_ms // 8)
        if hop_ms > half_life_ms or half_life_ms > hop_ms * PANES_MAX // 16:
            raise Refused(
                f'"{given.hop}" is over the half-life, or below 16 / {PANES_MAX} of it', "hop"
            )
        return hop_ms
    hop_ms = hop_ms or window_ms
    if window_ms % hop_ms or window_ms > hop_ms * PANES_MAX:
        raise Refused(
            f'"{given.hop}" must divide the window ("{given.window}") into 1 to {PANES_MAX} parts',
            "hop",
        )
    return hop_ms


def given_fields(feature: FeatureConfig) -> dict[str, object]:
    """The settings of a feature that are not the default of every feature."""
    plain = FeatureConfig()
    return {
        field: getattr(feature, field)
        for field in feature.__struct_fields__
        if getattr(feature, field) != getattr(plain, field)
    }


def changed(feature: FeatureConfig, values: Mapping[str, object]) -> FeatureConfig:
    return msgspec.structs.replace(feature, **values)
