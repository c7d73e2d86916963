"""Values of windowed features as published, against those of the events that lie on their topic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamer.config import Config
from streamer.errors import BadMessage
from streamer.events import Event, decode_event, decode_keyed_feature_value, decode_keyed_item
from streamer.faust_worker.settings import features_settings
from streamer.windows.engine import windowed_features
from tests.torture.topics import messages_of
from tests.unit.windowed_logs import Values, as_values, columns


@dataclass(frozen=True, slots=True)
class ComparedFeatures:
    """Values that should be there by now and are not, and those that are there and are wrong."""

    n_wanted: int
    missing: list[tuple[str, str, int]]
    wrong: list[str]


class Windows:
    """What features should be by the events on their topic, which get no more."""

    def __init__(self, config: Config) -> None:
        events = _events(config)
        # Windows that end after it may be open still.
        self._closed_ms = max(event.ts for event in events) - round(
            1000 * config.windows.lateness_s
        )
        self._config = config
        self._wanted = _wanted(config, events)

    def compared(self) -> ComparedFeatures:
        """Compare what is on the features topic now."""
        found, _ = published_features(self._config)
        wanted = self._wanted
        missing = [key for key in wanted if key[2] <= self._closed_ms and key not in found]
        wrong = [
            f"{key}: {sorted(values)}, not {wanted.get(key)}"
            for key, values in found.items()
            if values != {wanted.get(key)}
        ]
        return ComparedFeatures(len(wanted), missing, wrong)


def published_features(config: Config) -> tuple[dict[tuple[str, str, int], set[float]], int]:
    """Feature, entity and window end → the values published of it, and messages that are none."""
    found: dict[tuple[str, str, int], set[float]] = {}
    n_rejected = 0
    for each in messages_of(config, "features"):
        if each.value is None:
            continue  # the entity has left the window
        try:
            value = decode_keyed_feature_value(each.key, each.value, publish_ms=each.publish_ms)
        except BadMessage:
            n_rejected += 1
            continue
        found.setdefault((value.name, value.id, value.window_end), set()).add(value.value)
    return found, n_rejected


def _events(config: Config) -> list[Event]:
    """Each event once, at the time that counts."""
    types, found = config.event_types, dict[str, Event]()
    for each in messages_of(config, "events"):
        try:
            event = decode_event(each.value, types, publish_ms=each.publish_ms)
        except BadMessage:
            continue
        found.setdefault(event.event_id, event)
    return sorted(found.values(), key=lambda event: event.ts)


def _wanted(config: Config, events: Sequence[Event]) -> Values:
    """What replay computes of the events."""
    of_item = {}
    for each in messages_of(config, "items"):
        try:
            item = decode_keyed_item(each.key, each.value)
        except BadMessage:
            continue
        of_item[item.item_id] = tuple(item.categories or ())
    return as_values(
        windowed_features(
            features_settings(config).definitions,
            columns(events, 10_000),
            config.event_types,
            categories=lambda item_id: of_item.get(item_id, ()),
        )
    )
