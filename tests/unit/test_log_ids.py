"""One id has one spelling, whatever the file; what stands for nothing is nothing."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamer_producers.datasets import open_log

COLUMNS = "user_id,item_id,ts,type,value,device\n"
AT = 1_760_000_000_000


def test_ids_that_a_null_made_floats_are_the_same_from_text_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        f"user_id,item_id,ts,type\n1.0,10.0,{AT},click\n,11.0,{AT},click\n-2.0,0.0,{AT},click\n"
    )
    columns = {
        "user_id": [1.0, None, -2.0],
        "item_id": [10.0, 11.0, 0.0],
        "ts": [AT] * 3,
        "type": ["click"] * 3,
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        log = open_log(tmp_path / name)
        assert [(e.user_id, e.item_id) for e in log.events()] == [("1", "10"), ("-2", "0")]
        assert log.n_malformed == 1
    # In JSON a string is what was meant.
    (tmp_path / "a.jsonl").write_text(
        f'{{"user_id":"1.0","item_id":"NULL","ts":{AT},"type":"click"}}'
    )
    assert [(e.user_id, e.item_id) for e in open_log(tmp_path / "a.jsonl").events()] == [
        ("1.0", "NULL")
    ]


@pytest.mark.parametrize(
    "kept", ["01.0", "1.00", "1.5", "v1.0", "0132793040", "034545104X", "1e5", "3E12", "1,5"]
)
def test_other_ids_are_kept_as_they_are(tmp_path: Path, kept: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"user_id;item_id;ts;type\nann;{kept};{AT};click\n")
    assert [event.item_id for event in open_log(path).events()] == [kept]


@pytest.mark.parametrize(
    "rounded",
    [
        *("1.2345678901234568e+18", "1.23457E+12", "1,23457E+12", "1.2E12", "-1,2e12"),
        *("1E+05", "123.5E+09"),
    ],
)
def test_rounded_ids_are_refused(tmp_path: Path, rounded: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"user_id;item_id;ts;type\nann;{rounded};{AT};click\n")
    log = open_log(path)
    assert list(log.events()) == []
    assert "was rounded; write ids as text" in log.malformed[0].reason
    table = {"user_id": ["ann"], "item_id": [2.0**60], "ts": [AT], "type": ["click"]}
    pq.write_table(pa.table(table), tmp_path / "log.parquet")
    assert list(open_log(tmp_path / "log.parquet").events()) == []


@pytest.mark.parametrize("absent", ["NULL", "null", "\\N", "nan", "NaN", "None", "<NA>", "#N/A"])
def test_words_for_absent_values(tmp_path: Path, absent: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        f"{COLUMNS}ann,tea,{AT},rating,{absent},{absent}\n{absent},tea,{AT},rating,5,tv\n"
        f"ann,{absent},{AT},rating,5,tv\n"
    )
    log = open_log(path, mapping="context.device=device")
    (event,) = log.events()
    assert (event.value, event.context or {}) == (None, {})
    assert [each.line for each in log.malformed] == [3, 4]
    assert f"field 'user_id': {absent!r} is how an absent" in log.malformed[0].reason


def test_a_dash_is_an_absent_number_and_else_a_text(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"{COLUMNS}ann,-,{AT},rating,-,-\n")
    (event,) = open_log(path, mapping="context.device=device").events()
    assert (event.item_id, event.value, event.context) == ("-", None, {"device": "-"})
