"""Times of logs, in the units and forms in which tools write them → milliseconds since 1970."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, DecimalException
from email.utils import parsedate_to_datetime
from typing import Final, Literal, TypeGuard, get_args

from streamer.errors import BadMessage
from streamer.events.messages import IN_SECONDS

TimeUnit = Literal["s", "ms", "us", "ns", "iso"]
TIME_UNITS: Final[tuple[TimeUnit, ...]] = get_args(TimeUnit)
SAMPLE_RECORDS: Final = 1_000
"""Records from which the unit of a log's times is guessed."""
NAME_THE_UNIT: Final = f"name the unit with --map ts=COLUMN:UNIT, one of {', '.join(TIME_UNITS)}"

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
_TS_MS_WRITTEN_MAX: Final = 10**18
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ZONE_NAME = re.compile(r"\s*(UTC|GMT|Z)$", re.IGNORECASE)
_BLANK_BEFORE_OFFSET = re.compile(r"\s+(?=[+-]\d{2}:?\d{2}$)")
_END_OF_DAY = re.compile(r"(?<=[T ])24:00(?=$|[+-]|:00(?:\.0+)?(?:$|[+-]))")
_CTIME = re.compile(r"([A-Za-z]{3} [A-Za-z]{3}) +(\d{1,2} \d\d:\d\d:\d\d)( [+-]\d{4})? (\d{4})")


class Instant(int):
    """Milliseconds since 1970 of a format that says so itself: a unit that is named is not its."""

    __slots__ = ()


def is_time_unit(text: str) -> TypeGuard[TimeUnit]:
    """Whether ``text`` names a unit."""
    return text in TIME_UNITS


def as_ms(value: object, unit: TimeUnit) -> object:
    """Milliseconds since 1970; what is no time stays as it is, and the decoder refuses it.

    Parameters
    ----------
    unit
        Of a number or a text; a ``datetime`` and an :class:`Instant` have none.
        ``iso`` reads ISO 8601 (in UTC where no zone is given), also with ``UTC`` or a blank before
        the offset, with ``/`` between year, month and day, and as mails and C's ``ctime`` write it.
    """
    if isinstance(value, Instant):
        return int(value)
    if isinstance(value, str) and unit == "iso":
        value = _read_date(value)
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (aware - _EPOCH) // timedelta(milliseconds=1)
    if unit == "iso":
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


def _read_date(text: str) -> datetime | str:
    """The date of a text; the text where it is none."""
    plain = _BLANK_BEFORE_OFFSET.sub("", _ZONE_NAME.sub("+00:00", text.strip()))
    if re.match(r"\d{4}/\d", plain):
        plain = plain.replace("/", "-")
    midnight = _END_OF_DAY.sub("00:00", plain)
    try:
        return datetime.fromisoformat(midnight) + timedelta(days=midnight != plain)
    except (ValueError, OverflowError):
        pass
    try:
        if match := _CTIME.fullmatch(text.strip()):
            day, clock, offset, year = match.groups()
            zoned = f"{day} {clock}{offset or ' +0000'} {year}"
            return datetime.strptime(zoned, "%a %b %d %H:%M:%S %z %Y")
        if text[:1].isalpha():  # a weekday: Mon, 01 Aug 2016 12:00:00 GMT
            return parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        pass
    return text


class TimeGuess:
    """The unit of a log's times, guessed from the first ones.

    Numbers are in the unit that puts them between 1985 and 2103; texts are dates. Where that is not
    clear (times that count from the start of a simulation), they are in ms.

    Attributes
    ----------
    unit
        Of all times of the log.
    remark
        What was guessed, for the user; None: ms since 1970, as our own logs have it.

    Examples
    --------
    >>> TimeGuess(["1760000000", "1760000900"]).unit
    's'
    >>> TimeGuess(["2026-01-31 08:00:00"]).unit
    'iso'
    """

    def __init__(self, sample: Iterable[object]) -> None:
        given = [each for each in sample if each is not None and not isinstance(each, datetime)]
        self.unit, self._span = _guessed(given)
        self.remark: str | None = None
        if not given:
            return
        if self.unit != "ms":
            named = "as dates" if self.unit == "iso" else f"in {self.unit} since 1970"
            self.remark = f"times are read {named}, as {_read(given, self.unit)}"
        elif self._span is None and any(_number(each) for each in given):
            self.remark = f"times are read in ms since 1970, as {_read(given, 'ms')}"
        if self.remark is not None:
            self.remark += f"; if that is wrong, {NAME_THE_UNIT}"

    def check(self, value: object) -> None:
        """Refuse a time that is in another unit than the log's first ones.

        Raises
        ------
        BadMessage
            Naming it.
        """
        if self._span is None:
            return
        number = _number(value)
        if number and not self._span[0] <= number <= self._span[1]:
            raise BadMessage(
                f"field 'ts': {value!r} is not in {self.unit} since 1970, as the log's first times"
                f" are; {NAME_THE_UNIT}"
            )


def _guessed(given: list[object]) -> tuple[TimeUnit, tuple[float, float] | None]:
    """The unit, and between which numbers its times are, where that is clear."""
    numbers = [_number(each) for each in given]
    texts = [each for each, number in zip(given, numbers, strict=True) if number is None]
    if texts and 2 * len(texts) > len(given) and isinstance(as_ms(texts[0], "iso"), int):
        return "iso", None
    found = [number for number in numbers if number]
    dates = [each for each in given if re.fullmatch(r"(19|20)\d\d[01]\d[0-3]\d", str(each))]
    if dates and len(dates) == len(given):
        return "iso", None
    for unit, (low, high) in _SPANS.items():
        n_within = sum(low <= number <= high for number in found)
        # A simulation of 20 days in ms ends where seconds since 1985 are, but it begins at 0.
        if found and n_within >= (1.0 if unit == "s" else 0.9) * len(found):
            return unit, (low, high)
    return "ms", None


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
        ms = as_ms(each, unit)
        if isinstance(ms, int) and 0 <= ms < 4_102_444_800_000:
            return f"{each} = {_EPOCH + timedelta(milliseconds=ms):%Y-%m-%d %H:%M:%S} UTC"
    return str(given[0])
