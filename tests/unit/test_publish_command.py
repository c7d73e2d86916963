"""``streamer publish``, as it is typed: it says what was not used, and fails if nothing was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.errors import BadMessage, ConfigError, StreamerError
from streamer.events import User, decode_user
from streamer.kafka.embedded import EmbeddedBroker
from streamer.kafka.log_ends import EARLIEST
from streamer.kafka.reader import KafkaReader

Publish = Callable[..., str]
HOUR_MS = 3_600_000
CLICKS = "user_id,item_id,ts,type\nann,tea,1760000000000,click\nbob,tea,1760000000001,click\n"


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def publish(broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """The command in an empty folder; errors of ours are raised."""
    monkeypatch.chdir(tmp_path)

    def publish(*words: str, stdin: str | None = None) -> str:
        servers = ["--bootstrap-servers", broker.bootstrap_servers]
        result = CliRunner().invoke(app, ["publish", *words, *servers], input=stdin)
        if isinstance(result.exception, StreamerError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())  # wherever lines are broken

    return publish


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no row in it: it is empty, or has names of columns alone"),
        ("user_id,item_id,ts,type\n", "there is no row in it"),
        (
            "user_id,item_id,ts,type\nann,tea,1760000000000,view\nann,tea,never,click\n",
            "2 lines were malformed, as said above; see --map and --type",
        ),
        (
            "user_id,item_id,ts,type\nann,tea,4100000000000,click\nann,tea,4100000000000,view\n",
            "1 lines were malformed, .*, and 1 lie more than a day ahead",
        ),
    ],
)
def test_a_log_of_which_nothing_is_used_is_a_failure(publish: Publish, text: str, why: str) -> None:
    Path("log.csv").write_text(text)
    with pytest.raises(ConfigError, match=f"no event was published; {why}"):
        publish("log.csv")


def test_a_catalogue_of_other_items_is_said(publish: Publish) -> None:
    Path("log.csv").write_text(CLICKS)
    Path("items.jsonl").write_text('{"item_id": "SKU-1"}\n')
    said = publish("log.csv", "--items", "items.jsonl")
    assert "0 of 1 items of the events are in the catalogue: events are of 'tea'" in said
    Path("items.jsonl").write_text('{"item_id": "tea"}\n')
    assert "in the catalogue" not in publish("log.csv", "--items", "items.jsonl")


def test_what_was_not_used_and_what_was_guessed_is_said(publish: Publish) -> None:
    Path("log.csv").write_text(CLICKS.replace("00000000", "00000") + "ann,tea,1760000009,view\n")
    output = publish("log.csv")
    assert "2 events and 0 items published" in output
    assert "1 malformed lines left out" in output
    assert "log.csv:4: field 'type': \"view\"" in output
    assert "times are read in s since 1970" in output


def test_values_that_rewards_clip_are_said_with_their_share(publish: Publish) -> None:
    rows = [f"ann,i{value},{1_760_000_000_000 + value},{value}" for value in range(0, 101, 5)]
    Path("log.csv").write_text("\n".join(["user_id,item_id,ts,value", *rows]))
    said = (
        "19 of 21 values of type rating (90%) are beyond 0 to 5 and count as the nearest of the"
        " two; they are from 0 to 100: set value_range in [events.rating]"
    )
    assert said in publish("log.csv", "--type", "rating")
    assert "are beyond" not in publish("log.csv", "--type", "purchase")


def test_times_after_the_publication_are_said_with_their_share(publish: Publish) -> None:
    now_ms = time.time_ns() // 1_000_000
    times = [now_ms - HOUR_MS, now_ms + HOUR_MS, now_ms + 20 * HOUR_MS, now_ms + 48 * HOUR_MS]
    rows = [f"ann,i{ts},{ts},click" for ts in times]
    Path("log.csv").write_text("\n".join(["user_id,item_id,ts,type", *rows]))
    output = publish("log.csv")
    said = (
        "3 of 4 events (75%) have times after their publication: 2 count as of that, 1 more than a"
        " day after it were left out; name the unit of the times with --map ts=COLUMN:UNIT"
    )
    assert "3 events and 0 items published" in output
    assert said in output
    assert "after their publication" not in publish("log.csv", "--rebase")
    with pytest.raises(BadMessage, match="over a day after its publish time"):
        publish("log.csv", "--strict")


def test_standard_input_items_and_files_without_times_are_published(publish: Publish) -> None:
    assert "2 events and 0 items published" in publish("-", stdin=CLICKS)
    Path("items.jsonl").write_text('{"item_id":"tea","title":"Green tea"}\n')
    assert "0 events and 1 items published" in publish("--items", "items.jsonl")
    assert "2 events and 1 items published" in publish("-", "--items", "items.jsonl", stdin=CLICKS)
    Path("r.csv").write_text("user_id,book_id,rating\n1,258,5\n")
    words = ["r.csv", "--map", "item_id=book_id,value=rating", "--type", "rating", "--rebase"]
    assert "1 events and 0 items published" in publish(*words)
    with pytest.raises(ConfigError, match="no column 'ts'"):
        publish(*words, "--speed", "1")
    with pytest.raises(ConfigError, match="nothing to publish; name a log"):
        publish()
    Path("items.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match=r"items\.jsonl: no item or user was published; 1 lines"):
        publish("--items", "items.jsonl")


def test_users_are_published_as_their_file_is_described(
    publish: Publish, broker: EmbeddedBroker
) -> None:
    Path("people.csv").write_text("id,likes,country\nann,tea|cakes,pt\nbob,,de\n,tea,de\n")
    Path("streamer.toml").write_text(
        """
        [files.people]
        file = "people.csv"
        holds = "users"
        map = "user_id=id,categories=likes:pipe,attributes.country=country"
        """
    )
    said = publish("--users", "people.csv")
    assert "0 events, 0 items and 2 users published" in said
    assert "people.csv:4: field 'user_id'" in said
    reader = KafkaReader(broker.bootstrap_servers)
    reader.start(dict.fromkeys(reader.partitions("users"), EARLIEST))
    found: dict[str, User] = {}
    while len(found) < 2:
        for batch in reader.poll(n_max=100, timeout_s=5.0):
            found |= {user.user_id: user for user in map(decode_user, batch.values)}
    reader.close()
    assert (found["ann"].categories, found["ann"].attributes) == (
        ["tea", "cakes"],
        {"country": "pt"},
    )
    assert (found["bob"].categories, found["bob"].attributes) == (None, {"country": "de"})
    assert "2 events, 0 items and 2 users" in publish("-", "--users", "people.csv", stdin=CLICKS)
    found_by_import = CliRunner().invoke(app, ["import", "people.csv", "--dry-run"])
    assert found_by_import.exit_code == 0, found_by_import.output
    assert "people.csv: 2 users" in found_by_import.output
    with pytest.raises(ConfigError, match="is no file; name one of users"):
        publish("--users", "none.csv")
