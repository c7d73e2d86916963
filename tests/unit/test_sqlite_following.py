"""How often a follower looks at a SQLite file: seldom while nothing comes, often again after it."""

from __future__ import annotations

from pathlib import Path

import pytest

import streamer.store.sqlite
from streamer.store.sqlite import POLL_S_MAX, POLL_S_MIN, SqliteStore
from streamer.store.sqlite_file import SqliteFile
from streamer.store.sqlite_tables import SCHEMA
from tests.event_log import SETTINGS, make_learner, make_log, messages, small_models


class Waited:
    """A clock that passes only in sleep, and keeps how long each took."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits_s: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.waits_s.append(seconds)


def test_an_idle_follower_looks_seldom_and_a_busy_one_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Waited()
    monkeypatch.setattr(streamer.store.sqlite, "time", clock)
    path = tmp_path / "store.db"
    learner = make_learner(SqliteStore(path), small_models(), SETTINGS)
    learner.assign([0])
    follower, log = SqliteStore(path), make_log(200, seed=1)
    learner.learn([messages(log, 0, 0, 100)])
    assert follower.follow({0: 0}, timeout_s=1.0)
    version = learner.counts.n_commits
    assert follower.follow({0: version}, timeout_s=60.0) == []
    first_s = [wait for n, wait in enumerate(clock.waits_s) if sum(clock.waits_s[:n]) < 0.75]
    assert max(first_s) <= 0.01, "a commit a second is seen as soon as under load"
    assert clock.waits_s[0] == POLL_S_MIN
    assert max(clock.waits_s) == POLL_S_MAX
    assert len(clock.waits_s) < 1_600, "at 2 ms it were 30,000"
    learner.learn([messages(log, 0, 100, 200)])
    assert follower.follow({0: version}, timeout_s=1.0)
    clock.waits_s.clear()
    assert follower.follow({0: learner.counts.n_commits}, timeout_s=0.1) == []
    assert clock.waits_s[0] == POLL_S_MIN


def test_a_commit_to_a_file_behind_a_link_shows_as_soon(tmp_path: Path) -> None:
    path, link = tmp_path / "store.db", tmp_path / "link.db"
    link.symlink_to(path)
    log = make_log(200, seed=1)
    learner = make_learner(SqliteStore(path), small_models(), SETTINGS)
    learner.assign([0])
    learner.learn([messages(log, 0, 0, 100)])
    behind = SqliteFile(link, SCHEMA, timeout_s=1.0)
    before = behind.log_state()
    learner.learn([messages(log, 0, 100, 200)])
    assert behind.log_state() != before


def test_a_commit_that_the_time_of_the_file_does_not_show_is_seen_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteFile, "log_state", lambda file: (0, 0))
    path = tmp_path / "store.db"
    follower, log = SqliteStore(path), make_log(100, seed=1)
    learner = make_learner(SqliteStore(path), small_models(), SETTINGS)
    learner.assign([0])
    assert follower.follow({0: 0}, timeout_s=0.0) == []
    learner.learn([messages(log, 0, 0, 100)])
    assert follower.follow({0: 0}, timeout_s=0.0)
