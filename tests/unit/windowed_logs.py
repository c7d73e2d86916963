"""Logs with what makes windows hard, and features of them computed by pandas over the whole log."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streamer.config import FeatureDefinition
from streamer.events import Event, encode
from streamer.events.event_columns import EventColumns
from streamer.windows.engine import FeatureResult
from streamer.windows.entities import Categories, contributions
from tests.default_types import decode_events

DATA = Path(os.environ.get("STREAMER_DATA", Path(__file__).parents[3] / "shared" / "data"))
Values = dict[tuple[str, str, int], float | None]
"""(feature, entity, window end) → value; (feature, entity, -1) → None: it left the window."""


def columns(events: Sequence[Event], n_batch: int) -> Iterator[EventColumns]:
    """Events as they are decoded, in batches."""
    for at in range(0, len(events), n_batch):
        payloads = [encode(event) for event in events[at : at + n_batch]]
        decoded, rejected = decode_events(payloads, np.full(len(payloads), -1, np.int64))
        assert not rejected
        yield decoded


def disordered(
    events: Sequence[Event], *, late_share: float, late_ms_max: int, seed: int
) -> list[Event]:
    """The events as they may arrive: a share of them late by at most ``late_ms_max``."""
    rng = np.random.default_rng(seed)
    late = rng.random(len(events)) < late_share
    delay_ms = np.where(late, rng.integers(0, late_ms_max + 1, len(events)), 0)
    arrival = np.array([event.ts for event in events]) + delay_ms
    return [events[i] for i in np.argsort(arrival, kind="stable")]


def with_duplicates(events: Sequence[Event], *, share: float, seed: int) -> list[Event]:
    """The events, a share of them sent once more a little later."""
    rng = np.random.default_rng(seed)
    places = [float(i) for i in range(len(events))]
    again = np.flatnonzero(rng.random(len(events)) < share).tolist()
    places += [i + float(rng.integers(1, 200)) for i in again]
    sent = [*events, *(events[i] for i in again)]
    return [sent[i] for i in np.argsort(places, kind="stable")]


def as_values(results: Iterator[FeatureResult] | Sequence[FeatureResult]) -> Values:
    values: Values = {}
    for each in results:
        key = (each.name, each.id, each.window_end_ms)
        if each.value is not None:
            assert key not in values, f"{key} came twice"
            values[key] = each.value
    return values


def by_pandas(
    feature: FeatureDefinition, events: Sequence[Event], categories: Categories
) -> Values:
    """Every value at every window's end up to the end that the log's last event has closed."""
    frame = _frame(feature.entity, events, categories)
    watermark_ms = max(event.ts for event in events) - feature.lateness_ms
    if feature.session_gap_ms:
        return _sessions(feature, frame, watermark_ms)
    values = _panes(feature, frame, watermark_ms)
    if feature.parent and feature.denominator:
        above = _panes(feature, _frame(feature.parent, events, categories), watermark_ms)
        return _smoothed(feature, values, above)
    return _finished(feature, values)


def _frame(entity: str, events: Sequence[Event], categories: Categories) -> pd.DataFrame:
    (given,) = contributions(next(columns(events, len(events))), [entity], categories)  # type: ignore[list-item]
    rows = [events[place] for place in given.places]
    return pd.DataFrame(
        {
            "id": given.ids,
            "type": [event.type for event in rows],
            "ts": [event.ts for event in rows],
            "value": [event.value for event in rows],
            "user": [event.user_id for event in rows],
        }
    ).astype({"value": float})


Sums = dict[tuple[str, int], tuple[float, float]]


def _panes(feature: FeatureDefinition, frame: pd.DataFrame, watermark_ms: int) -> Sums:
    """(id, end) → numerator and denominator, each window computed from its events."""
    hop = feature.hop_ms
    length = feature.window_ms or -(-16 * feature.half_life_ms // hop) * hop
    counted = frame[frame.type.isin([*feature.numerator, *feature.denominator])]
    sums: Sums = {}
    for entity_id, group in counted.groupby("id"):
        ts, count = group.ts.to_numpy(), _counter(feature, group)
        ends: set[int] = set()
        for t in ts:
            ends |= {*range((t // hop + 1) * hop, t // hop * hop + length + 1, hop)}
        for end in sorted(each for each in ends if each <= watermark_ms):
            sums[str(entity_id), end] = count((ts >= end - length) & (ts < end), end)
    return sums


def _counter(
    feature: FeatureDefinition, events: pd.DataFrame
) -> Callable[[NDArray[np.bool_], int], tuple[float, float]]:
    """Numerator and denominator of some of the events, at a time."""
    ts, users = events.ts.to_numpy(), events.user.to_numpy()
    above = events.type.isin(feature.numerator).to_numpy()
    below = events.type.isin(feature.denominator).to_numpy()
    each = events.value.fillna(0.0).to_numpy() if feature.measure == "value" else above * 1.0

    def count(inside: NDArray[np.bool_], end: int) -> tuple[float, float]:
        if feature.measure == "users":
            return float(len({*users[inside & above]})), 0.0
        ages = (end - ts[inside]) / max(1, feature.half_life_ms)
        weight = np.exp2(-ages) if feature.half_life_ms else 1.0
        total = (weight * each[inside] * above[inside]).sum()
        return float(total), float((weight * below[inside]).sum())

    return count


def _finished(feature: FeatureDefinition, sums: Sums) -> Values:
    if not feature.denominator:
        return {(feature.name, i, end): above for (i, end), (above, _) in sums.items()}
    return {
        (feature.name, i, end): above / below for (i, end), (above, below) in sums.items() if below
    }


def _smoothed(feature: FeatureDefinition, sums: Sums, parents: Sums) -> Values:
    values: Values = {}
    for (entity_id, end), (above, below) in sums.items():
        over = entity_id.split('"')[3] if feature.entity == "user_category" else "*"
        parent_above, parent_below = parents[over, end]
        prior = feature.smoothing if parent_below else 0.0
        ratio = parent_above / parent_below if parent_below else 0.0
        if below + prior:
            values[feature.name, entity_id, end] = (above + prior * ratio) / (below + prior)
    return values


def _sessions(feature: FeatureDefinition, frame: pd.DataFrame, watermark_ms: int) -> Values:
    counted = frame[frame.type.isin([*feature.numerator, *feature.denominator])]
    counted = counted.sort_values(["id", "ts"], kind="stable")
    new = (counted.id != counted.id.shift()) | (counted.ts.diff() >= feature.session_gap_ms)
    sums: Sums = {}
    for (entity_id, _), session in counted.groupby(["id", new.cumsum()]):
        end = int(session.ts.max()) + feature.session_gap_ms
        if end <= watermark_ms:
            everything = np.ones(len(session), np.bool_)
            sums[str(entity_id), end] = _counter(feature, session)(everything, end)
    return _finished(feature, sums)
