"""Bytes of a batch of events → columns and rejections.

Events in their plain form are recognised all at once (:mod:`streamer.events.plain_events`). Every
other message goes through the decoder of :mod:`streamer.events.decoding` by itself, which says what
is right, and no message can reach into its neighbour: ``{"u":[{}`` and ``{}]}`` are two broken ones
that join into a good one.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.errors import BadMessage
from streamer.events.decoding import Rejected, counted_ms, decode_event, future_reason
from streamer.events.messages import AHEAD_MS_MIN, FUTURE_MS_MAX, Event
from streamer.events.plain_events import (
    EVENT_IDS,
    ITEM_IDS,
    N_IDS,
    REQUEST_IDS,
    SURFACES,
    USER_IDS,
    PlainEvents,
    parse_plain,
)
from streamer.events.types import EventTypes
from streamer_models.state.columns import Columns
from streamer_models.state.ids.id_bytes import HASH_SEED, Bytes, hashes_of, read_only
from streamer_models.state.ids.id_column import IdColumn


@dataclass(frozen=True, slots=True)
class EventColumns(Columns):
    """The good events of a batch, in columns of equal length ``n``.

    Attributes
    ----------
    index
        ``(n,)`` int32, place in the batch, rising; bad messages are absent.
    request_ids, surfaces
        Empty where an event names none; the surface is that of its context.
    types
        ``(n,)`` int8 codes of :class:`streamer.events.EventTypes`.
    ts_ms
        ``(n,)`` int64 event times, none after its publication.
    ahead
        ``(n,)`` whether an event's own time lay ``AHEAD_MS_MIN`` or more after its publication.
    values
        ``(n,)`` float64, NaN where absent.
    """

    index: NDArray[np.int32]
    event_ids: IdColumn
    user_ids: IdColumn
    item_ids: IdColumn
    request_ids: IdColumn
    surfaces: IdColumn
    types: NDArray[np.int8]
    ts_ms: NDArray[np.int64]
    ahead: NDArray[np.bool_]
    values: NDArray[np.float64]


def decode_events(
    payloads: Sequence[bytes | None], publish_ms: NDArray[np.int64], types: EventTypes
) -> tuple[EventColumns, list[Rejected]]:
    """Decode a batch; every payload is in exactly one of the two results, in order.

    Parameters
    ----------
    types
        The event types that are known; an event of another one is rejected.
    publish_ms
        ``(len(payloads),)`` int64, publish times of the messages; negative: unknown.
    """
    found = parse_plain(payloads, _column(types.names))
    data, rejected = found.data, list[Rejected]()
    good = found.plain.copy()
    if not good.all():
        data, rejected = _decode_others(payloads, found, types)
        good[:] = True
        good[[each.index for each in rejected]] = False
    absurd = good & (publish_ms >= 0) & (found.ts_ms - FUTURE_MS_MAX > publish_ms)
    if absurd.any():
        for i in np.flatnonzero(absurd).tolist():
            reason = future_reason(int(found.ts_ms[i]), int(publish_ms[i]))
            rejected.append(Rejected(i, reason))
        rejected.sort(key=lambda each: each.index)
    ahead = (publish_ms >= 0) & (found.ts_ms - AHEAD_MS_MIN >= publish_ms)
    found.ts_ms[:] = counted_ms(found.ts_ms, publish_ms)
    columns = _columns(found, ahead, read_only(data))
    return columns.take(np.flatnonzero(good & ~absurd)) if rejected else columns, rejected


def _decode_others(
    payloads: Sequence[bytes | None], found: PlainEvents, types: EventTypes
) -> tuple[bytes, list[Rejected]]:
    """Decode what is not plain, one by one, into the columns; return the bytes that spans are of,
    and the bad messages."""
    rejected: list[Rejected] = []
    parts, n_bytes = [found.data], len(found.data)
    others = np.flatnonzero(~found.plain)
    for i in others.tolist():
        try:
            event = decode_event(payloads[i], types)
        except BadMessage as error:
            rejected.append(Rejected(i, str(error)))
            continue
        found.types[i] = types.codes[event.type]
        found.ts_ms[i] = event.ts
        found.values[i] = np.nan if event.value is None else event.value
        for row, text in enumerate(_ids(event)):
            parts.append(text.encode())
            found.starts[row, i], n_bytes = n_bytes, n_bytes + len(parts[-1])
            found.ends[row, i] = n_bytes
    data = b"".join(parts)
    for row in range(N_IDS):
        starts, ends = found.starts[row, others], found.ends[row, others]
        found.hashes[row, others] = hashes_of(read_only(data), starts, ends, HASH_SEED)
    return data, rejected


def _ids(event: Event) -> tuple[str, ...]:
    """The ids of an event in the order of a parser's rows; "" where it has none."""
    surface = (event.context or {}).get("surface")
    return (
        event.event_id,
        event.user_id,
        event.item_id,
        event.request_id or "",
        surface if isinstance(surface, str) else "",
    )


def _columns(found: PlainEvents, ahead: NDArray[np.bool_], data: Bytes) -> EventColumns:
    ids = [
        IdColumn(data, found.starts[row], found.ends[row], found.hashes[row])
        for row in range(N_IDS)
    ]
    return EventColumns(
        index=np.arange(len(found.plain), dtype=np.int32),
        event_ids=ids[EVENT_IDS],
        user_ids=ids[USER_IDS],
        item_ids=ids[ITEM_IDS],
        request_ids=ids[REQUEST_IDS],
        surfaces=ids[SURFACES],
        types=found.types,
        ts_ms=found.ts_ms,
        ahead=ahead,
        values=found.values,
    )


@functools.lru_cache(maxsize=16)
def _column(names: tuple[str, ...]) -> IdColumn:
    return IdColumn.of(names)
