"""Why a message was rejected: a sentence that names the field, its value and the remedy.

Runs for bad messages alone, so it may be slow; it must never raise, whatever the bytes are.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from streamer.errors import BadMessage
from streamer.events.allowed import STEP, allowed_values
from streamer.events.messages import IN_SECONDS, SCHEMA_VERSION
from streamer.events.types import EventTypes, section_of

SHOWN_MAX: Final = 80
"""Characters of a value or of a field's name that a reason quotes."""

_MISSING = re.compile(r"missing required field `(.+?)`")
_PATH = re.compile(r" - at `\$\.?(.*)`$", re.DOTALL)
_ESCAPED_BYTE = re.compile(r"\\udc([89a-f][0-9a-f])")
_FIELD = re.compile(r"(field '[^']*'): missing|(field '[^']*')")
_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")


_HOPELESS: Final = object()


class _Number(str):
    """A number as the message spells it, where Python could not hold it finitely."""


def reason(field: str, value: object, problem: str) -> str:
    """``field 'k': 0 is …``; both are cut, and in ASCII so that any text can be sent on."""
    return f"field '{named(field)}': {_shown(value)} {problem}"


def named(field: str) -> str:
    """Return the name of a field as a reason has it."""
    return _cut(json.dumps(field)[1:-1])


def kind_of(reason: str) -> str:
    """What is wrong, without the values of one message: messages of a kind are counted together.

    >>> kind_of("field 'ts': -1 is refused: expected int >= 0")
    "field 'ts'"
    >>> kind_of("field 'item_id': missing from {}; it is required")
    "field 'item_id' is missing"
    """
    if field := _FIELD.match(reason):
        return f"{field[1]} is missing" if field[1] else field[2]
    return _VALUES.sub("…", reason)[:SHOWN_MAX]


def unknown_type(name: str, types: EventTypes) -> str:
    """Say that an event's type is not configured, and what would make it known.

    >>> print(unknown_type("save", EventTypes()).partition(" with")[0])
    field 'type': "save" is unknown; add [events.save]
    """
    known = ", ".join(types.names)
    return reason(
        "type",
        name,
        f"is unknown; add {section_of(name)} with its weight to the configuration, or map it to one"
        f" of {known}",
    )


def refuse_seconds(value: object, field: str) -> None:
    """Refuse a time that would be one of 1985 to 2103 if it were in seconds: in milliseconds it is
    one of January or February 1970; raises BadMessage."""
    low, high = IN_SECONDS
    if isinstance(value, int | float) and low <= value <= high:
        raise BadMessage(in_seconds(value, field))


def in_seconds(value: float, field: str) -> str:
    """Say that a time is in seconds, and what to send instead."""
    problem = f"is in seconds, as it seems; send milliseconds since 1970: {round(1000 * value)}"
    return reason(field, value, problem)


def reason_for(payload: bytes, error: Exception, kind: Any) -> str:
    """What is wrong with ``payload``, which the decoder of a kind refused with ``error``."""
    data = _parse(payload)
    # A message can break off after a value that was refused: there is no value to show then.
    if isinstance(error, msgspec.ValidationError) and data is not _HOPELESS:
        return _of_validation(data, str(error), kind)
    for field, value in _leaves(data):
        if isinstance(value, _Number):
            return reason(field, value, "is not a finite number; send a finite one")
        if isinstance(value, str) and not _is_text(value):
            if isinstance(error, UnicodeDecodeError):
                text = reason(field, value, "is not UTF-8; encode text as UTF-8")
                return _ESCAPED_BYTE.sub(r"\\x\1", text)
            return reason(field, value, "holds half of a surrogate pair; send whole characters")
    if isinstance(error, RecursionError):
        return f"message: {_shown(payload)} is nested too deeply; send a flat object"
    return f"message: {_shown(payload)} is not JSON ({_ascii(str(error))}); send one JSON object"


def _of_validation(data: Any, message: str, kind: Any) -> str:
    at = _PATH.search(message)
    path = at[1] if at else ""
    field, value = _follow(data, path)
    problem = message[: at.start()] if at else message
    if missing := _MISSING.search(problem):
        name = f"{field}.{missing[1]}" if field else missing[1]
        return f"field '{name}': missing from {_shown(value)}; it is required"
    if not field:
        return f"message: {_shown(value)} is not an object; send one JSON object"
    if isinstance(value, _Number):
        return reason(field, value, "is not a finite number; send a finite one")
    if field == "v":
        return reason(
            field, value, f"is not a schema version known here; send version {SCHEMA_VERSION}"
        )
    if allowed := allowed_values(kind, path):
        return reason(field, value, f"is unknown; send {_one_of(allowed)}")
    return reason(field, value, f"is refused: {problem[0].lower()}{_ascii(problem[1:])}")


def _one_of(values: Sequence[object]) -> str:
    """``popular, trending or latest``."""
    *others, last = map(str, values)
    return f"{', '.join(others)} or {last}" if others else last


def _parse(payload: bytes) -> Any:
    """The message as leniently as possible, or ``_HOPELESS``; broken bytes become lone surrogates.

    A number that float cannot hold, and NaN, stay as they are spelled.
    """

    def number(text: str) -> float | _Number:
        return value if math.isfinite(value := float(text)) else _Number(text)

    def integer(text: str) -> int | _Number:
        return int(text) if len(text) <= 308 else _Number(text)

    try:
        text = payload.decode("utf-8", "surrogateescape")
        return json.loads(text, parse_float=number, parse_int=integer, parse_constant=_Number)
    except (ValueError, RecursionError):
        return _HOPELESS


def _leaves(data: Any) -> Iterator[tuple[str, Any]]:
    """Every ``(path, leaf)`` in order, keys of objects among them; however deep."""
    pending = [("", data)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict):
            for key, inner in reversed(value.items()):
                below = (f"{path}.{key}" if path else key)[: 2 * SHOWN_MAX]
                pending += [(below, inner), (below, key)]
        elif isinstance(value, list):
            pending += [
                (f"{path}[{i}]"[: 2 * SHOWN_MAX], value[i]) for i in reversed(range(len(value)))
            ]
        else:
            yield path, value


def _follow(data: Any, path: str) -> tuple[str, Any]:
    """``(name, value)`` at msgspec's path; ``[...]`` (some value of an object) is found out.

    Where a field comes twice the two parsers may mean different ones: the value is then the last
    that can be followed to.
    """
    name, value = "", data
    for index, key in STEP.findall(path):
        if index and index != "...":
            name += f"[{index}]"
            value = (
                value[int(index)] if isinstance(value, list) and int(index) < len(value) else value
            )
            continue
        if index and isinstance(value, dict):
            key = next((k for k, v in value.items() if not _is_flat_value(v)), "")
        name = f"{name}.{key}" if name and key else name or key
        value = value.get(key) if isinstance(value, dict) else value
    return name, value


def _is_flat_value(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, _Number)


def _is_text(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _shown(value: object) -> str:
    if isinstance(value, _Number):
        return _cut(str(value))
    if isinstance(value, bytes):
        return _cut(repr(value[: SHOWN_MAX + 1])[1:])
    if isinstance(value, str):
        return _cut(json.dumps(value[: SHOWN_MAX + 1]))
    try:
        return _cut(json.dumps(value))
    except (ValueError, RecursionError):
        return f"a value of type {type(value).__name__}"


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()
