"""Avro behind a schema registry becomes what JSON would: by the real client, over HTTP."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import sys
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from deploy.kafka.node import free_port
from streamer.application.services.bridge_decoders import (
    await_registry,
    decoder_of,
    opened_registry,
)
from streamer.bridge.decoder import Decoder
from streamer.bridge.translation import Translated, translation_of
from streamer.config import Config, load_config
from streamer.config.bridges import BridgeConfig
from streamer.errors import BadMessage, ConfigError, RegistryError, RegistryUnavailable, Stopped
from streamer.events import EventTypes, decode_event, decode_item
from streamer.events.decoding import decode_dead_letter
from streamer.kafka.connection import Stopping, never
from streamer.kafka.schema_registry import SchemaRegistry
from streamer_producers.times import Instant
from tests.schema_registry import LocalRegistry, in_avro, local_registry
from tests.unit.test_bridge import BridgeWorld, batch

ORDER: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "customer", "type": ["null", "string"]},
        {"name": "sku", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}
AT = dt.datetime(2026, 11, 18, 10, 0, 0, 123_456, tzinfo=dt.UTC)
AT_MS = 1_794_996_000_123
ROW = {"id": 7, "customer": "ann", "sku": "tea", "at": AT}
ROW_MAP = "event_id=id,user_id=customer,item_id=sku,ts=at"
AVRO = BridgeConfig(topic="shop", format="avro", map=ROW_MAP, type="purchase")


@pytest.fixture
def registry() -> Iterator[LocalRegistry]:
    with local_registry() as served:
        served.schemas[1] = {"schema": json.dumps(ORDER)}
        yield served


def configured(url: str, **flags: object) -> Config:
    dotted = {name.replace("__", "."): value for name, value in flags.items()}
    return load_config("/dev/null", env={}, flags={"registry.url": url, **dotted})


Opens = Callable[[Config], SchemaRegistry]


@pytest.fixture
def opens() -> Iterator[Opens]:
    """Opens the registry of a configuration as `streamer bridge` does, and closes it in the end."""
    with contextlib.ExitStack() as stack:

        def opened(config: Config) -> SchemaRegistry:
            found = opened_registry(config, [AVRO])
            assert found is not None
            stack.callback(found.close)
            return found

        yield opened


def decoder(
    opened: SchemaRegistry, bridge: BridgeConfig = AVRO, stopping: Stopping = never
) -> Decoder:
    return decoder_of(bridge, opened, stopping)


def refusal(read: Decoder, payload: bytes) -> str:
    with pytest.raises(BadMessage) as refused:
        read.record(payload)
    return str(refused.value)


def test_values_are_those_of_json(registry: LocalRegistry, opens: Opens) -> None:
    def logical(kind: str, name: str, **more: object) -> dict[str, object]:
        return {"type": kind, "logicalType": name, **more}

    each_id = uuid.UUID("12345678-1234-5678-1234-567812345678")
    columns: dict[str, tuple[Any, Any, Any]] = {
        "millis": (logical("long", "timestamp-millis"), AT, AT_MS),
        "micros": (logical("long", "timestamp-micros"), AT, AT_MS),
        "local": (logical("long", "local-timestamp-millis"), AT.replace(tzinfo=None), AT_MS),
        "plain_micros": ("long", AT_MS * 1000, AT_MS * 1000),
        "day": (logical("int", "date"), AT.date(), "2026-11-18"),
        "time": (logical("int", "time-millis"), dt.time(10, 30), "10:30:00"),
        "price": (logical("bytes", "decimal", precision=9, scale=2), Decimal("3.50"), 3.5),
        "number": (
            logical("bytes", "decimal", precision=20),
            Decimal(9_007_199_254_740_993),
            9_007_199_254_740_993,
        ),
        "uuid": (logical("string", "uuid"), each_id, str(each_id)),
        "text_bytes": ("bytes", "Käse".encode(), "Käse"),
        "raw_bytes": ({"type": "fixed", "name": "Hash", "size": 2}, b"\xff\x01", "ff01"),
        "kind": ({"type": "enum", "name": "Kind", "symbols": ["HOT", "COLD"]}, "COLD", "COLD"),
        "nothing": (["null", "string"], None, None),
        "some": (["null", "long"], 3, 3),
        "tags": ({"type": "array", "items": "string"}, ["a", "b"], ["a", "b"]),
        "extra": ({"type": "map", "values": "double"}, {"x": 0.5}, {"x": 0.5}),
        "page": (
            [
                "null",
                {"type": "record", "name": "P", "fields": [{"name": "url", "type": "string"}]},
            ],
            {"url": "/tea"},
            {"url": "/tea"},
        ),
    }
    fields = [{"name": name, "type": kind} for name, (kind, _, _) in columns.items()]
    schema = {"type": "record", "name": "All", "fields": fields}
    registry.schemas[2] = {"schema": json.dumps(schema)}
    given = {name: value for name, (_, value, _) in columns.items()}
    found = decoder(opens(configured(registry.url))).record(in_avro(2, schema, given))
    assert found == {name: expected for name, (_, _, expected) in columns.items()}
    assert {name: type(value) for name, value in found.items()} == {
        name: type(expected) for name, (_, _, expected) in columns.items()
    } | dict.fromkeys(("millis", "micros", "local"), Instant)


@pytest.mark.parametrize("unit", ["", ":s", ":ms", ":us", ":ns", ":iso"])
def test_a_time_that_says_its_unit_itself_is_read_by_no_other(
    registry: LocalRegistry, opens: Opens, unit: str
) -> None:
    read = decoder(opens(configured(registry.url)))
    payload = batch(in_avro(1, ORDER, ROW))
    events = BridgeConfig(topic="shop", map=f"{ROW_MAP}{unit},context.at=at", type="purchase")
    found = translation_of(events, EventTypes(), read).message(payload, 0)
    assert found is not None
    assert found.value is not None
    event = decode_event(found.value, EventTypes())
    assert (event.ts, event.context) == (AT_MS, {"at": AT_MS})
    mapped = f"item_id=sku,title=sku,created_ts=at{unit},attributes.at=at"
    items = translation_of(
        BridgeConfig(topic="shop", holds="items", map=mapped), EventTypes(), read
    )
    found = items.message(payload, 0)
    assert found is not None
    assert found.value is not None
    item = decode_item(found.value)
    assert (item.created_ts, item.attributes) == (AT_MS, {"at": AT_MS})


def test_a_schema_is_read_with_those_that_it_refers_to(
    registry: LocalRegistry, opens: Opens
) -> None:
    sku = {"type": "record", "name": "shop.Sku", "fields": [{"name": "code", "type": "string"}]}
    product = {
        "type": "record",
        "name": "shop.Product",
        "fields": [{"name": "sku", "type": "shop.Sku"}],
    }
    view = {"type": "record", "name": "View", "fields": [{"name": "of", "type": "shop.Product"}]}
    registry.versions["sku", 4] = {
        "subject": "sku", "version": 4, "id": 11, "schema": json.dumps(sku),
    }  # fmt: skip
    registry.versions["product", 2] = {
        "subject": "product",
        "version": 2,
        "id": 12,
        "schema": json.dumps(product),
        "references": [{"name": "shop.Sku", "subject": "sku", "version": 4}],
    }
    registry.schemas[13] = {
        "schema": json.dumps(view),
        "references": [{"name": "shop.Product", "subject": "product", "version": 2}],
    }
    whole = view | {"fields": [{"name": "of", "type": product | {
        "fields": [{"name": "sku", "type": sku}]}}]}  # fmt: skip
    read = decoder(opens(configured(registry.url)))
    value = {"of": {"sku": {"code": "tea"}}}
    assert read.record(in_avro(13, whole, value)) == value
    del registry.versions["sku", 4]
    said = refusal(decoder(opens(configured(registry.url))), in_avro(13, whole, value))
    assert "schema 13 is not in the schema registry" in said


def test_a_row_is_the_same_event_alone_and_in_a_change(
    registry: LocalRegistry, opens: Opens
) -> None:
    def event(payload: bytes) -> dict[str, Any] | None:
        found = translation.message(batch(payload), 0)
        if found is None:
            return None
        assert found.value is not None
        return {key: each for key, each in json.loads(found.value).items() if each is not None}

    changes = {
        "type": "record",
        "name": "Envelope",
        "fields": [
            {"name": "before", "type": ["null", ORDER]},
            {"name": "after", "type": ["null", "Order"]},
            {"name": "op", "type": "string"},
        ],
    }
    registry.schemas[5] = {"schema": json.dumps(changes)}
    translation = translation_of(AVRO, EventTypes(), decoder(opens(configured(registry.url))))
    expected = {
        "event_id": "7",
        "type": "purchase",
        "user_id": "ann",
        "item_id": "tea",
        "ts": AT_MS,
    }
    assert event(in_avro(1, ORDER, ROW)) == expected
    assert event(in_avro(5, changes, {"before": None, "after": ROW, "op": "c"})) == expected
    assert event(in_avro(5, changes, {"before": ROW, "after": ROW, "op": "u"})) is None


def test_a_tombstone_deletes_the_item_that_its_key_is(
    registry: LocalRegistry, opens: Opens
) -> None:
    key = {"type": "record", "name": "Key", "fields": [{"name": "sku", "type": "string"}]}
    registry.schemas[7] = {"schema": '"string"'}
    registry.schemas[8] = {"schema": json.dumps(key)}
    config = BridgeConfig(topic="shop", format="avro", holds="items")
    items = translation_of(config, EventTypes(), decoder(opens(configured(registry.url)), config))
    keys = [in_avro(7, "string", "tea"), b"cake", in_avro(8, key, {"sku": "tea"}), None]
    tombstones = batch(None, None, None, None, keys=keys)
    assert [items.message(tombstones, index) for index in range(4)] == [
        Translated(b"tea", None),
        Translated(b"cake", None),
        None,
        None,
    ]


def test_what_is_wrong_with_a_message_is_a_letter_and_schemas_are_asked_for_once(
    registry: LocalRegistry,
    opens: Opens,
) -> None:
    registry.schemas[2] = {"schema": "{}", "schemaType": "JSON"}
    registry.schemas[3] = {"schema": '{"type": "unheard"}'}
    good = in_avro(1, ORDER, ROW)
    bad = {
        b"{}": "it does not begin as a serializer with a schema registry writes, with a zero byte"
        " and the four bytes of a schema's id, but with '7b 7d'",
        b"\x00\x00": "but with '00 00'",
        b"\x01" + good[1:]: "but with '01 00 00 00 01",
        b"\x00\x00\x00\x00\x63abc": "schema 99 is not in the schema registry at",
        good[:-3]: "not a record of schema 1 (",
        good + b"!": "not a record of schema 1: 1 bytes are left behind it",
        b"\x00\x00\x00\x00\x02{}": "schema 2 is of JSON, and this is a bridge of AVRO",
        b"\x00\x00\x00\x00\x03x": "schema 3 can't be read",
        in_avro(1, ORDER, ROW | {"customer": None}): "field 'user_id'",
    }
    world = BridgeWorld(
        translation_of(AVRO, EventTypes(), decoder(opens(configured(registry.url)))),
        [good, *bad, good],
    )
    assert world.bridge.round(0.0) == len(bad) + 2
    events = [decode_event(each.value, EventTypes()) for each in world.broker.records("events")]
    assert [each.event_id for each in events] == ["7", "7"]
    letters = [decode_dead_letter(each.value) for each in world.broker.records("dead-letters")]
    assert [each.offset for each in letters] == list(range(1, len(bad) + 1))
    for letter, reason in zip(letters, bad.values(), strict=True):
        assert letter.reason.startswith("bridge orders: ")
        assert reason in letter.reason
    assert registry.asked.count("/schemas/ids/1") == 1


def test_a_registry_that_is_away_is_waited_for_and_said_once(
    registry: LocalRegistry, opens: Opens, caplog: pytest.LogCaptureFixture
) -> None:
    registry.n_away = 2
    found = decoder(opens(configured(registry.url))).record(in_avro(1, ORDER, ROW))
    assert found["sku"] == "tea"
    first, last = [each.getMessage() for each in caplog.records if each.levelno > logging.INFO]
    assert first.startswith(f'waiting for the schema registry at "{registry.url}": ')
    assert "starting (HTTP status code 503" in first
    assert "answers after" in last


def test_who_waits_for_a_registry_hears_that_it_is_to_stop(
    registry: LocalRegistry, opens: Opens
) -> None:
    registry.n_away = float("inf")
    read = decoder(opens(configured(registry.url)), stopping=lambda: len(registry.asked) >= 2)
    with pytest.raises(Stopped, match="waiting for the schema registry"):
        read.record(in_avro(1, ORDER, ROW))
    assert len(registry.asked) == 2


def test_the_start_waits_for_a_registry_and_says_who_is_refused(
    registry: LocalRegistry, opens: Opens
) -> None:
    registry.user_info = "ann:s3cret:x"
    config = configured(registry.url, registry__user="ann", registry__password="s3cret:x")
    registry.n_away = 1
    opened = opens(config)
    await_registry(config, opened)
    assert opened.schema(1, serialized=False).kind == "AVRO"

    wrong = configured(registry.url, registry__user="ann", registry__password="guess")
    opened = opens(wrong)
    with pytest.raises(RegistryError, match=r"refuses this user .*correct registry\.user") as said:
        await_registry(wrong, opened)
    assert "guess" not in str(said.value)
    with pytest.raises(RegistryError, match="refuses this user"):
        decoder(opened).record(in_avro(1, ORDER, ROW))


def test_what_is_no_registry_is_said_at_the_start(registry: LocalRegistry, opens: Opens) -> None:
    elsewhere = configured(f"{registry.url}/elsewhere")
    opened = opens(elsewhere)
    with pytest.raises(RegistryError, match=r"correct registry\.url"):
        await_registry(elsewhere, opened)
    away = configured(f"http://127.0.0.1:{free_port()}", kafka__request_timeout_s=0.1)
    opened = opens(away)
    with pytest.raises(RegistryUnavailable, match=r"did not answer: .*refused"):
        await_registry(away, opened)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"registry__ca_file": "/no/such.pem"}, "No such file"),
        ({"registry__client": {"unheard.of": "x"}}, "unheard.of"),
    ],
)
def test_options_that_the_client_does_not_take_are_refused(
    flags: dict[str, Any], said: str
) -> None:
    options = flags.pop("registry__client", {})
    flags |= {f"registry__client__{name}".replace(".", "__"): "x" for name in options}
    config = configured("https://registry.example", **flags)
    with pytest.raises(ConfigError, match=rf"\[registry\]: .*{said}"):
        opened_registry(config, [AVRO])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"format": "avro"}, r"bridges.a.format: avro needs schemas; set registry.url$"),
        ({"format": "protobuf"}, "set registry.url, or descriptors and message"),
        ({"format": "protobuf", "message": "a.B"}, "descriptors and message go together"),
        (
            {"descriptors": "a", "message": "a.B"},
            "they are of protobuf, and the format is json",
        ),
    ],
)
def test_a_format_without_schemas_is_refused(flags: dict[str, object], said: str) -> None:
    dotted = {f"bridges.a.{name}": value for name, value in flags.items()}
    with pytest.raises(ConfigError, match=said):
        load_config("/dev/null", env={}, flags={"bridges.a.topic": "shop", **dotted})


def test_without_the_packages_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configured("http://127.0.0.1:1")
    monkeypatch.delitem(sys.modules, "streamer.bridge.avro", raising=False)
    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[registry\]'"):
        decoder_of(AVRO, None, never)
    monkeypatch.delitem(sys.modules, "streamer.kafka.schema_registry", raising=False)
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[registry\]'"):
        opened_registry(config, [AVRO])
    assert opened_registry(config, [BridgeConfig(topic="shop")]) is None, "JSON needs none of it"
