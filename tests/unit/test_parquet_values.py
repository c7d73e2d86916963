"""Values of Parquet's types are those that the same table has as text, or are refused."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamer.config import FileConfig
from streamer.events import Event, Item
from streamer_producers.datasets import open_described, open_log
from streamer_producers.guessing import Sample, guess_items
from streamer_producers.log import Log

AT = 1_760_000_000_000
DAY_MS = 1_769_817_600_000
"""Of 2026-01-31."""


def _log(folder: Path, mapping: str | None = None, **columns: Any) -> Log:
    n_rows = len(next(iter(columns.values())))
    usual = {
        "user_id": ["u"] * n_rows,
        "item_id": ["i"] * n_rows,
        "ts": [AT] * n_rows,
        "type": ["click"] * n_rows,
    }
    pq.write_table(pa.table(usual | columns), folder / "log.parquet")
    return open_log(folder / "log.parquet", mapping=mapping)


def _events(folder: Path, mapping: str | None = None, **columns: Any) -> list[Event]:
    log = _log(folder, mapping, **columns)
    events = list(log.events())
    assert log.malformed == []
    return events


def _items(folder: Path, mapping: str = "", **columns: Any) -> list[Item]:
    pq.write_table(pa.table({"item_id": ["a"]} | columns), folder / "items.parquet")
    table = FileConfig(file="items.parquet", holds="items", map=mapping)
    log = open_described(items=folder / "items.parquet", files={"items": table})
    items = list(log.items())
    assert log.malformed == []
    return items


@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.dictionary(pa.int8(), pa.binary())]
)
def test_bytes_are_text(tmp_path: Path, kind: pa.DataType) -> None:
    column = pa.array([b"caf\xc3\xa9", None, b"tea"], pa.binary())
    column = column.dictionary_encode() if pa.types.is_dictionary(kind) else column.cast(kind)
    log = _log(tmp_path, item_id=column, type=pa.array([b"like"] * 3))
    assert [(event.item_id, event.type) for event in log.events()] == [
        ("café", "like"),
        ("tea", "like"),
    ]
    (item,) = _items(
        tmp_path,
        "attributes.brand=brand",
        item_id=pa.array([b"a"]),
        title=pa.array([b"Tea"]),
        categories=pa.array([[b"x", b"y"]]),
        brand=pa.array([b"b"]),
    )
    assert item == Item(item_id="a", title="Tea", categories=["x", "y"], attributes={"brand": "b"})


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    broken = pa.array([b"\xff\xfe", b"tea"])
    for column in (broken, pa.Array.from_buffers(pa.string(), 2, broken.buffers())):
        log = _log(tmp_path, item_id=column)
        assert [event.item_id for event in log.events()] == ["tea"]
        (bad,) = log.malformed
        assert "field 'item_id': the bytes 0xfffe are no text in UTF-8" in bad.reason
        log = _log(tmp_path, "context.note=note", note=column)
        assert [event.context for event in log.events()] == [{"note": "tea"}]
        assert log.malformed[0].reason.startswith("the bytes 0xfffe are no text in UTF-8")
        log = _log(tmp_path, note=column)
        assert len(list(log.events())) == 2


def test_bytes_of_a_fixed_size_are_digits(tmp_path: Path) -> None:
    ids = [b"abcdefghijklmnop", uuid.UUID(int=2**127 + 1).bytes]
    events = _events(tmp_path, user_id=pa.array(ids, pa.binary(16)))
    assert [event.user_id for event in events] == [each.hex() for each in ids]


def test_whole_decimals_are_the_ids_that_integers_are(tmp_path: Path) -> None:
    digits = "12345678901234567890123456789012345678"
    ids = [Decimal(1), Decimal(20), Decimal(0)]
    events = _events(
        tmp_path,
        user_id=pa.array(ids, pa.decimal128(38, 10)),
        item_id=pa.array([Decimal(digits)] * 3, pa.decimal128(38, 0)),
        value=pa.array([Decimal("3.50"), None, Decimal("2.00")], pa.decimal128(5, 2)),
    )
    assert [event.user_id for event in events] == ["1", "20", "0"]
    assert {event.item_id for event in events} == {digits}
    assert [event.value for event in events] == [3.5, None, 2]
    log = _log(tmp_path, user_id=pa.array([Decimal("1.5")]))
    assert list(log.events()) == []
    assert "field 'user_id': 1.5 is refused: expected `str`" in log.malformed[0].reason


def test_decimals_are_numbers_in_attributes(tmp_path: Path) -> None:
    (item,) = _items(
        tmp_path,
        "attributes.price=price,attributes.size=size,categories=shelf",
        price=pa.array([Decimal("3.50")]),
        size=pa.array([Decimal("7.00")]),
        shelf=pa.array([Decimal("2.50")]),
    )
    assert item.attributes == {"price": 3.5, "size": 7}
    assert item.categories == ["2.50"]


@pytest.mark.parametrize(
    ("kind", "last"), [(pa.float32(), 2**24 - 1), (pa.float16(), 2**11 - 1), (None, 2**53 - 1)]
)
def test_a_float_that_is_several_ids_is_refused(
    tmp_path: Path, kind: pa.DataType | None, last: int
) -> None:
    ids = pa.array([float(last), float(last + 1), -float(last + 1)]).cast(kind or pa.float64())
    log = _log(tmp_path, user_id=ids)
    assert [event.user_id for event in log.events()] == [str(last)]
    assert [each.line for each in log.malformed] == [2, 3]
    assert "is a number that was rounded; write ids as text" in log.malformed[0].reason
    # As a number it is what it is.
    assert [event.value for event in _events(tmp_path, value=ids)] == [last, last + 1, -last - 1]


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64(), pa.timestamp("ns")])
@pytest.mark.parametrize("mapping", [None, "ts=ts:iso", "ts=ts:s"])
def test_days_are_times(tmp_path: Path, kind: pa.DataType, mapping: str | None) -> None:
    column = pa.array([date(2026, 1, 31)] * 2).cast(kind)
    log = _log(tmp_path, mapping, ts=column)
    assert [event.ts for event in log.events()] == [DAY_MS] * 2
    assert log.remarks == []
    for form in ("", "created_ts=created_ts:iso", "created_ts=created_ts:ms"):
        (item,) = _items(tmp_path, form, created_ts=column[:1])
        assert item.created_ts == DAY_MS


@pytest.mark.parametrize("zone", ["America/New_York", "+05:30", "Mars/Phobos", None])
def test_timestamps_are_in_utc_whatever_their_zone(tmp_path: Path, zone: str | None) -> None:
    column = pa.array([AT], pa.timestamp("ms", zone))
    (event,) = _events(tmp_path, "context.at=at", ts=column, at=column)
    assert event.ts == AT
    written = datetime.fromisoformat(str((event.context or {})["at"])).replace(tzinfo=UTC)
    assert written == datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([316_000_000_000_000, AT], pa.timestamp("ms")),
        pa.array([-(10**15), AT], pa.timestamp("ms", "UTC")),
        pa.array([3_000_000, AT // 86_400_000], pa.int32()).cast(pa.date32()),
        pa.array([86_400_000 * 3_000_000, AT - AT % 86_400_000], pa.int64()).cast(pa.date64()),
    ],
)
def test_a_time_that_no_calendar_has_costs_its_own_row(tmp_path: Path, column: pa.Array) -> None:
    log = _log(tmp_path, ts=column)
    assert [event.ts // 86_400_000 for event in log.events()] == [AT // 86_400_000]
    (bad,) = log.malformed
    assert bad.line == 1
    assert bad.reason.startswith("field 'ts'")
    nested = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), column)
    log = _log(tmp_path, "context.at=x", x=nested)
    assert list(log.events()) == []
    assert log.malformed[0].reason.startswith("a value of the type list<")


def test_maps_are_objects(tmp_path: Path) -> None:
    kind = pa.map_(pa.string(), pa.decimal128(5, 2))
    context = pa.array([[("a", Decimal("1.50")), ("b", Decimal("2.00"))]], kind)
    (event,) = _events(tmp_path, context=context)
    assert event.context == {"a": 1.5, "b": 2}


def test_a_column_of_decimals_is_proposed_as_an_attribute() -> None:
    records = [{"sku": "a", "name": "Tea", "price": Decimal("3.50")}]
    columns = guess_items(Sample("items.parquet", ["sku", "name", "price"], records, False), {})
    assert columns == {"item_id": "sku", "title": "name", "attributes.price": "price"}


def test_a_truth_is_a_value_of_one_or_zero(tmp_path: Path) -> None:
    log = _log(tmp_path, value=pa.array([True, False, None]))
    assert [event.value for event in log.events()] == [1, 0, None]
    rows = "".join(f"ann,tea,{AT},click,{value}\n" for value in ("TRUE", "False", "", "yes"))
    (tmp_path / "log.csv").write_text(f"user_id,item_id,ts,type,value\n{rows}")
    text = open_log(tmp_path / "log.csv")
    assert [event.value for event in text.events()] == [1, 0, None]
    assert [each.line for each in text.malformed] == [5]


def test_an_absent_label_costs_no_item(tmp_path: Path) -> None:
    columns = {
        "item_id": ["a", "b", "c"],
        "title": ["x"] * 3,
        "categories": [["tea", None, "hot"], [None], None],
    }
    pq.write_table(pa.table(columns), tmp_path / "items.parquet")
    items = open_described(items=tmp_path / "items.parquet").items()
    assert [item.categories or [] for item in items] == [["tea", "hot"], [], []]
