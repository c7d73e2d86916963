"""Bad messages: each is refused with the field, its value and what to send instead."""

from __future__ import annotations

import json
import math
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings

from streamer.errors import BadMessage
from streamer.events import (
    EVENT_BYTES_MAX,
    FUTURE_MS_MAX,
    Message,
    Request,
    decode_decision,
    decode_recommendation,
    decode_request,
    encode,
    pack_features,
)
from tests.default_types import decode_event, decode_events
from tests.unit.messages import (
    DECODERS,
    GOOD,
    NOW_MS,
    decision_with,
    event_with,
    payloads,
    wrong_events,
)


def refusal(payload: bytes | None) -> str:
    """The reason of one bad event, which the batch and the single decoder agree on."""
    with pytest.raises(BadMessage) as refused:
        decode_event(payload)
    columns, rejected = decode_events([payload], np.array([-1]))
    assert len(columns) == 0
    assert [(each.index, each.reason) for each in rejected] == [(0, str(refused.value))]
    return str(refused.value)


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "field", "value"),
    [
        (event_with(type="clik"), "type", '"clik"'),
        (event_with(type=3), "type", "3"),
        (event_with(v=2), "v", "2"),
        (event_with(ts="noon"), "ts", '"noon"'),
        (event_with(ts=1.5), "ts", "1.5"),
        (event_with(ts=-1), "ts", "-1"),
        (event_with(ts=4_102_444_800_000), "ts", "4102444800000"),
        (event_with(user_id=""), "user_id", '""'),
        (event_with(user_id=None), "user_id", "null"),
        (event_with(user_id=7), "user_id", "7"),
        (event_with(user_id="x" * 257), "user_id", '"xxx'),
        (event_with(item_id="é" * 129), "item_id", "258 bytes"),
        (event_with(request_id="é" * 129), "request_id", "258 bytes"),
        (event_with(event_id="\ud800"), "event_id", r"\ud800"),
        (event_with(position=-1), "position", "-1"),
        (event_with(position=2**31), "position", "2147483648"),
        (event_with(value=True), "value", "true"),
        (event_with(value="0.5"), "value", '"0.5"'),
        (event_with(value=math.nan), "value", "NaN"),
        (event_with(value=-math.inf), "value", "-Infinity"),
        (event_with(value=7).replace(b"7}", b"1e999}"), "value", "1e999"),
        (event_with(value=7).replace(b"7}", b"-1e999}"), "value", "-1e999"),
        (event_with(value=10**400), "value", "1000"),
        (event_with(context=[1]), "context", "[1]"),
        (event_with(context={"a": [1], "b": None}), "context.a", "[1]"),
        (event_with(position=2.5), "position", "2.5"),
        (event_with(ts=1e300), "ts", "1e+300"),
        (event_with(v=2.0), "v", "2.0"),
        (event_with(context={"a": {"deep": 1}}), "context.a", '{"deep": 1}'),
        (event_with(context={"a": 7}).replace(b"7}", b"1e999}"), "context.a", "1e999"),
        (event_with(context={"a": 10**400}), "context.a", "1000"),
        (
            event_with(context={"a": 7}).replace(b"7}", b"9" * 5000 + b"}"),
            "context.a",
            "9999",
        ),
        (event_with(context={str(i): i for i in range(65)}), "context", '"0": 0'),
        (event_with(user_id="caf?").replace(b"?", b"\xe9"), "user_id", r"caf\xe9"),
    ],
)
def test_a_refusal_names_the_field_and_the_value(payload: bytes, field: str, value: str) -> None:
    reason = refusal(payload)
    assert reason.startswith(f"field '{field}': ")
    assert value in reason


@pytest.mark.parametrize("field", ["event_id", "type", "user_id", "item_id", "ts"])
def test_a_refusal_names_the_missing_field(field: str) -> None:
    payload = json.dumps({name: value for name, value in GOOD.items() if name != field}).encode()
    assert refusal(payload).startswith(f"field '{field}': missing from {{")


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (None, "tombstone"),
        (b"", "''"),
        (b"[1, 2]", "[1, 2]"),
        (b'"text"', '"text"'),
        (b"null", "null"),
        (b'{"event_id": ', r'{"event_id": '),
        (b"\xff\xfe", r"\xff\xfe"),
        (b"\xef\xbb\xbf{}", r"\xef\xbb\xbf{}"),
        (event_with() + event_with(), "not JSON"),
        (event_with() + b"," + event_with(), "not JSON"),
        (event_with(unknown="x" * EVENT_BYTES_MAX), "65536"),
        (b'{"u":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "nested"),
    ],
)
def test_a_refusal_of_a_whole_message_shows_it(payload: bytes | None, value: str) -> None:
    reason = refusal(payload)
    assert reason.startswith("message: ")
    assert value in reason


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (event_with(ts="noon")[:-1], "is not JSON"),
        (b'"text', "is not JSON"),
        (event_with(context={"a": None})[:-1] + b',"context":5}', "field 'context"),
        (event_with(context={"a": None})[:-1] + b',"context":{"a":1}}', "field 'context"),
        (event_with(ts="noon")[:-1] + b',"ts":1}', "field 'ts'"),
        (b'{"u":' + b'{"u":' * 800 + b'"\\ud800"' + b"}" * 801, "surrogate"),
    ],
)
def test_two_faults_are_still_one_refusal(payload: bytes, said: str) -> None:
    assert said in refusal(payload)


def test_an_answer_whose_items_come_twice_is_refused() -> None:
    payload = b'{"request_id":"r","user_id":"u","ts":1,"items":[{},{"rank":-1}],"items":[]}'
    with pytest.raises(BadMessage, match=r"'items\[0\]\.item_id'"):
        decode_recommendation(payload)


def test_whole_doubles_are_integers_and_null_in_a_flat_object_is_absent() -> None:
    spelled = event_with(
        ts=float(NOW_MS), position=2.0, v=1.0, value=3.0, context={"a": None, "n": 4.0}
    )
    event = decode_event(spelled.replace(b"1767225600000.0", b"1.7672256E12"))
    assert (event.ts, event.position, event.v, event.value) == (NOW_MS, 2, 1, 3.0)
    assert event.context == {"n": 4.0}
    columns, rejected = decode_events([spelled], np.array([-1]))
    assert (columns.ts_ms.tolist(), rejected) == ([NOW_MS], [])
    request = decode_request(b'{"request_id":"r","user_id":"u","ts":1e3,"k":5.0}')
    assert (request.ts, request.k) == (1_000, 5)


def test_any_text_is_an_id() -> None:
    for name in ("\0", "é" * 128, "a\nb", "🦆", '"', "\ufeff", "x" * 256):
        assert decode_event(event_with(user_id=name)).user_id == name


def test_an_event_from_the_future_is_refused() -> None:
    latest = event_with(ts=NOW_MS + FUTURE_MS_MAX)
    assert decode_event(latest, publish_ms=NOW_MS).ts == NOW_MS  # as of its publication
    assert decode_event(latest, publish_ms=-1).ts == NOW_MS + FUTURE_MS_MAX
    with pytest.raises(BadMessage, match=f"'ts': {NOW_MS + FUTURE_MS_MAX} .*{NOW_MS - 1}"):
        decode_event(latest, publish_ms=NOW_MS - 1)
    request = encode(Request(request_id="r", user_id="u", ts=NOW_MS + FUTURE_MS_MAX + 1))
    with pytest.raises(BadMessage, match="'ts'"):
        decode_request(request, publish_ms=NOW_MS)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"positions": [0]}, "'positions': .* 1 values for 2 items"),
        ({"propensities": [0.5]}, "'propensities': .* 1 values for 2 items"),
        ({"expected": [0.5, 0.1, 0.2]}, "'expected': .* 3 values for 2 items"),
        ({"explored": []}, "'explored': .* 0 values for 2 items"),
        ({"policy_state": bytes(7)}, "'policy_state': .* 7 bytes; send float64"),
        ({"policy_state": np.array([np.inf]).tobytes()}, "'policy_state': .* not finite"),
        ({"boosts": bytes(9)}, "'boosts': .* 9 bytes; send float64"),
        ({"boosts": np.array([np.nan]).tobytes()}, "'boosts': .* not finite"),
        ({"propensities": [0.5, 0.0]}, r"'propensities\[1\]': 0.0"),
        ({"propensities": [0.5, 1.1]}, r"'propensities\[1\]': 1.1"),
        ({"features": b"1234"}, "'features': .* 4 bytes .* 24"),
        ({"features": pack_features(np.full((3, 2), np.nan, np.float32))}, r"'features\[0\]\.mf'"),
        ({"slate_names": ["x"], "slate": b"1234"}, "'slate': .* 4 bytes .* 8"),
        ({"slate_names": ["x"]}, "'slate': .* 0 bytes .* 8"),
        (
            {"slate_names": ["x"], "slate": np.array([0, np.inf], "<f4").tobytes()},
            r"'slate\[1\]\.x': .* not a finite",
        ),
        ({"items": ["a", "é" * 129]}, r"'items\[1\]': .* 258 bytes"),
    ],
)
def test_a_decision_holds_together(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        decode_decision(encode(decision_with(**changed)))


@given(payloads)
@settings(max_examples=300)
def test_bytes_give_a_message_or_a_reason_and_nothing_else(payload: bytes) -> None:
    for decode in DECODERS.values():
        try:
            message = decode(payload)
        except BadMessage as error:
            reason = str(error)
            assert reason.startswith(("field '", "message: "))
            assert len(reason.encode()) < 1000
        else:
            assert decode(encode(message)) == message


@given(wrong_events)
def test_a_refusal_of_one_field_names_that_field(payload: bytes) -> None:
    changed = [name for name, value in json.loads(payload).items() if GOOD.get(name, ...) != value]
    reason = _reason(payload)
    # NaN and half characters are no JSON anywhere, so even an unknown field is named for them.
    assert reason is None or reason.startswith(f"field '{changed[0]}")


def _reason(payload: bytes) -> str | None:
    try:
        decode_event(payload)
    except BadMessage as error:
        return str(error)
    return None


def of_few_texts() -> list[tuple[type[Message], str, tuple[str, ...]]]:
    """Return every field of the messages that may have a few texts alone, and those."""
    found = []
    for kind in DECODERS:
        for name, hint in get_type_hints(kind).items():
            kinds = [each for each in (hint, *get_args(hint)) if get_origin(each) is Literal]
            found += [(kind, name, get_args(each)) for each in kinds if name != "v"]
    assert {name for _, name, _ in found} == {"list_name", "entity"}
    return found


@pytest.mark.parametrize(("kind", "name", "values"), of_few_texts())
@pytest.mark.parametrize("wrong", ["hot", "Popular", 3])
def test_a_refusal_of_one_of_a_few_texts_names_them(
    kind: type[Message], name: str, values: tuple[str, ...], wrong: object
) -> None:
    with pytest.raises(BadMessage) as refused:
        DECODERS[kind](json.dumps({name: wrong}).encode())
    *others, last = sorted(values)
    shown = f"{', '.join(others)} or {last}"
    expected = f"field '{name}': {json.dumps(wrong)} is unknown; send {shown}"
    assert str(refused.value) == expected


def test_a_refusal_of_one_of_a_few_texts_names_them_within_rows() -> None:
    asked = {"request_id": "r", "user_id": "u", "ts": NOW_MS}
    rows = [{"name": "a"}, {"name": "b", "list_name": "hot"}]
    with pytest.raises(BadMessage) as refused:
        decode_request(json.dumps({**asked, "rows": rows}).encode())
    words = "field 'rows[1].list_name': \"hot\" is unknown; send latest, popular or trending"
    assert str(refused.value) == words
