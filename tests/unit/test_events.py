"""Messages: what is sent arrives unchanged; a batch is its messages, one by one."""

from __future__ import annotations

import json
import math
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.errors import BadMessage
from streamer.events import (
    DEFAULT_TYPES,
    MESSAGES,
    Event,
    Item,
    Message,
    Recommendation,
    RecommendedItem,
    dead_letter,
    decode_decision,
    encode,
    encode_checked,
    json_schemas,
    message_key,
    pack_features,
)
from tests.default_types import decode_event, decode_events
from tests.unit.messages import (
    DECODERS,
    decision_with,
    event_with,
    events,
    payloads,
    sent,
    times,
)

# --- round trips ------------------------------------------------------------------------------


@given(sent)
def test_a_message_survives_the_wire(message: Message) -> None:
    assert DECODERS[type(message)](encode(message)) == message
    assert encode_checked(message) == encode(message)


@given(sent)
def test_what_is_encoded_fits_its_schema(message: Message) -> None:
    name = next(name for name, kind in MESSAGES.items() if kind is type(message))
    jsonschema.validate(json.loads(encode(message)), json_schemas()[name])


@given(events)
def test_a_newer_producer_may_send_more(event: Event) -> None:
    payload = json.loads(encode(event)) | {"v": 1, "brand_new": [{"deep": None}]}
    assert decode_event(json.dumps(payload).encode()) == event


def test_optional_fields_may_be_null() -> None:
    for name, kind in MESSAGES.items():
        fields = json_schemas()[name]["$defs"][kind.__name__]["properties"]
        optional = {field for field, schema in fields.items() if schema.get("default", 0) is None}
        assert optional or name in ("recommendation", "decision", "feature")
    nulls = dict.fromkeys(("request_id", "position", "value", "context"))
    assert decode_event(event_with(**nulls)) == decode_event(event_with())


def test_keys_are_the_ids_in_utf8() -> None:
    assert message_key(decode_event(event_with(user_id="Zoë"))) == "Zoë".encode()
    assert message_key(Item(item_id="m1")) == b"m1"


def test_features_come_back_as_they_went() -> None:
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    decision = decision_with(features=pack_features(features))
    matrix = decode_decision(encode(decision)).feature_matrix()
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, features)


def test_a_dead_letter_of_a_huge_message_still_fits_into_kafka() -> None:
    letter = dead_letter("too big", topic="events", partition=1, offset=2, raw=b"x" * 5_000_000)
    assert len(encode_checked(letter)) < 1_000_000
    assert letter.n_bytes == 5_000_000


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_encoding_refuses_a_number_that_is_not_finite(value: float) -> None:
    event = decode_event(event_with())
    with pytest.raises(BadMessage, match=r"'value'.*finite"):
        encode(Event(**_fields(event) | {"value": value}))
    with pytest.raises(BadMessage, match=r"'context\.dwell'.*finite"):
        encode(Event(**_fields(event) | {"context": {"dwell": value}}))
    item = RecommendedItem(item_id="a", rank=0, score=value, reason="mf")
    answer = Recommendation(request_id="r", user_id="u", ts=0, items=[item], model_version="1")
    with pytest.raises(BadMessage, match=r"'items\[0\]\.score'.*finite"):
        encode(answer)


def test_encoding_refuses_half_a_character() -> None:
    with pytest.raises(BadMessage, match=r"ud83d.*surrogate"):
        encode(Item(item_id="\ud83d"))


def test_encoding_checks_what_a_decoder_would() -> None:
    with pytest.raises(BadMessage, match=r"'item_id'.* <= 256"):
        encode_checked(Item(item_id="x" * 257))


def _fields(event: Event) -> dict[str, Any]:
    return {field: getattr(event, field) for field in event.__struct_fields__}


# --- batches ----------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.none() | payloads, st.just(-1) | times), max_size=12))
@settings(max_examples=200)
def test_a_batch_equals_its_messages_one_by_one(batch: list[tuple[bytes | None, int]]) -> None:
    columns, rejected = decode_events(
        [payload for payload, _ in batch], np.array([time for _, time in batch], np.int64)
    )
    good, bad = {}, {}
    for i, (payload, publish_ms) in enumerate(batch):
        try:
            good[i] = decode_event(payload, publish_ms=publish_ms)
        except BadMessage as error:
            bad[i] = str(error)
    assert {each.index: each.reason for each in rejected} == bad
    assert [each.index for each in rejected] == sorted(bad)
    assert columns.index.tolist() == list(good)
    assert columns.events == list(good.values())
    assert columns.event_ids == [event.event_id for event in good.values()]
    assert columns.user_ids == [event.user_id for event in good.values()]
    assert columns.item_ids == [event.item_id for event in good.values()]
    assert [DEFAULT_TYPES[code] for code in columns.types] == [e.type for e in good.values()]
    assert columns.ts_ms.tolist() == [event.ts for event in good.values()]
    values = [math.nan if event.value is None else event.value for event in good.values()]
    np.testing.assert_array_equal(columns.values, values)


def test_two_halves_never_make_a_whole() -> None:
    halves = [
        event_with(u=[{}])[:-2],
        event_with()[:0] + b"{}]}",
        event_with() + b"," + event_with(),
    ]
    columns, rejected = decode_events([*halves, event_with()], np.full(4, -1))
    assert columns.index.tolist() == [3]
    assert [each.index for each in rejected] == [0, 1, 2]


def test_the_columns_have_the_types_they_promise() -> None:
    for batch in ([], [event_with(value=0.5), event_with()]):
        columns, _ = decode_events(batch, np.full(len(batch), -1, np.int64))
        assert columns.index.dtype == np.int32
        assert columns.types.dtype == np.int8
        assert columns.ts_ms.dtype == np.int64
        assert columns.values.dtype == np.float64
        assert len(columns) == len(batch)
