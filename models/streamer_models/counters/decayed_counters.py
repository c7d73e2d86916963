"""What has to be counted, so that fading features can be read from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

WHOLE: Final = "global"
"""The entity that all events belong to: one row, without an id."""
N_TYPES_MAX: Final = 62
"""Codes of event types are below it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecayedFeature:
    """A count of events that fades, or the ratio of two; as of a time T an event counts
    ``2^((t - T) / half_life)``.

    Attributes
    ----------
    entity
        ``"user"``, ``"item"``, ``"surface"`` or ``"global"``.
    numerator
        Codes of the event types that are counted.
    denominator
        Codes of those it is divided by the count of; none: it is not divided.
    sums_values
        Whether an event of the numerator adds its value, not 1.
    smoothing
        Events that the ratio over all is worth; 0: none.
    """

    name: str
    entity: str
    numerator: tuple[int, ...]
    denominator: tuple[int, ...] = ()
    sums_values: bool = False
    half_life_ms: int
    smoothing: float = 0.0


@dataclass(frozen=True, slots=True)
class Counter:
    """What features count alike is counted once."""

    types: tuple[int, ...]
    half_life_ms: int
    sums_values: bool


def pair(feature: DecayedFeature) -> tuple[Counter, Counter | None]:
    """Counters of the numerator and of the denominator."""
    above = Counter(in_order(feature.numerator), feature.half_life_ms, feature.sums_values)
    if not feature.denominator:
        return above, None
    return above, Counter(in_order(feature.denominator), feature.half_life_ms, False)


def counters_of(feature: DecayedFeature) -> list[tuple[str, Counter]]:
    """Entities and what is counted of them: of the whole too where the feature is smoothed."""
    counters = [counter for counter in pair(feature) if counter is not None]
    entities = [feature.entity, *([WHOLE] if feature.smoothing else [])]
    return [(entity, counter) for entity in entities for counter in counters]


def in_order(types: Iterable[int]) -> tuple[int, ...]:
    """Each type once, so that the same ones are the same."""
    return tuple(sorted(set(types)))


def bits(types: Iterable[int]) -> int:
    """A bit for each type.

    >>> bits((0, 3))
    9
    """
    return sum(1 << code for code in types)


def of_types(sets: Iterable[tuple[int, ...]]) -> NDArray[np.bool_]:
    """``(N_TYPES_MAX,)`` whether each type is in one of the sets.

    Raises
    ------
    ValueError
        For a code that kernels have no bit for.
    """
    found = np.zeros(N_TYPES_MAX, dtype=np.bool_)
    for code in (code for types in sets for code in types):
        if not 0 <= code < N_TYPES_MAX:
            raise ValueError(f"event type {code}: codes are from 0 to {N_TYPES_MAX - 1}")
        found[code] = True
    return found


def add_new(of: dict[str, list[T]], entity: str, each: T) -> None:
    """Add to an entity's list what is not yet in it."""
    known = of.setdefault(entity, [])
    if each not in known:
        known.append(each)
