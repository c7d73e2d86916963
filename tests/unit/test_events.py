"""Messages: what is sent arrives unchanged; a batch is its messages, one by one."""

from __future__ import annotations

import json
import math
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given

from streamer.errors import BadMessage
from streamer.events import (
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
from tests.default_types import decode_event
from tests.unit.messages import (
    DECODERS,
    decision_with,
    event_with,
    events,
    sent,
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
