"""Commands whose output can't be written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")


def run(*words: str, stdout: str, stderr: str = "") -> subprocess.CompletedProcess[str]:
    to = f">{stdout}" + (f" 2>{stderr}" if stderr else "")
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -m streamer "$@" {to}', sys.executable, *words],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not FULL.exists(), reason=f"no {FULL} on this system")
@pytest.mark.parametrize("words", [["config"], ["--help"], ["--version"], ["replay", "--help"]])
def test_a_full_disk_is_said_in_words(words: list[str]) -> None:
    done = run(*words, stdout=str(FULL))
    assert done.returncode == 1
    said = "error: the output can't be written (No space left on device); send it elsewhere"
    assert " ".join(done.stderr.split()) == said


@pytest.mark.skipif(not FULL.exists(), reason=f"no {FULL} on this system")
def test_errors_that_cannot_be_said_have_their_status() -> None:
    assert run("config", "--config", "absent", stdout=str(FULL), stderr=str(FULL)).returncode == 1


@pytest.mark.parametrize(
    "words",
    [
        ["replay", "NAME"],
        ["replay", "NAME/x.csv"],
        ["publish", "NAME"],
        ["import", "NAME"],
        ["ope", "NAME", "--format", "obd", "--policy", "uniform"],
        ["ope", "log.csv", "--format", "obd", "--policy", "uniform", "--json", "NAME"],
        ["replay", "log.csv", "--report", "NAME"],
        ["experiments", "a", "NAME"],
        ["compare", "NAME", "log.csv"],
        ["config", "--config", "NAME"],
        ["store", "export", "NAME"],
        ["store", "import", "NAME"],
        ["move", "NAME"],
        ["record", "events", "NAME.jsonl"],
    ],
)
def test_a_name_that_is_too_long_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text("user_id,item_id,ts\n")
    # Nothing answers there: a command may say that first.
    monkeypatch.setenv("STREAMER_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("STREAMER_KAFKA__REQUEST_TIMEOUT_S", "1")
    monkeypatch.setenv("STREAMER_STORE__URL", "sqlite:log.csv")
    done = run(*(word.replace("NAME", "x" * 300) for word in words), stdout="/dev/null")
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    if words[0] != "record":
        assert "File name too long" in done.stderr


def test_closed_output_is_no_error_of_the_command() -> None:
    done = run("--version", stdout="&-")
    assert "Traceback" not in done.stderr


def test_who_reads_no_more_ends_a_command_without_a_word() -> None:
    command = f"{sys.executable} -m streamer config; echo $? >&2"
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as done:
        assert done.stdout is not None
        done.stdout.close()
        assert done.stderr is not None
        assert done.stderr.read().split() == ["1"]
