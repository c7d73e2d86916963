"""Results as they stand on the features topic."""

from __future__ import annotations

from streamer.events import FeatureValue, encode, feature_value_key
from streamer.windows.engine import FeatureResult


def message_of(result: FeatureResult, *, computed_ms: int) -> tuple[bytes, bytes | None]:
    """Key and value of a result; None deletes, for the entity has left the window."""
    key = feature_value_key(result.name, result.id)
    if result.value is None:
        return key, None
    value = FeatureValue(
        entity=result.entity,
        id=result.id,
        name=result.name,
        value=result.value,
        window_start=result.window_start_ms,
        window_end=result.window_end_ms,
        computed_ts=computed_ms,
    )
    return key, encode(value)
