"""A replay that several processes share has the result of one, and ends with all of them."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from streamer.config import Config
from streamer.config.specs import parse_specs
from streamer.errors import ConfigError
from streamer.events import Event, encode
from streamer.replay import processes
from streamer.replay.processes import PlannedReplay, n_processes, replay_by
from streamer.replay.result import encoded, result_of
from streamer.replay.settings import Settings
from tests.e2e.test_demo import TIMEOUT_S, running_children
from tests.unit.replay_logs import MemoryLog, random_log
from tests.unit.test_replay_funnel import FUNNEL, without_timings

LOG = random_log(1_100, seed=3, n_users=40, n_items=150)


def planned(log: Any, models: str, **settings: Any) -> PlannedReplay:
    return PlannedReplay(
        partial(copy, log), parse_specs([models]), Settings(positives="value>=2", **settings),
        Config(),
    )  # fmt: skip


def found(n: int, replay: PlannedReplay) -> tuple[Any, list[int]]:
    """The JSON by n processes, without timings, and what the progress was told."""
    experiment = replay.experiment()
    told: list[int] = []
    surveyed = experiment.survey()
    outcome = replay_by(n, replay, experiment, surveyed, told.append)
    assert all(seconds > 0 for seconds in outcome.model_s)
    return without_timings(json.loads(encoded(result_of(outcome)))), told


@pytest.mark.parametrize("settings", [{}, {"repeats": "keep", "served": True, "scored": 0.9}])
def test_several_processes_find_what_one_finds(settings: dict[str, Any]) -> None:
    models = FUNNEL if settings else f"{FUNNEL},popularity,mf-bpr"
    replay = planned(LOG, models, warmup=0.1, k=5, **settings)
    alone, told = found(1, replay)
    assert alone["events_scored"] > 256, "turns for two"
    assert found(2, replay) == (alone, told)


class ChangedInAnother(MemoryLog):
    """A log that has an event less where another process reads it."""

    def events(self) -> Iterator[Event]:
        return iter(self._events[: -1 if os.getpid() != self.pid else None])

    pid = 0


class Kills(ChangedInAnother):
    """A log that kills whoever else reads it."""

    def events(self) -> Iterator[Event]:
        if os.getpid() != self.pid:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().events()


@pytest.mark.parametrize(
    ("kind", "said"),
    [(ChangedInAnother, "it changed while it was read"), (Kills, "fewer --processes take less")],
)
def test_what_ends_another_process_ends_the_replay(kind: type[ChangedInAnother], said: str) -> None:
    log = kind(LOG._events)
    log.pid = os.getpid()
    with pytest.raises(ConfigError, match=said):
        found(2, planned(log, "popularity"))


def test_what_ends_this_process_ends_the_others() -> None:
    replay = planned(LOG, "popularity")
    experiment = replay.experiment()
    surveyed = experiment.survey()

    def interrupt(n_read: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replay_by(3, replay, experiment, surveyed, interrupt)
    assert not [each for each in psutil.Process().children() if "spawn_main" in each.cmdline()]


def ended_by(command: subprocess.Popen[bytes], number: signal.Signals) -> int:
    """The status of a command that gets a signal; Ctrl-C as a terminal sends it, and once more
    where it came while a kernel was compiled, whose callbacks lose it."""
    if number != signal.SIGINT:
        command.send_signal(number)
        return command.wait(TIMEOUT_S)
    while command.poll() is None:
        os.killpg(command.pid, number)
        with suppress(subprocess.TimeoutExpired):
            command.wait(5.0)
    return command.returncode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_command(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"".join(encode(each) + b"\n" for each in random_log(9_000, seed=1).events()))
    command = subprocess.Popen(
        [sys.executable, "-m", "streamer", "replay", str(log), "--processes", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        others = running_children(command.pid, 2)  # one of multiprocessing itself
        status = ended_by(command, number)
        assert status == (130 if number == signal.SIGINT else -number)
        _, alive = psutil.wait_procs(others, timeout=TIMEOUT_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)
        command.wait()
    assert not alive


@pytest.mark.parametrize(
    ("models", "settings", "n_cores", "asked", "n"),
    [
        ("funnel", {}, 4, None, 4),
        ("funnel", {}, 64, None, 8),
        ("funnel", {"scored": 0.1}, 4, None, 1),
        ("funnel,channel:next", {"scored": 0.1}, 4, None, 2),
        ("popularity,mf-bpr", {}, 4, None, 1),
        ("popularity", {}, 4, 3, 3),
        ("funnel", {}, 4, 1, 1),
        ("funnel", {"scored": 0.1}, 4, 64, 10),
        ("biased-mf", {"task": "rating"}, 4, 4, 1),
    ],
)
def test_processes_are_started_where_they_are_worth_it(
    models: str,
    settings: dict[str, Any],
    n_cores: int,
    asked: int | None,
    n: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "n_cores", lambda: n_cores)
    replay = planned(LOG, models, warmup=0.3, **settings)
    survey = msgspec.structs.replace(replay.experiment().survey(), n_targets=40_000)
    assert n_processes(replay, survey, asked) == n
    assert n_processes(dataclasses.replace(replay, open_log=None), survey, asked) == 1


def test_what_can_be_read_once_only_is_read_by_one(tmp_path: Path) -> None:
    lines = b"".join(encode(each) + b"\n" for each in LOG.events())
    run_it = [sys.executable, "-m", "streamer", "replay", "-", "--model", "popularity"]
    done = subprocess.run(
        [*run_it, "--processes", "2"], input=lines, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"events scored" in done.stdout
