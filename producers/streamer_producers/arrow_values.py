"""Values of Arrow's types, as Parquet has them → those of which messages are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from streamer_producers.times import Instant, Rounded

_DAY_MS: Final = 86_400_000
_SHOWN_BYTES: Final = 16

_Convert = Callable[[Any], object]


class Unreadable:
    """A value that no message can hold, and, as text, why. (JSON would take a dataclass.)"""

    __slots__ = ("_why",)

    def __init__(self, why: str) -> None:
        self._why = why

    def __str__(self) -> str:
        return self._why


def values(array: Any, pyarrow: Any) -> list[Any]:
    """The values of one column: text, numbers, datetimes and dates, lists and dictionaries of them.

    Bytes are text in UTF-8 where they have no fixed size, and hexadecimal digits where they do;
    a decimal without a fraction is an integer. What Python can't hold is :class:`Unreadable`, or an
    :class:`Instant` where it is a time.
    """
    if pyarrow.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    held = _held(array.type, pyarrow)
    if held != array.type:
        array = array.cast(held, safe=False)
    try:
        found: list[Any] = array.to_pylist()
    except (ValueError, OverflowError):
        found = [_value(each, pyarrow) for each in array]
    convert = _conversion(held, pyarrow)
    return found if convert is None else [_converted(convert, each) for each in found]


def _held(kind: Any, pyarrow: Any) -> Any:
    """The type to which a type is cast so that Python's values hold it.

    Python's datetimes end at the microsecond, and an event's time at the millisecond. All are in
    UTC, since zones have names that only their writer may know.
    """
    types = pyarrow.types
    if types.is_timestamp(kind):
        return pyarrow.timestamp("ms", None if kind.tz is None else "UTC")
    if types.is_time64(kind):
        return pyarrow.time64("us")
    if types.is_duration(kind):
        return pyarrow.duration("us")
    if types.is_list(kind):
        return pyarrow.list_(kind.value_field.with_type(_held(kind.value_type, pyarrow)))
    if types.is_large_list(kind):
        return pyarrow.large_list(kind.value_field.with_type(_held(kind.value_type, pyarrow)))
    if types.is_struct(kind):
        return pyarrow.struct([each.with_type(_held(each.type, pyarrow)) for each in kind])
    return kind


def _value(scalar: Any, pyarrow: Any) -> object:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        if hasattr(scalar, "as_buffer"):
            return _text(scalar.as_buffer().to_pybytes())
        return Unreadable(f"a value of the type {scalar.type} holds text that is not UTF-8")
    except (ValueError, OverflowError):
        if pyarrow.types.is_timestamp(scalar.type) or pyarrow.types.is_date64(scalar.type):
            return Instant(scalar.value)
        if pyarrow.types.is_date32(scalar.type):
            return Instant(scalar.value * _DAY_MS)
        return Unreadable(f"a value of the type {scalar.type} is out of range")


def _conversion(kind: Any, pyarrow: Any) -> _Convert | None:
    """What makes of a Python value of a type the one that is meant; None: it is that itself."""
    types = pyarrow.types
    if types.is_float32(kind):
        return lambda value: _number(value, 2**24)
    if types.is_float16(kind):
        return lambda value: _number(float(value), 2**11)
    if types.is_decimal(kind):
        return lambda value: int(value) if value == value.to_integral_value() else value
    if types.is_fixed_size_binary(kind):
        return lambda value: value.hex()
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return _text
    if types.is_map(kind):
        of_key, of_item = (_conversion(each, pyarrow) for each in (kind.key_type, kind.item_type))
        return lambda value: {
            _converted(of_key, key): _converted(of_item, item) for key, item in value
        }
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        of_each = _conversion(kind.value_type, pyarrow)
        if of_each is None:
            return None
        return lambda value: [_converted(of_each, each) for each in value]
    if types.is_struct(kind):
        of_fields = {each.name: _conversion(each.type, pyarrow) for each in kind}
        if not any(of_fields.values()):
            return None
        return lambda value: {
            name: _converted(of_fields[name], each) for name, each in value.items()
        }
    return None


def _converted(convert: _Convert | None, value: object) -> object:
    if convert is None or value is None or isinstance(value, Unreadable | Instant):
        return value
    return convert(value)


def _number(value: float, several_from: int) -> float:
    return Rounded(value) if value.is_integer() and abs(value) >= several_from else value


def _text(value: bytes) -> str | Unreadable:
    try:
        return value.decode()
    except UnicodeDecodeError:
        shown = value[:_SHOWN_BYTES].hex() + "…" * (len(value) > _SHOWN_BYTES)
        return Unreadable(f"the bytes 0x{shown} are no text in UTF-8; write the column as text")
