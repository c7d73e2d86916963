"""`streamer up`, and other terminals that publish, ask and listen."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from deploy.kafka.node import free_port

SCRIPT = str(Path(sys.executable).with_name("streamer"))
TIMEOUT_S = 180.0


@dataclass
class Up:
    """`streamer up` at work, in a folder of its own."""

    process: subprocess.Popen[bytes]
    folder: Path

    def printed(self) -> str:
        return (self.folder / "up.log").read_text()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """What it has printed, once that matches."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.printed()):
                return found
            assert self.process.poll() is None, self.printed()
            time.sleep(0.05)
        raise AssertionError(f"no {pattern!r} in {TIMEOUT_S:.0f} s:\n{self.printed()}")

    def children(self) -> list[psutil.Process]:
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return found

    def environment(self) -> dict[str, str]:
        """What it says that another terminal should have."""
        self.wait_for("Ctrl-C ends it")
        return os.environ | dict(re.findall(r"export (STREAMER_\w+)=(\S+)", self.printed()))

    def streamer(self, *arguments: str) -> str:
        """Another terminal, told what `up` said; what the command prints there."""
        done = subprocess.run(
            [SCRIPT, *arguments],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def end(self, number: signal.Signals) -> None:
        """Have a signal end it, and its children with it."""
        children = self.children()
        assert len(children) == 2
        self.process.send_signal(number)
        assert self.process.wait(TIMEOUT_S) == 0
        assert not any(child.is_running() for child in children)
        assert "learner_stopped" in self.printed()

    def recommended(self, user: str, *, n: int) -> list[str]:
        """What a user is recommended, once there is so much."""
        deadline = time.monotonic() + TIMEOUT_S
        items: list[str] = []
        while len(items) < n and time.monotonic() < deadline:
            answer = json.loads(self.streamer("request", user, "--json"))
            items = [item["item_id"] for item in answer["items"]]
        return items


@contextlib.contextmanager
def running_up(tmp_path: Path, *arguments: str) -> Iterator[Up]:
    with (tmp_path / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [SCRIPT, "up", *arguments], cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        running = Up(process, tmp_path)
        running.wait_for(r"ready after \d+ s")
        yield running
    finally:
        process.terminate()
        try:
            process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    with running_up(tmp_path) as running:
        yield running


def test_others_publish_ask_and_listen_until_it_ends_with_its_children(up: Up) -> None:
    events = [
        {"event_id": f"e{n}", "type": "click", "user_id": "ann", "item_id": item, "ts": 1 + n}
        for n, item in enumerate(("tea", "milk", "cake"))
    ]
    log = up.folder / "log.jsonl"
    log.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert "3 events" in up.streamer("publish", str(log))

    assert sorted(up.recommended("bob", n=3)) == ["cake", "milk", "tea"]
    assert "nothing to recommend" in up.streamer("request", "ann")
    assert "milk" in up.streamer("request", "bob")
    assert "milk for bob" in up.streamer("explain", "bob", "milk")

    listening = subprocess.Popen(
        [SCRIPT, "subscribe", "--user", "bob", "--from", "earliest"],
        env=up.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert listening.stdout is not None
        heard = json.loads(listening.stdout.readline())
        assert heard["user_id"] == "bob"
    finally:
        listening.send_signal(signal.SIGINT)
        try:
            listening.communicate(timeout=TIMEOUT_S)
        finally:
            listening.kill()
    assert listening.returncode in (0, 130)
    up.end(signal.SIGINT)
    assert "scorer_stopped" in up.printed()
    # The store goes with the embedded broker: the next one begins anew in this folder.
    assert {path.name for path in up.folder.iterdir()} == {"up.log", log.name}


def test_a_learner_that_is_killed_ends_it_with_an_error(up: Up) -> None:
    children = up.children()
    learner = next(child for child in children if "learn" in child.cmdline())
    learner.kill()
    assert up.process.wait(TIMEOUT_S) == 1
    assert "error: the learner was ended by SIGKILL" in up.printed()
    assert not any(child.is_running() for child in children)


def test_a_trial_goes_on_after_a_kill_that_ends_its_children(tmp_path: Path) -> None:
    """Topics, store and the ports of metrics and broker are those of before."""
    port, broker_port = free_port(), free_port()
    arguments = ["--data", "trial", "--metrics-port", str(port), "--broker-port", str(broker_port)]
    log = tmp_path / "log.jsonl"
    click = {"type": "click", "user_id": "ann", "ts": 1}
    clicks = [click | {"event_id": item, "item_id": item} for item in ("tea", "milk")]
    log.write_text("".join(json.dumps(each) + "\n" for each in clicks))
    with running_up(tmp_path, *arguments) as up:
        up.streamer("publish", str(log))
        assert sorted(up.recommended("bob", n=2)) == ["milk", "tea"]
        assert f":{port} (learner), :{port + 1} (scorer)" in up.printed()
        assert f"broker  127.0.0.1:{broker_port} (embedded" in up.printed()
        served = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert "streamer_learner_lag" in served
        children = up.children()
        up.process.kill()
        _, alive = psutil.wait_procs(children, timeout=TIMEOUT_S)
        for child in alive:
            child.kill()
        assert not alive, up.printed()
    with running_up(tmp_path, *arguments) as up:
        assert f"broker  127.0.0.1:{broker_port} (embedded" in up.printed()
        assert "messages are brought back from trial" in up.printed()
        assert sorted(up.recommended("bob", n=2)) == ["milk", "tea"]
        assert "the store is what its schedule says" in up.streamer("store", "verify")
        assert "2 messages of events" in up.streamer("record", "events", "again.jsonl")


def test_over_http_one_publishes_and_asks_too(tmp_path: Path) -> None:
    port = free_port()
    with running_up(tmp_path, "--http-port", str(port)) as up:
        url = up.wait_for(r"HTTP +(http://\S+)")[1]
        assert url == f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
            click = {"type": "click", "user_id": "ann", "item_id": "tea"}
            assert client.post("/v1/events", json=click).status_code == 202
            deadline = time.monotonic() + TIMEOUT_S
            items: list[dict[str, str]] = []
            while not items and time.monotonic() < deadline:
                items = client.get("/v1/users/bob/recommendations").json().get("items", [])
            assert [item["item_id"] for item in items] == ["tea"]
        assert "tea" in up.streamer("request", "bob")
        up.end(signal.SIGTERM)
        assert "http_stopped" in up.printed()
