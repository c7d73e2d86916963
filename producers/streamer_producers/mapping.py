"""Other people's field names → events."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from hashlib import blake2b
from typing import Final

import msgspec

from streamer.errors import BadMessage, ConfigError
from streamer.events import Event, EventTypes, decode_event
from streamer.events.types import section_of
from streamer_producers.times import (
    NAME_THE_UNIT,
    TIME_UNITS,
    TimeGuess,
    TimeUnit,
    as_ms,
    is_time_unit,
)

_FIELDS: Final = tuple(Event.__struct_fields__)
_IDS: Final = ("event_id", "user_id", "item_id", "request_id")
_ABSENT: Final = frozenset(("NULL", "null", "\\N", "nan", "NaN", "None", "<NA>", "#N/A"))
"""How databases, pandas and spreadsheets write an absent value into text."""
_FLOAT_ID: Final = re.compile(r"-?(0|[1-9]\d{0,15})\.0")
_ROUNDED: Final = re.compile(r"-?\d(\.\d+)?[eE]\+\d+")
_DEFAULT: Final = EventTypes()
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldMapping:
    """Where in a record of a log the fields of an event are.

    Attributes
    ----------
    columns
        Field of the event → column of the log. ``context.NAME`` is a key of the context. A field
        that isn't named here is taken from the column of its own name, if there is one; an empty
        column leaves the field out.
    time_unit
        Of ``ts``: since 1970 in s, ms, us or ns, or dates (see :mod:`streamer_producers.times`);
        None: guessed from the first times of a log.
    event_type
        Of every event, whatever the log says; None: the log says.
    types
        The types that are known; a record of another one is malformed.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    time_unit: TimeUnit | None = None
    event_type: str | None = None
    types: EventTypes = field(default=_DEFAULT, repr=False)

    def with_type(self, event_type: str | None) -> FieldMapping:
        """This mapping with all events of one type; None changes nothing.

        Raises
        ------
        ConfigError
            When there is no such type of event.
        """
        if event_type is None:
            return self
        if event_type not in self.types:
            raise ConfigError(
                f"type {event_type!r} is no event type; add {section_of(event_type)} with its"
                f" weight to the configuration, or choose among {', '.join(self.types.names)}"
            )
        return replace(self, event_type=event_type)

    def sources(self) -> dict[str, str]:
        """Field or ``context.NAME`` → column, of all that may be read."""
        found = {name: name for name in _FIELDS} | dict(self.columns)
        if self.event_type is not None:
            del found["type"]
        return {name: column for name, column in found.items() if column}

    def require(self, columns: Collection[str], log: str) -> None:
        """Check that a table has the columns without which no row makes an event, each once.

        Raises
        ------
        ConfigError
            Naming the missing column and those that are there, or the one that is there twice.
        """
        sources = self.sources()
        for name, column in sources.items():
            if (n_columns := list(columns).count(column)) > 1:
                raise ConfigError(
                    f"{log} has {n_columns} columns {column!r}, and the field {name!r} is in one;"
                    " rename the others in the first line"
                )
        needed = ["user_id", "item_id", "ts", *(["type"] if self.event_type is None else [])]
        for name in needed:
            if sources.get(name) not in columns:
                constant = ", or give all events one type with type=click" if name == "type" else ""
                raise ConfigError(
                    f"{log} has no column {sources.get(name, name)!r} for the field {name!r}; its"
                    f" columns are {', '.join(columns)}; map one with {name}=COLUMN{constant}"
                )


class EventMapper:
    """Makes events out of records as a :class:`FieldMapping` says.

    Parameters
    ----------
    guess
        Of the unit of times, where the mapping does not name it; None: they are in ms.
    is_text
        Whether records are of text alone, as of CSV: words for absent values are read as such then,
        and whole numbers that a null made floats are the ids that they were.
    """

    def __init__(
        self, mapping: FieldMapping, guess: TimeGuess | None = None, *, is_text: bool = False
    ) -> None:
        self._mapping = mapping
        self._is_text = is_text
        self._guess = guess or TimeGuess([])
        sources = mapping.sources()
        self._sources = [(name, column) for name, column in sources.items() if "." not in name]
        self._context = [
            (name.removeprefix("context."), column)
            for name, column in sources.items()
            if "." in name
        ]

    def event(self, record: Mapping[str, object], line: int) -> Event:
        """The event of a record.

        Without an id of its own it gets one derived from user, item, time, type and ``line``:
        publishing the same log again makes the same ids, so repeats are known for what they are.

        Raises
        ------
        BadMessage
            Naming the field of the event that is missing or wrong, and its value.
        """
        fields: dict[str, object] = {}
        for name, column in self._sources:
            found = record.get(column)
            if found is not None and found != "":
                fields[name] = found
        if self._is_text:
            _leave_out_absent(fields)
        for name in _IDS:
            if name in fields:
                fields[name] = _as_id(fields[name], is_text=self._is_text)
        if "ts" in fields:
            fields["ts"] = self._time_ms(fields["ts"])
        for name in ("value", "position", "v"):
            if name in fields:
                fields[name] = _as_number(fields[name])
        if self._mapping.event_type is not None:
            fields["type"] = self._mapping.event_type
        if self._context:
            found_context = {name: record.get(column) for name, column in self._context}
            own = fields.get("context")
            fields["context"] = (own if isinstance(own, dict) else {}) | {
                name: value
                for name, value in found_context.items()
                if value not in (None, "") and not (self._is_text and value in _ABSENT)
            }
        try:
            if "event_id" not in fields:
                fields["event_id"] = _derived_id(fields, line)
            payload = _encoder.encode(fields)
        except (TypeError, OverflowError, UnicodeEncodeError) as error:
            raise BadMessage(f"{_shown(record)} can't be written as JSON: {error}") from error
        try:
            return decode_event(payload, self._mapping.types)
        except BadMessage as error:
            if str(error).startswith("field 'ts'") and "ts" in fields:
                raise BadMessage(f"{error}; {NAME_THE_UNIT}") from error
            raise

    def _time_ms(self, value: object) -> object:
        if self._mapping.time_unit is not None:
            return as_ms(value, self._mapping.time_unit)
        self._guess.check(value)
        return as_ms(value, self._guess.unit)


def parse_mapping(text: str, types: EventTypes = _DEFAULT) -> FieldMapping:
    """Read a mapping as people type it: ``FIELD=COLUMN,FIELD=COLUMN…``.

    ``ts=COLUMN:UNIT`` states the unit of time, which is guessed otherwise; ``type=click``, with any
    event type in the place of a column, makes all events of that type; ``position=`` leaves the
    field out. A column's name can't hold a comma.

    Raises
    ------
    ConfigError
        When a part is no assignment, names no field of an event, or repeats one.

    Examples
    --------
    >>> parse_mapping("user_id=userId,ts=at:s,type=rating")
    FieldMapping(columns={'user_id': 'userId', 'ts': 'at'}, time_unit='s', event_type='rating')
    """
    columns: dict[str, str] = {}
    time_unit: TimeUnit | None = None
    event_type: str | None = None
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, column = (each.strip() for each in part.partition("="))
        if not equals or (name not in _FIELDS and not name.startswith("context.")):
            raise ConfigError(
                f"mapping {part!r} is not FIELD=COLUMN; the fields are {', '.join(_FIELDS)} and"
                " context.NAME"
            )
        if name in columns or (name == "type" and event_type is not None):
            raise ConfigError(f"mapping {text!r} gives {name!r} twice; give it once")
        if name == "type" and column in types:
            event_type = column
            continue
        before, colon, unit = column.rpartition(":")
        if name == "ts" and colon:
            if not is_time_unit(unit):
                raise ConfigError(
                    f"mapping {part!r}: {unit!r} is not a unit of time; choose one of"
                    f" {', '.join(TIME_UNITS)}"
                )
            time_unit, column = unit, before
        columns[name] = column
    return FieldMapping(columns=columns, time_unit=time_unit, event_type=event_type, types=types)


def _leave_out_absent(fields: dict[str, object]) -> None:
    """Leave out optional fields whose text stands for an absent value; refuse it as an id."""
    for name, value in [*fields.items()]:
        if value not in _ABSENT and not (value == "-" and name in ("value", "position")):
            continue
        if name in ("user_id", "item_id"):
            raise BadMessage(f"field {name!r}: {value!r} is how an absent value is written")
        del fields[name]


def _as_id(value: object, *, is_text: bool) -> object:
    """Numbers become text, and columns of whole numbers that a null made floats lose their ``.0``.

    What can't be an id stays as it is: the decoder says so. Beyond 2^53 a float is several ids.
    """
    if isinstance(value, str) and is_text:
        if _ROUNDED.fullmatch(value):
            raise BadMessage(f"id {value!r} is a number that was rounded; write ids as text")
        return value[:-2] if _FLOAT_ID.fullmatch(value) else value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _as_number(value: object) -> object:
    """NaN is how tables write an absent number; infinity is none, and stays text to be refused."""
    if isinstance(value, str | Decimal):
        try:
            value = float(value)
        except (ValueError, OverflowError):
            return value
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if math.isinf(value):
            return str(value)
        # A position may be written 3.0; beyond 2^53 a float is no count.
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return value


def _derived_id(fields: Mapping[str, object], line: int) -> str:
    parts = [fields.get(name) for name in ("user_id", "item_id", "ts", "type")]
    text = "\x1f".join(map(str, (*parts, line)))
    # 96 bits: among 10^9 events two share an id with a chance of 10^-11.
    return blake2b(text.encode(), digest_size=12).hexdigest()


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else text[:79] + "…"
