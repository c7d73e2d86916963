"""Times of logs are read in their own unit, said, or refused; never taken wrongly in silence."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from streamer_producers.datasets import open_log
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


def test_a_time_of_another_unit_is_a_malformed_line(tmp_path: Path) -> None:
    times: list[object] = [AT_S * 1_000 + at for at in range(20)]
    log = open_log(_log(tmp_path / "log.csv", [*times, AT_S, AT_S * 1_000_000]))
    assert len(list(log.events())) == 20
    assert [each.line for each in log.malformed] == [22, 23]
    assert "is not in ms since 1970, as the log's first times are" in log.malformed[0].reason
    named = open_log(_log(tmp_path / "log.csv", [*times, AT_S]), mapping="ts=ts:ms")
    assert [event.ts for event in named.events()][-1] == AT_S
    assert named.remarks == []


def test_times_that_count_from_a_start_stay_in_ms_and_that_is_said(tmp_path: Path) -> None:
    days: list[object] = [day * 86_400_000 for day in range(40)]
    log = open_log(_log(tmp_path / "log.csv", days))
    assert [event.ts for event in log.events()] == days
    assert "in ms since 1970, as 0 = 1970-01-01 00:00:00 UTC; if that is wrong" in log.remarks[0]


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


@pytest.mark.parametrize("text", ["01/02/2019", "9999-12-31 24:00:00", "May", "Mon, 99 Xyz 2019"])
def test_what_is_no_date_stays_as_it_is(text: str) -> None:
    assert as_ms(text, "iso") == text


@pytest.mark.parametrize("mapping", [None, "ts=ts:ms", "ts=ts:iso"])
def test_a_refused_time_names_the_remedy(tmp_path: Path, mapping: str | None) -> None:
    log = open_log(_log(tmp_path / "log.csv", ["01/02/2019", "yesterday"]), mapping=mapping)
    assert list(log.events()) == []
    assert "name the unit with --map ts=COLUMN:UNIT, one of s, ms" in log.malformed[0].reason


def test_datetimes_and_absent_times_need_no_guess() -> None:
    assert TimeGuess([None, datetime(2019, 10, 1, tzinfo=UTC)]).remark is None
