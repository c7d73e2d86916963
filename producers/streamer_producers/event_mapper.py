"""Records of a log → events, as a mapping says."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import Final

import msgspec

from streamer.errors import BadMessage
from streamer.events import Event, decode_event
from streamer.events.rejection import reason
from streamer_producers.arrow_values import Unreadable
from streamer_producers.mapping import FieldMapping
from streamer_producers.times import (
    NAME_THE_UNIT,
    Instant,
    Rounded,
    TimeGuess,
    as_ms,
    refuse_day_or_month,
)

_IDS: Final = ("event_id", "user_id", "item_id", "request_id")
ABSENT: Final = frozenset(("NULL", "null", "\\N", "nan", "NaN", "None", "<NA>", "#N/A"))
"""How databases, pandas and spreadsheets write an absent value into text."""
_FLOAT_ID: Final = re.compile(r"-?(0|[1-9]\d{0,15})\.0")
_WITH_COMMA: Final = re.compile(r"([+-]?\d+),(\d{1,2}|\d{4,})")
"""A decimal comma; before three digits it may stand between thousands."""
_ROUNDED: Final = re.compile(r"-?\d{1,3}([.,]\d+[eE]\+?|[eE]\+)\d+")
"""As spreadsheets show long numbers, some with a decimal comma. `1e5` may be a code."""


def _plain(value: object) -> object:
    if isinstance(value, Instant):
        return int(value)
    if isinstance(value, Rounded):
        return float(value)
    if isinstance(value, Unreadable):
        raise BadMessage(str(value))
    raise TypeError(f"a {type(value).__name__} is none of JSON's types")


encoder = msgspec.json.Encoder(enc_hook=_plain, decimal_format="number")
"""Of the fields of a record."""


class EventMapper:
    """Makes events out of records as a :class:`FieldMapping` says.

    Parameters
    ----------
    guess
        Of the unit of times; None: they are in ms where the mapping does not name another.
    is_text
        Whether records are of text alone, as of CSV: words for absent values are read as such then,
        and whole numbers that a null made floats are the ids that they were.
    named_in
        Where people write the mapping, for remedies.
    """

    def __init__(
        self,
        mapping: FieldMapping,
        guess: TimeGuess | None = None,
        *,
        is_text: bool = False,
        named_in: str = "with --map",
    ) -> None:
        self._mapping = mapping
        self._named_in = named_in
        self._is_text = is_text
        self._guess = guess or TimeGuess([])
        sources = mapping.sources()
        self._sources = {name: column for name, column in sources.items() if "." not in name}
        self._context = [
            (name.removeprefix("context."), column)
            for name, column in sources.items()
            if "." in name
        ]

    def event(self, record: Mapping[str, object], place: int | str) -> Event:
        """The event of a record.

        Without an id of its own it gets one derived from user, item, time, type and ``place``, the
        line of a log: publishing it again makes the same ids, so repeats are known for what they
        are.

        Raises
        ------
        BadMessage
            Naming the field of the event that is missing or wrong, and its value.
        """
        fields = named(record, self._sources)
        if self._is_text:
            leave_out_absent(fields)
        for name in _IDS:
            if name in fields:
                fields[name] = as_id(fields[name], is_text=self._is_text)
        if "ts" in fields:
            fields["ts"] = self._time_ms(fields["ts"])
        elif self._mapping.timeless:
            fields["ts"] = 0
        if "value" in fields:
            fields["value"] = _true_as_one(fields["value"])
        for name in ("value", "position", "v"):
            if name in fields:
                fields[name] = as_number(_with_point(name, fields[name]))
        if self._mapping.event_type is not None:
            fields["type"] = self._mapping.event_type
        elif "type" in fields:
            fields["type"] = self._type(fields["type"])
        if self._context:
            found_context = {name: value_at(record, column) for name, column in self._context}
            own = fields.get("context")
            fields["context"] = (own if isinstance(own, dict) else {}) | {
                name: value
                for name, value in found_context.items()
                if value not in (None, "") and not (self._is_text and value in ABSENT)
            }
        try:
            if "event_id" not in fields:
                fields["event_id"] = _derived_id(fields, place)
            payload = encoder.encode(fields)
        except UnicodeEncodeError as error:
            raise BadMessage(
                f"{_shown(record)} holds text that is not UTF-8; name the file's encoding, as with"
                " --encoding latin-1"
            ) from error
        except (TypeError, OverflowError) as error:
            raise BadMessage(f"{_shown(record)} can't be written as JSON: {error}") from error
        try:
            return decode_event(payload, self._mapping.types)
        except BadMessage as error:
            if str(error).startswith("field 'ts'") and "ts" in fields:
                raise BadMessage(f"{error}; {self._on_times()}") from error
            if str(error).startswith("field 'type'") and "type" in fields:
                said = f"{error}, {self._named_in} type.{fields['type']}=TYPE"
                raise BadMessage(said) from error
            raise

    def _on_times(self) -> str:
        """Say what to do about a time that is none in the unit of the times."""
        remedy = NAME_THE_UNIT.replace("with --map", self._named_in)
        unit = self._mapping.time_unit
        return remedy if unit is None else f"the map names {unit}: if that is wrong, {remedy}"

    def _type(self, written: object) -> object:
        if isinstance(written, str):
            written = written.strip()
        return self._mapping.type_names.get(str(written), written)

    def _time_ms(self, value: object) -> object:
        self._guess.check(value)
        unit = self._mapping.time_unit or self._guess.unit
        try:
            refuse_day_or_month(value, unit, "ts", self._sources["ts"], self._named_in)
        except BadMessage as error:
            raise BadMessage(f"{error}; {self._on_times()}") from error
        return as_ms(value, unit)


def named(record: Mapping[str, object], sources: Mapping[str, str]) -> dict[str, object]:
    """The fields of a record whose columns are not empty, by their names.

    Raises
    ------
    BadMessage
        When one is :class:`streamer_producers.arrow_values.Unreadable`.
    """
    fields: dict[str, object] = {}
    for name, column in sources.items():
        found = value_at(record, column)
        if isinstance(found, Unreadable):
            raise BadMessage(f"field {name!r}: {found}")
        if found is not None and found != "":
            fields[name] = found
    return fields


def value_at(record: Mapping[str, object], column: str) -> object:
    """What a record has in a column; None: nothing. ``a.b`` is ``b`` in the object ``a``, where
    there is no column of that name.
    """
    found: object = record.get(column)
    if found is None and "." in column:
        outer, _, rest = column.partition(".")
        inner = record.get(outer)
        found = value_at(inner, rest) if isinstance(inner, dict) else None
    return found


def leave_out_absent(
    fields: dict[str, object], *, ids: Sequence[str] = ("user_id", "item_id")
) -> None:
    """Leave out optional fields whose text stands for an absent value; refuse one of ``ids``."""
    for name, value in [*fields.items()]:
        if value not in ABSENT and not (value == "-" and name in ("value", "position")):
            continue
        if name in ids:
            raise BadMessage(f"field {name!r}: {value!r} is how an absent value is written")
        del fields[name]


def as_id(value: object, *, is_text: bool) -> object:
    """Numbers become text, and columns of whole numbers that a null made floats lose their ``.0``.

    What can't be an id stays as it is: the decoder says so.

    Raises
    ------
    BadMessage
        When it is a number that was rounded and may be several ids: a float beyond 2^53 (beyond
        2^24 of 32 bits), or as spreadsheets show long numbers; or when it is several values.
    """
    if isinstance(value, str) and is_text:
        if _ROUNDED.fullmatch(value):
            raise BadMessage(_rounded(value))
        return value[:-2] if _FLOAT_ID.fullmatch(value) else value
    if isinstance(value, dict | list) and len(value) > 1:
        raise BadMessage(
            "several ids in one record: it holds whole columns; write one object a row, as"
            ' pandas does with orient="records"'
        )
    if isinstance(value, float) and value.is_integer():
        if isinstance(value, Rounded) or abs(value) >= 2**53:
            raise BadMessage(_rounded(value))
        return str(int(value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _rounded(value: object) -> str:
    return f"id {value!r} is a number that was rounded; write ids as text"


def as_number(value: object) -> object:
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


def _true_as_one(value: object) -> object:
    """A truth, as of a column ``liked``, as 1 or 0; also in text."""
    truth = value.strip().lower() if isinstance(value, str) else value
    if truth is True or truth == "true":
        return 1
    return 0 if truth is False or truth == "false" else value


def _with_point(name: str, value: object) -> object:
    """A text with a decimal comma as one with a point."""
    if not isinstance(value, str) or "," not in value:
        return value
    if found := _WITH_COMMA.fullmatch(value.strip()):
        return f"{found[1]}.{found[2]}"
    raise BadMessage(
        reason(
            name,
            value,
            "is no number, or its comma may stand for decimals or between thousands: write a point"
            " before decimals, and nothing between thousands",
        )
    )


def _derived_id(fields: Mapping[str, object], place: int | str) -> str:
    parts = [fields.get(name) for name in ("user_id", "item_id", "ts", "type")]
    text = "\x1f".join(map(str, (*parts, place)))
    # 96 bits: among 10^9 events two share an id with a chance of 10^-11.
    return blake2b(text.encode(), digest_size=12).hexdigest()


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else text[:79] + "…"
