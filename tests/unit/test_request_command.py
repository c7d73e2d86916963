"""``streamer request`` asks for rows, pins and pages, and says what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.config.settings import TopicsConfig
from streamer.kafka.embedded import EmbeddedBroker
from streamer.kafka.topics import create_topics
from tests.echo_scorer import EchoScorer

TIMEOUT = "60"


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with EmbeddedBroker() as embedded:
        create_topics(embedded.bootstrap_servers, TopicsConfig())
        with EchoScorer(embedded.bootstrap_servers, TopicsConfig()):
            yield embedded.bootstrap_servers


def ask(broker: str, *options: str) -> str:
    given = ["request", "ann", "--bootstrap-servers", broker, "--timeout", TIMEOUT, *options]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    return result.output


def test_rows_are_shown_one_below_the_other(broker: str) -> None:
    rows = [
        """{"name": "for you", "k": 2}""",
        """{"name": "new", "k": 1, "list_name": "latest"}""",
        """{"name": "none"}""",
    ]
    shown = ask(broker, *(part for row in rows for part in ("--row", row)))
    assert shown.index("for you, for ann") < shown.index("for you-1") < shown.index("new, for ann")
    assert "created" in shown[shown.index("new, for ann") :]
    assert "nothing to recommend to ann in none yet" in shown


def test_items_are_pinned_and_pages_follow(broker: str) -> None:
    shown = ask(broker, "--pin", "0=tea", "--after", "")
    assert "tea" in shown
    (first,) = re.findall(r"next page: --after (\S+)", shown)
    (second,) = re.findall(r"next page: --after (\S+)", ask(broker, "--after", first))
    assert second != first
    assert "next page" not in ask(broker)


def test_what_an_answer_notes_is_said_below_it(broker: str) -> None:
    shown = ask(broker, "--like", "NOPE")
    assert shown.index("ann-0") < shown.index("note: unknown: ['NOPE']")
    assert "note:" not in ask(broker)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--row", "new"], "give a row as"),
        (["--row", """{"list_name": "latest"}"""], "missing required field `name`"),
        (["--row", """{"name": "new", "list_name": "newest"}"""], "newest"),
        (["--row", """{"name": "new", "list": "latest"}"""], "a row has no field list"),
        (["--pin", "tea"], "not POSITION=ITEM"),
        (["--pin", "first=tea"], "not POSITION=ITEM"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_asked(options: list[str], said: str) -> None:
    result = CliRunner().invoke(
        app, ["request", "ann", "--bootstrap-servers", "nobody:1", *options]
    )
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())
