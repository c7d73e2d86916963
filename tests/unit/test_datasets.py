"""Logs in every format become the same events; what is malformed is counted, never lost."""

from __future__ import annotations

import gzip
import os
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import BadMessage, ConfigError
from streamer.events import Event, Item, encode
from streamer_producers.datasets import open_log
from streamer_producers.event_mapper import EventMapper
from streamer_producers.formats import PARQUET_ROWS
from streamer_producers.log_file import LINE_BYTES_MAX
from streamer_producers.mapping import FieldMapping, parse_mapping
from streamer_producers.ordering import merged_by_time, sorted_by_time
from tests.unit.movielens import (
    HEADER,
    IN_TIME_ORDER,
    RATINGS,
    ratings,
    seen,
    write_movielens,
    zipped,
)

DATA = Path(os.environ.get("STREAMER_DATA") or Path(__file__).parents[3] / "shared" / "data")
MAPPING = "user_id=userId,item_id=movieId,ts=timestamp:s,value=rating,type=rating"
SECOND_MS = 1_000


@pytest.mark.parametrize("layout", ["csv", "dat", "u"])
@pytest.mark.parametrize("in_zip", [False, True])
def test_movielens_in_all_its_layouts(tmp_path: Path, layout: str, in_zip: bool) -> None:
    path = write_movielens(tmp_path / "ml", layout)
    log = open_log(zipped(path) if in_zip else path)
    assert seen(log.events()) == IN_TIME_ORDER
    assert {event.type for event in log.events()} == {"rating"}
    assert list(log.items()) == [
        Item(
            item_id="10",
            title="Été, L' (1995)",
            categories=["Comedy", "Drama"],
            attributes={"year": 1995},
        ),
        Item(item_id="11", title="Dune"),
    ]
    assert log.n_malformed == 0
    assert log.n_estimated in (4, 5)


def test_movielens_in_file_order_or_as_clicks_when_asked(tmp_path: Path) -> None:
    folder = write_movielens(tmp_path / "ml", "csv")
    assert seen(open_log(folder, sort=False).events()) == RATINGS
    clicks = open_log(folder / "ratings.csv", event_type="click")
    assert seen(clicks.events()) == IN_TIME_ORDER
    assert {event.type for event in clicks.events()} == {"click"}


@pytest.mark.skipif(not (DATA / "ml-latest-small").is_dir(), reason=f"no ml-latest-small in {DATA}")
def test_the_real_movielens() -> None:
    log = open_log(DATA / "ml-latest-small")
    events = list(log.events())
    assert len(events) == 100_004
    assert len({event.event_id for event in events}) == 100_004
    assert len({event.user_id for event in events}) == 671
    assert len({event.item_id for event in events}) == 9_066
    assert all(earlier.ts <= later.ts for earlier, later in pairwise(events))
    assert datetime.fromtimestamp(events[0].ts / 1000, UTC).year == 1995
    assert log.n_estimated == pytest.approx(100_004, rel=0.05)
    items = {item.item_id: item for item in log.items()}
    assert items["1"].title == "Toy Story (1995)"
    assert items["1"].attributes == {"year": 1995}
    assert len(items) >= 9_066
    assert log.n_malformed == 0


@pytest.mark.skipif(not (DATA / "obd-small").is_dir(), reason=f"no obd-small in {DATA}")
def test_a_real_gzipped_csv_with_iso_times() -> None:
    path = DATA / "obd-small" / "bts" / "men" / "men.csv.gz"
    log = open_log(
        path, mapping="user_id=user_feature_0,ts=timestamp:iso,value=click,type=impression"
    )
    events = list(log.events())
    assert len(events) == 10_000
    first = datetime(2019, 11, 24, 0, 1, 3, 979_000, tzinfo=UTC)
    assert events[0].ts == int(first.timestamp() * 1000)
    assert (events[0].item_id, events[0].position) == ("2", 2)
    # zcat men.csv.gz | awk -F, '$5==1' | wc -l
    assert sum(event.value or 0 for event in events) == 69


def _all_formats(folder: Path) -> dict[str, Path]:
    """The same four events in each format, under foreign names."""
    names = HEADER.strip().split(",")
    json_lines = "".join(encode_record(dict(zip(names, row, strict=True))) for row in RATINGS)
    paths = {name: folder / f"log.{name}" for name in ("jsonl", "csv", "tsv", "parquet")}
    paths["jsonl"].write_text(json_lines)
    paths["csv"].write_text("\ufeff" + HEADER + ratings(","))
    paths["tsv"].write_text(HEADER.replace(",", "\t") + ratings("\t"))
    columns = dict(zip(names, zip(*RATINGS, strict=True), strict=True))
    pq.write_table(pa.table(columns), paths["parquet"])
    for name in ("jsonl", "csv"):
        paths[f"{name}.gz"] = folder / f"log.{name}.gz"
        paths[f"{name}.gz"].write_bytes(gzip.compress(paths[name].read_bytes()))
    return paths


def encode_record(record: dict[str, object]) -> str:
    return str(record).replace("'", '"') + "\n"


@pytest.mark.parametrize("name", ["jsonl", "csv", "tsv", "parquet", "jsonl.gz", "csv.gz"])
def test_every_format_gives_the_same_events(tmp_path: Path, name: str) -> None:
    path = _all_formats(tmp_path)[name]
    log = open_log(path, mapping=MAPPING)
    assert seen(log.events()) == RATINGS
    assert seen(open_log(path, mapping=MAPPING, sort=True).events()) == IN_TIME_ORDER
    assert list(log.events()) == list(log.events())
    assert log.n_estimated in ((None,) if name.endswith(".gz") else (4, 5))
    assert list(log.items()) == []


def test_our_own_messages_come_back_as_they_went(tmp_path: Path) -> None:
    events = [
        Event(event_id="a", type="click", user_id="u", item_id="i", ts=1, request_id="r"),
        Event(
            event_id="b",
            type="watch",
            user_id="ü",
            item_id="i",
            ts=2,
            position=3,
            value=0.25,
            context={"device": "tv", "hour": 3},
        ),
    ]
    items = [Item(item_id="i", title="It", tags=["x"], available=False)]
    log_path, item_path = tmp_path / "log.jsonl", tmp_path / "items.jsonl"
    log_path.write_bytes(b"\n\n".join(map(encode, events)))
    item_path.write_bytes(b"\n".join([*map(encode, items), b"{}"]))
    log = open_log(log_path, items=item_path)
    assert list(log.events()) == events
    assert list(log.items()) == items
    assert [(fault.file, fault.line) for fault in log.malformed] == [("items.jsonl", 2)]


def test_malformed_lines_are_counted_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    good = b'{"type":"click","user_id":1,"item_id":2,"ts":3}'
    bad = [
        b"{",
        b"[1]",
        b'{"type":"clack","user_id":"u","item_id":"i","ts":3}',
        b'{"type":"click","item_id":"i","ts":3}',
        b'{"type":"click","user_id":"\xff","item_id":"i","ts":3}',
        b'{"type":"rating","user_id":"u","item_id":"i","ts":3,"value":"inf"}',
        b'{"type":"click","user_id":"u","item_id":"' + b"i" * 3 * LINE_BYTES_MAX + b'","ts":3}',
    ]
    path.write_bytes(b"\n".join([good, *bad, good]))
    log = open_log(path)
    events = list(log.events())
    assert [(event.user_id, event.item_id, event.ts) for event in events] == [("1", "2", 3)] * 2
    assert log.n_malformed == len(bad)
    assert [fault.line for fault in log.malformed] == [2, 3, 4, 5, 6, 7, 8]
    reasons = "\n".join(map(str, log.malformed))
    for expected in ("log.jsonl:4: field 'type': \"clack\"", "missing from", "'value': \"inf\""):
        assert expected in reasons
    list(log.events())
    assert log.n_malformed == len(bad)  # of the latest pass, not of both
    with pytest.raises(BadMessage, match=r"log\.jsonl:2: "):
        list(open_log(path, strict=True).events())


def test_malformed_rows_of_tables(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(
        b"user_id,item_id,ts,type,value\nu,i,1,click,\nu,i\n\n\xe9,i,2,click,\nu,i,x,click,\n"
        b'u,"a ""b"",\nc",3,rating,2.5\n'
    )
    log = open_log(path)
    events = list(log.events())
    assert [(event.item_id, event.ts, event.value) for event in events] == [
        ("i", 1, None),
        ('a "b",\nc', 3, 2.5),
    ]
    assert [fault.line for fault in log.malformed] == [3, 5, 6]
    assert "2 values where 5 columns" in log.malformed[0].reason


def test_only_the_first_malformed_lines_are_remembered(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("{}\n" * 1_000)
    log = open_log(path)
    assert list(log.events()) == []
    assert log.n_malformed == 1_000
    assert [fault.line for fault in log.malformed] == list(range(1, 21))


def test_ids_are_derived_so_that_a_log_published_again_repeats_them(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(HEADER + ratings(",") + ratings(","))
    ids = [event.event_id for event in open_log(path, mapping=MAPPING).events()]
    assert len(set(ids)) == 8  # the second half is other lines: the user did it twice
    path.rename(tmp_path / "renamed.csv")
    again = open_log(tmp_path / "renamed.csv", mapping=MAPPING, sort=True).events()
    assert {event.event_id for event in again} == set(ids)


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("s", 1_600_000_000),
        ("s", "1600000000.9999"),
        ("s", 1_600_000_000.9999),
        ("ms", 1_600_000_000_999),
        ("us", "1600000000999999"),
        ("ns", 1_600_000_000_999_999_999),
        ("iso", "2020-09-13T12:26:40.999Z"),
        ("iso", "2020-09-13 14:26:40.999+02:00"),
        ("iso", "2020-09-13T12:26:40.999"),
        ("s", datetime(2020, 9, 13, 12, 26, 40, 999_999, tzinfo=UTC)),
    ],
)
def test_times_in_every_unit(unit: str, value: object) -> None:
    mapper = EventMapper(parse_mapping(f"ts=at:{unit},type=click"))
    event = mapper.event({"user_id": "u", "item_id": "i", "at": value}, 1)
    whole_second = unit == "s" and isinstance(value, int)
    assert event.ts == 1_600_000_000_000 + (0 if whole_second else 999)


@given(
    record=st.dictionaries(
        st.sampled_from(["user_id", "item_id", "ts", "type", "value", "context", "position", "v"]),
        st.one_of(
            st.none(),
            st.integers(),
            st.floats(),
            st.text(),
            st.sampled_from(["click", "1", "1e400", "1e999999", "nan"]),
            st.datetimes(),
            st.decimals(),
            st.binary(),
            st.dictionaries(st.text(), st.integers() | st.text()),
        ),
    ),
    unit=st.sampled_from(["s", "ms", "us", "ns", "iso"]),
)
def test_any_record_is_an_event_or_a_bad_message(record: dict[str, object], unit: str) -> None:
    try:
        event = EventMapper(parse_mapping(f"ts=ts:{unit}")).event(record, 1)
    except BadMessage:
        return
    assert event.user_id
    assert event.ts >= 0


@pytest.mark.parametrize(
    ("text", "read"), [("3,5", 3.5), ("-0,25", -0.25), ("1200,0000", 1200.0), ("3.5", 3.5)]
)
def test_a_value_with_a_decimal_comma_is_read(text: str, read: float) -> None:
    mapper = EventMapper(parse_mapping("type=rating"), is_text=True)
    record = {"user_id": "u", "item_id": "i", "ts": "1700000000000", "value": text}
    assert mapper.event(record, 1).value == read


@pytest.mark.parametrize("text", ["1,000", "1.200,50", "1,2,3", "a,b"])
def test_a_value_whose_comma_may_mean_two_things_is_refused(text: str) -> None:
    mapper = EventMapper(parse_mapping("type=rating"), is_text=True)
    record = {"user_id": "u", "item_id": "i", "ts": "1700000000000", "value": text}
    with pytest.raises(BadMessage, match=rf'field .value.: "{text}" .*write a point'):
        mapper.event(record, 1)


def test_a_mapping_fills_the_context_and_leaves_fields_out() -> None:
    mapper = EventMapper(parse_mapping("context.device=os, position=, ts=t:s, type=click"))
    record = {"user_id": 1.0, "item_id": "i", "t": 1, "os": "tv", "position": "top", "value": "nan"}
    event = mapper.event(record, 1)
    assert event.context == {"device": "tv"}
    assert (event.user_id, event.position, event.value, event.ts) == ("1", None, None, 1000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user=userId", "'user=userId': 'user' is no field of an event; the fields are event_id"),
        ("user_id", "is not FIELD=COLUMN"),
        ("user_id=a,user_id=b", "gives 'user_id' twice"),
        ("ts=at:min", "'min' is not a unit of time; choose one of s, ms"),
    ],
)
def test_a_wrong_mapping_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_mapping(text)


def test_what_cannot_be_opened_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no data set that can be fetched; these are ml-latest"):
        open_log(tmp_path / "nothing.csv")
    with pytest.raises(ConfigError, match=r"xxx (can't be looked for|is no file or folder)"):
        open_log(tmp_path / ("x" * 300))
    with pytest.raises(ConfigError, match="holds no MovieLens"):
        open_log(tmp_path)
    (tmp_path / "log.xml").touch()
    with pytest.raises(ConfigError, match=r"'\.xml' is unknown; give the file one of \.jsonl"):
        open_log(tmp_path / "log.xml")
    (tmp_path / "ratings.csv").write_text("who,what\n1,2\n")
    with pytest.raises(ConfigError, match=r"no column 'user_id' .* columns are who, what; map one"):
        open_log(tmp_path / "ratings.csv")
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(b"user_id,item_id,ts\n" * 9)[:-9])
    with pytest.raises(ConfigError, match="cut or damaged"):
        list(open_log(tmp_path / "log.csv.gz", event_type="click").events())
    (tmp_path / "log.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match="can't be read as Parquet"):
        open_log(tmp_path / "log.parquet")
    with pytest.raises(ConfigError, match=r"'clack' is no event type; add \[events\.clack\]"):
        open_log(tmp_path / "ratings.csv", mapping="user_id=who", event_type="clack")


def test_parquet_with_times_nulls_and_several_batches(tmp_path: Path) -> None:
    n_rows = PARQUET_ROWS + 10
    at = [1_600_000_000_123_456_789 + row * 10**6 for row in range(n_rows)]
    value = [None if row % 2 else 0.5 for row in range(n_rows)]
    table = pa.table(
        {
            "user_id": list(range(n_rows)),
            "item_id": ["i"] * n_rows,
            "ts": pa.array(at, pa.timestamp("ns")),
            "value": value,
            "unrelated": [b"x"] * n_rows,
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    log = open_log(tmp_path / "log.parquet", event_type="watch")
    events = list(log.events())
    assert log.n_estimated == len(events) == n_rows
    assert [event.ts for event in events] == [t // 10**6 for t in at]
    assert [event.value for event in events] == value
    assert events[-1].user_id == str(n_rows - 1)


def test_without_pyarrow_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _all_formats(tmp_path)["parquet"]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[parquet\]'"):
        open_log(path, mapping=MAPPING)


@given(times=st.lists(st.integers(0, 5), max_size=40), run_events=st.integers(1, 7))
def test_sorting_in_runs_is_stable_sorting(times: list[int], run_events: int) -> None:
    events = [
        Event(event_id=str(n), type="click", user_id="u", item_id="i", ts=ts)
        for n, ts in enumerate(times)
    ]
    found = list(sorted_by_time(iter(events), run_events=run_events))
    assert found == sorted(events, key=lambda event: event.ts)
    sources = [events[::2], [], events[1::2]]
    pairs = [(n, event) for n, source in enumerate(sources) for event in source]
    merged = list(merged_by_time(sources, run_events=run_events))
    assert merged == sorted(pairs, key=lambda pair: pair[1].ts)


def test_a_mapping_is_kept_when_a_type_is_given() -> None:
    mapping = FieldMapping(columns={"user_id": "who"}, time_unit="s")
    typed = mapping.with_type("like")
    assert (typed.columns, typed.time_unit, typed.event_type) == ({"user_id": "who"}, "s", "like")
    assert mapping.with_type(None) is mapping
