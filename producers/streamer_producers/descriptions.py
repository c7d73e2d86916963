"""Other people's field names → what describes an item or a user."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Final

from streamer.errors import BadMessage, ConfigError
from streamer.events import Item, User, decode_item, decode_user
from streamer.events.rejection import reason
from streamer_producers.columns import ColumnMapping, assignments
from streamer_producers.event_mapper import (
    as_id,
    as_number,
    encoder,
    leave_out_absent,
    named,
    value_at,
)
from streamer_producers.times import (
    TIME_UNITS,
    Instant,
    TimeGuess,
    as_ms,
    is_time_unit,
    refuse_day_or_month,
)

DELIMITERS: Final = {"pipe": "|", "comma": ",", "semicolon": ";", "slash": "/", "space": " "}
"""What stands between the labels of a text, by the names that mappings and shells take."""
LIST: Final = "list"
"""A text that is itself a list, as JSON or Python writes it."""
NUMBER: Final = "number"
"""A text that is a number with a decimal point."""
DECIMAL_COMMA: Final = "decimal_comma"
"""A text that is a number with a decimal comma; points or blanks may stand between thousands."""
_WITH_COMMA: Final = re.compile(r"([+-]?)(\d+|\d{1,3}(?:[. \u00a0\u202f]\d{3})+)(?:,(\d+))?")
_TRUTHS: Final = {
    **dict.fromkeys(("true", "t", "yes", "y", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0"), False),
}


@dataclass(frozen=True, slots=True)
class Described:
    """What is described, by a message each.

    Attributes
    ----------
    noun
        Its name in sentences, and in that of the field of its id.
    times, labels
        Fields that are times, and lists of labels.
    decode
        Returns the message of a JSON payload; raises BadMessage.
    """

    noun: str
    message: type[Item] | type[User]
    times: tuple[str, ...]
    labels: tuple[str, ...]
    decode: Callable[[bytes], Item | User]

    @property
    def id_field(self) -> str:
        return f"{self.noun}_id"

    @property
    def fields(self) -> tuple[str, ...]:
        return self.message.__struct_fields__

    def of_id(self, its_id: str) -> Item | User:
        """Return a message of which nothing but the id is known."""
        named: dict[str, Any] = {self.id_field: its_id}
        return self.message(**named)


ITEMS: Final = Described(
    "item", Item, ("created_ts", "expires_ts"), ("categories", "tags"), decode_item
)
USERS: Final = Described("user", User, ("ts",), ("categories",), decode_user)
DESCRIBED: Final[Mapping[str, Described]] = {"items": ITEMS, "users": USERS}
"""By what a file or a topic holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptionMapping(ColumnMapping):
    """Where in a record the fields of what it describes are.

    Attributes
    ----------
    of
        Items or users.
    columns
        As of :class:`streamer_producers.mapping.FieldMapping`; ``attributes.NAME`` is an attribute.
    forms
        Field → how its column is written: a unit of time, one of ``DELIMITERS``, ``list``,
        ``number`` or ``decimal_comma``.
    """

    of: Described = ITEMS
    forms: Mapping[str, str] = field(default_factory=dict)

    def sources(self) -> dict[str, str]:
        found = {name: name for name in self.of.fields} | dict(self.columns)
        return {name: column for name, column in found.items() if column}

    def needed(self) -> list[str]:
        return [self.of.id_field]


def parse_description_mapping(text: str, of: Described = ITEMS) -> DescriptionMapping:
    """Read ``FIELD=COLUMN[:FORM],FIELD=COLUMN[:FORM]…``.

    ``categories=genres:pipe`` says what divides the labels, ``created_ts=added:s`` the unit of
    time, and ``attributes.price=price:number`` that a text is a number (``decimal_comma``: such as
    ``3,50``). ``title=`` leaves the field out.

    Raises
    ------
    ConfigError
        When a part is no assignment, names no field of what is described, repeats one, or has no
        such form.

    Examples
    --------
    >>> parse_description_mapping("categories=genres:pipe").forms
    {'categories': 'pipe'}
    """
    columns: dict[str, str] = {}
    forms: dict[str, str] = {}
    for part, name, equals, column in assignments(text):
        if not equals or (name not in of.fields and not name.startswith("attributes.")):
            one = f"{'an' if of.noun == 'item' else 'a'} {of.noun}"
            wrong = f": {name!r} is no field of {one}" if equals else " is not FIELD=COLUMN"
            raise ConfigError(
                f"mapping {part!r}{wrong}; the fields of {one} are {', '.join(of.fields)} and"
                " attributes.NAME"
            )
        if name in columns:
            raise ConfigError(f"mapping {text!r} gives {name!r} twice; give it once")
        before, colon, form = column.rpartition(":")
        if colon:
            if form not in (allowed := _forms(name, of)):
                some = f"choose one of {', '.join(allowed)}" if allowed else "it has none"
                raise ConfigError(f"mapping {part!r}: {form!r} is no form of {name}; {some}")
            forms[name], column = form, before
        columns[name] = column
    return DescriptionMapping(columns=columns, of=of, forms=forms)


def _forms(name: str, of: Described) -> tuple[str, ...]:
    if name in of.times:
        return TIME_UNITS
    if name in of.labels:
        return (*DELIMITERS, LIST)
    if name == "embedding":
        return (*DELIMITERS, LIST)
    return (NUMBER, DECIMAL_COMMA) if name.startswith("attributes.") else ()


class DescriptionMapper:
    """Makes items or users out of records as a :class:`DescriptionMapping` says.

    Parameters
    ----------
    is_text
        Whether records are of text alone; see :class:`streamer_producers.event_mapper.EventMapper`.
    sample
        The first records, from which it is clear in which unit a time is that is in another one.
    """

    def __init__(
        self,
        mapping: DescriptionMapping,
        *,
        is_text: bool,
        sample: Sequence[Mapping[str, object]] = (),
    ) -> None:
        self._of = mapping.of
        self._forms = mapping.forms
        self._is_text = is_text
        self._sources = mapping.sources()
        self._units = {
            name: unit
            for name in mapping.of.times
            if (unit := mapping.forms.get(name, "ms" if is_text else "")) and is_time_unit(unit)
        }
        self._guesses = {
            name: TimeGuess((value_at(each, self._sources[name]) for each in sample), unit)
            for name, unit in self._units.items()
            if name in self._sources
        }

    def described(self, record: Mapping[str, object]) -> Item | User:
        """Return the item or the user of a record.

        Raises
        ------
        BadMessage
            Naming the field that is missing or wrong, and its value.
        """
        found = named(record, self._sources)
        if self._is_text:
            leave_out_absent(found, ids=(self._of.id_field,))
        fields: dict[str, object] = {}
        attributes: dict[str, object] = {}
        for name, value in found.items():
            if name.startswith("attributes."):
                read = _number(name, value, self._forms[name]) if name in self._forms else value
                if read is not None:
                    attributes[name.removeprefix("attributes.")] = read
            else:
                fields[name] = self._read(name, value)
        if attributes:
            own = fields.get("attributes")
            fields["attributes"] = (own if isinstance(own, dict) else {}) | attributes
        try:
            payload = encoder.encode(fields)
        except (TypeError, UnicodeEncodeError, OverflowError) as error:
            raise BadMessage(f"a value can't be written as JSON: {error}") from error
        return self._of.decode(payload)

    def _read(self, name: str, value: object) -> object:
        if name == self._of.id_field:
            return as_id(value, is_text=self._is_text)
        if name in self._of.labels:
            return _labels(value, self._forms.get(name))
        if name == "embedding":
            return _numbers(value, self._forms.get(name))
        if name in self._of.times:
            column, unit = self._sources[name], self._units.get(name, "")
            refuse_day_or_month(value, unit, name, column, "in the map, as")
            if name not in self._units:
                return as_ms(value, "ms") if isinstance(value, date | Instant) else value
            self._guesses[name].check(value, name)
            return as_ms(value, self._units[name], name)
        if name == "available":
            return _TRUTHS.get(str(value).lower(), value)
        if name == "title":
            return value if isinstance(value, str) else str(value)
        return value


def _number(name: str, value: object, form: str) -> object:
    """The number in a value of an attribute; None: the value stands for an absent one."""
    read = as_number(_with_point(value) if form == DECIMAL_COMMA else value)
    if isinstance(read, str):
        other, sign = (NUMBER, "point") if form == DECIMAL_COMMA else (DECIMAL_COMMA, "comma")
        raise BadMessage(
            reason(
                name,
                value,
                f"is no {form}; in the map, say :{other} where numbers have a decimal {sign}, or no"
                " form to keep text",
            )
        )
    return read


def _with_point(value: object) -> object:
    """A text with a decimal comma as Python writes its number; "" where it has none."""
    if not isinstance(value, str):
        return value
    found = _WITH_COMMA.fullmatch(value.strip())
    if found is None:
        return ""
    sign, whole, decimals = found.groups()
    return f"{sign}{re.sub('[^0-9]', '', whole)}.{decimals or 0}"


def _labels(value: object, form: str | None) -> object:
    """The labels in a value; one that is no list stays as it is where it can't be read as such."""
    if isinstance(value, str):
        if form == LIST:
            evaluated = _evaluated(value)
            if evaluated is value:
                return value
            value = evaluated
        else:
            value = value.split(DELIMITERS[form]) if form is not None else [value]
    if isinstance(value, dict):
        value = value.get("name")
    if not isinstance(value, list | tuple | set):
        value = [value]
    found: dict[object, None] = {}
    for each in value:
        if isinstance(each, list | tuple | dict):
            inner = _labels(each, form)
            found |= dict.fromkeys(inner if isinstance(inner, list) else ())
        elif each is None or each != each:  # how tables write that there is none
            continue
        elif isinstance(each, bool) or not isinstance(each, str | int | float | Decimal):
            return value
        elif text := str(each).strip():
            found[text] = None
    return list(found)


def _numbers(value: object, form: str | None) -> object:
    """The numbers in a value, which a text without a form holds as a list; one that is no list
    stays as it is."""
    if isinstance(value, str):
        value = value.split(DELIMITERS[form]) if form in DELIMITERS else _evaluated(value)
    if not isinstance(value, list | tuple):
        return value
    return [as_number(each) for each in value]


def _evaluated(text: str) -> object:
    """What a text is as JSON or Python writes it, or the text itself where it is nothing of it."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
