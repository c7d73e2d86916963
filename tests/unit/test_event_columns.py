"""Batches of events in columns: whatever the bytes are, as the decoder says of each by itself."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.errors import BadMessage
from streamer.events import CONTEXT_KEYS_MAX, DEFAULT_TYPES, ID_BYTES_MAX, Event, EventTypes, encode
from streamer.events import decode_event as decode_with
from streamer.events.event_columns import decode_events as decode_all_with
from streamer.events.plain_events import FIELDS, parse_plain
from streamer_models.state.ids.id_bytes import HASH_SEED, hashes_of
from streamer_models.state.ids.id_column import IdColumn
from tests.default_types import decode_event, decode_events
from tests.unit.messages import GOOD, event_with, events, payloads, times

# --- messages that are plain, nearly so, or damaged ---------------------------------------------

spaces = st.sampled_from(["", "", "", "", " ", "\n", "\t \r"])
letters = st.text(
    st.characters(codec="ascii", exclude_characters='"\\', min_codepoint=32),
    min_size=1,
    max_size=20,
).map('"{}"'.format)
awkward_texts = st.one_of(
    st.integers(ID_BYTES_MAX - 1, ID_BYTES_MAX + 1).map("x".__mul__),
    st.text(max_size=6),
    st.sampled_from(['\\"', "\\u00e9", "", "\x7f"]),
).map('"{}"'.format)
decimals = st.from_regex(r"-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,9})?", fullmatch=True)
numbers = st.one_of(
    decimals,
    st.from_regex(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.sampled_from(["-0", "-0.0", "0.1", "00", "1.", ".5", "-", "+1", "1e400", "NaN"]),
    st.sampled_from([str(2**31 - 1), str(2**31), str(2**53 + 1), "4102444800000"]),
    st.floats().map(repr),
)
words = st.sampled_from(["null", "null", "true", "false", "nul", "{}", "[]", "[1]", "truefalse"])
anything = awkward_texts | numbers | words


@st.composite
def objects(draw: st.DrawFn, pairs: Sequence[tuple[str, str]]) -> str:
    """A JSON object of raw names and values, with spaces where there may be some."""
    tokens = ["{"]
    for name, value in pairs:
        tokens += [name, ":", value, ","]
    tokens = [*tokens[: max(1, len(tokens) - 1)], "}"]
    gaps = draw(st.just([""] * len(tokens)) | st.lists(spaces, min_size=50, max_size=50))
    return "".join(gap + token for gap, token in zip(gaps, tokens, strict=False))


context_keys = st.sampled_from(['"surface"', '"device"', '""']) | letters
context_values = st.one_of(letters, decimals, st.sampled_from(["true", "false"]))
contexts = st.lists(st.tuples(context_keys, context_values), max_size=4).flatmap(objects)
odd_contexts = st.lists(st.tuples(context_keys, anything | letters), max_size=4).flatmap(objects)
usual: dict[str, st.SearchStrategy[str]] = {
    "type": st.sampled_from(DEFAULT_TYPES).map('"{}"'.format),
    "ts": times.map(str),
    "value": decimals | st.just("null"),
    "position": st.integers(0, 2**31 - 1).map(str) | st.just("null"),
    "context": contexts | st.just("null"),
    "v": st.just("1"),
    "request_id": letters | st.just("null"),
}
odd: dict[str, st.SearchStrategy[str]] = {
    "type": st.sampled_from(['"clic"', '"clicks"', '""', '"cl\\u0069ck"', "1"]),
    "context": odd_contexts | anything,
    "v": st.sampled_from(["2", "1.0", "01", "null", '"1"']),
}


@st.composite
def spelled(draw: st.DrawFn) -> bytes:
    """An event with its fields in any order, in one of three something odd."""
    names = ["event_id", "type", "user_id", "item_id", "ts"]
    names += draw(st.lists(st.sampled_from(sorted({*FIELDS} - {*names})), max_size=5, unique=True))
    oddity = draw(st.sampled_from(["", "", "", "", "value", "bytes", "more", "fewer"]))
    if oddity == "more":
        names.append(draw(st.sampled_from([*FIELDS, "unknown", "typ", "types"])))
    if oddity == "fewer":
        names.remove(draw(st.sampled_from(names)))
    at = draw(st.integers(0, len(names) - 1)) if oddity == "value" else -1
    pairs = [
        (f'"{name}"', draw(odd.get(name, anything) if i == at else usual.get(name, letters)))
        for i, name in enumerate(names)
    ]
    payload = draw(spaces) + draw(objects(draw(st.permutations(pairs)))) + draw(spaces)
    return draw(damaged(payload.encode())) if oddity == "bytes" else payload.encode()


@st.composite
def damaged(draw: st.DrawFn, payload: bytes) -> bytes:
    """The same with one byte changed, left out or put in."""
    at = draw(st.integers(0, len(payload)))
    awkward = st.sampled_from([b'"', b"\\", b",", b"\x7f", b"\x80", b"\x0b"])
    changed = draw(st.binary(max_size=1) | awkward)
    return payload[:at] + changed + payload[at + draw(st.integers(0, 1)) :]


# --- both ways ----------------------------------------------------------------------------------


def surface(event: Event) -> str:
    named = (event.context or {}).get("surface")
    return named if isinstance(named, str) else ""


def check(batch: Sequence[tuple[bytes | None, int]]) -> None:
    """Decode a batch, and each of its messages by itself: the same columns and rejections."""
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
    assert columns.event_ids.strings() == [event.event_id for event in good.values()]
    assert columns.user_ids.strings() == [event.user_id for event in good.values()]
    assert columns.item_ids.strings() == [event.item_id for event in good.values()]
    assert columns.request_ids.strings() == [event.request_id or "" for event in good.values()]
    assert columns.surfaces.strings() == [surface(event) for event in good.values()]
    assert [DEFAULT_TYPES[code] for code in columns.types] == [e.type for e in good.values()]
    assert columns.ts_ms.tolist() == [event.ts for event in good.values()]
    values = [math.nan if event.value is None else event.value for event in good.values()]
    assert columns.values.tobytes() == np.array(values, np.float64).tobytes()
    for ids in (columns.event_ids, columns.user_ids, columns.item_ids):
        expected = hashes_of(ids.data, ids.starts, ids.ends, HASH_SEED)
        np.testing.assert_array_equal(ids.hashes, expected)


@given(st.lists(st.tuples(st.none() | payloads, st.just(-1) | times), max_size=12))
@settings(max_examples=100)  # of up to 12 messages
def test_a_batch_equals_its_messages_one_by_one(batch: list[tuple[bytes | None, int]]) -> None:
    check(batch)


@given(st.lists(st.tuples(spelled(), st.just(-1) | times), min_size=1, max_size=8))
@settings(max_examples=150)  # of up to 8 messages: to spell one takes 5 ms
def test_however_events_are_spelled_they_are_as_one_by_one(batch: list[tuple[bytes, int]]) -> None:
    check(batch)


@given(st.lists(numbers, min_size=1, max_size=30))
@settings(max_examples=100)  # of up to 30 numbers
def test_values_are_the_nearest_floats(spellings: list[str]) -> None:
    good = json.dumps(GOOD)[:-1]
    check([(f'{good}, "value": {each}}}'.encode(), -1) for each in spellings])


@pytest.mark.parametrize("n_keys", [CONTEXT_KEYS_MAX, CONTEXT_KEYS_MAX + 1])
def test_the_bound_of_a_context_holds(n_keys: int) -> None:
    check([(event_with(context={f"k{i}": i for i in range(n_keys)}), -1)])


def test_a_long_surface_and_a_long_message_are_taken_as_they_are() -> None:
    check([(event_with(context={"surface": "s" * n}), -1) for n in (256, 257, 60_000, 70_000)])


# --- what is plain ------------------------------------------------------------------------------


def is_plain(payload: bytes | None, types: EventTypes | None = None) -> bool:
    names = IdColumn.of((types or EventTypes()).names)
    return bool(parse_plain([payload], names).plain[0])


def test_the_fields_are_those_of_an_event() -> None:
    assert sorted(FIELDS) == sorted(Event.__struct_fields__)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"value": 0.5, "position": 3, "request_id": "r-1", "v": 1},
        {"value": -12.25, "position": None, "request_id": None, "context": None},
        {"context": {}},
        {"context": {"surface": "home", "hour": 23, "new": True, "old": False, "share": 0.25}},
        {"user_id": "u" * ID_BYTES_MAX, "item_id": "i"},
    ],
)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\n", " :\t")])
def test_what_producers_send_is_plain(changed: dict[str, Any], separators: tuple[str, str]) -> None:
    fields = list((GOOD | changed).items())
    for some in (fields, fields[::-1]):
        assert is_plain(json.dumps(dict(some), separators=separators).encode())


@given(events.filter(lambda event: json.dumps(event.event_id)[1:-1] == event.event_id))
def test_what_streamer_encodes_is_plain_but_for_rare_text_and_numbers(event: Event) -> None:
    simple = {"event_id", "type", "ts", "position"}
    kept = {name: getattr(event, name) for name in simple}
    assert is_plain(encode(Event(user_id="u", item_id="i", **kept)))


@pytest.mark.parametrize(
    "payload",
    [
        None,
        b"",
        b"{}",
        event_with(unknown=1),
        event_with(user_id="é"),
        event_with(value=1e300),
        event_with(value=0.12345678901234567),
        event_with(context={"deep": {}}),
        event_with(type="save"),
        event_with()[:-1] + b',"ts":1}',
        event_with() + b" x",
    ],
)
def test_what_is_in_doubt_is_not_plain(payload: bytes | None) -> None:
    assert not is_plain(payload)


def test_an_added_type_is_plain_where_it_is_known() -> None:
    types = EventTypes(("save",))
    payload = event_with(type="save")
    assert is_plain(payload, types)
    columns, rejected = decode_all_with([payload, event_with()], np.full(2, -1), types)
    assert columns.types.tolist() == [types.codes["save"], types.codes["click"]]
    assert not rejected
    assert decode_with(payload, types).type == "save"


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
