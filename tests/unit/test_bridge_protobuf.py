"""Protobuf becomes what JSON would, with schemas of a registry or descriptors of a file."""

from __future__ import annotations

import base64
import contextlib
import importlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import message_factory, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import Default, DescriptorPool
from google.protobuf.message import Message
from msgspec.structs import replace

from streamer.application.services.bridge_decoders import decoder_of, opened_registry
from streamer.bridge.decoder import Decoder
from streamer.bridge.translation import translation_of
from streamer.config import load_config
from streamer.config.bridges import BridgeConfig
from streamer.errors import BadMessage, ConfigError, RegistryError
from streamer.events import EventTypes
from streamer.kafka.connection import never
from tests.schema_registry import LocalRegistry, local_registry
from tests.unit.test_bridge import batch

KNOWN = (
    "google/protobuf/timestamp.proto",
    "google/protobuf/duration.proto",
    "google/protobuf/wrappers.proto",
    "google/protobuf/struct.proto",
    "google/type/money.proto",
    "google/protobuf/descriptor.proto",
    "confluent/meta.proto",
    "confluent/type/decimal.proto",
)
CONFLUENT = "confluent_kafka.schema_registry."
PAGE = text_format.Parse(
    """
    name: "shop/page.proto" package: "shop" syntax: "proto3"
    message_type { name: "Page" field { name: "url" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL } }
    """,  # noqa: E501
    FileDescriptorProto(),
)


def field(name: str, number: int, kind: str, more: str = "") -> str:
    kind = f'type_name: ".{kind}"' if "." in kind else f"type: TYPE_{kind.upper()}"
    label = "" if "label:" in more else "label: LABEL_OPTIONAL"
    return f'field {{ name: "{name}" number: {number} {kind} {label} {more} }}'


ORDER = text_format.Parse(
    f"""
    name: "shop/order.proto" package: "shop" syntax: "proto3"
    dependency: "shop/page.proto"
    {" ".join(f'dependency: "{name}"' for name in KNOWN if "descriptor" not in name)}
    enum_type {{ name: "Kind"
      value {{ name: "HOT" number: 0 }} value {{ name: "COLD" number: 1 }} }}
    message_type {{
      name: "Order"
      {field("id", 1, "int64")} {field("customer", 2, "string")} {field("sku", 3, "string")}
      {field("at", 4, "google.protobuf.Timestamp")} {field("took", 5, "google.protobuf.Duration")}
      {field("kind", 6, "shop.Kind", "type: TYPE_ENUM")} {field("raw", 7, "bytes")}
      {field("tags", 8, "string", "label: LABEL_REPEATED")} {field("page", 9, "shop.Page")}
      {field("extra", 10, "shop.Order.ExtraEntry", "type: TYPE_MESSAGE label: LABEL_REPEATED")}
      {field("stars", 11, "google.protobuf.Int64Value")} {field("ratio", 12, "double")}
      {field("facts", 13, "google.protobuf.Struct")} {field("price", 14, "confluent.type.Decimal")}
      {field("cost", 15, "google.type.Money")}
      {field("note", 16, "string", "proto3_optional: true oneof_index: 0")}
      {field("pages", 17, "shop.Page", "label: LABEL_REPEATED")}
      nested_type {{ name: "ExtraEntry" options {{ map_entry: true }}
        {field("key", 1, "int32")} {field("value", 2, "shop.Page")} }}
      nested_type {{ name: "Line" {field("sku", 1, "string")} }}
      oneof_decl {{ name: "_note" }}
    }}
    message_type {{ name: "Other" nested_type {{ name: "A" }}
      nested_type {{ name: "B" {field("sku", 1, "string")} }} }}
    message_type {{
      name: "Envelope" {field("before", 1, "shop.Order")} {field("after", 2, "shop.Order")}
      {field("op", 3, "string")}
    }}
    """,
    FileDescriptorProto(),
)


@pytest.fixture
def pool() -> DescriptorPool:
    """The files as who publishes has them."""
    for name in KNOWN:
        module = name.removesuffix(".proto").replace("/", ".") + "_pb2"
        importlib.import_module(CONFLUENT * name.startswith("confluent/") + module)
    pool = DescriptorPool()
    for name in KNOWN:
        pool.AddSerializedFile(Default().FindFileByName(name).serialized_pb)
    for file in (PAGE, ORDER):
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def serialized(file: FileDescriptorProto) -> str:
    return base64.b64encode(file.SerializeToString()).decode()


@pytest.fixture
def registry() -> Iterator[LocalRegistry]:
    with local_registry() as served:
        served.versions["page", 3] = {
            "subject": "page",
            "version": 3,
            "id": 20,
            "schemaType": "PROTOBUF",
            "schema": serialized(PAGE),
        }
        served.schemas[21] = {
            "schemaType": "PROTOBUF",
            "schema": serialized(ORDER),
            "references": [{"name": "shop/page.proto", "subject": "page", "version": 3}],
        }
        yield served


CONFIG = BridgeConfig(
    topic="shop",
    format="protobuf",
    map="event_id=id,user_id=customer,item_id=sku,ts=at,context.url=page.url",
    type="purchase",
)


@pytest.fixture
def decoder(registry: LocalRegistry) -> Iterator[Decoder]:
    config = load_config("/dev/null", env={}, flags={"registry.url": registry.url})
    opened = opened_registry(config, [CONFIG])
    assert opened is not None
    with contextlib.closing(opened):
        yield decoder_of(CONFIG, opened, never)


def message(pool: DescriptorPool, name: str, fields: dict[str, Any]) -> Message:
    made: Message = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))(**fields)
    return made


def framed(payload: bytes, path: bytes = b"\x00", schema_id: int = 21) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + path + payload


AT = {"seconds": 1_794_996_000, "nanos": 123_456_789}
ROW = {"id": 2**53 + 1, "customer": "ann", "sku": "tea", "at": AT, "page": {"url": "/tea"}}


def test_values_are_those_of_json(pool: DescriptorPool, decoder: Decoder) -> None:
    full = message(
        pool,
        "shop.Order",
        ROW
        | {
            "took": {"seconds": 1, "nanos": 500_000_000},
            "kind": "COLD",
            "raw": b"\xff\x01",
            "tags": ["a", "b"],
            "stars": {"value": 0},
            "ratio": 0.5,
            "facts": {"hot": True},
            "price": {"value": (-350).to_bytes(2, "big", signed=True), "scale": 2},
            "cost": {"currency_code": "EUR", "units": 3},
            "note": "",
            "pages": [{"url": "/a"}],
            "extra": {5: {"url": "/b"}},
        },
    )
    assert decoder.record(framed(full.SerializeToString())) == {
        "id": 2**53 + 1,
        "customer": "ann",
        "sku": "tea",
        "at": 1_794_996_000_123,
        "took": 1.5,
        "kind": "COLD",
        "raw": "ff01",
        "tags": ["a", "b"],
        "page": {"url": "/tea"},
        "extra": {"5": {"url": "/b"}},
        "stars": 0,
        "ratio": 0.5,
        "facts": {"hot": True},
        "price": -3.5,
        "cost": {"currency_code": "EUR", "units": 3, "nanos": 0},
        "note": "",
        "pages": [{"url": "/a"}],
    }
    empty = decoder.record(framed(b""))
    assert empty["at"] is empty["page"] is empty["stars"] is empty["note"] is None
    assert (empty["id"], empty["sku"], empty["kind"], empty["extra"]) == (0, "", "HOT", {})


def test_a_row_is_the_same_event_alone_and_in_a_change(
    pool: DescriptorPool, decoder: Decoder
) -> None:
    with_unit = replace(CONFIG, map=CONFIG.map.replace("ts=at", "ts=at:us"))  # which it has itself
    translations = [translation_of(each, EventTypes(), decoder) for each in (CONFIG, with_unit)]
    made = message(pool, "shop.Envelope", {"after": ROW, "op": "c"})
    payloads = (
        framed(message(pool, "shop.Order", ROW).SerializeToString()),
        framed(made.SerializeToString(), path=b"\x02\x04"),
    )
    for translation, payload in itertools.product(translations, payloads):
        found = translation.message(batch(payload), 0)
        assert found is not None
        assert found.value is not None
        event = json.loads(found.value)
        assert {name: each for name, each in event.items() if each is not None} == {
            "event_id": str(2**53 + 1),
            "type": "purchase",
            "user_id": "ann",
            "item_id": "tea",
            "ts": 1_794_996_000_123,
            "context": {"url": "/tea"},
        }


def test_a_message_within_another_is_found_and_its_schema_is_asked_for_once(
    registry: LocalRegistry, decoder: Decoder
) -> None:
    sku = b"\x0a\x03tea"
    inner = framed(sku, path=b"\x04\x02\x02")  # two deep: of the second message the second
    assert decoder.record(inner) == decoder.record(inner) == {"sku": "tea"}
    assert decoder.record(framed(sku, path=b"\x04\x00\x02")) == {"sku": "tea"}
    assert registry.asked == ["/schemas/ids/21 serialized", "/subjects/page/versions/3 serialized"]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"\x0a\x03tea", "does not begin as a serializer with a schema registry writes"),
        (framed(b"", path=b"\x02\x08"), "schema 21 has no message 4"),
        (framed(b"", path=b"\x04\x02\x04"), "schema 21 has no message 1.2"),
        (framed(b"", path=b"\x80\x80"), "does not say which message"),
        (framed(b"", path=b""), "does not say which message"),
        (framed(b"", path=b"\x01"), "a message -1 deep"),
        (framed(b"", path=b"\xfe\x01"), "a message 127 deep"),
        (framed(b"\x0a\x09tea"), "not a message shop.Order"),
        (framed(b"", schema_id=9), "schema 9 is not in the schema registry"),
        (framed(b"", schema_id=22), "schema 22 is of AVRO, and this is a bridge of PROTOBUF"),
        (framed(b"", schema_id=23), "schema 23 can't be read"),
    ],
)
def test_what_is_wrong_with_a_message_is_said(
    registry: LocalRegistry, decoder: Decoder, payload: bytes, said: str
) -> None:
    registry.schemas[22] = {"schema": '"string"'}
    registry.no_format.add(22)
    registry.schemas[23] = {"schemaType": "PROTOBUF", "schema": serialized(ORDER)}  # without a page
    with pytest.raises(BadMessage, match=said):
        decoder.record(payload)


def test_a_registry_that_knows_text_alone_is_not_the_messages_fault(
    registry: LocalRegistry, decoder: Decoder
) -> None:
    registry.schemas[24] = {"schemaType": "PROTOBUF", "schema": 'syntax = "proto3";'}
    with pytest.raises(RegistryError, match="give the bridge a file of descriptors"):
        decoder.record(framed(b"", schema_id=24))


# --- descriptors of a file --------------------------------------------------------------------


def described(path: Path, message: str = "shop.Order") -> Decoder:
    config = BridgeConfig(topic="shop", format="protobuf", descriptors=str(path), message=message)
    return decoder_of(config, None, never)


def test_descriptors_of_a_file_need_no_registry(tmp_path: Path, pool: DescriptorPool) -> None:
    path = tmp_path / "shop.desc"
    path.write_bytes(FileDescriptorSet(file=[PAGE, ORDER]).SerializeToString())
    row = message(pool, "shop.Order", ROW).SerializeToString()
    read = described(path)
    assert read.record(row)["at"] == 1_794_996_000_123
    assert read.record(framed(row, path=b"\x02\x00")) == read.record(row)
    assert read.record(b"")["sku"] == ""
    assert (read.key(b"tea"), read.key(framed(b""))) == ("tea", None)
    assert described(path, "shop.Order.Line").record(b"\x0a\x03tea") == {"sku": "tea"}
    with pytest.raises(BadMessage, match=r"not a message shop\.Order"):
        read.record(b"\xff\xff")


def test_descriptors_that_cannot_be_read_are_refused_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "shop.desc"
    with pytest.raises(ConfigError, match="can't be read"):
        described(path)
    path.write_bytes(b'syntax = "proto3";')
    with pytest.raises(ConfigError, match="write it with protoc --include_imports"):
        described(path)
    path.write_bytes(FileDescriptorSet(file=[ORDER]).SerializeToString())
    with pytest.raises(ConfigError, match="write it with protoc --include_imports"):
        described(path)
    path.write_bytes(FileDescriptorSet(file=[PAGE, ORDER]).SerializeToString())
    with pytest.raises(ConfigError, match=r"no message 'Order'; there are .*shop\.Order"):
        described(path, "Order")
