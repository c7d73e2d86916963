"""The knobs of production: how fresh, complete and orderly what models learn from is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from streamer.config.specs import duration_ms
from streamer.errors import ConfigError


class Knobs(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to an event between its user and the models that learn it.

    Attributes
    ----------
    sync_interval_ms
        Predictions see what arrived before the last whole multiple of it (of Unix time: of 1 d,
        midnight UTC); 0: all that has arrived.
    label_delay_ms
        From an event to its arrival.
    disorder_ms
        Each event arrives up to so much later, at random: they overtake each other.
    drop
        Share of the events that never arrive, at random.
    crash_every
        Events after which the funnel's learner is lost, and another starts from the store; 0:
        never.
    partitions
        Of the funnel's topics.
    """

    sync_interval_ms: int = 0
    label_delay_ms: int = 0
    disorder_ms: int = 0
    drop: float = 0.0
    crash_every: int = 0
    partitions: int = 1

    def check(self) -> None:
        """Refuse what can't be.

        Raises
        ------
        ConfigError
            Naming the knob, its value and its bounds.
        """
        if not 0 <= self.drop < 1:
            raise ConfigError(f"drop {self.drop} must be at least 0 and below 1: a share")
        if self.crash_every < 0:
            raise ConfigError(f"crash-every is {self.crash_every}; it must be at least 1, or 0")
        if not 1 <= self.partitions <= _PARTITIONS_MAX:
            raise ConfigError(
                f"partitions is {self.partitions}; it must be from 1 to {_PARTITIONS_MAX}"
            )

    @property
    def delays(self) -> bool:
        """Whether anything is learned otherwise than at once."""
        return bool(self.sync_interval_ms or self.label_delay_ms or self.disorder_ms or self.drop)

    @property
    def of_funnel(self) -> list[str]:
        """Names of the knobs that are turned and that only a funnel has."""
        return [
            name
            for name in ("crash-every", "partitions")
            if getattr(self, KNOBS[name][0]) != getattr(_DEFAULT, KNOBS[name][0])
        ]


KNOBS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "sync-interval": ("sync_interval_ms", duration_ms),
    "label-delay": ("label_delay_ms", duration_ms),
    "disorder": ("disorder_ms", duration_ms),
    "drop": ("drop", float),
    "crash-every": ("crash_every", int),
    "partitions": ("partitions", int),
}
"""Name of each, as it is typed → its field and how its text becomes a value."""
_PARTITIONS_MAX = 1_024
_DEFAULT = Knobs()


def turned(knobs: Knobs, name: str, text: str) -> Knobs:
    """``knobs`` with one of them at another value.

    Raises
    ------
    ConfigError
        When there is no such knob, or the text is no value of it.

    Examples
    --------
    >>> turned(Knobs(), "sync-interval", "30s").sync_interval_ms
    30000
    """
    if name not in KNOBS:
        raise ConfigError(f"{name!r} is no knob; these are {', '.join(KNOBS)}")
    field, convert = KNOBS[name]
    try:
        value = convert(text)
    except ValueError as error:
        raise ConfigError(f"--{name} {text!r} is wrong: {error}") from error
    changed = replace(knobs, **{field: value})
    changed.check()
    return changed


def knobs_of(given: dict[str, str | None]) -> Knobs:
    """Knobs by name, those that were not given at rest.

    Raises
    ------
    ConfigError
        As :func:`turned`.
    """
    knobs = Knobs()
    for name, text in given.items():
        if text is not None:
            knobs = turned(knobs, name, text)
    return knobs
