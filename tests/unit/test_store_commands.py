"""The commands over a store end in words, and with a status that says which kind of end it is."""

from __future__ import annotations

import sys

import pytest

from streamer.cli import main


def ended(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["streamer", *arguments])
    try:
        return main()
    except SystemExit as end:
        return int(end.code or 0)


def test_what_could_not_be_checked_does_not_end_as_a_difference_does(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, "store", "verify", "--store", "memory:") == 3
    assert "kafka.bootstrap_servers is empty" in " ".join(capfd.readouterr().err.split())


def test_slates_need_the_commits_before_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ("store", "verify", "--decisions", "--from-checkpoint")
    assert ended(monkeypatch, *arguments) == 2
    assert "needs every commit from the first on" in " ".join(capfd.readouterr().err.split())
