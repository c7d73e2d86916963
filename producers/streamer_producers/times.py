"""Times of logs, in the units and forms in which tools write them → milliseconds since 1970."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, DecimalException
from typing import Final, Literal, TypeGuard, get_args

from streamer.errors import BadMessage
from streamer.events.messages import IN_SECONDS
from streamer.events.rejection import reason

TimeUnit = Literal["s", "ms", "us", "ns", "iso", "dmy", "mdy"]
TIME_UNITS: Final[tuple[TimeUnit, ...]] = get_args(TimeUnit)
SAMPLE_RECORDS: Final = 1_000
"""Records from which the unit of a log's times is guessed."""
NAME_THE_UNIT: Final = f"name the unit with --map ts=COLUMN:UNIT, one of {', '.join(TIME_UNITS)}"
_DATES: Final[Mapping[str, str]] = {
    "iso": "as dates",
    "dmy": "as dates, the day before the month",
    "mdy": "as dates, the month before the day",
}
"""Units of texts: how they are read."""
_S_SHARE_MIN: Final = 0.98
"""A count of ms from 0 to 49 days has 88 % of its numbers where seconds since 1985 are."""

_PER_MS: Final = {
    "s": Decimal("0.001"),
    "ms": Decimal(1),
    "us": Decimal(1000),
    "ns": Decimal(10**6),
}
_SPANS: Final[dict[TimeUnit, tuple[float, float]]] = {
    "s": IN_SECONDS,
    "ms": (5e11, 4.2e12),
    "us": (5e14, 4.2e15),
    "ns": (5e17, 4.2e18),
}
"""Times from 1985 to 2103 in each unit: no number is such a time in two of them."""
_NAMED_MIN: Final[dict[TimeUnit, float]] = {"s": 7e7, "ms": 4.2e9, "us": 4.2e12, "ns": 4.2e15}
"""What is below may be of our time in the next coarser unit (minutes, s, ms, us)."""
_UNITLESS: Final = (
    ("minutes since 1970", 60_000, 0),
    ("hours since 1970", 3_600_000, 0),
    ("days since 1970", 86_400_000, 0),
    ("days of a spreadsheet", 86_400_000, 25_569),
)
"""What no unit names: how many ms one has, and which number is 1970-01-01. From 2000 to 2040 no
number is such a time in two of them."""
_UNITLESS_MS: Final = (946_684_800_000, 2_208_988_800_000)
_TS_MS_WRITTEN_MAX: Final = 10**18
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = re.compile(
    r"(?P<day>(?:19|20)\d\d[01]\d[0-3]\d)"
    r"(?P<clock>[0-2]\d[0-5]\d(?:[0-5]\d(?P<ms>\d{3})?)?)?(?:\.0+)?"
)
"""Dates in digits alone, by the day, minute, second or millisecond, also as a float writes them."""
_WITH_EXPONENT: Final = re.compile(r"([+-]?\d+)(?:[.,](\d*))?[eE]\+?(\d{1,2})")
"""A number as spreadsheets show long ones, some with a decimal comma."""
_ZONE_NAME = re.compile(r"\s*(UTC|GMT|Z)$", re.IGNORECASE)
_BLANK_BEFORE_OFFSET = re.compile(r"\s+(?=[+-]\d{2}:?\d{2}$)")
_END_OF_DAY = re.compile(r"(?<=[T ])24:00(?=$|[+-]|:00(?:\.0+)?(?:$|[+-]))")
_CLOCK: Final = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?"
    r"(?:\s*(?P<half>[ap])\.?m\.?(?![a-z]))?"
)
_NO_TIMES: Final = (
    (
        re.compile(_CLOCK, re.IGNORECASE),
        "is a time of day without its date, which may be in another column; write both in one",
    ),
    (
        re.compile(r"\d{1,3}([,.' \xa0\u202f])\d{3}(?:\1\d{3})+"),
        "has signs between thousands; write digits alone",
    ),
)
"""What is taken for times and is none, and what to do."""
_NOTE: Final = r"(?:\s*(?:\([^()]*\)|\[[^\[\]]*\]))?"
"""Name of a zone beside what says it in numbers."""
_ZONE: Final = (
    rf"(?:\s*(?:UTC?|GMT)?\s*(?P<offset>[+-]\d\d:?\d\d)(?:{_NOTE}|\s*[a-z]{{2,5}})"
    rf"|\s*(?:UTC?|GMT|Z){_NOTE}"
    r"|\s*(?P<zone>[a-z][\w/+-]*|\([^()]*\)|\[[^\[\]]*\]))?"
)
_YEAR_FIRST: Final = re.compile(r"(\d{4})([/.])(\d\d)\2(\d\d)(?!\d)")
_IN_NUMBERS: Final = re.compile(
    rf"(?P<year>\d{{4}})(?P<sign>[-/.])(?P<month>\d\d)(?P=sign)(?P<day>\d\d)[T ]\s*{_CLOCK}{_ZONE}",
    re.IGNORECASE,
)
_DAY_OR_MONTH: Final = re.compile(
    r"(?P<first>\d{1,2})(?P<sign>[/.-])(?P<second_one>\d{1,2})(?P=sign)(?P<year>\d{4}|\d\d)"
    rf"(?:,?(?:T|\s+){_CLOCK}{_ZONE})?",
    re.IGNORECASE,
)
"""Dates in numbers that begin with the day or the month: which, only other dates can tell."""
_IN_WORDS: Final = re.compile(
    r"(?:(?P<weekday>[a-z]{3,9})\.?,?\s+)?"
    r"(?:(?P<month>[a-z]{3,9})\.?\s+(?P<day>\d{1,2})|(?P<day_1>\d{1,2})[ -](?P<month_2>[a-z]{3,9}))"
    r"(?:(?:,|[ -])\s*(?P<year>\d{4}|\d\d(?=\s+\d)))?"
    rf"(?:,?\s+(?:(?:at|@)\s+)?{_CLOCK}{_ZONE})?"
    r"(?:\s+(?P<last_year>\d{4}))?",
    re.IGNORECASE,
)
"""As mails, C's ``ctime``, ``date`` and JavaScript write dates."""
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september"),
    *("october", "november", "december"),
)
_WEEKDAYS: Final = [
    f"{day}day" for day in ("mon", "tues", "wednes", "thurs", "fri", "satur", "sun")
]


class Instant(int):
    """Milliseconds since 1970 of a format that says so itself: a unit that is named is not its."""

    __slots__ = ()


class Rounded(float):
    """A whole number in a column of so few bits that it stands for several numbers."""

    __slots__ = ()


def is_time_unit(text: str) -> TypeGuard[TimeUnit]:
    """Whether ``text`` names a unit."""
    return text in TIME_UNITS


def as_ms(value: object, unit: TimeUnit, field: str = "ts") -> object:
    """Milliseconds since 1970; what is no time stays as it is, and the decoder refuses it.

    Parameters
    ----------
    unit
        Of a number or a text; a ``datetime``, a ``date`` (its midnight in UTC) and an
        :class:`Instant` have none.
        ``iso`` reads ISO 8601 (in UTC where no zone is given), also with ``UTC`` or a blank before
        the offset, with ``/`` or ``.`` between year, month and day, with AM or PM, and as mails,
        C's ``ctime``, ``date`` and JavaScript write it. A number among dates is one (20260131,
        20260131235959), or ms where it is clear that it is. ``dmy`` and ``mdy`` read
        ``31/01/2026 23:59`` too, by which of day and month comes first.
    field
        For the message.

    Raises
    ------
    BadMessage
        When a date is in a zone that is named without its offset, and is none of UTC: names mean
        several zones, and their offsets change.
    """
    if isinstance(value, Instant):
        return int(value)
    if unit in _DATES and isinstance(value, int | float | Decimal):
        low, high = _SPANS["ms"]
        value = int(value) if low <= value <= high else str(value)
    if isinstance(value, str) and unit in _DATES:
        value = _read_date(value, field, unit)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (aware - _EPOCH) // timedelta(milliseconds=1)
    if unit in _DATES:
        return value
    if isinstance(value, float | str | Decimal):
        try:
            number = Decimal(value) / _PER_MS[unit]
        except DecimalException:  # no number, or one whose exponent has no bounds
            return value
        # What is far out of bounds is refused as it is: 1e999999 has too many digits to write out.
        fits = number.is_finite() and abs(number) < _TS_MS_WRITTEN_MAX
        return math.floor(number) if fits else str(value)
    if isinstance(value, int):
        return value * 1000 if unit == "s" else value // int(_PER_MS[unit])
    return value


def refuse_day_or_month(value: object, unit: str, field: str, column: str, named_in: str) -> None:
    """Refuse a date that begins with its day or its month, where the unit does not say which.

    Parameters
    ----------
    column
        Where it stands.
    named_in
        Where people name units, for the remedy.

    Raises
    ------
    BadMessage
        Naming the column, the value and what to write.
    """
    if unit in ("dmy", "mdy") or not isinstance(value, str):
        return
    if _DAY_OR_MONTH.fullmatch(value.strip()):
        problem = (
            f"(column {column!r}) begins with its day or its month, and nothing says with which;"
            f" name it {named_in} {field}={column}:dmy (day first) or {field}={column}:mdy"
        )
        raise BadMessage(reason(field, value, problem))


def _read_date(text: str, field: str, unit: str) -> datetime | str:
    """The date of a text; the text where it is none."""
    plain = _BLANK_BEFORE_OFFSET.sub("", _ZONE_NAME.sub("+00:00", text.strip()))
    plain = _YEAR_FIRST.sub(r"\1-\3-\4", plain) if _YEAR_FIRST.match(plain) else plain
    if digits := _DAY.fullmatch(plain):
        clock = digits["clock"] or ""
        plain = f"{digits['day']}T{clock[:6]}{'.' if digits['ms'] else ''}{clock[6:]}".rstrip("T")
    midnight = _END_OF_DAY.sub("00:00", plain)
    try:
        return datetime.fromisoformat(midnight) + timedelta(days=midnight != plain)
    except (ValueError, OverflowError):
        pass
    found = _IN_NUMBERS.fullmatch(text.strip()) or _IN_WORDS.fullmatch(text.strip())
    if found is None and unit != "iso":
        found = _DAY_OR_MONTH.fullmatch(text.strip())
    if found is None:
        return text
    parts = found.groupdict()
    if "first" in parts:
        day_first = unit == "dmy"
        parts["day"], parts["month"] = (
            parts["first" if day_first else "second_one"],
            parts["second_one" if day_first else "first"],
        )
    try:
        at = datetime.combine(_day(parts), _clock(parts))
        if parts["offset"]:
            at = datetime.fromisoformat(f"{at.isoformat()}{parts['offset']}")
    except (ValueError, OverflowError):
        return text
    if zone := parts["zone"]:
        raise BadMessage(
            reason(field, text, f"is in a zone named {zone}; write its offset, as +02:00, or UTC")
        )
    return at


def _day(parts: dict[str, str | None]) -> date:
    """Raises ValueError where there is no such day."""
    if parts.get("weekday"):
        _place(parts["weekday"], _WEEKDAYS)
    years = [each for each in (parts["year"], parts.get("last_year")) if each]
    if len(years) != 1:
        raise ValueError("a date has one year")
    year = int(years[0])
    if len(years[0]) == 2:
        year += 2000 if year < 69 else 1900  # as of mails, RFC 5322
    month = parts["month"] or parts["month_2"] or ""
    day = parts["day"] or parts["day_1"] or ""
    return date(year, int(month) if month.isdigit() else 1 + _place(month, _MONTHS), int(day))


def _clock(parts: dict[str, str | None]) -> time:
    """Raises ValueError where there is no such time of day."""
    hour = int(parts["hour"] or 0)
    if half := parts["half"]:
        if not 1 <= hour <= 12:
            raise ValueError("hours before and after noon are 1 to 12")
        hour = hour % 12 + 12 * (half in "pP")
    microsecond = int(f"{parts['fraction'] or 0:0<6}"[:6])
    return time(hour, int(parts["minute"] or 0), int(parts["second"] or 0), microsecond)


def _place(word: str | None, names: Sequence[str]) -> int:
    """The place of the name of which a word is the beginning; raises ValueError where none is."""
    return [name.startswith((word or " ").lower()) for name in names].index(True)


class TimeGuess:
    """The unit of a log's times, guessed from the first ones, and whether others are of it.

    Numbers are in the unit that puts most of them between 1985 and 2103; texts are dates. Where
    that is not clear (times that count from the start of a simulation), they are in ms.

    Parameters
    ----------
    sample
        The first times.
    named
        The unit, where it is named.
    flag
        What names it.

    Attributes
    ----------
    unit
        Of all times of the log.
    is_clear
        Whether the first times leave no doubt of it.
    remark
        What was guessed, for the user; None: what was named, or ms since 1970, as our own logs
        have it.

    Examples
    --------
    >>> TimeGuess(["1760000000", "1760000900"]).unit
    's'
    >>> TimeGuess(["2026-01-31 08:00:00"]).unit
    'iso'
    """

    def __init__(
        self,
        sample: Iterable[object],
        named: TimeUnit | None = None,
        *,
        flag: str = "--map ts",
    ) -> None:
        given = [
            each for each in sample if each is not None and not isinstance(each, date | Instant)
        ]
        guessed, span = _guessed(given)
        self.unit: TimeUnit = named or guessed
        self.is_clear = not given or span is not None or guessed in _DATES
        self.remark: str | None = None
        # What writes some times of the log in full leaves out zeros at the ends of others.
        self._may_be_rounded = not any(_digits_left_out(each, self.unit) == 0 for each in given)
        self._span = span if guessed == self.unit else None
        if named in _NAMED_MIN and self._span is not None:
            self._span = (_NAMED_MIN[named], self._span[1])
        if not given:
            return
        if named is not None:
            if span is not None and guessed != named and named not in _DATES:
                self.remark = (
                    f"times are read in {named} since 1970, as is named, as {_read(given, named)};"
                    f" by their size they are in {guessed}: {_read(given, guessed)}"
                )
            return
        if self.unit != "ms":
            read = _DATES.get(self.unit, f"in {self.unit} since 1970")
            telling = [each for each in given if max(_day_or_month(each) or (0,)) > 12]
            self.remark = f"times are read {read}, as {_read(telling or given, self.unit)}"
        elif span is None and any(_number(each) for each in given):
            self.remark = f"times are read in ms since 1970, as {_read(given, 'ms')}"
        if self.remark is not None:
            remedy = NAME_THE_UNIT.replace("--map ts", flag)
            self.remark += f"; if that is wrong, {remedy}{_unitless(given, span)}"

    def check(self, value: object, field: str = "ts") -> None:
        """Refuse a time that a spreadsheet rounded, or in another unit than the log's first ones.

        Raises
        ------
        BadMessage
            Naming it.
        """
        if isinstance(value, Rounded):
            problem = "is a number that was rounded; write the column as 64-bit integers"
            raise BadMessage(reason(field, value, problem))
        if self._may_be_rounded and _digits_left_out(value, self.unit):
            problem = (
                f"is a number that was rounded; write all its digits ({_in_full(value)}): a"
                " spreadsheet does where the column is formatted as a number without decimals"
            )
            raise BadMessage(reason(field, value, problem))
        for form, problem in _NO_TIMES:
            if form.fullmatch(str(value).strip()):
                raise BadMessage(reason(field, str(value), problem))
        if self._span is None:
            return
        number = _number(value)
        if number and not self._span[0] <= number <= self._span[1]:
            raise BadMessage(
                f"field {field!r}: {value!r} is not in {self.unit} since 1970, as most of the log's"
                " first times are; write all in one unit"
            )


def _guessed(given: list[object]) -> tuple[TimeUnit, tuple[float, float] | None]:
    """The unit, and between which numbers its times are, where that is clear."""
    numbers = [_number(each) for each in given]
    texts = [each for each, number in zip(given, numbers, strict=True) if number is None]
    in_order = [each for each in map(_day_or_month, texts) if each is not None]
    if 2 * len(in_order) > len(given):
        days = [max(places) > 12 for places in zip(*in_order, strict=True)]
        # Without a number above 12, or with one in both places, nothing tells.
        unit: TimeUnit = "dmy" if days[0] else "mdy"
        return ("ms" if days[0] == days[1] else unit), None
    if 2 * len(texts) > len(given) and any(map(_is_date, texts)):
        return "iso", None
    found = [number for number in numbers if number]
    if given and 2 * sum(bool(_DAY.fullmatch(str(each))) for each in given) > len(given):
        return "iso", None
    counts = {
        unit: sum(low <= number <= high for number in found) for unit, (low, high) in _SPANS.items()
    }
    n_clear = sum(counts.values())
    # A simulation of 20 days in ms ends where seconds since 1985 are, but it begins at 0.
    if found and (n_clear >= _S_SHARE_MIN * len(found) or 2 * (n_clear - counts["s"]) > len(found)):
        unit = max(counts, key=counts.__getitem__)
        return unit, _SPANS[unit]
    return "ms", None


def _day_or_month(value: object) -> tuple[int, int] | None:
    """The two numbers before a year of four digits of which either may be the day."""
    found = _DAY_OR_MONTH.fullmatch(str(value).strip())
    if found is None or len(found["year"]) == 2:
        return None
    places = int(found["first"]), int(found["second_one"])
    return places if min(places) <= 12 and max(places) <= 31 else None


def _is_date(value: object) -> bool:
    try:
        return isinstance(as_ms(value, "iso"), int)
    except BadMessage:  # in a zone that is not known
        return True


def _unitless(given: list[object], span: tuple[float, float] | None) -> str:
    """Say what times may be that no unit names; "": nothing that is known."""
    numbers = [] if span is not None else [n for each in given if (n := _number(each))]
    for what, ms, start in _UNITLESS:
        read = [(number - start) * ms for number in numbers]
        if read and _UNITLESS_MS[0] <= min(read) and max(read) <= _UNITLESS_MS[1]:
            at = _EPOCH + timedelta(milliseconds=read[0])
            return f"; if they are {what} ({at:%Y-%m-%d %H:%M}), write them as dates"
    return ""


def _digits_left_out(value: object, unit: TimeUnit) -> int | None:
    """How many digits before a number's decimals its text with an exponent leaves out, of those
    that are worth a millisecond or more; None: it is no such text."""
    found = _WITH_EXPONENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    n_finer = max(0, _PER_MS[unit].adjusted()) if unit in _PER_MS else 0
    return max(0, int(found[3]) - len(found[2] or "") - n_finer)


def _in_full(value: object) -> str:
    """An example: the digits that are known, and x for each that was rounded away."""
    found = _WITH_EXPONENT.fullmatch(str(value).strip())
    assert found is not None
    known = found[1] + (found[2] or "")
    return known + "x" * (int(found[3]) - len(found[2] or ""))


def _number(value: object) -> float | None:
    """A finite number, as it is or written; None: it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _read(given: list[object], unit: TimeUnit) -> str:
    """A time as it stands in the log, and what is made of it."""
    for each in given:
        try:
            ms = as_ms(each, unit)
        except BadMessage:
            continue
        if isinstance(ms, int) and 0 <= ms < 4_102_444_800_000:
            return f"{each} = {_EPOCH + timedelta(milliseconds=ms):%Y-%m-%d %H:%M:%S} UTC"
    return str(given[0])
