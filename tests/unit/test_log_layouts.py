"""Files as the tools of others write them: layouts, encodings, standard input."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamer.errors import ConfigError
from streamer.events import Event
from streamer_producers.datasets import open_described, open_log
from streamer_producers.log import Log
from streamer_producers.mapping import parse_mapping

AT = 1_760_000_000_000
CLICKS = f"user_id,item_id,ts,type\nann,tea,{AT},click\nbob,cup,{AT + 1},click\n"
FOUND = [("ann", "tea", AT), ("bob", "cup", AT + 1)]
JSON = (
    f'{{"user_id":"ann","item_id":"tea","ts":{AT},"type":"click"}}',
    f'{{"user_id":"bob","item_id":"cup","ts":{AT + 1},"type":"click"}}',
)


def found(log: Log) -> list[tuple[str, str, int]]:
    events = [(event.user_id, event.item_id, event.ts) for event in log.events()]
    assert log.n_malformed == 0, log.malformed
    return events


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", "", ".dat"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", "::"])
def test_the_delimiter_is_that_which_makes_the_columns(
    tmp_path: Path, suffix: str, delimiter: str
) -> None:
    path = tmp_path / f"log{suffix}"
    path.write_text(CLICKS.replace(",", delimiter))
    assert found(open_log(path)) == FOUND
    assert found(open_log(path, delimiter={"\t": "tab"}.get(delimiter, delimiter))) == FOUND


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", "^"])
@pytest.mark.parametrize(
    "before",
    ["sep={}\n", '\ufeff"sep={}"\r\n', "# of shop 7, in Bonn\n\nSEP={}\n", "sep={}\n# a, b\n#\n"],
)
def test_what_stands_before_the_names_is_no_row(
    tmp_path: Path, before: str, delimiter: str
) -> None:
    """As spreadsheets name what divides values, and as tools explain their files."""
    path = tmp_path / "log.csv"
    lines = before.format(delimiter) + CLICKS.replace(",", delimiter)
    path.write_text(lines.replace("\n", "\r\n").replace("\r\r", "\r"), newline="")
    assert found(open_log(path)) == FOUND
    assert found(open_log(path, delimiter=delimiter)) == FOUND
    path.write_text(lines + "ann,1\n")
    log = open_log(path, delimiter=delimiter)
    assert (len(list(log.events())), log.malformed[0].line) == (2, lines.count("\n") + 1)


@pytest.mark.parametrize(
    ("names", "mapping", "said"),
    [
        ("usr_id,item_id,ts,type", None, "map one with user_id=COLUMN, as user_id=usr_id;"),
        ("user_id,item_id,ts,kind_of", "type=kindof", "as type=kind_of, or give all events"),
        ("user_id,item_id,ts,price", None, "map one with type=COLUMN, or give all events"),
    ],
)
def test_the_column_that_may_be_meant_is_named(
    tmp_path: Path, names: str, mapping: str | None, said: str
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"{names}\nann,tea,{AT},click\n")
    with pytest.raises(ConfigError) as caught:
        open_log(path, mapping=mapping)
    assert said in str(caught.value)


def test_a_row_that_begins_as_a_comment_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"#a,tea,{AT}\nbob,cup,{AT + 1}\n# end\n")
    log = open_log(path, mapping="user_id=#1,item_id=#2,ts=#3,type=click")
    assert [event.user_id for event in log.events()] == ["#a", "bob"]
    assert log.n_malformed == 1
    path.write_text(CLICKS.replace("user_id", "#user_id"))
    with pytest.raises(ConfigError, match="its columns are #user_id, item_id"):
        open_log(path)


def test_a_delimiter_of_ones_own_and_book_crossing(tmp_path: Path) -> None:
    path = tmp_path / "bx.csv"
    path.write_text('"User-ID";"ISBN";"Book-Rating"\n"1";"034545104X";"5"\n')
    mapping = "user_id=User-ID,item_id=ISBN,value=Book-Rating,type=rating"
    (event,) = open_log(path, mapping=mapping, timeless=True).events()
    assert (event.user_id, event.item_id, event.value) == ("1", "034545104X", 5)
    path.write_text(CLICKS.replace(",", "^"))
    with pytest.raises(ConfigError, match="or name what divides the columns with --delimiter"):
        open_log(path)
    assert found(open_log(path, delimiter="^")) == FOUND


def test_columns_by_place_take_the_first_line_as_a_row(tmp_path: Path) -> None:
    path = tmp_path / "amazon.csv"
    path.write_text("A1,0132793040,5.0,1365811200\nA2,0321732944,5.0,1341100800\n")
    mapping = "user_id=#1,item_id=#2,value=#3,ts=#4,type=rating"
    log = open_log(path, mapping=mapping)
    assert found(log) == [
        ("A1", "0132793040", 1_365_811_200_000),
        ("A2", "0321732944", 1_341_100_800_000),
    ]
    with pytest.raises(ConfigError, match="user_id=#1 is the first column"):
        open_log(path, event_type="rating")
    with pytest.raises(ConfigError, match=r"no column '#5' .* columns are #1, #2, #3, #4; map"):
        open_log(path, mapping="user_id=#5,item_id=#2,ts=#4,type=rating")


def test_a_log_without_times_is_read_where_they_are_given_anew(tmp_path: Path) -> None:
    path = tmp_path / "ratings.txt"
    path.write_text("user_id,book_id,rating\n1,258,5\n")
    mapping = "item_id=book_id,value=rating,type=rating"
    with pytest.raises(ConfigError, match=r"has no column 'ts' .* published with --rebase"):
        open_log(path, mapping=mapping)
    assert found(open_log(path, mapping=mapping, timeless=True)) == [("1", "258", 0)]


def test_atomic_files_of_recbole(tmp_path: Path) -> None:
    path = tmp_path / "ml-100k.inter"
    path.write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n"
    )
    for mapping in (
        "ts=timestamp,value=rating",
        "user_id=user_id:token,item_id=item_id:token,ts=timestamp:float:s,value=rating:float",
    ):
        log = open_log(path, mapping=mapping, event_type="rating")
        assert found(log) == [("196", "242", 881_250_949_000)]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(JSON),
        f"[{JSON[0]},{JSON[1]}]",
        f"\ufeff[\n {JSON[0]},\n {JSON[1]}\n]\n",
        "[\n" + ",\n".join(JSON).replace(",", ",\n  ").replace("{", "{\n  ") + "]",
        "\n".join(JSON).replace(",", ",\n  ").replace("{", "{\n  ").replace("}", "\n}"),
        f"\n \n[{JSON[0]}" + " " * 200_000 + f",{JSON[1]}]",
    ],
)
@pytest.mark.parametrize("name", ["e.json", "e.jsonl.gz", "e.txt", "e"])
def test_json_in_lines_in_an_array_or_over_lines(tmp_path: Path, text: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    assert found(open_log(path)) == FOUND


def test_an_array_says_what_is_no_object_and_where_it_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    path.write_text(f"[\n{JSON[0]},\n7,\n{{}},\n{JSON[1]}]")
    log = open_log(path)
    assert len(list(log.events())) == 2
    assert [each.line for each in log.malformed] == [3, 4]
    path.write_text(f"[\n{JSON[0]},\n{JSON[1][:30]}")
    with pytest.raises(ConfigError, match=r"e\.json:3: not JSON .* the rest can't be read; mend"):
        list(open_log(path).events())


@pytest.mark.parametrize("end", ["", ",", ",\n", "\n \n", " ,"])
@pytest.mark.parametrize("first", [*JSON[:1], ""])
def test_an_array_without_its_end_is_cut(tmp_path: Path, first: str, end: str) -> None:
    path = tmp_path / "e.json"
    path.write_text(f"[\n{first}{end}")
    line = 2 + end.count("\n")
    with pytest.raises(
        ConfigError, match=rf"e\.json:{line}: the array is cut, no \] is at its end"
    ):
        list(open_log(path).events())
    path.write_text(f"[\n{first}{end}]\n")
    assert found(open_log(path)) == FOUND[: bool(first)]


def test_an_end_of_an_array_that_does_not_begin_is_said(tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    path.write_text("{\n" + JSON[0][1:] + "]\n")
    with pytest.raises(ConfigError, match=r"e\.json:2: not JSON"):
        list(open_log(path).events())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("n_rows", [2, 30_000])
def test_encodings_and_ends_of_lines(tmp_path: Path, encoding: str, ends: str, n_rows: int) -> None:
    rows = [f"ann{row},té,{AT + row},click" for row in range(n_rows)]
    text = ends.join(["user_id,item_id,ts,type", *rows, ""])
    (tmp_path / "log.csv").write_bytes(text.encode(encoding))
    log = open_log(tmp_path / "log.csv")
    assert found(log) == [(f"ann{row}", "té", AT + row) for row in range(n_rows)]
    assert log.n_estimated == pytest.approx(n_rows, rel=3.1)


@pytest.mark.parametrize("name", ["log.csv", "log.txt", "log.jsonl"])
def test_rows_end_in_any_way_within_one_file(tmp_path: Path, name: str) -> None:
    rows = [f"u{row},i,{AT + row},click" for row in range(40)]
    if name == "log.jsonl":
        rows = [
            JSON[0].replace("ann", f"u{row}").replace(str(AT), str(AT + row)) for row in range(40)
        ]
    else:
        rows = ["user_id,item_id,ts,type", *rows]
    for turn in range(3):
        ends = [("\r", "\r\n", "\n")[(at + turn) % 3] for at in range(len(rows))]
        text = "".join(row + end for row, end in zip(rows, ends, strict=True))
        (tmp_path / name).write_bytes(text.encode())
        assert [at for *_, at in found(open_log(tmp_path / name))] == [
            AT + row for row in range(40)
        ]


def test_a_carriage_return_inside_of_a_value_ends_no_row(tmp_path: Path) -> None:
    path = tmp_path / "log.tsv"
    path.write_bytes(f"user_id\titem_id\tts\ttype\nu\ta\rb\t{AT}\tclick\r\n".encode())
    assert found(open_log(path)) == [("u", "a\rb", AT)]
    rows = f'"u\rv",tea,{AT},click\r"w\r,x\n-",tea,{AT},click\r\nz,tea,{AT},click\n'
    path.write_bytes(f"user_id,item_id,ts,type\r\n{rows}".encode())
    assert [user for user, *_ in found(open_log(path))] == ["u\rv", "w\r,x\n-", "z"]


def test_an_encoding_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(CLICKS.replace("tea", "thé").encode("latin-1"))
    assert next(open_log(path, encoding="latin-1").events()).item_id == "thé"
    log = open_log(path)
    assert len(list(log.events())) == 1
    assert "--encoding" in log.malformed[0].reason
    for wrong in ("ascii", "klingon", "base64", "hex", "rot13", "zlib", "quopri", "undefined"):
        with pytest.raises(ConfigError, match=r"can't be read as text .* with --encoding"):
            list(open_log(path, encoding=wrong).events())


def test_the_format_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "log.export"
    path.write_text(CLICKS)
    with pytest.raises(ConfigError, match=r"format '\.export' is unknown; .* with --format, one"):
        open_log(path)
    assert found(open_log(path, file_format="csv")) == FOUND
    with pytest.raises(ConfigError, match="--format 'xml' is none of jsonl, csv"):
        open_log(path, file_format="xml")
    columns = {"user_id": ["ann"], "item_id": ["tea"], "ts": [AT], "type": ["click"]}
    pq.write_table(pa.table(columns), tmp_path / "log")
    assert found(open_log(tmp_path / "log")) == FOUND[:1]


@pytest.mark.parametrize("codec", [None, "gzip", "zstd"])
def test_a_pipe_is_read_as_often_as_a_file(tmp_path: Path, codec: str | None) -> None:
    content = CLICKS.encode()
    reading, writing = os.pipe()
    os.write(writing, content if codec is None else pa.compress(content, codec, asbytes=True))
    os.close(writing)
    log = open_log(f"/dev/fd/{reading}")
    os.close(reading)
    assert found(log) == found(log) == FOUND


def test_types_of_the_log_become_types_of_events(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(
        "timestamp,visitorid,event,itemid,transactionid\n1433221332117,1,view,2,\n"
        "1433227005007,1,transaction,2,5\n1433227005008,1,addtocart,2,\n"
    )
    mapping = "ts=timestamp,user_id=visitorid,item_id=itemid,type=event,type.view=click"
    log = open_log(path, mapping=f"{mapping},type.transaction=purchase")
    events: list[Event] = list(log.events())
    assert [event.type for event in events] == ["click", "purchase"]
    assert log.n_malformed == 1
    assert "with --map type.addtocart=TYPE" in log.malformed[0].reason
    with pytest.raises(ConfigError, match="'buy' is no event type; choose among impression, click"):
        parse_mapping("type.transaction=buy")


def test_items_alone_are_a_log_without_events(tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_text('[{"item_id": "tea", "title": "Green tea"},\n {"title": "nothing"}]')
    log = open_described(items=path)
    assert [item.item_id for item in log.items()] == ["tea"]
    assert list(log.events()) == []
    assert [(each.file, each.line) for each in log.malformed] == [("items.json", 2)]
    with pytest.raises(ConfigError, match="is no file; name one of items"):
        open_described(items=tmp_path / "none.jsonl")


def test_lines_of_values_without_names_are_called_that(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('["u2", "i9", 1760000000000]\n["u1", "i4", 1760000060000]\n')
    with pytest.raises(ConfigError, match="an array of values without names; write one object a"):
        [*open_log(path).events()]


@pytest.mark.parametrize(
    "columns",
    [
        '{"user_id":["u","v"],"item_id":["i","j"],"ts":[1,2]}',
        '{"user_id":{"0":"u","1":"v"},"item_id":{"0":"i","1":"j"},"ts":{"0":1,"1":2}}',
    ],
)
def test_a_table_that_is_written_column_by_column_is_called_that(
    tmp_path: Path, columns: str
) -> None:
    path = tmp_path / "log.json"
    path.write_text(columns)
    log = open_log(path, mapping="type=click")
    assert not [*log.events()]
    assert "it holds whole columns; write one object a row" in log.malformed[0].reason


@pytest.mark.parametrize("name", ["log.tar", "log.tar.gz", "log.tgz"])
def test_an_archive_of_tar_is_to_be_unpacked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("log.csv")
    with pytest.raises(ConfigError, match="this is an archive of tar; unpack it"):
        open_log(tmp_path / name)
