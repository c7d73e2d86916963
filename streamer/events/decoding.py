"""Bytes → messages, one by one; batches of events are decoded by
:mod:`streamer.events.event_columns`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamer.errors import BadMessage
from streamer.events.messages import (
    EVENT_BYTES_MAX,
    FUTURE_MS_MAX,
    ID_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    DeadLetter,
    Decision,
    Event,
    FeatureValue,
    Item,
    Message,
    Pin,
    Recommendation,
    Request,
    SlateRequest,
    User,
    encode,
)
from streamer.events.pages import unpacked_keys
from streamer.events.profiles import PROFILE_BYTES_MAX, packed_profile
from streamer.events.rejection import reason, reason_for, unknown_type
from streamer.events.rows import row_id
from streamer.events.types import EventTypes

M = TypeVar("M", bound=Message)
Timed = TypeVar("Timed", Event, Request, Decision)


@dataclass(frozen=True, slots=True)
class Rejected:
    """One bad message: its place in the batch and why it was refused."""

    index: int
    reason: str


# --- one message at a time: each raises BadMessage, whose text is the dead letter's reason ------


def decode_event(payload: bytes | None, types: EventTypes, *, publish_ms: int = -1) -> Event:
    """One event of a known type, at the time that counts (:func:`counted_ms`).

    ``publish_ms``: when it was published, negative where unknown.
    """
    event = _event(payload)
    _check_type(event, types)
    return _at_counted_time(event, publish_ms)


def decode_item(payload: bytes | None, *, embedding: int = 0) -> Item:
    """One item; a null payload (it deletes the item of its key) is the caller's to handle first.

    Parameters
    ----------
    embedding
        Numbers that an embedding must have (``catalogue.embedding``); 0: any number.
    """
    item = _item(payload)
    check_embedding(item, embedding)
    return item


def check_embedding(item: Item, n_numbers: int) -> None:
    """Raise BadMessage where an item's embedding has not so many numbers; 0: any number."""
    if n_numbers and item.embedding is not None and len(item.embedding) != n_numbers:
        problem = (
            f"has {len(item.embedding)} numbers, and catalogue.embedding is {n_numbers}; send"
            " vectors of that length, or none"
        )
        raise BadMessage(reason("embedding", item.embedding, problem))


def decode_user(payload: bytes | None) -> User:
    """One user; a null payload (it deletes the user of its key) is the caller's to handle first."""
    return _user(payload)


def decode_keyed_item(key: bytes | None, payload: bytes | None, *, embedding: int = 0) -> Item:
    """One item of its topic, of the key that is its id; ``embedding`` as of :func:`decode_item`."""
    item = decode_item(payload, embedding=embedding)
    check_key(key, "item_id", item.item_id)
    return item


def decode_keyed_user(key: bytes | None, payload: bytes | None) -> User:
    """One user of their topic, of the key that is their id."""
    user = decode_user(payload)
    check_key(key, "user_id", user.user_id)
    return user


def decode_keyed_feature_value(
    key: bytes | None, payload: bytes | None, *, publish_ms: int = -1
) -> FeatureValue:
    """One value of its topic, of the key that is its feature and entity; ``publish_ms`` as of
    :func:`decode_feature_value`."""
    found = decode_feature_value(payload, publish_ms=publish_ms)
    check_key(key, "name:id", f"{found.name}:{found.id}")
    return found


def check_key(key: bytes | None, field: str, expected: str) -> None:
    """Raise BadMessage where a message of a compacted topic has another key than its field says:
    compaction keeps the last one of a key, whatever is in it, and a tombstone names the key."""
    if key != expected.encode():
        has = "is not the key, of which there is none" if key is None else f"is not the key {key!r}"
        problem = f"{has}; send it as the key too, or compaction and tombstones take it for another"
        raise BadMessage(reason(field, expected, problem))


def deleted_id(key: bytes | None, noun: str) -> str:
    """Return the id that a tombstone deletes, of an ``item`` or a ``user``."""
    try:
        found = (key or b"").decode()
    except UnicodeDecodeError as error:
        raise BadMessage(f"key {key!r} of a tombstone is not UTF-8; send the {noun}_id") from error
    if not found:
        raise BadMessage(f"a tombstone has no key; send the {noun}_id of the {noun} to delete")
    return found


def decode_request(payload: bytes | None, *, publish_ms: int = -1) -> Request:
    """One request, at the time that counts; ``publish_ms`` as of :func:`decode_event`."""
    return _at_counted_time(_request(payload), publish_ms)


def decode_recommendation(payload: bytes | None) -> Recommendation:
    return _recommendation(payload)


def decode_decision(payload: bytes | None, *, publish_ms: int = -1) -> Decision:
    """One decision, its lists of equal lengths and its features finite; times as of an event."""
    return _at_counted_time(_decision(payload), publish_ms)


def decode_feature_value(payload: bytes | None, *, publish_ms: int = -1) -> FeatureValue:
    """One feature; a null payload (its key has no value any more) is the caller's to handle.

    A window that ends long after ``publish_ms`` is refused: no later one would take its place.
    """
    value = _feature_value(payload)
    if publish_ms >= 0 and value.window_end - FUTURE_MS_MAX > publish_ms:
        raise BadMessage(_future("window_end", value.window_end, publish_ms))
    return value


def decode_dead_letter(payload: bytes | None) -> DeadLetter:
    return _dead_letter(payload)


def encode_checked(message: Message) -> bytes:
    """:func:`streamer.events.encode`, refusing what the decoder at the other end would refuse.

    An event's type is checked by :func:`decode_event`, which is told the types there are.

    Raises
    ------
    BadMessage
        With the reason the dead letter would carry.
    """
    payload = encode(message)
    _DECODERS[type(message)](payload)
    return payload


class _Decoder(Generic[M]):
    """Decodes and checks one kind of message."""

    def __init__(
        self, message: type[M], n_bytes_max: int, check: Callable[[M], None] | None = None
    ) -> None:
        self.decoder = msgspec.json.Decoder(message)
        self._message = message
        self._n_bytes_max = n_bytes_max
        self._check = check

    def __call__(self, payload: bytes | None) -> M:
        if payload is None:
            raise BadMessage(
                "message: null (a tombstone) deletes items and users only; send one JSON object"
            )
        if len(payload) > self._n_bytes_max:
            raise BadMessage(
                f"message: {len(payload)} bytes are over the bound of {self._n_bytes_max}; "
                "send a smaller one"
            )
        try:
            message = self.decoder.decode(payload)
        except _UNDECODABLE as error:
            found = self._of_usual(payload)
            if found is None:
                raise BadMessage(reason_for(payload, error, self._message)) from error
            message = found
        if len(payload) > ID_BYTES_MAX:
            _check_bytes(message)
        if self._check is not None:
            self._check(message)
        return message

    def _of_usual(self, payload: bytes) -> M | None:
        """Decode a message in another spelling; None where it has none, or is wrong in it too."""
        try:
            data = msgspec.json.decode(payload)
            usual = _usual(data)
            if msgspec.json.encode(usual) == msgspec.json.encode(data):
                return None
            return msgspec.convert(usual, self._message)
        except _UNDECODABLE:
            return None


def _usual(data: Any) -> Any:
    """A message in the usual spelling: JSON has one kind of number, so ``2.0`` is an integer, and
    what is null in a flat object is absent."""
    if not isinstance(data, dict):
        return data
    return {
        name: {key: inner for key, inner in value.items() if inner is not None}
        if isinstance(value, dict)
        else _with_integers(value)
        for name, value in data.items()
    }


def _with_integers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < _FLOATS_EXACT:
        return int(value)
    if isinstance(value, list):
        return [_with_integers(each) for each in value]
    if isinstance(value, dict):
        return {key: _with_integers(inner) for key, inner in value.items()}
    return value


_FLOATS_EXACT = 2**53
_UNDECODABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def _check_bytes(message: Message, path: str = "") -> None:
    """The bounds that msgspec can't hold: bytes of ids, and integers that no float can hold."""
    for name in message.__struct_fields__:
        value, field = getattr(message, name), f"{path}{name}"
        if name.endswith("_id"):
            check_id(field, value)
        elif isinstance(value, list):
            if value and isinstance(value[0], float):
                continue
            if value and isinstance(value[0], str) and 4 * max(map(len, value)) <= ID_BYTES_MAX:
                continue  # hundreds of candidates, none of them near the bound
            for i, each in enumerate(value):
                if isinstance(each, Message):
                    _check_bytes(each, f"{field}[{i}].")
                else:
                    check_id(f"{field}[{i}]", each)
        elif isinstance(value, dict):
            for key, inner in value.items():
                if isinstance(inner, int) and inner.bit_length() > 1023:
                    problem = "is beyond the largest finite number; send a smaller one"
                    raise BadMessage(reason(f"{field}.{key}", inner, problem))


def check_id(field: str, value: object, *, n_bytes_max: int = ID_BYTES_MAX) -> None:
    """Refuse an id of too many bytes; what is no text (an absent id, a number) has no bound.

    Raises
    ------
    BadMessage
        Naming ``field``, the id and the bound.
    """
    if isinstance(value, str) and len(value) * 4 > n_bytes_max:  # 4 bytes a character at most
        n_bytes = len(value.encode())
        if n_bytes > n_bytes_max:
            problem = f"has {n_bytes} bytes, over the bound of {n_bytes_max}; shorten it"
            raise BadMessage(reason(field, value, problem))


def _check_type(event: Event, types: EventTypes) -> None:
    if event.type not in types.codes:
        raise BadMessage(unknown_type(event.type, types))


def counted_ms(ts_ms: NDArray[np.int64], publish_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Event times that everything counts with: none lies after its publication.

    One clock that runs ahead would move the watermark, and the weight of every decayed count, for
    all users until then.

    Parameters
    ----------
    publish_ms
        Negative: unknown, and the event's own time counts.

    Examples
    --------
    >>> counted_ms(np.array([50, 150, 150]), np.array([100, 100, -1])).tolist()
    [50, 100, 150]
    """
    counted: NDArray[np.int64] = np.where(publish_ms >= 0, np.minimum(ts_ms, publish_ms), ts_ms)
    return counted


def _at_counted_time(message: Timed, publish_ms: int) -> Timed:
    """A message at the time of :func:`counted_ms`, refused where its own is absurd."""
    if publish_ms < 0 or message.ts <= publish_ms:
        return message
    if message.ts - FUTURE_MS_MAX > publish_ms:
        raise BadMessage(future_reason(message.ts, publish_ms))
    return replace(message, ts=publish_ms)


def future_reason(ts_ms: int, publish_ms: int) -> str:
    return _future("ts", ts_ms, publish_ms)


def _future(field: str, at_ms: int, publish_ms: int) -> str:
    problem = f"is over a day after its publish time {publish_ms}; send event time in ms since 1970"
    return reason(field, at_ms, problem)


def _check_decision(decision: Decision) -> None:
    n_items, n_candidates = len(decision.items), len(decision.candidates)
    for field in ("positions", "propensities", "expected", "explored", "channels"):
        values = getattr(decision, field)
        if values is not None and len(values) != n_items:
            problem = f"has {len(values)} values for {n_items} items; send one for each"
            raise BadMessage(reason(field, values, problem))
    for i, shadow in enumerate(decision.shadows or ()):
        if (n_values := len(shadow.propensities)) != n_items:
            problem = f"has {n_values} values for {n_items} items; send one for each"
            raise BadMessage(reason(f"shadows[{i}].propensities", shadow.propensities, problem))
    for field in ("policy_state", "boosts"):
        packed = getattr(decision, field) or b""
        if len(packed) % 8:
            problem = f"holds {len(packed)} bytes; send float64 numbers, 8 bytes each"
            raise BadMessage(reason(field, packed, problem))
        if not np.isfinite(np.frombuffer(packed, dtype="<f8")).all():
            raise BadMessage(
                f"field '{field}': holds a number that is not finite; send finite ones"
            )
    _check_matrix("features", decision.features, n_candidates, decision.feature_names)
    _check_matrix("slate", decision.slate or b"", n_items, decision.slate_names or ())


def _check_request(request: Request) -> None:
    _check_slate(request, "")
    if request.after is not None:
        unpacked_keys(request.after)
        if request.rows:
            problem = "pages one list, not rows; ask for more of a row by a request of its own"
            raise BadMessage(reason("after", request.after, problem))
    for field in ("seed_items", "list_name", "pinned") if request.rows else ():
        if value := getattr(request, field):
            problem = "is of a row, where there are rows; send it there"
            raise BadMessage(reason(field, msgspec.to_builtins(value), problem))
    names: set[str] = set()
    pinned: set[str] = set()
    for i, row in enumerate(request.rows or ()):
        _check_slate(row, f"rows[{i}].")
        check_id(f"rows[{i}].name", row_id(request, row))
        if row.name in names:
            problem = "names a row above it too; send names that differ"
            raise BadMessage(reason(f"rows[{i}].name", row.name, problem))
        names.add(row.name)
        for at, pin in enumerate(row.pinned or ()):
            if pin.item_id in pinned:
                problem = "is pinned in a row above it too, and no item comes twice; send it once"
                raise BadMessage(reason(f"rows[{i}].pinned[{at}].item_id", pin.item_id, problem))
        pinned.update(pin.item_id for pin in row.pinned or ())


def _check_slate(wanted: SlateRequest, path: str) -> None:
    _check_pins(wanted.pinned or (), f"{path}pinned")
    if wanted.list_name is not None and wanted.seed_items:
        problem = "goes with no seed_items, since a list is the same whatever it goes with"
        field = f"{path}list_name"
        raise BadMessage(reason(field, wanted.list_name, f"{problem}; send one of the two"))


def _check_item(item: Item) -> None:
    if item.embedding is not None and not any(item.embedding):
        problem = "is 0 throughout, and has no direction; send a vector that has one, or none"
        raise BadMessage(reason("embedding", item.embedding, problem))


def _check_user(user: User) -> None:
    n_bytes = len(packed_profile(user))
    if n_bytes > PROFILE_BYTES_MAX:
        raise BadMessage(
            f"message: what is kept of a user takes {n_bytes} bytes of {PROFILE_BYTES_MAX}; send"
            " fewer categories and attributes, or shorter ones"
        )


def _check_pins(pins: Sequence[Pin], path: str) -> None:
    for field in ("position", "item_id"):
        values = [getattr(pin, field) for pin in pins]
        for at, value in enumerate(values):
            if value in values[:at]:
                problem = "is that of another one too; send each once"
                raise BadMessage(reason(f"{path}[{at}].{field}", value, problem))


def _check_feature_value(value: FeatureValue) -> None:
    if value.window_end < value.window_start:
        problem = f"is before window_start {value.window_start}; send the end of the window"
        raise BadMessage(reason("window_end", value.window_end, problem))
    if value.entity != "user_category":  # of two names
        check_id("id", value.id)


def _check_matrix(field: str, packed: bytes, n_rows: int, names: Sequence[str]) -> None:
    """Refuse what is no finite little-endian float32, ``n_rows`` of one for each name."""
    n_bytes = 4 * n_rows * len(names)
    if len(packed) != n_bytes:
        problem = f"holds {len(packed)} bytes where its shape needs {n_bytes}"
        raise BadMessage(reason(field, packed, problem))
    matrix = np.frombuffer(packed, dtype="<f4").reshape(n_rows, len(names))
    bad = np.argwhere(~np.isfinite(matrix))
    if len(bad):
        row, column = bad[0]
        name, value = f"{field}[{row}].{names[column]}", float(matrix[row, column])
        raise BadMessage(reason(name, value, "is not a finite number; send a finite one"))


_event = _Decoder(Event, EVENT_BYTES_MAX)
_item = _Decoder(Item, EVENT_BYTES_MAX, _check_item)
_user = _Decoder(User, EVENT_BYTES_MAX, _check_user)
_request = _Decoder(Request, MESSAGE_BYTES_MAX, _check_request)
_recommendation = _Decoder(Recommendation, MESSAGE_BYTES_MAX)
_decision = _Decoder(Decision, MESSAGE_BYTES_MAX, _check_decision)
_feature_value = _Decoder(FeatureValue, MESSAGE_BYTES_MAX, _check_feature_value)
_dead_letter = _Decoder(DeadLetter, MESSAGE_BYTES_MAX)
_DECODERS: dict[type[Message], Callable[[bytes], Message]] = {
    Event: _event,
    Item: _item,
    User: _user,
    Request: _request,
    Recommendation: _recommendation,
    Decision: _decision,
    FeatureValue: _feature_value,
    DeadLetter: _dead_letter,
}
