"""The default types of events, and decoders that know these alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamer import events
from streamer.events import Event, EventTypes, Rejected, event_columns
from streamer.events.event_columns import EventColumns

TYPES = EventTypes()
CODES = TYPES.codes


def decode_event(payload: bytes | None, *, publish_ms: int = -1) -> Event:
    return events.decode_event(payload, TYPES, publish_ms=publish_ms)


def decode_events(
    payloads: Sequence[bytes | None], publish_ms: NDArray[np.int64]
) -> tuple[EventColumns, list[Rejected]]:
    return event_columns.decode_events(payloads, publish_ms, TYPES)
