"""Log lines: text for people, JSON for what collects them."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from streamer.application.services import processes
from streamer.cli import app
from streamer.logs import EventFormatter, JsonFormatter, show_warnings


def record(**fields: object) -> logging.LogRecord:
    made = logging.LogRecord("any", logging.WARNING, __file__, 1, "tables_%s", ("full",), None)
    made.created, made.msecs = 1_769_860_800.123, 123.0
    vars(made).update(fields)
    return made


def test_a_command_that_logs_nowhere_says_the_fields_of_a_warning() -> None:
    last = logging.lastResort
    assert last is not None
    before = last.formatter
    try:
        show_warnings()
        assert last.format(record(table="users")).endswith(" WARNING tables_full table=users")
    finally:
        last.setFormatter(before)


def test_a_line_of_text_and_one_of_json_say_the_same() -> None:
    made = record(table="users", partitions=[0, 1], share=0.5)
    assert EventFormatter().format(made) == (
        "2026-01-31T12:00:00.123Z WARNING tables_full table=users partitions=[0, 1] share=0.5"
    )
    assert json.loads(JsonFormatter().format(made)) == {
        "ts": "2026-01-31T12:00:00.123Z",
        "level": "WARNING",
        "event": "tables_full",
        "table": "users",
        "partitions": [0, 1],
        "share": 0.5,
    }


def test_a_line_is_json_whatever_is_in_it() -> None:
    try:
        raise ValueError("of\nfour lines")
    except ValueError:
        exc_info = sys.exc_info()
    made = record(event="mine", error=KeyError("gone"), nan=math.nan, exc_info=exc_info)
    line = JsonFormatter().format(made)
    assert "\n" not in line
    found = json.loads(line)
    assert (found["event"], found["event_"]) == ("tables_full", "mine")
    assert (found["error"], found["nan"]) == ("'gone'", None)
    assert found["exception"].endswith("ValueError: of\nfour lines")
    odd = JsonFormatter().format(record(pairs={(1, 2): 3}, half="\ud800"))
    assert json.loads(odd)["pairs"] == "{(1, 2): 3}"


def test_what_clients_log_of_their_options_has_no_secrets() -> None:
    try:
        raise ValueError("redis://:s3cret@h:1 did not answer")
    except ValueError:
        exc_info = sys.exc_info()
    made = record(url="http://h?token=s3cret", mail="ann@shop", exc_info=exc_info)
    made.error = exc_info[1]
    made.msg, made.args = "no answer of %s", ("http://u:s3cret@127.0.0.1:1/x",)
    text, line = EventFormatter().format(made), JsonFormatter().format(made)
    for each in (text, line):
        assert "s3cret" not in each
        assert "redis://:***@h:1 did not answer" in each
    assert " no answer of http://u:***@127.0.0.1:1/x url=http://h?token=*** mail=ann@shop" in text
    found = json.loads(line)
    assert found["event"] == "no answer of http://u:***@127.0.0.1:1/x"
    assert (found["url"], found["mail"]) == ("http://h?token=***", "ann@shop")


@pytest.fixture
def root_log() -> Iterator[logging.Logger]:
    """The log of the process, as it was afterwards."""
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def test_the_configuration_chooses(
    monkeypatch: pytest.MonkeyPatch, root_log: logging.Logger
) -> None:
    seen: list[logging.Handler] = []
    monkeypatch.setattr(processes, "run_learner", lambda _, **__: seen.extend(root_log.handlers))
    for name in ("text", "json"):
        done = CliRunner().invoke(app, ["learn"], env={"STREAMER_LOGS__FORMAT": name})
        assert done.exit_code == 0, done.output
    assert [type(each.formatter) for each in seen] == [EventFormatter, JsonFormatter]
