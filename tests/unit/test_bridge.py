"""Messages of other systems become events and items, letters, or nothing; each has its fate."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from streamer.bridge.bridge import Bridge
from streamer.bridge.decoder import JsonDecoder
from streamer.bridge.metrics import BridgeMetrics
from streamer.bridge.translation import Translated, Translation, translation_of
from streamer.config import load_config
from streamer.config.bridges import BridgeConfig
from streamer.errors import BadMessage, ConfigError
from streamer.events import EventTypes, decode_event, decode_item, decode_user
from streamer.events.decoding import decode_dead_letter
from streamer.kafka.log_ends import EARLIEST
from streamer.protocols import MessageBatch
from streamer.simulation.broker import ManualClock, MemoryBroker, MemorySink, MemorySource

PUBLISHED_MS = 1_795_000_000_000
TYPES = EventTypes()


def batch(*values: object, keys: list[bytes | None] | None = None) -> MessageBatch:
    """Messages of a topic of others; what is no bytes is written as JSON."""
    payloads = [
        value if isinstance(value, bytes | None) else json.dumps(value).encode() for value in values
    ]
    offsets = np.arange(len(payloads))
    return MessageBatch(
        "shop", 1, payloads, offsets, PUBLISHED_MS + offsets, keys or [None] * len(payloads)
    )


class BridgeWorld:
    """A bridge from the topic `shop` to `events`, in memory, with messages that wait.

    Attributes
    ----------
    told
        Offsets that the group had at each flush.
    """

    def __init__(self, translation: Translation, payloads: list[bytes]) -> None:
        clock = ManualClock(PUBLISHED_MS)
        self.broker = MemoryBroker({"shop": 1, "events": 4, "dead-letters": 1})
        self.sink = MemorySink(self.broker, clock=clock)
        self.registry = CollectorRegistry()
        self.told: list[dict[Any, int]] = []
        for payload in payloads:
            self.sink.send("shop", key=None, value=payload)
        self.bridge = Bridge(
            "orders",
            source=MemorySource(
                self.broker,
                "bridge",
                ["shop"],
                on_assign=lambda partitions: {("shop", p): EARLIEST for p in partitions},
                on_revoke=lambda partitions: None,
                clock=clock,
            ),
            translation=translation,
            sink=self.sink,
            flush=lambda: self.told.append(dict(self.broker.committed["bridge"])),
            target="events",
            dead_letters="dead-letters",
            metrics=BridgeMetrics(self.registry),
        )


def event_of(record: object, **settings: Any) -> dict[str, Any]:
    """The event that a bridge makes of a record, without defaults."""
    translation = translation_of(BridgeConfig(topic="shop", **settings), TYPES, JsonDecoder())
    found = translation.message(batch(record), 0)
    assert found is not None
    assert found.value is not None
    decode_event(found.value, TYPES)
    assert found.key == json.loads(found.value)["user_id"].encode()
    return {name: value for name, value in json.loads(found.value).items() if value is not None}


SEGMENT = {
    "messageId": "m1",
    "type": "track",
    "event": "Product Viewed",
    "userId": "ann",
    "timestamp": "2026-11-18T10:00:00.000Z",
    "properties": {"product_id": "tea", "price": 3.5, "page": {"url": "/tea"}},
}
SEGMENT_MAP = (
    "event_id=messageId,user_id=userId,item_id=properties.product_id,ts=timestamp:iso,type=event,"
    "type.Product Viewed=impression,context.url=properties.page.url"
)
ROW = {"id": 7, "customer": 12, "sku": "tea", "at": 1_795_000_000}
ROW_MAP = "event_id=id,user_id=customer,item_id=sku,ts=at:s"


def test_fields_in_objects_are_named_by_their_paths() -> None:
    assert event_of(SEGMENT, map=SEGMENT_MAP) == {
        "event_id": "m1",
        "type": "impression",
        "user_id": "ann",
        "item_id": "tea",
        "ts": 1_794_996_000_000,
        "context": {"url": "/tea"},
    }


@pytest.mark.parametrize(
    "envelope",
    [
        lambda row: row,
        lambda row: {"before": None, "after": row, "op": "c", "ts_ms": 1},
        lambda row: {"schema": {}, "payload": {"before": None, "after": row, "op": "r"}},
    ],
    ids=["a row", "a change", "a change with its schema"],
)
def test_a_row_is_the_same_in_every_envelope(envelope: Any) -> None:
    names = {"event_id": "7", "type": "purchase", "user_id": "12", "item_id": "tea"}
    expected = names | {"ts": 1_795_000_000_000}
    settings = {"map": ROW_MAP, "type": "purchase"}
    assert event_of(envelope(ROW), **settings) == expected
    prefixed = b"\x00\x00\x00\x00\x2a" + json.dumps(envelope(ROW)).encode()
    assert event_of(prefixed, **settings) == expected


@pytest.mark.parametrize(
    ("ts", "said"),
    [
        (
            "ts=at:iso",
            "got `str`; the map names iso: if that is wrong, name the unit in the bridge",
        ),
        ("ts=at", "got `str`; name the unit in the bridge's map, as ts=COLUMN:UNIT, one of s, ms"),
    ],
)
def test_what_to_do_about_a_refused_time_or_type_is_said_of_the_bridge(ts: str, said: str) -> None:
    config = BridgeConfig(topic="shop", map=f"{ts},type=kind")
    translation = translation_of(config, TYPES, JsonDecoder())
    row = {"user_id": "ann", "item_id": "tea", "kind": "click"}
    with pytest.raises(BadMessage, match=re.escape(said)) as refused:
        translation.message(batch(row | {"at": "yesterday"}), 0)
    assert "--map" not in str(refused.value)
    with pytest.raises(BadMessage, match=r"in the bridge's map, as type\.seen=TYPE"):
        translation.message(batch(row | {"kind": "seen"}), 0)


def test_without_id_and_time_an_event_has_those_of_its_place() -> None:
    record = {"user_id": "ann", "item_id": "tea", "type": "click"}
    translation = translation_of(BridgeConfig(topic="shop"), TYPES, JsonDecoder())
    both = batch(record, record)
    first, second, again = (translation.message(both, index) for index in (0, 1, 0))
    assert first == again
    assert first is not None
    assert second is not None
    assert first.value is not None
    assert second.value is not None
    one, other = decode_event(first.value, TYPES), decode_event(second.value, TYPES)
    assert one.event_id != other.event_id
    assert (one.ts, other.ts) == (PUBLISHED_MS, PUBLISHED_MS + 1)


def test_events_that_are_changed_or_deleted_stay_and_items_follow() -> None:
    row = {"sku": "tea", "name": "Green tea", "kind": "drinks|hot"}
    changes = batch(
        {"before": None, "after": row, "op": "c"},
        {"before": row, "after": row | {"name": "Tea"}, "op": "u"},
        {"before": row, "after": None, "op": "d"},
        None,
        None,
        {"before": None, "after": None, "op": "t"},
        keys=[None, None, None, b'{"sku":"tea"}', b"cake", None],
    )
    config = BridgeConfig(
        topic="shop", holds="items", map="item_id=sku,title=name,categories=kind:pipe"
    )
    items = translation_of(config, TYPES, JsonDecoder())
    found = [items.message(changes, index) for index in range(6)]
    titles = [decode_item(each.value).title if each and each.value else None for each in found]
    assert titles == ["Green tea", "Tea", None, None, None, None]
    assert found[2:] == [Translated(b"tea", None), None, Translated(b"cake", None), None]

    events = translation_of(
        BridgeConfig(topic="shop", map=ROW_MAP, type="purchase"), TYPES, JsonDecoder()
    )
    rows = batch(
        {"before": ROW, "after": ROW, "op": "u"}, {"before": ROW, "after": None, "op": "d"}, None
    )
    assert [events.message(rows, index) for index in range(3)] == [None, None, None]


def test_a_table_of_users_becomes_what_they_say_and_a_deleted_row_erases_one() -> None:
    row = {"id": 7, "likes": "tea,cakes", "country": "pt", "at": 1_795_000_000}
    changes = batch(
        {"before": None, "after": row, "op": "c"},
        {"before": row, "after": None, "op": "d"},
        None,
        None,
        {"before": None, "after": row | {"id": None}, "op": "c"},
        keys=[None, None, b'{"id":7}', b"8", None],
    )
    mapping = "user_id=id,categories=likes:comma,attributes.country=country,ts=at:s"
    config = BridgeConfig(topic="shop", holds="users", map=mapping)
    users = translation_of(config, TYPES, JsonDecoder())
    made, gone, follows, alone = (users.message(changes, index) for index in range(4))
    assert made is not None
    user = decode_user(made.value)
    assert (made.key, user.categories, user.attributes) == (
        b"7",
        ["tea", "cakes"],
        {"country": "pt"},
    )
    assert user.ts == 1_795_000_000_000
    assert [gone, follows, alone] == [Translated(b"7", None), None, Translated(b"8", None)]
    with pytest.raises(BadMessage, match="user_id"):
        users.message(changes, 4)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (b"\x01\x02 avro", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ([1], "a JSON list, and records are objects"),
        ({"op": "c", "after": None}, "holds no record after it"),
        ({"op": "d", "before": None}, "a change with op 'd' holds no record before it"),
        ({"customer": 12, "sku": "tea", "at": 1}, None),
        ({"customer": 12, "at": 1_795_000_000}, "item_id"),
        (ROW | {"customer": {"id": 12}}, "user_id"),
        (ROW | {"at": "yesterday"}, "ts"),
    ],
    ids=str,
)
def test_what_is_no_record_or_no_event_says_why(record: object, said: str | None) -> None:
    translation = translation_of(
        BridgeConfig(topic="shop", map=ROW_MAP, type="click"), TYPES, JsonDecoder()
    )
    if said is None:
        assert translation.message(batch(record), 0) is not None
        return
    with pytest.raises(BadMessage, match=said):
        translation.message(batch(record), 0)


def test_each_message_has_its_fate_and_is_told_once_all_is_flushed() -> None:
    large = ROW | {"sku": "x" * 200}
    rows = (ROW, {"sku": "tea"}, {"before": ROW, "after": ROW, "op": "u"}, large)
    world = BridgeWorld(
        translation_of(
            BridgeConfig(topic="shop", map=ROW_MAP, type="purchase"), TYPES, JsonDecoder()
        ),
        [json.dumps(row).encode() for row in rows],
    )
    world.sink.bytes_max["events"] = 200
    bridge, broker, registry = world.bridge, world.broker, world.registry
    assert bridge.round(0.0) == 4
    assert world.told == [{}], "told before it was flushed"
    assert broker.committed["bridge"] == {("shop", 0): 4}
    [event] = broker.records("events")
    assert decode_event(event.value, TYPES).event_id == "7"
    letters = [decode_dead_letter(each.value) for each in broker.records("dead-letters")]
    assert [(each.topic, each.offset) for each in letters] == [("shop", 1), ("shop", 3)]
    assert "bridge orders: field 'user_id'" in letters[0].reason
    assert "bridge orders: its events message is larger than the topic takes" in letters[1].reason
    counted = {
        fate: registry.get_sample_value(
            "streamer_bridge_messages_total", {"bridge": "orders", "fate": fate}
        )
        for fate in ("published", "dead_letter", "passed_over")
    }
    assert counted == {"published": 1, "dead_letter": 2, "passed_over": 1}
    assert bridge.round(0.0) == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"bridges.a.map": "user_id=u"}, "name the topic to read"),
        ({"bridges.a.topic": "events"}, "one that is not ours"),
    ],
)
def test_a_bridge_without_a_topic_of_others_is_refused(flags: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config("/dev/null", env={}, flags=flags)


def test_a_mapping_that_cannot_be_read_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="'who' is no field of an event"):
        translation_of(BridgeConfig(topic="shop", map="who=u"), TYPES, JsonDecoder())
    with pytest.raises(ConfigError, match="is no event type"):
        translation_of(BridgeConfig(topic="shop", type="buy"), TYPES, JsonDecoder())
