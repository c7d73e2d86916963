"""Messages to test with: good, wrong in one field, damaged, and no messages at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
from hypothesis import strategies as st

from streamer.events import (
    DEFAULT_TYPES,
    DeadLetter,
    Decision,
    Event,
    FeatureEntity,
    FeatureValue,
    Item,
    Message,
    Recommendation,
    RecommendedItem,
    Request,
    User,
    dead_letter,
    decode_dead_letter,
    decode_decision,
    decode_feature_value,
    decode_item,
    decode_recommendation,
    decode_request,
    decode_user,
    encode,
    pack_features,
)
from streamer.events.messages import NUMBER_MAX
from streamer.events.profiles import PROFILE_BYTES_MAX, packed_profile
from tests.default_types import decode_event

DECODERS: dict[type[Message], Callable[[bytes | None], Message]] = {
    Event: decode_event,
    Item: decode_item,
    User: decode_user,
    Request: decode_request,
    Recommendation: decode_recommendation,
    Decision: decode_decision,
    FeatureValue: decode_feature_value,
    DeadLetter: decode_dead_letter,
}
NOW_MS = 1_767_225_600_000

# --- what may be sent -------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=64)
ids = texts.filter(bool)
times = st.integers(0, 4_102_444_800_000 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
bounded = st.floats(-NUMBER_MAX, NUMBER_MAX)
flats = st.dictionaries(texts, texts | st.booleans() | floats | st.integers(), max_size=64)
maybe = st.none()
events = st.builds(
    Event,
    event_id=ids,
    type=st.sampled_from(DEFAULT_TYPES),
    user_id=ids,
    item_id=ids,
    ts=times,
    request_id=maybe | ids,
    position=maybe | st.integers(0, 2**31 - 1),
    value=maybe | floats,
    context=maybe | flats,
)
items = st.builds(
    Item,
    item_id=ids,
    title=maybe | texts,
    categories=maybe | st.lists(ids, max_size=5),
    tags=maybe | st.lists(ids, max_size=5),
    created_ts=maybe | times,
    available=st.booleans(),
    attributes=maybe | flats,
    embedding=maybe | st.lists(bounded, min_size=1, max_size=5).filter(any),
)
users = st.builds(
    User,
    user_id=ids,
    categories=maybe | st.lists(ids, max_size=5),
    attributes=maybe | flats,
    ts=maybe | times,
).filter(lambda user: len(packed_profile(user)) <= PROFILE_BYTES_MAX)
requests = st.builds(
    Request,
    request_id=ids,
    user_id=ids,
    ts=times,
    k=maybe | st.integers(1, 500),
    surface=maybe | ids,
    context=maybe | flats,
    candidates=maybe | st.lists(ids, max_size=5),
    exclude=maybe | st.lists(ids, max_size=5),
)
recommendations = st.builds(
    Recommendation,
    request_id=ids,
    user_id=ids,
    ts=times,
    items=st.lists(
        st.builds(
            RecommendedItem, item_id=ids, rank=st.integers(0, 499), score=floats, reason=texts
        ),
        max_size=5,
    ),
    model_version=texts,
)


@st.composite
def decisions(draw: st.DrawFn) -> Decision:
    n_items, n_candidates, n_features = (draw(st.integers(0, 4)) for _ in range(3))
    numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
    n_numbers, n_logged = n_candidates * n_features, draw(st.integers(0, 3))
    features = draw(st.lists(numbers, min_size=n_numbers, max_size=n_numbers))
    slate = draw(st.lists(numbers, min_size=n_items * n_logged, max_size=n_items * n_logged))
    slate_names = draw(st.lists(ids, min_size=n_logged, max_size=n_logged))

    def some(strategy: st.SearchStrategy[Any], n: int) -> list[Any]:
        return draw(st.lists(strategy, min_size=n, max_size=n))

    return Decision(
        request_id=draw(ids),
        user_id=draw(ids),
        ts=draw(times),
        items=some(ids, n_items),
        positions=some(st.integers(0, 500), n_items),
        propensities=some(st.floats(0, 1, exclude_min=True), n_items),
        policy=draw(ids),
        policy_parameters=draw(flats),
        seed=draw(st.integers(0, 2**63 - 1)),
        model_version=draw(texts),
        candidates=some(ids, n_candidates),
        feature_names=some(ids, n_features),
        features=pack_features(np.array(features, np.float32).reshape(n_candidates, n_features)),
        expected=draw(maybe | st.just(some(bounded, n_items))),
        explored=draw(maybe | st.just(some(st.booleans(), n_items))),
        channels=draw(maybe | st.just(some(ids, n_items))),
        policy_state=draw(maybe | st.just(np.array(some(floats, 3), "<f8").tobytes())),
        boosts=draw(maybe | st.just(np.array(some(floats, n_candidates), "<f8").tobytes())),
        slate_names=slate_names or None,
        slate=np.array(slate, "<f4").tobytes() if slate_names else None,
        surface=draw(maybe | ids),
        context=draw(maybe | flats),
    )


dead_letters = st.builds(
    dead_letter,
    texts,
    topic=ids,
    partition=st.integers(0, 1000),
    offset=st.integers(0, 2**62),
    raw=maybe | st.binary(max_size=100),
)
feature_values = st.builds(
    lambda window, **fields: FeatureValue(
        window_start=min(window), window_end=max(window), **fields
    ),
    window=st.tuples(times, times),
    entity=st.sampled_from(get_args(FeatureEntity)),
    id=ids,
    name=ids,
    value=bounded,
    computed_ts=times,
)
sent: st.SearchStrategy[Message] = st.one_of(
    events, items, users, requests, recommendations, decisions(), feature_values, dead_letters
)

# --- what may arrive --------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "event_id": "e1",
    "type": "click",
    "user_id": "ann",
    "item_id": "m318",
    "ts": NOW_MS,
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
event_fields = st.sampled_from([*Event.__struct_fields__, "unknown"])
wrong_events = st.builds(
    lambda field, value: json.dumps(GOOD | {field: value}).encode(), event_fields, json_values
)


AWKWARD = [b"},{", b'{"u":[{}', b"{}]}", b"1e999"]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good message with a few bytes cut out, put in or doubled."""
    payload = encode(draw(events))
    start = draw(st.integers(0, len(payload)))
    end = draw(st.integers(start, len(payload)))
    inserted = draw(st.binary(max_size=4) | st.sampled_from(AWKWARD))
    return payload[:start] + inserted + payload[end:]


payloads = st.one_of(
    events.map(encode),
    wrong_events,
    damaged(),
    st.binary(max_size=40),
    json_values.map(lambda value: json.dumps(value).encode()),
)


def event_with(**fields: Any) -> bytes:
    return json.dumps(GOOD | fields).encode()


def decision_with(**changed: Any) -> Decision:
    fields: dict[str, Any] = {
        "request_id": "r",
        "user_id": "u",
        "ts": NOW_MS,
        "items": ["a", "b"],
        "positions": [0, 1],
        "propensities": [0.5, 1.0],
        "policy": "blend",
        "policy_parameters": {},
        "seed": 1,
        "model_version": "1",
        "candidates": ["a", "b", "c"],
        "feature_names": ["mf", "trending"],
        "features": pack_features(np.zeros((3, 2), np.float32)),
    }
    return Decision(**fields | changed)
