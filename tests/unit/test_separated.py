"""Rows of separated values: none is lost to a quote or a name of another."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.errors import BadMessage, ConfigError
from streamer.ope.obd_log import OpenBanditLog
from streamer_producers.datasets import open_log
from streamer_producers.separated import VALUE_LINES_MAX

COLUMNS = ("user_id", "item_id", "ts", "type", "artist")


def _written(path: Path, artists: dict[int, str], n_rows: int, *, in_column: int = 4) -> Path:
    """A log of ``n_rows`` clicks, some with an artist as it stands in the file."""
    delimiter = "\t" if path.suffix == ".tsv" else ","
    names = [name for name in COLUMNS if name != "artist"]
    names.insert(in_column, "artist")
    rows = [delimiter.join(names)]
    for row in range(n_rows):
        values = [f"u{row}", f"i{row}", str(1_760_000_000_000 + row), "click"]
        values.insert(in_column, artists.get(row, "Blur"))
        rows.append(delimiter.join(values))
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("in_column", [0, 2, 4])
@pytest.mark.parametrize(
    ("artists", "n_lost"),
    [
        ({10: '"Weird Al'}, 1),
        ({10: '"Weird Al', 11: '"Weird Al'}, 2),
        ({10: '"Weird Al', 20: 'Love"'}, 1),
        ({10: '"Weird Al', 11: 'Love"'}, 1),
        ({10: '"Weird Al', 15: '"Earth, Wind & Fire"'}, 1),
        ({999: '"Weird Al'}, 1),
        ({10: 'Weird "Al', 20: "5'11\""}, 0),
    ],
)
def test_a_lone_quote_costs_its_own_row_at_most(
    tmp_path: Path, suffix: str, in_column: int, artists: dict[int, str], n_lost: int
) -> None:
    path = _written(tmp_path / f"log{suffix}", artists, 1_000, in_column=in_column)
    log = open_log(path)
    events = list(log.events())
    assert (len(events), log.n_malformed) == (1_000 - n_lost, n_lost)
    if n_lost:
        assert "a quote opens a value that is not closed" in log.malformed[0].reason
        assert log.malformed[0].line == min(artists) + 2
        with pytest.raises(BadMessage, match=f":{min(artists) + 2}: a quote opens a value"):
            list(open_log(path, strict=True).events())


def test_a_quote_that_is_never_closed_is_not_looked_for_without_end(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    rows = ["user_id,item_id,ts,type", 'u,"i', *["u,i"] * 3 * VALUE_LINES_MAX, "u,i,1,click"]
    path.write_text("\n".join(rows))
    log = open_log(path)
    assert len(list(log.events())) == 1
    assert log.n_malformed == 3 * VALUE_LINES_MAX + 1


def test_a_quoted_value_may_have_lines(tmp_path: Path) -> None:
    text = '"He said:\n\n""a, b"" and\r\nleft"'
    path = _written(tmp_path / "log.csv", {1: text, 3: '"two\nlines"'}, 5)
    log = open_log(path, mapping="context.artist=artist")
    found = [event.context["artist"] for event in log.events() if event.context]
    assert found == ["Blur", 'He said:\n\n"a, b" and\r\nleft', "Blur", "two\nlines", "Blur"]
    assert log.n_malformed == 0


def test_a_quote_left_open_among_the_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text('user_id,item_id,ts,type,"artist\nu,i,1,click,Blur\nu,i,2,click,Pulp\n')
    with pytest.raises(ConfigError, match=r"log\.csv:1: the names of the columns: a quote opens"):
        open_log(path)


def test_a_name_that_is_there_twice_is_refused_in_an_open_bandit_log(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("item_id,position,click,propensity_score,click,,\n1,1,0,0.5,1,,\n")
    with pytest.raises(ConfigError, match=r"log\.csv:1: 'click' names 2 columns; rename all but"):
        OpenBanditLog(path).survey()


def test_a_column_that_is_there_twice_is_refused_where_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,ts,type,item_id,x,x\nann,tea,1,click,cup,1,2\n")
    with pytest.raises(ConfigError, match="has 2 columns 'item_id', and the field 'item_id' is in"):
        open_log(path)
    path.write_text("user_id,item_id,ts,type,x,x\nann,tea,1,click,1,2\n")
    assert [event.item_id for event in open_log(path).events()] == ["tea"]


@pytest.mark.parametrize(
    ("name", "between"),
    [("log.csv", ", "), ("log.csv", " ;\u00a0"), ("log.txt", " | "), ("log.tsv", " \t\u3000")],
)
def test_blanks_around_values_are_no_part_of_them(tmp_path: Path, name: str, between: str) -> None:
    rows = [
        ["user_id", "item_id", "ts", "type", "value", "artist"],
        ["ann", "tea", "1760000000000", "rating", "4.5", "Simply Red"],
        ["ann", "10.0", "1760000000001", "rating", "NULL", "#N/A"],
        ["NULL", "tea", "1760000000000", "rating", "5", ""],
        ["", "tea", "1760000000000", "rating", "5", ""],
    ]
    (tmp_path / name).write_text("".join(between.join(row) + " \n" for row in rows))
    log = open_log(tmp_path / name, mapping="context.artist=artist")
    found = [(event.item_id, event.value, event.context) for event in log.events()]
    assert found == [("tea", 4.5, {"artist": "Simply Red"}), ("10", None, {})]
    assert [each.line for each in log.malformed] == [4, 5]
    assert "is how an absent value is written" in log.malformed[0].reason
    assert "field 'user_id': missing" in log.malformed[1].reason


@pytest.mark.parametrize(
    "row", ['"ann" , "tea, green", 1,click, "a, b" ', '" ann","tea, green ","1 ",click," a, b"']
)
def test_blanks_around_quotes_and_within_them_are_no_part_of_a_value(
    tmp_path: Path, row: str
) -> None:
    (tmp_path / "log.csv").write_text(f'"user_id" , "item_id", ts,type, "artist"\n{row}\n')
    log = open_log(tmp_path / "log.csv", mapping="context.artist=artist")
    (event,) = log.events()
    assert (event.user_id, event.item_id, event.ts) == ("ann", "tea, green", 1)
    assert (event.context, log.n_malformed) == ({"artist": "a, b"}, 0)


def test_values_between_blanks_may_be_empty_where_some_are_quoted(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text('user_id item_id ts type value\n"an n" tea 1 click \n')
    (event,) = open_log(tmp_path / "log.csv", delimiter=" ").events()
    assert (event.user_id, event.value) == ("an n", None)
    (tmp_path / "log.csv").write_text('user_id value item_id ts type\n"an n"  tea 1 click\n')
    (event,) = open_log(tmp_path / "log.csv", delimiter=" ").events()
    assert (event.user_id, event.item_id, event.value) == ("an n", "tea", None)


def test_ids_of_json_keep_their_blanks(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"user_id":" u","item_id":"i ","ts":1,"type":"click"}\n')
    (event,) = open_log(tmp_path / "log.jsonl").events()
    assert (event.user_id, event.item_id) == (" u", "i ")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r'"a \"i0\""', 'a "i0"'),
        (r'"x \"i2\", b"', 'x "i2", b'),
        (r'"\"Weird\" Al"', '"Weird" Al'),
        (r'"a\""', 'a"'),
        (r'"\"\""', '""'),
        (r'"a \"b\" c\\"', 'a "b" c' + "\\"),
        (r'"C:\"', "C:" + "\\"),
        (r'"a\b"', r"a\b"),
        ('"a ""b"""', 'a "b"'),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_quotes_behind_backslashes_are_of_their_value(
    tmp_path: Path, written: str, read: str, first: bool
) -> None:
    path = tmp_path / "log.csv"
    at = "1760000000000"
    names, row = ("item_id,user_id,ts", f'{written},"ann",{at}')
    if not first:
        names, row = ("user_id,ts,item_id", f'"ann",{at},{written}')
    path.write_text("\n".join([names, row, row, ""]))
    log = open_log(path, mapping="type=click")
    assert [event.item_id for event in log.events()] == [read] * 2
    assert log.n_malformed == 0


def test_a_quote_behind_a_backslash_that_may_be_either_costs_its_row(tmp_path: Path) -> None:
    path = _written(tmp_path / "log.csv", {3: r'"a \"b" c"'}, 10)
    log = open_log(path, mapping="context.artist=artist")
    assert len([*log.events()]) == 9
    assert "a quote behind a backslash may end its value" in log.malformed[0].reason


@pytest.mark.parametrize(
    "written",
    [
        *('="002"', '"=""002"""', "002\u200b", "\ufeff002", "\u200b 002\xa0"),
        *("\u202a002\u202c", "\xa0002\u2060 "),
    ],
)
def test_what_spreadsheets_and_pages_put_around_an_id_is_no_part_of_it(
    tmp_path: Path, written: str
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"\u200buser_id,item_id,ts,type\n{written},{written},1760000000000,click\n")
    (event,) = open_log(path).events()
    assert (event.user_id, event.item_id) == ("002", "002")
    joined = "a\u200db"  # a part of some scripts and emoji
    path.write_text(f"user_id,item_id,ts,type\n{joined},=x,1760000000000,click\n")
    (event,) = open_log(path).events()
    assert (event.user_id, event.item_id) == (joined, "=x")
