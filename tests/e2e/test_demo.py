"""`streamer demo` as a newcomer runs it: in any folder, to its end or to a Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.brokers import delete_keys, delete_topics

SCRIPT = str(Path(sys.executable).with_name("streamer"))
KEYS = {"events", "events_per_s", "freshness_ms", "click_rate", "dead_letters", "lost"}
POLICIES = {"streamer", "greedy", "popularity", "random"}
TIMEOUT_S = 300.0
N_EVENTS_MIN = 4_000
"""Impressions and clicks of both systems: those of some 20 rounds."""
N_PROCESSES = 4  # a learner and a scorer of each of two systems


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's project, whose modules have the names of ours, and settings that must not count."""
    for name in ("models", "producers"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was run')\n")
    (tmp_path / "streamer.toml").write_text("[topics]\npartitions = 3\n")
    return tmp_path


def demo(folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    """Run it to its end; the JSON it wrote and what it printed."""
    command = [SCRIPT, "demo", "--json", "out.json", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "out.json").read_text()), done.stdout


def check(result: dict[str, Any]) -> None:
    assert result.keys() >= KEYS
    assert result["events"] > 0
    assert result["events_per_s"] > 0
    assert result["freshness_ms"].keys() == {"p50", "p99"}
    assert 0 < result["freshness_ms"]["p50"] <= result["freshness_ms"]["p99"]
    assert result["dead_letters"] == 0
    assert result["lost"] == 0


def test_simulated_users_click_more_than_at_random(folder: Path) -> None:
    for seconds in ("10", "60", "180"):  # a busy machine plays fewer rounds in the same time
        result, printed = demo(folder, "--seconds", seconds)
        if result["events"] >= N_EVENTS_MIN:
            break
    check(result)
    rates = result["click_rate"]
    assert rates.keys() == result["regret"].keys() == POLICIES
    # 40 rounds of 12 users and 10 items: at a rate of .05 the standard error is .003.
    for learned in ("streamer", "greedy"):
        assert rates[learned] > rates["random"] > 0
        assert result["regret"][learned] < result["regret"]["random"]
    assert result["join"]["match_rate"] > 0.95
    assert 0 < result["join"]["delay_ms"] < 1_000 * result["seconds"]
    assert result["join"]["late"] == result["join"]["lost"] == 0
    assert 0 < result["explored_share"] < 1
    assert result["reward_a_slate"] > 0
    assert all(value > 0 for value in result["calibration"].values())
    assert all(policy in printed for policy in POLICIES)
    assert "events lost" in printed
    assert "What next" in printed
    assert {path.name for path in folder.iterdir()} == {
        *("models.py", "producers.py", "streamer.toml", "out.json"),
    }


def test_a_real_log(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "ml-tiny"
    log.mkdir()
    rng = np.random.default_rng(0)
    lines = ["userId,movieId,rating,timestamp"]
    for number in range(3_000):
        user, movie = rng.integers(1, 41), int(60 * rng.random() ** 2) + 1
        lines.append(f"{user},{movie},{rng.integers(1, 11) / 2},{1_400_000_000 + 60 * number}")
    (log / "ratings.csv").write_text("\n".join(lines) + "\n")
    movies = [f'{movie},"Film {movie} (1999)",Drama|Comedy' for movie in range(1, 61)]
    (log / "movies.csv").write_text("\n".join(["movieId,title,genres", *movies]) + "\n")
    result, printed = demo(folder, "--seconds", "200", "--dataset", str(log))
    check(result)
    assert result["click_rate"].keys() == POLICIES - {"greedy"}
    assert result["regret"] == {}
    assert result["events"] == 3_000
    assert result["seconds"] < 200, "the log was over before the time"
    assert "hit rate" in printed


def test_on_a_broker_and_a_store_of_the_users(
    folder: Path, kafka_bootstrap: str, redis_url: str
) -> None:
    servers = ("--bootstrap-servers", kafka_bootstrap, "--store", redis_url)
    prefixes = []
    try:
        for _ in range(2):  # the second learns nothing of what the first has left there
            result, printed = demo(folder, "--seconds", "5", *servers)
            left = re.search(r"left on your servers: what begins with (\S+)", printed)
            assert left, printed
            prefixes.append(left[1])
            check(result)
    finally:
        for prefix in prefixes:
            delete_topics(kafka_bootstrap, prefix)
            delete_keys(redis_url, prefix)
    assert prefixes[0] != prefixes[1]


def test_ctrl_c_ends_it_with_a_summary_and_leaves_no_process(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    logs = tmp_path_factory.mktemp("logs")
    process = subprocess.Popen(
        [SCRIPT, "demo", "--seconds", "60", "--json", "out.json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(logs)},
    )
    try:
        children = running_children(process.pid, N_PROCESSES)
        wait_until_ready(logs)
        wait_until_caught(process.pid, signal.SIGTERM)
        time.sleep(1.0)  # some rounds
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, printed
    assert "stopped early" in printed
    assert "events lost" in printed
    assert json.loads((folder / "out.json").read_text())["lost"] == 0
    assert not any(child.is_running() for child in children)


def test_its_processes_end_when_it_is_killed(folder: Path) -> None:
    process = subprocess.Popen(
        [SCRIPT, "demo", "--seconds", "60"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(folder)},  # nobody is left to remove what it has written
    )
    try:
        children = running_children(process.pid, N_PROCESSES)
        time.sleep(1.0)  # while they start
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(children, timeout=TIMEOUT_S)
    for child in alive:
        child.kill()
    assert not alive


def running_children(pid: int, n: int) -> list[psutil.Process]:
    """The children of a process, once it has so many."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        children: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
        if len(children) >= n:
            return children
        time.sleep(0.05)
    raise AssertionError(f"process {pid} has not started {n} processes in {TIMEOUT_S:.0f} s")


def wait_until_caught(pid: int, number: signal.Signals) -> None:
    """Return when a process has a handler of its own for a signal, as a demo that plays."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
        assert caught is not None
        if int(caught[1], 16) >> number - 1 & 1:
            return
        time.sleep(0.05)
    raise AssertionError(f"the demo did not begin to play in {TIMEOUT_S:.0f} s")


def wait_until_ready(logs: Path) -> None:
    """Return when every process of a demo has logged that it is."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        texts = [path.read_text() for path in logs.glob("streamer-demo-*/*/*.log")]
        if sum("_ready" in text for text in texts) == N_PROCESSES:
            return
        time.sleep(0.05)
    raise AssertionError(f"the demo was not ready in {TIMEOUT_S:.0f} s")
