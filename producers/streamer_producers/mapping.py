"""Other people's field names → events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from streamer.errors import ConfigError
from streamer.events import Event, EventTypes
from streamer.events.types import section_of
from streamer_producers.columns import ColumnMapping, assignments
from streamer_producers.times import TIME_UNITS, TimeUnit, is_time_unit

_FIELDS: Final = tuple(Event.__struct_fields__)
_DEFAULT: Final = EventTypes()


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldMapping(ColumnMapping):
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
    type_names
        What the log writes for a type → that type.
    timeless
        Whether a record without a time is an event of 1970, to which a time is given later.
    """

    time_unit: TimeUnit | None = None
    event_type: str | None = None
    types: EventTypes = field(default=_DEFAULT, repr=False)
    type_names: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeless: bool = field(default=False, repr=False)

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
        found = {name: name for name in _FIELDS} | dict(self.columns)
        if self.event_type is not None:
            del found["type"]
        return {name: column for name, column in found.items() if column}

    def needed(self) -> list[str]:
        needed = ["user_id", "item_id"]
        if not self.timeless:
            needed.append("ts")
        if self.event_type is None:
            needed.append("type")
        return needed

    def remedy(self, name: str) -> str:
        if name == "type":
            return ", or give all events one type with type=click"
        if name == "ts":
            return ", or give events the time at which they are published with --rebase"
        return ""


def parse_mapping(text: str, types: EventTypes = _DEFAULT) -> FieldMapping:
    """Read a mapping as people type it: ``FIELD=COLUMN,FIELD=COLUMN…``.

    ``ts=COLUMN:UNIT`` states the unit of time, which is guessed otherwise; ``type=click``, with any
    event type in the place of a column, makes all events of that type; ``position=`` leaves the
    field out. ``type.view=click`` makes what the log calls ``view`` a click. Where the first line
    has no names, ``#1`` is the first column. A column's name can't hold a comma.

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
    type_names: dict[str, str] = {}
    time_unit: TimeUnit | None = None
    event_type: str | None = None
    for part, name, equals, column in assignments(text):
        if equals and name.startswith("type."):
            if column not in types:
                raise ConfigError(
                    f"mapping {part!r}: {column!r} is no event type; choose among"
                    f" {', '.join(types.names)}, or add {section_of(column)} to the configuration"
                )
            type_names[name.removeprefix("type.")] = column
            continue
        if not equals or (name not in _FIELDS and not name.startswith("context.")):
            wrong = f": {name!r} is no field of an event" if equals else " is not FIELD=COLUMN"
            raise ConfigError(
                f"mapping {part!r}{wrong}; the fields are {', '.join(_FIELDS)}, context.NAME and"
                " type.VALUE"
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
    return FieldMapping(
        columns=columns,
        time_unit=time_unit,
        event_type=event_type,
        types=types,
        type_names=type_names,
    )
