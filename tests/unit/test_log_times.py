"""Times of logs are read in their own unit, said, or refused; never taken wrongly in silence."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamer.config import FileConfig
from streamer_producers.datasets import open_described, open_log
from streamer_producers.times import TimeGuess, as_ms

AT_S = 1_760_000_000


def _log(path: Path, times: list[object]) -> Path:
    rows = [f"u{row},i,{at},click" for row, at in enumerate(times)]
    path.write_text("\n".join(["user_id,item_id,ts,type", *rows]))
    return path


@pytest.mark.parametrize(
    ("unit", "per_s"), [("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000)]
)
def test_the_unit_of_a_log_is_guessed_and_said(tmp_path: Path, unit: str, per_s: int) -> None:
    log = open_log(_log(tmp_path / "log.csv", [AT_S * per_s, 0, (AT_S + 900) * per_s]))
    assert [event.ts for event in log.events()] == [AT_S * 1_000, 0, (AT_S + 900) * 1_000]
    if unit == "ms":
        assert log.remarks == []
    else:
        (remark,) = log.remarks
        assert f"in {unit} since 1970, as {AT_S * per_s} = 2025-10-09 08:53:20 UTC" in remark
        assert "ts=COLUMN:UNIT" in remark


@pytest.mark.parametrize("mapping", [None, "ts=ts:ms"])
def test_a_time_of_another_unit_is_a_malformed_line(tmp_path: Path, mapping: str | None) -> None:
    times: list[object] = [AT_S * 1_000 + at for at in range(20)]
    path = _log(tmp_path / "log.csv", [*times, AT_S, 20_371, AT_S * 1_000_000])
    log = open_log(path, mapping=mapping)
    assert [event.ts for event in log.events()] == times
    assert [each.line for each in log.malformed] == [22, 23, 24]
    assert "is not in ms since 1970, as most of the log's first" in log.malformed[0].reason
    assert log.remarks == []


@pytest.mark.parametrize(
    ("unit", "per_s", "others"),
    [
        ("ms", 1_000, 2),  # two of three
        ("ms", 1_000, 5),
        ("s", 1, 5),
        ("us", 1_000_000, 3),
        ("ns", 1_000_000_000, 2),
    ],
)
@pytest.mark.parametrize("other_per_s", [1, 1_000, 1_000_000])
def test_times_of_two_units_are_read_in_that_of_most_and_the_others_are_left_out(
    tmp_path: Path, unit: str, per_s: int, others: int, other_per_s: int
) -> None:
    times = [(AT_S + at) * (per_s if at % (others + 1) else other_per_s) for at in range(600)]
    log = open_log(_log(tmp_path / "log.csv", [*times]))
    read = [event.ts for event in log.events()]
    right = [(AT_S + at) * 1_000 for at in range(600) if at % (others + 1) or other_per_s == per_s]
    assert read == right
    assert log.n_malformed == 600 - len(right)
    assert all(f"is not in {unit} since 1970" in each.reason for each in log.malformed)


def test_times_of_two_units_in_equal_parts_are_never_of_1970(tmp_path: Path) -> None:
    times: list[object] = [AT_S * (1_000 if at % 2 else 1) + at for at in range(40)]
    log = open_log(_log(tmp_path / "log.csv", times))
    assert {event.ts // 1_000_000 for event in log.events()} == {AT_S // 1_000}
    assert log.n_malformed == 20


def test_a_few_times_that_are_none_do_not_hide_the_unit(tmp_path: Path) -> None:
    times: list[object] = [AT_S + at for at in range(100)]
    log = open_log(_log(tmp_path / "log.csv", [*times, 7]))
    assert [event.ts for event in log.events()] == [(AT_S + at) * 1_000 for at in range(100)]
    assert "'7' is not in s since 1970" in log.malformed[0].reason
    days: list[object] = [20240301 + at for at in range(20)]
    log = open_log(_log(tmp_path / "log.csv", [*days, 7]))
    assert [event.ts % 86_400_000 for event in log.events()] == [0] * 20
    assert log.n_malformed == 1


@pytest.mark.parametrize(
    ("first", "what", "date"),
    [
        ("29333333", "minutes since 1970", "2025-10-09 08:53"),
        ("488888", "hours since 1970", "2025-10-09 08:00"),
        ("20000", "days since 1970", "2024-10-04 00:00"),
        ("45000.5", "days of a spreadsheet", "2023-03-15 12:00"),
    ],
)
def test_what_times_may_be_that_no_unit_names_is_said(
    tmp_path: Path, first: str, what: str, date: str
) -> None:
    times = [str(float(first) + at) for at in range(40)]
    (remark,) = open_log(_log(tmp_path / "log.csv", [first, *times])).remarks
    assert f"as {first} = 1970-01-01 " in remark
    assert f"if they are {what} ({date}), write them as dates" in remark


def test_a_unit_that_is_named_against_all_times_is_doubted(tmp_path: Path) -> None:
    path = _log(tmp_path / "log.csv", [AT_S + at for at in range(20)])
    log = open_log(path, mapping="ts=ts:ms")
    assert [event.ts for event in log.events()] == [AT_S + at for at in range(20)]
    (remark,) = log.remarks
    assert "read in ms since 1970, as is named, as 1760000000 = 1970-01-21" in remark
    assert "by their size they are in s: 1760000000 = 2025-10-09 08:53:20 UTC" in remark


def test_numbers_among_dates_are_ms_of_our_time_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    times = ['"2025-10-09T08:53:20Z"'] * 5 + [str(AT_S * 1_000), "20251009", str(AT_S), "7.5"]
    rows = ['{"user_id": "u", "item_id": "i", "type": "click", "ts": ' + at + "}" for at in times]
    path.write_text("\n".join(rows))
    log = open_log(path)
    assert [event.ts for event in log.events()] == [AT_S * 1_000] * 6 + [1_759_968_000_000]
    assert [each.line for each in log.malformed] == [8, 9]


def test_the_unit_of_times_inside_of_an_object_is_guessed(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(
        '{"user_id": "u", "item_id": "i", "type": "click", "at": {"s": 1760000000}}\n' * 3
    )
    log = open_log(path, mapping="ts=at.s")
    assert [event.ts for event in log.events()] == [AT_S * 1_000] * 3


def test_times_that_count_from_a_start_stay_in_ms_and_that_is_said(tmp_path: Path) -> None:
    days: list[object] = [day * 86_400_000 for day in range(40)]
    log = open_log(_log(tmp_path / "log.csv", days))
    assert [event.ts for event in log.events()] == days
    assert "in ms since 1970, as 0 = 1970-01-01 00:00:00 UTC; if that is wrong" in log.remarks[0]
    named = open_log(_log(tmp_path / "log.csv", days), mapping="ts=ts:ms")
    assert [event.ts for event in named.events()] == days
    assert named.remarks == []


@pytest.mark.parametrize(
    "text",
    [
        "2019-10-01 00:00:00 UTC",
        "2019-10-01T00:00:00Z",
        "2019-10-01T00:00:00 GMT",
        "2019-09-30 24:00:00",
        "2019-09-30T24:00:00.000Z",
        "2019-09-30 24:00+00:00",
        "2019-09-30 17:00:00 -0700",
        "2019/10/01 00:00:00",
        "2019-10-01",
        "20191001",
        "Tue Oct 01 00:00:00 2019",
        "Mon Sep 30 17:00:00 -0700 2019",
        "Tue, 01 Oct 2019 00:00:00 GMT",
        "Tue, 01-Oct-19 00:00:00 GMT",
        "Tue, 1 Oct 2019 02:00:00 +0200 (CEST)",
        "1 Oct 2019 00:00",
        "Tue Oct 01 2019 02:00:00 GMT+0200 (Central European Summer Time)",
        "Tue Oct  1 00:00:00 UTC 2019",
        "Tue Oct  1 12:00:00 AM UTC 2019",
        "Sept 30, 2019, 5:00:00\u202fPM -0700",
        "Tuesday, October 1, 2019 at 12:00 a.m. UTC",
        "Oct 1, 2019 @ 00:00:00.000",
        "Oct 1, 2019",
        "2019-10-01 12:00:00 AM",
        "2019/09/30 05:00 pm -07:00",
        "2019-10-01 02:00:00 +0200 CEST",
        "2019-10-01T02:00:00+02:00[Europe/Berlin]",
        "2019-10-01T00:00:00Z[UTC]",
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_dates_in_usual_forms(tmp_path: Path, text: str, named: bool) -> None:
    path = tmp_path / "log.tsv"
    path.write_text(f"user_id\titem_id\tts\ttype\nu\ti\t{text}\tclick\n")
    log = open_log(path, mapping="ts=ts:iso" if named else None)
    expected = int(datetime(2019, 10, 1, tzinfo=UTC).timestamp() * 1000)
    assert [event.ts for event in log.events()] == [expected]
    assert bool(log.remarks) is not named


@pytest.mark.parametrize(
    "text",
    [
        *("01/02/2019", "9999-12-31 24:00:00", "May", "Mon, 99 Xyz 2019", "May 2026"),
        *("Nov 30 22:04:25", "Mon Nov 30 2026 10:00:00 2027", "Xon Nov 30 22:04:25 2026"),
        *("Nov 31 2026 10:00", "Nov 30 2026 25:00", "Nov 30, 2026 13:00 PM", "30 Nov 26"),
        *("Nov 30 2026 0:00 AM", "Mon, 30 Nov 2026 22:04:25 +9999", "2026-11-30 22:04Z+01:00"),
    ],
)
def test_what_is_no_date_stays_as_it_is(text: str) -> None:
    assert as_ms(text, "iso") == text


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("Mon Nov 30 22:04:25 CEST 2026", "CEST"),
        ("Mon Nov 30 10:04:25 PM CST 2026", "CST"),
        ("Mon, 30 Nov 2026 22:04:25 EST", "EST"),
        ("Nov 30, 2026 22:04:25 (CET)", "(CET)"),
        ("2026-11-30 22:04:25 PDT", "PDT"),
        ("2026-11-30T22:04:25 Europe/Berlin", "Europe/Berlin"),
        ("2026-11-30 22:04:25 GMT+1", "GMT+1"),
    ],
)
@pytest.mark.parametrize("mapping", [None, "ts=ts:iso"])
def test_a_zone_without_its_offset_is_refused(
    tmp_path: Path, text: str, zone: str, mapping: str | None
) -> None:
    path = tmp_path / "log.tsv"
    path.write_text(f"user_id\titem_id\tts\ttype\nu\ti\t{text}\tclick\n")
    log = open_log(path, mapping=mapping)
    assert list(log.events()) == []
    said = f"field 'ts': \"{text}\" is in a zone named {zone}; write its offset, as +02:00, or UTC"
    assert [each.reason for each in log.malformed] == [said]
    path = tmp_path / "items.csv"
    path.write_text(f'item_id,created_ts\na,"{text}"\n')
    table = FileConfig(file=path.name, holds="items", map="created_ts=created_ts:iso")
    log = open_described(items=path, files={"items": table})
    assert list(log.items()) == []
    assert [each.reason for each in log.malformed] == [said.replace("'ts'", "'created_ts'")]


@pytest.mark.parametrize("mapping", [None, "ts=ts:ms", "ts=ts:iso"])
def test_a_refused_time_names_the_remedy(tmp_path: Path, mapping: str | None) -> None:
    log = open_log(_log(tmp_path / "log.csv", ["01/02/2019", "yesterday"]), mapping=mapping)
    assert list(log.events()) == []
    said = log.malformed[0].reason
    assert "name the unit with --map ts=COLUMN:UNIT, one of s, ms" in said
    named = None if mapping is None else mapping.partition(":")[2]
    assert ("the map names" in said, f"the map names {named}: if" in said) == (
        named is not None,
        named is not None,
    )


def test_datetimes_and_absent_times_need_no_guess() -> None:
    assert TimeGuess([None, datetime(2019, 10, 1, tzinfo=UTC)]).remark is None


@pytest.mark.parametrize(
    ("written", "per_ms"),
    [
        ("20251009085320", 1_000),
        ("20251009085320.0", 1_000),
        ("20251009085320000", 1),
        ("202510090853", 60_000),
        ("20251009", 86_400_000),
    ],
)
def test_dates_in_digits_alone_are_read_as_such_and_said(
    tmp_path: Path, written: str, per_ms: int
) -> None:
    log = open_log(_log(tmp_path / "log.csv", [written, written, "20251399085320"]))
    at = AT_S * 1_000 // per_ms * per_ms
    assert [event.ts for event in log.events()] == [at, at]
    assert log.malformed[0].line == 4
    assert log.remarks[0].startswith(f"times are read as dates, as {written} = 2025-10-09")


@pytest.mark.parametrize("sign", "/.-")
@pytest.mark.parametrize("clock", ["", " 08:53", ", 08:53:00 AM", "T08:53:00Z"])
def test_a_date_that_begins_with_its_day_or_its_month_is_never_guessed(
    tmp_path: Path, sign: str, clock: str
) -> None:
    rows = [f"05{sign}06{sign}2025{clock}", f"7{sign}12{sign}2025{clock}"]
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,when,type\n")
    with path.open("a") as file:
        file.writelines(f'u,i,"{each}",click\n' for each in rows)
    log = open_log(path, mapping="ts=when")
    assert not [*log.events()]
    assert [each.line for each in log.malformed] == [2, 3]
    for part in ("column 'when'", rows[0], "--map ts=when:dmy (day first) or ts=when:mdy"):
        assert part in log.malformed[0].reason
    for unit, first in (("dmy", "2025-06-05"), ("mdy", "2025-05-06")):
        named = open_log(path, mapping=f"ts=when:{unit}")
        at = datetime.fromtimestamp(next(named.events()).ts / 1_000, UTC)
        assert at == datetime.fromisoformat(f"{first}T08:53Z" if clock else f"{first}T00:00Z")


@pytest.mark.parametrize(
    ("dates", "unit"),
    [(("05/06/2025", "13/06/2025"), "dmy"), (("05/06/2025", "06/13/2025"), "mdy")],
)
def test_one_date_tells_the_order_of_all(tmp_path: Path, dates: tuple[str, str], unit: str) -> None:
    log = open_log(_log(tmp_path / "log.csv", [*dates, dates[0], "1/1/26", "40/40/2025"]))
    named = open_log(tmp_path / "log.csv", mapping=f"ts=ts:{unit}")
    assert [event.ts for event in log.events()] == [event.ts for event in named.events()]
    assert log.malformed[0].line == 6
    assert f"{dates[1]} = 2025-06-13" in log.remarks[0]
    both = open_log(_log(tmp_path / "both.csv", ["13/06/2025", "06/13/2025"]))
    assert (len([*both.events()]), both.n_malformed) == (0, 2)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_times_of_items_that_begin_with_day_or_month_name_their_form(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"items{suffix}"
    json = '{"item_id":"a","title":"x","added":"05/06/2025"}\n'
    path.write_text("item_id,title,added\na,x,05/06/2025\n" if suffix == ".csv" else json)
    tables = {
        form: {"x": FileConfig(file=path.name, holds="items", map=f"created_ts=added{form}")}
        for form in ("", ":dmy")
    }
    log = open_described(items=path, files=tables[""])
    assert not [*log.items()]
    assert "created_ts=added:dmy (day first)" in str(log.malformed[0])
    (item,) = open_described(items=path, files=tables[":dmy"]).items()
    assert item.created_ts == round(datetime(2025, 6, 5, tzinfo=UTC).timestamp() * 1_000)


@pytest.mark.parametrize(
    ("rounded", "known"),
    [
        *(("1.76E+12", "176xxxxxxxxxx"), ("1,76E+12", "176xxxxxxxxxx"), ("2E+12", "2" + 12 * "x")),
        *(("1.76E+09", "176xxxxxxx"), ("1.76000E+12", "176000xxxxxxx")),
        *(("1.76000012345e12", "176000012345x"), ("1.76000E+15", "176000" + 10 * "x")),
    ],
)
def test_times_that_a_spreadsheet_rounded_are_refused(
    tmp_path: Path, rounded: str, known: str
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id;item_id;ts;type\n" + f"ann;tea;{rounded};click\n" * 3)
    log = open_log(path)
    assert not [*log.events()]
    assert log.n_malformed == 3
    assert f"field 'ts': \"{rounded}\" is a number that was rounded" in log.malformed[0].reason
    assert f"write all its digits ({known})" in log.malformed[0].reason
    items = tmp_path / "items.csv"
    items.write_text(f"item_id;title;added\na;x;{rounded}\n")
    file = FileConfig(file="items.csv", holds="items", map="created_ts=added:ms")
    described = open_described(items=items, files={"x": file})
    assert not [*described.items()]
    assert "field 'created_ts'" in str(described.malformed[0])


def test_times_of_32_bits_are_refused_where_they_were_rounded(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    times = pa.array([1.76e9] * 3, pa.float32())
    columns = {"user_id": ["ann"] * 3, "item_id": ["tea"] * 3, "ts": times, "type": ["click"] * 3}
    pq.write_table(pa.table(columns), path)
    log = open_log(path)
    assert not [*log.events()]
    assert "was rounded; write the column as 64-bit integers" in log.malformed[0].reason


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["1.760000123456E+12", "1.76E+12"], [1_760_000_123_456, 1_760_000_000_000]),
        (["1.760000123e9", "1.76e9"], [1_760_000_123_000, 1_760_000_000_000]),
        (["1.760000123456E+15"], [1_760_000_123_456]),
        (["1760000123456", "1760000123457"], [1_760_000_123_456, 1_760_000_123_457]),
    ],
)
def test_numbers_with_an_exponent_and_all_digits_are_times(
    tmp_path: Path, written: list[object], read: list[int]
) -> None:
    log = open_log(_log(tmp_path / "log.csv", written))
    assert [event.ts for event in log.events()] == read


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        *(
            (clock, "is a time of day without its date")
            for clock in ("10:00", "10:00:05", "9:05 PM")
        ),
        *((sums, "between thousands") for sums in ('"1,760,000,000,000"', "1.760.000.000")),
    ],
)
def test_what_is_no_time_is_called_what_it_is(tmp_path: Path, written: str, problem: str) -> None:
    log = open_log(_log(tmp_path / "log.csv", [written] * 3))
    assert not [*log.events()]
    assert log.n_malformed == 3
    assert problem in log.malformed[0].reason
    assert "name the unit" not in log.malformed[0].reason


@pytest.mark.parametrize("clock", ["", " 10:00", " 10:00:05", "T10:00:05Z", " 10:00 AM"])
def test_dates_may_have_points_behind_the_year(tmp_path: Path, clock: str) -> None:
    times: list[object] = [f"2025{sign}10{sign}01{clock}" for sign in ".-/"]
    at = [event.ts for event in open_log(_log(tmp_path / "log.csv", times)).events()]
    day = datetime(2025, 10, 1, 10 if clock else 0, 0, 5 if "05" in clock else 0, tzinfo=UTC)
    assert at == [round(day.timestamp() * 1_000)] * 3
