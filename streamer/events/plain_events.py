"""Events in their plain form, out of the bytes of a whole batch: spans, hashes, types, times.

Plain is what producers send nearly always: one JSON object with the fields of an event alone, each
at most once and in any order, ASCII text without escapes, numbers without exponents and of at most
15 digits, a flat ``context``. A kernel recognises it in a fraction of the time that a decoder
takes, since it makes no objects. It answers for nothing else: where it is in any doubt a message is
*not plain*, which says nothing about whether it is good, and goes to the decoder of
:mod:`streamer.events.decoding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from streamer.events.json_scan import (
    CLOSE,
    COLON,
    COMMA,
    OPEN,
    QUOTE,
    after_space,
    after_text,
    is_at,
    natural,
    number,
    word_of,
)
from streamer.events.messages import CONTEXT_KEYS_MAX, EVENT_BYTES_MAX, ID_BYTES_MAX, TS_MS_END
from streamer_models.state.ids.id_bytes import HASH_SEED, Bytes, hash_of, read_only
from streamer_models.state.ids.id_column import IdColumn
from streamer_models.state.ids.kernel_ints import ZERO

FIELDS: Final = (
    *("event_id", "user_id", "item_id", "request_id"),
    *("type", "ts", "value", "context", "position", "v"),
)
_EVENT_ID, _USER_ID, _ITEM_ID, _REQUEST_ID, _TYPE, _TS, _VALUE, _CONTEXT, _POSITION, _V = range(10)
N_IDS: Final = 5
EVENT_IDS, USER_IDS, ITEM_IDS, REQUEST_IDS, SURFACES = range(N_IDS)
"""Rows of the ids that are found; the first four are fields of the same number."""

# Without the hashes of a column of ids: numba would ready itself for them at the import already.
_FIELD_NAMES = read_only("".join(FIELDS).encode())
_FIELD_NAME_ENDS = np.cumsum([len(name) for name in FIELDS], dtype=np.int64)

_REQUIRED = sum(1 << field for field in (_EVENT_ID, _USER_ID, _ITEM_ID, _TYPE, _TS))
_POSITION_END = 1 << 31
_SURFACE = read_only(b"surface")
_NULL, _TRUE, _FALSE = (read_only(word) for word in (b"null", b"true", b"false"))


@dataclass(frozen=True, slots=True)
class PlainEvents:
    """The plain ones of n messages; columns mean something where ``plain``.

    Attributes
    ----------
    data
        The messages, one behind the other.
    plain
        ``(n,)``.
    starts, ends
        ``(5, n)`` int64 spans of event_id, user_id, item_id, request_id and of the context's
        surface; empty where a message has none.
    hashes
        ``(5, n)`` uint64.
    types
        ``(n,)`` int8, which of the given types.
    ts_ms
        ``(n,)`` int64.
    values
        ``(n,)`` float64, NaN where absent.
    """

    data: bytes
    plain: NDArray[np.bool_]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    types: NDArray[np.int8]
    ts_ms: NDArray[np.int64]
    values: NDArray[np.float64]


def parse_plain(payloads: Sequence[bytes | None], types: IdColumn) -> PlainEvents:
    """Recognise the plain events among messages.

    Parameters
    ----------
    types
        Names of the event types, at most 127.
    """
    n = len(payloads)
    messages = [payload or b"" for payload in payloads]
    found = PlainEvents(
        data=b"".join(messages),
        plain=np.empty(n, dtype=np.bool_),
        starts=np.empty((N_IDS, n), dtype=np.int64),
        ends=np.empty((N_IDS, n), dtype=np.int64),
        hashes=np.empty((N_IDS, n), dtype=np.uint64),
        types=np.empty(n, dtype=np.int8),
        ts_ms=np.empty(n, dtype=np.int64),
        values=np.empty(n, dtype=np.float64),
    )
    _parse(
        read_only(found.data),
        np.cumsum(np.fromiter(map(len, messages), np.int64, n)),
        _FIELD_NAMES,
        _FIELD_NAME_ENDS,
        types.data,
        types.ends,
        HASH_SEED,
        found.plain,
        found.starts,
        found.ends,
        found.hashes,
        found.types,
        found.ts_ms,
        found.values,
    )
    return found


@numba.njit(cache=True, nogil=True)
def _parse(
    data: Bytes,
    message_ends: NDArray[np.int64],
    field_names: Bytes,
    field_ends: NDArray[np.int64],
    type_names: Bytes,
    type_ends: NDArray[np.int64],
    seed: np.uint64,
    plain: NDArray[np.bool_],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    types: NDArray[np.int8],
    ts_ms: NDArray[np.int64],
    values: NDArray[np.float64],
) -> None:
    # What is sent next looks like what was sent last: the order of fields, and the type.
    likely = np.zeros(len(field_ends), dtype=np.int64)
    likely_type, end = ZERO, ZERO
    for i in range(len(message_ends)):
        start, end = end, message_ends[i]
        plain[i], ts_ms[i], values[i] = False, 0, np.nan
        for k in range(N_IDS):
            starts[k, i] = ends[k, i] = 0
        at = after_space(data, start, end)
        if at == end or data[at] != OPEN or end - start > EVENT_BYTES_MAX:
            continue
        seen, place = 0, 0
        while at >= 0 and data[at] != CLOSE:
            # (1) The name of a field, one not seen yet.
            at = after_space(data, at + 1, end)
            if at == end or data[at] != QUOTE or place == len(likely):
                break
            field, at = word_of(data, at, end, field_names, field_ends, likely[place])
            if field < 0 or (seen >> field) & 1:
                break
            likely[place] = field
            place += 1
            at = after_space(data, at, end)
            if at == end or data[at] != COLON:
                break
            # (2) Its value; a place of -1 where it is not plain, or out of bounds.
            at = after_space(data, at + 1, end)
            if field <= _REQUEST_ID:
                if field != _REQUEST_ID or not is_at(_NULL, data, at, end):
                    starts[field, i], ends[field, i], at = _id(data, at, end)
                else:
                    at += len(_NULL)
            elif field == _TYPE:
                types[i], at = _type(data, at, end, type_names, type_ends, likely_type)
                likely_type = types[i]
            elif field == _TS:
                ts_ms[i], at = _below(TS_MS_END, data, at, end)
            elif field == _V:
                at = _version(data, at, end)
            elif is_at(_NULL, data, at, end):
                at += len(_NULL)
            elif field == _VALUE:
                values[i], at = number(data, at, end)
            elif field == _POSITION:
                _, at = _below(_POSITION_END, data, at, end)
            else:
                starts[SURFACES, i], ends[SURFACES, i], at = _context(data, at, end)
            if at < 0:
                break
            seen |= 1 << field
            # (3) Another field, or the end.
            at = after_space(data, at, end)
            if at == end or (data[at] != COMMA and data[at] != CLOSE):
                break
            if data[at] == CLOSE:
                plain[i] = (seen & _REQUIRED) == _REQUIRED
                plain[i] &= after_space(data, at + 1, end) == end
        if plain[i]:
            for k in range(N_IDS):
                hashes[k, i] = 0
                if ends[k, i] > starts[k, i]:
                    hashes[k, i] = hash_of(data, starts[k, i], ends[k, i], seed)


@numba.njit(cache=True, nogil=True)
def _id(data: Bytes, at: int, end: int) -> tuple[int, int, int]:
    """Return the span of an id and what is behind it."""
    behind = after_text(data, at, end)
    start, stop = at + 1, behind - 1
    if behind < 0 or not 0 < stop - start <= ID_BYTES_MAX:
        return 0, 0, -1
    return start, stop, behind


@numba.njit(cache=True, nogil=True)
def _type(
    data: Bytes, at: int, end: int, names: Bytes, ends: NDArray[np.int64], likely: int
) -> tuple[int, int]:
    """Return the code of a type, 0 where it is unknown, and what is behind it."""
    if at == end or data[at] != QUOTE:
        return 0, -1
    code, at = word_of(data, at, end, names, ends, likely)
    return max(code, 0), at


@numba.njit(cache=True, nogil=True)
def _below(bound: int, data: Bytes, at: int, end: int) -> tuple[int, int]:
    """Return an integer from 0 on and below a bound, and what is behind it."""
    found, at = natural(data, at, end)
    return found, at if found < bound else -1


@numba.njit(cache=True, nogil=True)
def _version(data: Bytes, at: int, end: int) -> int:
    version, at = natural(data, at, end)
    return at if version == 1 else -1


@numba.njit(cache=True, nogil=True)
def _context(data: Bytes, at: int, end: int) -> tuple[int, int, int]:
    """Return the span of the surface in a flat object, and what is behind the object."""
    start, stop, has_surface = 0, 0, False
    if at == end or data[at] != OPEN:
        return 0, 0, -1
    for n_keys in range(CONTEXT_KEYS_MAX + 1):
        at = after_space(data, at + 1, end)
        if n_keys == 0 and at < end and data[at] == CLOSE:
            return 0, 0, at + 1
        key = at + 1
        at = after_text(data, at, end)
        if at < 0 or n_keys == CONTEXT_KEYS_MAX:
            break
        is_surface = at - 1 - key == len(_SURFACE) and is_at(_SURFACE, data, key, end)
        if is_surface and has_surface:
            break
        has_surface |= is_surface
        at = after_space(data, at, end)
        if at == end or data[at] != COLON:
            break
        value = after_space(data, at + 1, end)
        at = _after_flat_value(data, value, end)
        if is_surface and at >= 0 and data[value] == QUOTE:
            start, stop = value + 1, at - 1
        if at < 0:
            break
        at = after_space(data, at, end)
        if at < end and data[at] == CLOSE:
            return start, stop, at + 1
        if at == end or data[at] != COMMA:
            break
    return 0, 0, -1


@numba.njit(cache=True, nogil=True)
def _after_flat_value(data: Bytes, at: int, end: int) -> int:
    """Return what is behind a text, a number or a bool."""
    if at < end and data[at] == QUOTE:
        return int(after_text(data, at, end))
    if is_at(_TRUE, data, at, end):
        return at + len(_TRUE)
    if is_at(_FALSE, data, at, end):
        return at + len(_FALSE)
    return int(number(data, at, end)[1])
