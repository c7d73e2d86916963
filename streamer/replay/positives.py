"""``value>=5 and type=rating``: which events are positives."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Final

from streamer.errors import ConfigError
from streamer.events import Event, EventTypes
from streamer.events.types import section_of

Condition = Callable[[Event], bool]

_COMPARISONS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
_CONDITION = re.compile(r"\s*(value|type)\s*(>=|<=|!=|==|>|<|=)\s*(\S+)\s*")


def parse_positives(text: str, types: EventTypes) -> Condition:
    """Conditions joined by ``and``: of ``value``, compared with a number, or ``type``, which is
    (``=``) or is not (``!=``) one of several joined by ``|``. An event without a value meets no
    condition on it.

    Parameters
    ----------
    types
        Those that a condition may name.

    Raises
    ------
    ConfigError
        Naming the condition that is none.

    Examples
    --------
    >>> is_positive = parse_positives("type=click|purchase and value>0.5", EventTypes())
    >>> click = Event(event_id="1", type="click", user_id="u", item_id="i", ts=0, value=1.0)
    >>> is_positive(click)
    True
    """
    conditions = [_condition(part, types) for part in re.split(r"\s+and\s+", text)]
    if len(conditions) == 1:
        return conditions[0]
    return lambda event: all(holds(event) for holds in conditions)


def _condition(text: str, types: EventTypes) -> Condition:
    match = _CONDITION.fullmatch(text)
    if match is not None and match[1] == "value":
        return _value_condition(text, match[2], match[3])
    if match is not None and match[2] in ("=", "==", "!="):
        named = match[3].split("|")
        unknown = [name for name in named if name not in types]
        if not unknown:
            wanted, among = frozenset(named), match[2] != "!="
            return lambda event: (event.type in wanted) is among
        raise ConfigError(
            f"positives {text!r}: {unknown[0]!r} is no event type; add {section_of(unknown[0])}"
            f" with its weight to the configuration, or choose among {', '.join(types.names)}"
        )
    raise ConfigError(
        f"positives {text!r} is no condition; write for example value>=5, type=click|purchase, or"
        " several joined by and"
    )


def _value_condition(text: str, comparison: str, number: str) -> Condition:
    compare = _COMPARISONS[comparison]
    try:
        bound = float(number)
    except ValueError:
        raise ConfigError(f"positives {text!r}: {number!r} is not a number") from None
    return lambda event: event.value is not None and compare(event.value, bound)
