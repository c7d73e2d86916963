"""What ``[features.NAME]`` means: checked together, durations in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from streamer.config.features import FeatureConfig, Measure, Types
from streamer.events import EventTypes, FeatureEntity
from streamer.events.types import section_of

HeldBy = Literal["learner", "windows"]
"""Who computes a feature: the learner, within its commits, or the windows' workers beside it."""
LEARNERS_ENTITIES: Final[frozenset[FeatureEntity]] = frozenset(
    {"user", "item", "surface", "global"}
)
"""Those the learner has features of: an event names them itself, without the catalogue."""
PARENTS: Final[dict[FeatureEntity, FeatureEntity]] = {
    "user": "global",
    "item": "global",
    "category": "global",
    "surface": "global",
    "user_category": "category",
}
"""Entity → the one its rates are smoothed towards."""

PANES_MAX: Final = 2_000
_NOT_OF_RECENCY: Final = (
    "denominator", "window", "hop", "half_life", "session_gap", "lateness", "stale_after",
)  # fmt: skip
_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass(frozen=True, slots=True)
class FeatureDefinition:
    """One feature, checked: every duration in milliseconds.

    Attributes
    ----------
    window_ms, hop_ms
        0 for sessions and for what the learner holds; of a fading feature of the windows' workers
        ``window_ms`` is 0, and ``hop_ms`` is not.
    parent
        Entity whose ratio smooths this one; None where ``smoothing`` is 0.
    ranks
        Whether it is among the columns that candidates are ranked by.
    """

    name: str
    entity: FeatureEntity
    numerator: tuple[str, ...]
    denominator: tuple[str, ...]
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
        """Counts that fade are the learner's, unless they need to know categories, and so are the
        times of last events."""
        fades = self.half_life_ms and self.entity in LEARNERS_ENTITIES
        return "learner" if fades or self.measure == "recency" else "windows"


class Refused(Exception):
    """A definition that can't be: the ``fields`` at fault, and why."""

    def __init__(self, problem: str, *fields: str) -> None:
        super().__init__(problem)
        self.fields = fields


def definition(
    name: str, given: FeatureConfig, types: EventTypes, *, lateness_s: float
) -> FeatureDefinition:
    """The feature that a table of the configuration asks for.

    Parameters
    ----------
    types
        Those that it may count.

    Raises
    ------
    Refused
        For settings that contradict each other, with what would be right.
    """
    numerator, denominator = _types(given.numerator), _types(given.denominator)
    if not numerator:
        raise Refused('names no event type: give one, such as "click", or a list', "numerator")
    for field, named in (("numerator", numerator), ("denominator", denominator)):
        _check_known(named, types, field)
    if given.measure == "recency":
        _check_recency(given)
    else:
        _check_counted(given, denominator)
        _check_forgets(given)
    window_ms, half_life_ms, gap_ms = map(
        milliseconds, (given.window, given.half_life, given.session_gap)
    )
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


def _types(given: Types) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else given


def _check_known(named: Sequence[str], types: EventTypes, field: str) -> None:
    for name in named:
        if name not in types:
            raise Refused(
                f'"{name}" is no event type: add {section_of(name)} with its weight, or choose'
                f" among {', '.join(types.names)}",
                field,
            )


def _check_recency(given: FeatureConfig) -> None:
    if given.entity not in LEARNERS_ENTITIES:
        raise Refused(
            f"no event names its {given.entity}: the time since the last one is known of a user, an"
            " item, a surface and the whole",
            "entity",
            "measure",
        )
    for field, nothing in (
        *((each, "[]" if each == "denominator" else '""') for each in _NOT_OF_RECENCY),
        ("smoothing", "0"),
    ):
        if getattr(given, field):
            raise Refused(
                "the time since the last event is known at every moment, however long ago it was:"
                f" leave {field} out, or give {nothing} for one that the default set has",
                field,
                "measure",
            )


def _check_forgets(given: FeatureConfig) -> None:
    """A feature that adds something up forgets, and in one way."""
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


def _check_counted(given: FeatureConfig, denominator: tuple[str, ...]) -> None:
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
    if given.measure == "recency" or (half_life_ms and given.entity in LEARNERS_ENTITIES):
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
