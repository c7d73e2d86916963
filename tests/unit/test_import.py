"""``streamer import``: it shows how files would be read, keeps that, and publishes as it said."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.commands.screen import output as screen
from streamer.config import Config, FileConfig, load_config
from streamer.errors import BadMessage, ConfigError, StreamerError, TopicMismatch
from streamer.events import Event, Item, User
from streamer.events.types import DEFAULT_TYPES
from streamer.kafka.embedded import EmbeddedBroker
from streamer_producers.datasets import open_log
from streamer_producers.descriptions import DescriptionMapper, parse_description_mapping
from streamer_producers.import_plan import Plan, plan_import
from streamer_producers.planned_file import ReadingFlags
from tests.torture.topics import messages_of

DAY_MS = 86_400_000
AT_S = 1_760_000_000
EVENTS = """timestamp,visitorid,event,itemid,transactionid
1433221332117,1,view,10,
1433221432117,2,view,11,
1433221532117,1,Add To Cart,10,
1433221632117,1,transaction,10,7
1433221732117,3,zoomed,11,
never,3,view,11,
1433221832117,3,view,,
"""
PRODUCTS = """sku,name,category,price,in_stock,description
10,Green tea,Tea|Green,2.50,yes,{0}
11,"Cup, small",Cups,7,no,{0}
,nothing,,,,
""".format("long " * 60)


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def run(
    broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """A command in an empty folder, with topics of its own; errors of ours are raised."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMER_KAFKA__BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    monkeypatch.setenv("STREAMER_TOPICS__PREFIX", f"{tmp_path.name}.")
    monkeypatch.setattr(screen, "width", 200)  # wherever it was made

    def run(*words: str, answer: str | None = None) -> str:
        result = CliRunner().invoke(app, [*words], input=answer, env={"COLUMNS": "200"})
        if isinstance(result.exception, StreamerError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


def planned(*paths: Path, config: Config | None = None, **asked: str) -> Plan:
    return plan_import(
        [str(path) for path in paths],
        config or Config(),
        ReadingFlags(**asked),
        reading=lambda name: None,
    )


def events_sent() -> list[Event]:
    return [
        msgspec.json.decode(each.value or b"", type=Event)
        for each in messages_of(load_config(), "events")
    ]


def items_sent() -> dict[str, Item]:
    found = [
        msgspec.json.decode(each.value or b"", type=Item)
        for each in messages_of(load_config(), "items")
    ]
    return {item.item_id: item for item in found}


def users_sent() -> dict[str, User]:
    found = [
        msgspec.json.decode(each.value or b"", type=User)
        for each in messages_of(load_config(), "users")
    ]
    return {user.user_id: user for user in found}


def shop(folder: Path) -> Path:
    folder.mkdir()
    (folder / "events.csv").write_text(EVENTS)
    (folder / "products.csv").write_text(PRODUCTS)
    (folder / "stock.csv").write_text("sku,amount\n10,3\n")
    return folder


def test_a_shop_is_published_as_it_was_shown_and_needs_no_map_from_then_on(
    run: Callable[..., str], tmp_path: Path
) -> None:
    shop(tmp_path / "shop")
    Path("streamer.toml").write_text("# of ours\n[events.save]\nweight = 2.0\n")
    output = run("import", "shop", answer="y\n")
    assert "stock.csv: its columns are sku, amount" in output
    assert "3: field 'ts'" not in output
    assert "1: field 'ts', first in line 7: field 'ts': \"never\" is refused" in output
    assert "1: field 'item_id' is missing, first in line 8" in output
    assert "not used: transactionid" in output
    assert "nothing is learned from zoomed" in output
    summary = [line.replace("│", "").split() for line in output.splitlines()]
    assert ["products.csv", "3", "0", "2", "1"] in summary
    assert ["events.csv", "7", "5", "0", "2"] in summary

    text = Path("streamer.toml").read_text()
    assert text.startswith("# of ours\n[events.save]\nweight = 2.0\n\n")
    added = tomllib.loads(text)
    assert added["events"] == {
        "save": {"weight": 2.0},
        "add_to_cart": {"weight": 2.0},
        "zoomed": {"weight": 0.0},
    }
    sent = events_sent()
    assert sorted((e.user_id, e.item_id, e.type) for e in sent) == [
        ("1", "10", "add_to_cart"),
        ("1", "10", "click"),
        ("1", "10", "purchase"),
        ("2", "11", "click"),
        ("3", "11", "zoomed"),
    ]
    tea, cup = items_sent()["10"], items_sent()["11"]
    assert tea.categories == ["Tea", "Green"]
    assert tea.attributes == {"price": 2.5}
    assert (cup.title, cup.available) == ("Cup, small", False)

    again = run("publish", "shop/events.csv", "--items", "shop/products.csv")
    assert "5 events and 2 items published" in again
    assert {e.event_id for e in events_sent()} == {e.event_id for e in sent}
    output = run("import", "shop", "--yes")
    assert "read as [files.events] says" in output
    assert "to be added" not in output
    assert Path("streamer.toml").read_text() == text
    with pytest.raises(ConfigError, match=r"events.csv: \[files.events\] of the configuration"):
        run("import", "shop/events.csv", "--type", "click")


CUSTOMERS = """id,full_name,interests,country,age,joined
1,Ann Lee,Tea|Cups,pt,31,2024-01-05
2,Bo Li,,de,44,2024-01-06
3,Cy Ray,Cups,pt,31,2024-02-05
4,Di Oz,Tea,de,44,2024-03-05
"""


def test_what_users_say_is_found_and_published_with_the_shop(
    run: Callable[..., str], tmp_path: Path
) -> None:
    shop(tmp_path / "shop")
    (tmp_path / "shop" / "customers.csv").write_text(CUSTOMERS)
    output = run("import", "shop", "--yes")
    assert "customers.csv: 4 users" in output
    assert "not used: full_name" in output
    summary = [line.replace("│", "").split() for line in output.splitlines()]
    assert ["customers.csv", "4", "0", "0", "4", "0"] in summary
    assert ["events.csv", "7", "5", "0", "0", "2"] in summary
    assert tomllib.loads(Path("streamer.toml").read_text())["files"]["customers"] == {
        "file": "customers.csv",
        "holds": "users",
        "map": "user_id=id,categories=interests:pipe,ts=joined:iso,attributes.country=country,"
        "attributes.age=age:number",
    }
    sent = users_sent()
    assert sent["1"] == User(
        user_id="1",
        categories=["Tea", "Cups"],
        attributes={"country": "pt", "age": 31},
        ts=1_704_412_800_000,
    )
    assert sent["2"].categories is None
    assert sent.keys() == {"1", "2", "3", "4"}
    assert "0 events, 0 items and 4 users" in run("publish", "--users", "shop/customers.csv")
    assert "customers.csv: 4 users" in run("import", "shop", "--yes")  # by its table
    assert "4 users" in run("publish", "shop")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("visits.csv", "user_id,country,at\n1,pt,5\n1,de,6\n2,pt,7\n3,de,8\n"),  # one comes twice
        ("customers.csv", "id,name\n1,Ann\n2,Bo\n"),  # nothing that a rule could ask for
        ("shelf.csv", "id,kind,colour\n1,a,r\n2,a,r\n"),  # of what?
    ],
)
def test_what_may_not_be_users_is_not_taken_for_them(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=r"its columns are|1 of 4 rows repeat a user of user_id"):
        planned(tmp_path / name)


def test_rows_that_repeat_an_item_or_a_user_are_said_and_the_last_one_counts(
    run: Callable[..., str], tmp_path: Path
) -> None:
    shop(tmp_path / "shop")
    more = [f"{n},,Tea,de,40,2024-01-05" for n in range(5, 40)]
    text = "\n".join([CUSTOMERS.rstrip("\n"), *more, "3 ,Cy Ray,Tea,fr,32,2024-02-05", ""])
    (tmp_path / "shop" / "customers.csv").write_text(text)
    with (tmp_path / "shop" / "products.csv").open("a") as file:
        file.write("10,Greener tea,Tea,2.50,yes,\n10,Greenest tea,Tea,2.50,yes,\n")
    said = (
        "1 row repeats the user of an earlier one, as '3': the last row of each counts",
        "2 rows repeat items of earlier ones, as '10': the last row of each counts",
    )
    output = run("import", "shop", "--yes")
    assert "customers.csv: 40 users" in output
    assert all(each in output for each in said)
    assert users_sent()["3"].attributes == {"country": "fr", "age": 32}
    assert items_sent()["10"].title == "Greenest tea"
    output = " ".join(run("publish", "shop").split())
    assert all(each in output for each in said)


def test_what_users_did_is_told_from_users_by_how_many_rows_repeat_one(tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    head, rows = "id,country,at", [f"{n},pt,{n}" for n in range(2_000)]
    path.write_text("\n".join([head, *rows, *rows[:222]]))
    (file,) = planned(path).files
    assert file.holds == "users"
    for text in ([*rows, *rows[:223]], [*rows[:1_000], *rows[:900]]):
        path.write_text("\n".join([head, *text]))
        n = len(text) - len({*text})
        with pytest.raises(ConfigError, match=f"{n} of {len(text):,} rows repeat a user of id, as"):
            planned(path)
    # What is long is not read to its end where its first rows tell.
    path.write_text("\n".join([head, *rows[:700], *rows]))
    with pytest.raises(ConfigError, match="300 of 1,000 rows repeat a user of id, as '0'"):
        planned(path)


def test_the_counts_that_are_shown_agree_with_what_is_published(run: Callable[..., str]) -> None:
    rows = [f"u{n},i{n},{1_433_221_332_117 + n},{kind}" for n, kind in enumerate(["view"] * 3)]
    rows += [f"u9,i9,{4_100_000_000_000},buy", "u8,i8,never,view"]
    Path("log.csv").write_text("user_id,item_id,ts,type\n" + "\n".join(rows) + "\n")
    output = run("import", "log.csv", "--yes")
    assert "log.csv: 3 events from 2015-06-02 to 2015-06-02\n" in output
    assert "rows left out: 2\n" in output
    shown = [line.replace("│", "").replace("┃", "").split() for line in output.splitlines()]
    assert ["type", "in", "the", "file", "rows", "becomes"] in shown
    assert ["view", "4", "click"] in shown
    assert ["buy", "1", "purchase"] in shown
    assert ["log.csv", "5", "3", "0", "2"] in shown


def test_whoever_says_no_or_only_looks_changes_nothing(
    run: Callable[..., str], tmp_path: Path
) -> None:
    shop(tmp_path / "shop")
    assert "nothing was published or written" in run("import", "shop", "--dry-run")
    with pytest.raises(ConfigError, match="nothing was published or written; say what is"):
        run("import", "shop", answer="n\n")
    assert not Path("streamer.toml").exists()
    with pytest.raises(TopicMismatch):  # the first message would make it
        events_sent()


def test_a_dry_run_needs_no_broker_but_publishing_asks_for_one_first(
    run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop(tmp_path / "shop")
    monkeypatch.delenv("STREAMER_KAFKA__BOOTSTRAP_SERVERS")
    run("import", "shop", "--dry-run")
    with pytest.raises(ConfigError, match="no broker is named"):
        run("import", "shop", answer="y\n")


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.csv", "", "no row in it: it is empty, or has names of columns alone; write it again"),
        ("a.csv", "user_id,item_id,ts\n", "no row in it: it is empty"),
        ("a.csv", "user_id,item_id,ts\nann,tea,never\n", "no row can be used; 1 are left out"),
        ("a.csv", "sku,amount\n1,2\n", "its columns are sku, amount: an event log has users"),
        ("a.csv", "uid,Prodct-Id,ts\nann,tea,1\n", "none is .* --map item_id=Prodct-Id\\)"),
        ("a.csv", "custmer_no,sku,ts\nann,tea,1\n", "none is .* --map user_id=custmer_no\\)"),
        ("a.csv", "usr_id,itm_id,x\n1,2,3\n", "--map user_id=usr_id,item_id=itm_id,…"),
        ("a.csv", "uid,thing,ts\nann,tea,1\n", "users are in uid, but none .* item_id=COLUMN"),
        ("a.csv", "who,sku,ts\nann,tea,1\n", "items are in sku, but none .* user_id=COLUMN"),
        ("a.csv", "A1,013,5.0,1365811200\nA2,014,5.0,1341100800\n", "no names of columns, but"),
        ("a.md", "# a\n", "format '.md' is unknown"),
        ("a.jsonl", "{oops\n", r"no row in it can be read: .*\{oops.* is not JSON.*with --format"),
    ],
)
def test_a_file_of_which_nothing_is_used_is_a_failure(
    run: Callable[..., str], name: str, text: str, why: str
) -> None:
    Path(name).write_text(text)
    with pytest.raises(ConfigError, match=why):
        run("import", name, "--yes")
    assert not Path("streamer.toml").exists()


def test_a_column_that_a_flag_misspells_is_asked_back(run: Callable[..., str]) -> None:
    Path("a.csv").write_text("uid,sku,ts\nann,tea,1\n")
    with pytest.raises(ConfigError, match=r"no column 'skku', which .* \(did you mean 'sku'\?\)"):
        run("import", "a.csv", "--yes", "--map", "item_id=skku")


@pytest.mark.parametrize(
    ("name", "text", "mapping", "event_type"),
    [
        (  # Book-Crossing
            "bx.csv",
            '"User-ID";"ISBN";"Book-Rating"\n"1";"034545104X";"5"\n',
            "user_id=User-ID,item_id=ISBN,value=Book-Rating",
            "rating",
        ),
        (  # REES46
            "shop.csv",
            "event_time,event_type,product_id,user_id\n2019-10-01 00:00:00 UTC,view,1,2\n",
            "item_id=product_id,ts=event_time:iso,type=event_type,type.view=click",
            "",
        ),
        (  # RecBole
            "ml.inter",
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t2\t4\t881250949\n",
            "ts=timestamp:s,value=rating",
            "rating",
        ),
        (  # Yoochoose, without users
            "purchases.csv",
            "session_id,timestamp,item_id\n1,2014-04-07T10:51:09.277Z,214536502\n",
            "user_id=session_id,ts=timestamp:iso",
            "purchase",
        ),
        (
            "log.jsonl",
            '{"uid": 7, "song_id": "s", "played_at": 1760000000}\n',
            "user_id=uid,item_id=song_id,ts=played_at:s",
            "click",
        ),
        (
            "orders.csv",
            "bought_at,ordered_at,customer_id,sku\nshop 5,2026-10-31T23:24:49Z,C1,S1\n",
            "user_id=customer_id,item_id=sku,ts=ordered_at:iso",
            "purchase",
        ),
    ],
)
def test_the_mapping_of_a_log_is_guessed(
    tmp_path: Path, name: str, text: str, mapping: str, event_type: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    (file,) = planned(path).files
    assert file.table is not None
    assert (file.holds, file.table.map, file.table.type) == ("events", mapping, event_type)
    if event_type == "purchase":
        said = "all its events are of type purchase, since the file's name says so"
        assert said in file.remarks


@pytest.mark.parametrize(
    ("name", "text", "mapping"),
    [
        (
            "ml.item",
            "item_id:token\tmovie_title:token_seq\tclass:token_seq\n1\tToy Story\tA Comedy\n",
            "title=movie_title,categories=class:space",
        ),
        (
            "songs.jsonl",
            '{"id": 7, "name": "x", "genres": ["a"], "added_at": 1760000000, "bpm": 120}\n',
            "item_id=id,title=name,categories=genres,created_ts=added_at:s,attributes.bpm=bpm",
        ),
        (
            "recipes.csv",
            "recipe_id,name,tags,code\n1,Soup,\"['hot', 'quick']\",007\n",
            "item_id=recipe_id,title=name,tags=tags:list,attributes.code=code",
        ),
    ],
)
def test_the_mapping_of_a_catalogue_is_guessed(
    tmp_path: Path, name: str, text: str, mapping: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    (file,) = planned(path).files
    assert file.table is not None
    assert (file.holds, file.table.map) == ("items", mapping)


@pytest.mark.parametrize(
    ("odd", "becomes"),
    [
        (" view", "click"),
        ("purchase  ", "purchase"),
        ("x" * 80, ""),
        ("2024-01-01 10:00:00", ""),
        ("просмотр", ""),
        ("Añadir", "anadir"),
    ],
)
def test_an_odd_type_costs_its_own_row_at_most(
    run: Callable[..., str], odd: str, becomes: str
) -> None:
    kinds = [*["view", "purchase"] * 10, odd]
    rows = [f"u{n},i{n},{AT_S * 1_000 + n},{kind}" for n, kind in enumerate(kinds)]
    Path("log.csv").write_text("userId,itemId,timestamp,event\n" + "\n".join(rows) + "\n")
    output = run("import", "log.csv", "--yes")
    sent = Counter(event.type for event in events_sent())
    assert sent == Counter(["click", "purchase"] * 10 + [becomes] * bool(becomes))
    assert ("– (left out)" in output) == (not becomes)
    assert ("1: field 'type', first in line 22" in output) == (not becomes)
    assert load_config().events.keys() <= {*DEFAULT_TYPES, "anadir"}


@pytest.mark.parametrize("name", ["behavior_type", "action_type", "eventType"])
def test_codes_of_types_are_not_taken_for_clicks(
    run: Callable[..., str], tmp_path: Path, name: str
) -> None:
    rows = [f"u{n},i{n},{AT_S * 1_000 + n},{n % 4 + 1}" for n in range(20)]
    Path("log.csv").write_text(f"user_id,item_id,ts,{name}\n" + "\n".join(rows) + "\n")
    with pytest.raises(ConfigError, match="no row can be used; 20 are left out"):
        run("import", "log.csv", "--yes")
    (file,) = planned(tmp_path / "log.csv").files
    assert {meant for _, _, meant in file.types} == {""}
    meant = f"type={name},type.1=click,type.2=like,type.3=click,type.4=purchase"
    run("import", "log.csv", "--yes", "--map", meant)
    assert Counter(each.type for each in events_sent()) == {"click": 10, "like": 5, "purchase": 5}


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("event", ["7", "8", "9"], "event is not read as types, since .* as '7'.*type.7=click"),
        ("action", [f"did {n}" for n in range(200)], "of more than 40, as 'did 0'"),
        ("rating", ["5", "PG-13", *["R"] * 9], "rating is not read as values, .* as 'PG-13'"),
    ],
)
def test_a_column_that_is_not_read_as_its_name_says_is_named(
    tmp_path: Path, name: str, values: Sequence[str], said: str
) -> None:
    rows = [f"u{n},i{n},{AT_S * 1_000 + n},{value}" for n, value in enumerate(values)]
    (tmp_path / "log.csv").write_text(f"user_id,item_id,ts,{name}\n" + "\n".join(rows) + "\n")
    (file,) = planned(tmp_path / "log.csv").files
    assert re.search(said, "\n".join(file.remarks))


def test_ratings_with_a_decimal_comma_are_ratings(tmp_path: Path) -> None:
    rows = [f"u{n};i{n};{AT_S * 1_000 + n};{n % 5},{n % 2 * 5}" for n in range(10)]
    (tmp_path / "log.csv").write_text("userId;itemId;timestamp;rating\n" + "\n".join(rows) + "\n")
    plan = planned(tmp_path / "log.csv")
    assert plan.files[0].table is not None
    assert plan.files[0].table.type == "rating"
    log = plan.files[0].open(plan.configured(Config()))
    assert [event.value for event in log.events()][:3] == [0.0, 1.5, 2.0]


def test_a_rating_that_is_none_is_no_click(run: Callable[..., str]) -> None:
    ratings = ["5", "5 stars", "good", "-", "4.5", "n/a"]
    rows = [f"u{n},i{n},{AT_S * 1_000 + n},{rating}" for n, rating in enumerate(ratings)]
    Path("log.csv").write_text("user_id,item_id,ts,rating\n" + "\n".join(rows) + "\n")
    assert "3: field 'value', first in line 3" in run("import", "log.csv", "--yes")
    sent = sorted((each.type, each.value) for each in events_sent() if each.value is not None)
    assert sent == [("rating", 4.5), ("rating", 5.0)]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("name", ["log.csv", "log.inter"])
def test_names_of_columns_in_mid_file_are_a_row_to_leave_out(
    run: Callable[..., str], name: str, mark: str
) -> None:
    of = dict.fromkeys(("user_id", "item_id", "ts", "type"), "")
    if name == "log.inter":
        of = {"user_id": ":token", "item_id": ":token", "ts": ":float", "type": ":token"}
    divides = "," if name == "log.csv" else "\t"
    names = divides.join(each + kind for each, kind in of.items())
    rows = [divides.join((f"u{n}", f"i{n}", f"{AT_S * 1_000 + n}", "click")) for n in range(4)]
    Path(name).write_text("\n".join([names, *rows[:2], mark + names, *rows[2:]]) + "\n")
    output = run("import", name, "--yes")
    assert "rows left out: 1\n" in output
    assert "first in line 4: the names of the columns again; files were joined here" in output
    assert len(events_sent()) == 4
    assert load_config().events.keys() == {*DEFAULT_TYPES}


def test_blanks_around_the_names_of_columns_mean_nothing(run: Callable[..., str]) -> None:
    Path("log.csv").write_text(f" user_id , item_id ,ts, type\nu,i,{AT_S}000, click\n")
    run("import", "log.csv", "--yes")
    assert [(each.user_id, each.type) for each in events_sent()] == [("u", "click")]


@pytest.mark.parametrize("blank", [" ", "\u00a0"])
def test_blanks_around_values_mean_nothing_in_any_file(run: Callable[..., str], blank: str) -> None:
    files = {
        "log.csv": ["visitorid,~itemid,~event,~timestamp", f"u~,~SKU-098,~view,~{AT_S}000"],
        "goods.csv": ["sku,~name,~category,~price", 'SKU-098, "Tea, green",~Tea | Hot,~92.01'],
        "customers.csv": ["id,~interests,~plan", "u,~Tea; Hot ,~plus", "v~,~Tea;,~plus~"],
    }
    for name, rows in files.items():
        Path(name).write_text("\n".join(rows).replace("~", blank))
    run("import", *files, "--yes")
    assert [(e.user_id, e.item_id, e.type) for e in events_sent()] == [("u", "SKU-098", "click")]
    item = items_sent()["SKU-098"]
    assert (item.title, item.categories) == ("Tea, green", ["Tea", "Hot"])
    assert item.attributes == {"price": 92.01}
    assert users_sent() == {
        "u": User(user_id="u", categories=["Tea", "Hot"], attributes={"plan": "plus"}),
        "v": User(user_id="v", categories=["Tea"], attributes={"plan": "plus"}),
    }


def test_files_that_are_not_of_the_same_items_or_categories_are_said(
    run: Callable[..., str],
) -> None:
    rows = [f"u{n % 5},{100 + n},view,{AT_S}000" for n in range(20)]
    Path("log.csv").write_text("\n".join(["visitorid,itemid,event,timestamp", *rows]))
    goods = [f"{{}}{100 + n},Thing {n},Tea" for n in range(20)]
    users = [f"u{n},tea,plus" for n in range(4)]
    Path("customers.csv").write_text("\n".join(["id,interests,plan", *users]))
    files = ["log.csv", "goods.csv", "customers.csv"]
    Path("goods.csv").write_text("\n".join(["sku,name,category", *goods]).format(*["SKU-"] * 20))
    output = run("import", *files, "--dry-run")
    assert output.count("0 of 20 items of the events are in the catalogue") == 1
    assert "in the catalogue: events are of '100', the catalogue has 'SKU-100'; map" in output
    assert "in another spelling alone, as 'tea' for 'Tea'; write them alike" in output
    Path("goods.csv").write_text("\n".join(["sku,name,category", *goods]).format(*[""] * 20))
    output = run("import", "log.csv", "goods.csv", "--dry-run")
    assert "\n20 of 20 items of the events are in the catalogue\n" in output
    assert "map item_id" not in output


def test_times_of_which_the_unit_is_not_clear_are_said_and_stay_unnamed(
    run: Callable[..., str],
) -> None:
    rows = [f"u{n},i{n},{20_000 + n}" for n in range(20)]
    Path("log.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
    Path("things.csv").write_text("sku,title,added\n" + "t,Tea,20000\nu,Cup,20001\n")
    output = " ".join(run("import", "log.csv", "things.csv", "--yes").split())
    assert "log.csv: 20 events from 1970-01-01 to 1970-01-01" in output
    assert "times are read in ms since 1970, as 20000 = 1970-01-01 00:00:20 UTC" in output
    assert "created_ts: times are read in ms since 1970, as 20000" in output
    assert "name the unit with --items-map created_ts=COLUMN:UNIT" in output
    assert load_config().files["log"].map == "ts=timestamp"
    assert "times are read in ms since 1970" in " ".join(run("publish", "log.csv").split())


def test_times_of_another_unit_are_left_out_by_what_an_import_wrote(
    run: Callable[..., str],
) -> None:
    rows = [f"u{n},i{n},{(AT_S + n) * (1_000 if n % 5 else 1)}" for n in range(100)]
    Path("log.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
    output = " ".join(run("import", "log.csv", "--yes").split())
    assert "log.csv: 80 events from 2025-10-09 to 2025-10-09" in output
    assert "20: field 'ts', first in line 2: field 'ts': '1760000000' is not in ms" in output
    assert load_config().files["log"].map == "ts=timestamp:ms"
    assert {event.ts // 100_000 for event in events_sent()} == {AT_S // 100}
    rows = [f"t{n},Tea {n},{(AT_S + n) * (1_000 if n % 5 else 1)}" for n in range(100)]
    Path("things.csv").write_text("sku,title,added\n" + "\n".join(rows) + "\n")
    output = " ".join(run("import", "things.csv", "--yes").split())
    assert "things.csv: 80 items" in output
    assert "20: field 'created_ts', first in line 2" in output


def test_files_of_our_own_form_and_movielens_need_no_table(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "log.jsonl").write_text(
        '{"user_id":"a","item_id":"x","ts":1760000000000,"type":"click"}'
    )
    (own / "items.jsonl").write_text('{"item_id":"x","title":"X","categories":["a"]}\n')
    plan = planned(own)
    assert [file.holds for file in plan.files] == ["items", "events"]
    # The folder is read by its tables, whatever the files need.
    assert plan.tables == {
        "files.items": FileConfig(file="items.jsonl", holds="items"),
        "files.log": FileConfig(file="log.jsonl"),
    }
    assert not planned(own / "items.jsonl", own / "log.jsonl").tables
    ml = tmp_path / "ml"
    ml.mkdir()
    (ml / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,4.0,881250949\n")
    (ml / "movies.csv").write_text("movieId,title,genres\n2,Heat (1995),Action|Crime\n")
    (file,) = planned(ml).files
    log = file.open(Config())
    assert [item.attributes for item in log.items()] == [{"year": 1995}]
    assert [event.type for event in log.events()] == ["rating"]
    assert file.table is None


def test_what_is_given_stands_and_the_rest_is_guessed(tmp_path: Path) -> None:
    path = tmp_path / "amazon.csv"
    path.write_text("A1,0132793040,5.0,1365811200\n")
    plan = planned(path, mapping="user_id=#1,item_id=#2,value=#3,ts=#4", event_type="rating")
    (file,) = plan.files
    (event,) = file.open(plan.configured(Config())).events()
    assert (event.user_id, event.item_id, event.value) == ("A1", "0132793040", 5.0)
    assert event.ts == 1_365_811_200_000
    path = tmp_path / "b.csv"
    path.write_text("who,product_id,time\nann,1,1365811200\n")
    (file,) = planned(path, mapping="user_id=who").files
    assert file.table is not None
    assert file.table.map == "user_id=who,item_id=product_id,ts=time:s"


ORDERS = """Kunde;Artikel;Aktion;Zeitpunkt
c1;a1;view;2024-01-05T10:00:00
c2;a2;buy;2024-01-05T11:00:00
"""
ORDERS_MAP = "user_id=Kunde,item_id=Artikel,ts=Zeitpunkt:iso,type=Aktion"
ARTICLES = '{"id":"a1","title":"Tea","categories":["drinks"]}\n'


def own_names(folder: Path) -> Path:
    """A folder whose log has names of its own, beside files that are known by theirs."""
    folder.mkdir()
    (folder / "orders.csv").write_text(ORDERS)
    (folder / "articles.jsonl").write_text(ARTICLES)
    (folder / "customers.csv").write_text("Kunde,Land\nc1,de\nc2,pt\nc3,de\nc4,pt\n")
    return folder


def test_a_mapping_is_that_of_the_files_that_have_its_columns(
    run: Callable[..., str], tmp_path: Path
) -> None:
    own_names(tmp_path / "own")
    output = run("import", "own", "--yes", "--map", ORDERS_MAP, "--delimiter", ";")
    assert "rows left out" not in output
    files = tomllib.loads(Path("streamer.toml").read_text())["files"]
    assert files == {
        "articles": {"file": "articles.jsonl", "holds": "items", "map": "item_id=id"},
        "customers": {
            "file": "customers.csv",
            "holds": "users",
            "map": "user_id=Kunde,attributes.land=Land",
        },
        "orders": {
            "file": "orders.csv",
            "map": f"{ORDERS_MAP},type.view=click,type.buy=purchase",
            "delimiter": ";",
        },
    }
    assert sorted(event.type for event in events_sent()) == ["click", "purchase"]
    assert items_sent().keys() == {"a1"}
    assert "2 events, 1 items and 4 users published" in run("publish", "own")


def test_mappings_of_the_log_and_of_the_catalogue_do_not_mix(tmp_path: Path) -> None:
    own = own_names(tmp_path / "own")
    (own / "articles.jsonl").unlink()
    (own / "articles.csv").write_text("Artikel,Name,Art\na1,Tea,drinks\n")
    (own / "more.csv").write_text("uid,sku,ts\nann,1,1433221332117\n")
    items_map = "item_id=Artikel,title=Name"
    plan = planned(own, mapping=ORDERS_MAP, items_mapping=items_map)
    read = {each.path.name: (each.holds, each.table and each.table.map) for each in plan.files}
    assert read == {
        "articles.csv": ("items", f"{items_map},attributes.art=Art"),
        "customers.csv": ("users", "user_id=Kunde,attributes.land=Land"),
        "more.csv": ("events", "user_id=uid,item_id=sku"),
        "orders.csv": ("events", f"{ORDERS_MAP},type.view=click,type.buy=purchase"),
    }
    assert not plan.left_out
    (more,) = (each for each in plan.files if each.path.name == "more.csv")
    assert "it has no column 'Kunde', which --map names for user_id" in more.remarks
    alone = planned(own, items_mapping=items_map)
    assert {each.path.name: each.holds for each in alone.files} == {
        "articles.csv": "items",
        "more.csv": "events",
    }


def test_a_mapping_by_place_leaves_a_catalogue_with_names_alone(tmp_path: Path) -> None:
    (tmp_path / "amazon.csv").write_text("A1,0132793040,5.0,1365811200\n")
    (tmp_path / "products.csv").write_text("sku,name,category\n0132793040,Tea,Drinks\n")
    plan = planned(tmp_path, mapping="user_id=#1,item_id=#2,value=#3,ts=#4", event_type="rating")
    assert [(each.path.name, each.holds) for each in plan.files] == [
        ("products.csv", "items"),
        ("amazon.csv", "events"),
    ]


def test_a_file_that_has_a_table_is_read_by_it_beside_one_that_a_flag_maps(tmp_path: Path) -> None:
    own = own_names(tmp_path / "own")
    table = FileConfig(file="articles.jsonl", holds="items", map="item_id=id")
    config = msgspec.structs.replace(Config(), files={"articles": table})
    plan = planned(own, config=config, mapping=ORDERS_MAP)
    assert [each.path.name for each in plan.files] == [
        "articles.jsonl",
        "customers.csv",
        "orders.csv",
    ]
    assert not plan.left_out


@pytest.mark.parametrize(
    ("name", "asked", "why"),
    [
        (
            ".",
            ReadingFlags(mapping="user_id=Kundin"),
            r"no file is read by --map.*\n.*no column 'Kundin'",
        ),
        (
            ".",
            ReadingFlags(items_mapping="item_id=nr"),
            r"by --items-map.*\n  articles.jsonl: .*columns are id",
        ),
        (
            "orders.csv",
            ReadingFlags(mapping="user_id=Kundin"),
            "orders.csv: it has no column 'Kundin', which",
        ),
        (
            "orders.csv",
            ReadingFlags(mapping="user=Kunde"),
            "'user' is no field of an event; the fields are",
        ),
        (
            "orders.csv",
            ReadingFlags(items_mapping="sku=id"),
            "'sku' is no field of an item; the fields of an",
        ),
    ],
)
def test_a_mapping_that_no_file_can_have_is_refused(
    tmp_path: Path, name: str, asked: ReadingFlags, why: str
) -> None:
    own = own_names(tmp_path / "own")
    with pytest.raises(ConfigError, match=f"(?s){why}"):
        plan_import([str(own / name)], Config(), asked, reading=lambda name: None)


def test_parts_of_a_log_share_a_table_and_one_catalogue_is_used(tmp_path: Path) -> None:
    for part in (1, 2):
        (tmp_path / f"part-{part:04}.csv").write_text(f"uid,sku,ts\nann,{part},1433221332117\n")
    (tmp_path / "names.csv").write_text("sku,name\n1,Tea\n")
    (tmp_path / "other.csv.gone").write_text("{}")  # it says what a record lacks
    (tmp_path / "products.csv").write_text("sku,name,category\n1,Tea,Drinks\n")
    plan = planned(tmp_path)
    assert [file.path.name for file in plan.files] == [
        "products.csv",
        "part-0001.csv",
        "part-0002.csv",
    ]
    assert plan.left_out == [
        ("names.csv", "one catalogue is published, and products.csv says more")
    ]
    config = plan.configured(Config())
    assert sorted(config.files) == ["part", "products"]
    assert [e.item_id for file in plan.files for e in file.open(config).events()] == ["1", "2"]


def test_a_log_without_times_is_published_as_of_now(run: Callable[..., str]) -> None:
    Path("r.csv").write_text("user_id,book_id,rating\n1,258,5\n2,1,9\n")
    output = run("import", "r.csv", "--yes")
    assert "events get the time of their publication" in output
    assert "1 of 2 values of type rating (50%) are beyond 0 to 5" in output
    sent = events_sent()
    assert len(sent) == 2
    assert min(event.ts for event in sent) > 1_760_000_000_000


def test_a_file_that_could_not_be_read_afterwards_is_left_as_it_is(
    run: Callable[..., str], tmp_path: Path
) -> None:
    shop(tmp_path / "shop")
    text = "events = { save = { weight = 2.0 } }\n"
    Path("streamer.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"streamer.toml was not changed: .*add to it by hand"):
        run("import", "shop", "--yes")
    assert Path("streamer.toml").read_text() == text
    with pytest.raises(TopicMismatch):  # the first message would make it
        events_sent()
    assert [each.name for each in tmp_path.glob("streamer.toml*")] == ["streamer.toml"]


def test_two_tables_of_one_file_and_a_table_of_none_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "streamer.toml"
    config.write_text('[files.a]\nfile = "x*.csv"\n[files.b]\nfile = "x1.csv"\n')
    path = tmp_path / "x1.csv"
    path.write_text("user_id,item_id,ts,type\nann,tea,1760000000000,click\n")
    with pytest.raises(ConfigError, match=r"\[files.a\] and \[files.b\] are both of x1.csv"):
        planned(path, config=load_config(config, env={}))
    config.write_text('[files.a]\nmap = "user_id=uid"\n')
    with pytest.raises(ConfigError, match="the table names no file"):
        load_config(config, env={})


@pytest.mark.parametrize(
    ("mapping", "record", "field", "read"),
    [
        ("categories=g:pipe", {"g": "a|b| a"}, "categories", ["a", "b"]),
        ("categories=g:comma", {"g": "a, b"}, "categories", ["a", "b"]),
        ("categories=g:list", {"g": "['a', \"b\"]"}, "categories", ["a", "b"]),
        ("categories=g:list", {"g": "[{'id': 1, 'name': 'a'}]"}, "categories", ["a"]),
        ("categories=g", {"g": "a|b"}, "categories", ["a|b"]),
        ("categories=g:list", {"g": "'a'"}, "categories", ["a"]),
        ("embedding=g", {"g": "[0.5, -1, 2e-3]"}, "embedding", [0.5, -1.0, 0.002]),
        ("embedding=g:space", {"g": "0.5 -1 2e-3"}, "embedding", [0.5, -1.0, 0.002]),
        ("tags=g", {"g": 7}, "tags", ["7"]),
        ("created_ts=t:iso", {"t": "1970-01-02"}, "created_ts", DAY_MS),
        ("available=s", {"s": "No"}, "available", False),
        ("attributes.price=p:number", {"p": "2.5"}, "attributes", {"price": 2.5}),
        ("attributes.price=p:number", {"p": "NULL"}, "attributes", None),
        ("attributes.code=p", {"p": "007"}, "attributes", {"code": "007"}),
        ("attributes.p=p:decimal_comma", {"p": "3,50"}, "attributes", {"p": 3.5}),
        ("attributes.p=p:decimal_comma", {"p": "-1.234.567,5"}, "attributes", {"p": -1234567.5}),
        ("attributes.p=p:decimal_comma", {"p": "12 000"}, "attributes", {"p": 12000}),
        ("attributes.p=p:decimal_comma", {"p": 3.5}, "attributes", {"p": 3.5}),
    ],
)
def test_forms_of_columns_are_read(
    mapping: str, record: dict[str, object], field: str, read: object
) -> None:
    mapper = DescriptionMapper(parse_description_mapping(mapping), is_text=True)
    assert getattr(mapper.described({"item_id": "1.0", **record}), field) == read
    with pytest.raises(BadMessage, match="item_id"):
        mapper.described(record)


@pytest.mark.parametrize(
    ("form", "text", "remedy"),
    [
        ("number", "3,50", "say :decimal_comma where numbers have a decimal comma"),
        ("number", "on request", "or no form to keep text"),
        ("decimal_comma", "3.50", "say :number where numbers have a decimal point"),
        ("decimal_comma", "12.34,5", "is no decimal_comma"),
    ],
)
def test_what_is_no_number_is_refused_where_the_mapping_says_number(
    form: str, text: str, remedy: str
) -> None:
    mapper = DescriptionMapper(parse_description_mapping(f"attributes.p=p:{form}"), is_text=True)
    with pytest.raises(BadMessage, match=f"field 'attributes.p': \"{text}\".*{remedy}"):
        mapper.described({"item_id": "1", "p": text})


@pytest.mark.parametrize(
    ("prices", "form"),
    [
        (("3,50", "12", "1.200,00"), ":decimal_comma"),
        (("1,000", "12,500"), ""),  # thousands, or thousandths
        (("3,50", "free"), ""),
        (("3.50", "1,25"), ""),
        (("3.50", "12"), ":number"),
    ],
)
def test_decimal_commas_are_found(tmp_path: Path, prices: Sequence[str], form: str) -> None:
    path = tmp_path / "articles.csv"
    path.write_text("id;title;price\n" + "".join(f"{p};Tea {p};{p}\n" for p in prices))
    (file,) = planned(path).files
    assert file.table is not None
    assert file.table.map == f"item_id=id,attributes.price=price{form}"


@pytest.mark.parametrize("text", ["categories=g:tilde", "price=p", "title=a:b", "title=a,title=b"])
def test_mappings_of_items_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="mapping"):
        parse_description_mapping(text)


def test_a_folder_that_was_imported_is_a_log_with_its_catalogue(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(EVENTS)
    (tmp_path / "products.csv").write_text(PRODUCTS)
    (tmp_path / "more.csv").write_text(EVENTS)
    log = {"file": "events.csv", "map": "user_id=visitorid,item_id=itemid,ts=timestamp:ms"}
    catalogue = {"file": "products.csv", "holds": "items", "map": "item_id=sku,title=name"}
    files = msgspec.convert({"log": log, "catalogue": catalogue}, dict[str, FileConfig])
    opened = open_log(tmp_path, event_type="click", files=files)
    assert [event.item_id for event in opened.events()] == ["10", "11", "10", "10", "11"]
    assert [item.title for item in opened.items()] == ["Green tea", "Cup, small"]
    assert opened.name == "events.csv"
    with pytest.raises(ConfigError, match=r"no event log that .* describes: `streamer import .*`"):
        open_log(tmp_path)
    two = {"more": catalogue | {"file": "more.csv"}}
    with pytest.raises(ConfigError, match=r"more\.csv, products\.csv; name one with --items FILE"):
        open_log(tmp_path, files=files | msgspec.convert(two, dict[str, FileConfig]))
    alone = {"catalogue": files["catalogue"]}
    with pytest.raises(ConfigError, match=r"but products\.csv: pass the file of a log itself"):
        open_log(tmp_path, files=alone)


def days(folder: Path) -> Path:
    """A folder with logs of several formats, days and layouts, and what is like their names."""
    folder.mkdir()
    head = "visitorid,itemid,event,timestamp"
    for day in (1, 2, 3):
        rows = [f"u{n},{n},view,{AT_S + 86_400 * day + 60 * n}" for n in range(4)]
        text = "\n".join([head, *rows, "u,1,view,never"])
        (folder / f"clicks-2025-10-1{day}.csv").write_text(text)
    (folder / "clicks-2025-10-notes.csv").write_text("what,who\nnothing,nobody\n")
    times = [1_000 * (AT_S + 86_400 * day + 90) for day in (1, 2)]
    lines = [f'{{"user_id":"v","item_id":"9","type":"click","ts":{ts}}}\n' for ts in times]
    (folder / "app[1].jsonl").write_text("".join(lines))
    (folder / "goods.jsonl").write_text('{"item_id":"1","title":"Tea","categories":["Hot"]}\n')
    return folder


def test_a_folder_of_several_logs_is_read_as_one_by_what_an_import_wrote(
    run: Callable[..., str], tmp_path: Path
) -> None:
    days(tmp_path / "days")
    assert "the events of 4 files are published as one log" in run("import", "days", "--yes")
    sent = sorted((each.ts, each.user_id, each.item_id, each.event_id) for each in events_sent())
    assert len(sent) == 14
    config = load_config()
    opened = open_log("days", types=config.event_types, files=config.files)
    read = [(each.ts, each.user_id, each.item_id, each.event_id) for each in opened.events()]
    assert [each[0] for each in read] == [each[0] for each in sent]
    assert sorted(read) == sent
    assert (opened.name, opened.n_malformed, len(opened.malformed)) == ("days", 3, 3)
    assert [n for n, _ in opened.faults()] == [1, 1, 1]
    assert {each.file for each in opened.malformed} == {f"clicks-2025-10-1{d}.csv" for d in "123"}
    assert [each.title for each in opened.items()] == ["Tea"]
    assert "14 events and 1 items published" in run("publish", "days")
    assert "14 events and 1 items published" in run(
        "publish", "days/", "--items", "days/goods.jsonl"
    )
    words = ("replay", "days", "--model", "popularity", "--warmup", "0", "--repeats", "keep")
    assert "14 events scored" in run(*words)


def test_several_logs_are_published_in_the_order_of_time(
    run: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    ts = 1_000 * AT_S
    (folder / "notes.csv").write_text("user_id,item_id,type\nu,0,like\n")
    views = [f"u,{n},view,{ts + 10 * n}" for n in (1, 3, 5, 7)]
    (folder / "a.csv").write_text("\n".join(["user_id,item_id,type,ts", *views]))
    (folder / "orders.csv").write_text(
        f"user_id,item_id,ts\nu,6,{ts + 60}\nu,2,{ts + 20}\nu,9,{4 * ts}\nu,4,never\n"
    )
    output = run("import", "shop", "--yes")
    # One user, so one partition: in the order in which they were published.
    sent = [(each.item_id, each.type) for each in events_sent()]
    bought = [("2", "purchase"), ("6", "purchase")]
    seen = [(n, "click") for n in "1357"]
    assert sent == [*sorted(seen + bought), ("0", "like")]
    summary = [line.replace("│", "").split() for line in output.splitlines()]
    assert ["a.csv", "4", "4", "0", "0"] in summary
    assert ["notes.csv", "1", "1", "0", "0"] in summary
    assert ["orders.csv", "4", "2", "0", "2"] in summary
    assert "the events of 2 files are published as one log" in output


def test_a_pattern_stands_for_the_files_that_share_a_table_alone(tmp_path: Path) -> None:
    plan = planned(days(tmp_path / "days"))
    files = [each.file for each in plan.tables.values() if isinstance(each, FileConfig)]
    assert sorted(files) == [
        "app[1].jsonl",
        *(f"clicks-2025-10-1{day}.csv" for day in (1, 2, 3)),
        "goods.jsonl",
    ]
    (tmp_path / "days" / "clicks-2025-10-notes.csv").rename(tmp_path / "days" / "notes.csv")
    plan = planned(tmp_path / "days")
    files = [each.file for each in plan.tables.values() if isinstance(each, FileConfig)]
    assert sorted(files) == ["app[1].jsonl", "clicks-*-*-*.csv", "goods.jsonl"]
    log = open_log(tmp_path / "days", files=plan.configured(Config()).files)
    assert len([*log.events()]) == 14


def test_settings_alone_are_written_without_a_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events.csv").write_text(EVENTS)
    result = CliRunner().invoke(app, ["import", ".", "--yes", "--only-settings"])
    assert result.exit_code == 0, result.output
    assert "nothing was published: that was --only-settings" in result.output
    config = load_config(tmp_path / "streamer.toml", env={})
    assert len(list(open_log(tmp_path, files=config.files, types=config.event_types).events())) == 5


def test_who_interrupts_the_question_or_gives_no_answer_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(EVENTS)
    command = [sys.executable, "-m", "streamer", "import", "events.csv", "--only-settings"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as asking:
        assert asking.stdout is not None
        shown = ""
        while "Write this?" not in shown:
            read = asking.stdout.read(1)
            assert read, shown
            shown += read
        asking.send_signal(signal.SIGINT)
        asking.wait()  # with its input open, since the end of that is an answer too
    assert asking.returncode == 130
    done = subprocess.run(
        command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "there was no answer; --yes answers for you" in done.stderr
    assert not (tmp_path / "streamer.toml").exists()
