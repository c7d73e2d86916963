"""Lines that come thousands of times in an outage are said now and then."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("faust", reason="pip install '.[features]'")

from streamer.faust_worker.patience import NotAgain


def line(name: str, message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "file", 1, message, args, None)


def test_alike_lines_are_said_once_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    quiet = NotAgain("aiokafka")
    assert quiet.filter(line("aiokafka.conn", "no node %s", 1))
    assert not quiet.filter(line("aiokafka.conn", "no node %s", 2))
    assert quiet.filter(line("aiokafka.conn", "buffer of 12"))
    assert not quiet.filter(line("aiokafka.conn", "buffer of 135"))
    assert quiet.filter(line("aiokafka.client", "no node %s", 1))
    now_s = 109.0
    assert not quiet.filter(line("aiokafka.conn", "no node %s", 1))
    now_s = 110.0
    said = line("aiokafka.conn", "no node %s", 1)
    assert quiet.filter(said)
    assert vars(said)["n_left_out"] == 2
    said = line("aiokafka.conn", "no node %s", 1)
    now_s = 121.0
    assert quiet.filter(said)
    assert "n_left_out" not in vars(said)


def test_our_own_lines_are_all_said() -> None:
    quiet = NotAgain("aiokafka", "faust")
    assert all(quiet.filter(line("streamer.faust_worker", "features_read_again")) for _ in range(3))
    assert all(quiet.filter(line("aiokafkas", "no node")) for _ in range(3))
