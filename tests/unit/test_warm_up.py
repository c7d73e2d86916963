"""Before the first message everything has run once that the configuration asks for."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.application.services.warm_up import _one_process_at_a_time, warm_up
from streamer.config import load_config
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.recall.channel import Channel, Recalled, RecallSettings, Scores
from streamer.ranking.recall.registry import registered_for_now
from tests.scoring import TWO_CHANNELS


class MadeUpSettings(RecallSettings, frozen=True, kw_only=True):
    """Recall by a made-up channel."""

    candidates: int = 5


class MadeUpChannel(Channel[MadeUpSettings]):
    """Tells whom it was asked for, and over how many rows."""

    name = "made_up"
    reason = "made up"
    settings_type = MadeUpSettings
    columns = ("score", "rank")
    recalled: ClassVar[list[tuple[bool, int]]] = []
    scored: ClassVar[list[tuple[bool, int]]] = []

    def recall(self, context: RequestContext, allowed: NDArray[np.bool_], n: int) -> Recalled:
        self.recalled.append((knows_user(context), int(allowed.sum())))
        return Recalled(np.flatnonzero(allowed).astype(np.int32)[:n])

    def score(self, context: RequestContext, candidates: Candidates) -> Scores:
        self.scored.append((knows_user(context), len(candidates.rows)))
        return candidates.zeros()


def knows_user(context: RequestContext) -> bool:
    """Whether the factorization and the history know the user."""
    version, row = context.version, context.user_row
    factors = version.factors()
    assert factors is not None
    return factors.user(row) is not None and len(version.users.history(row)) > 0


def test_a_channel_is_asked_for_known_and_unknown_users_over_rows() -> None:
    with registered_for_now(MadeUpChannel):
        warm_up(load_config(env={}, flags={"recall.mf.candidates": 20}))
    for asked in (MadeUpChannel.recalled, MadeUpChannel.scored):
        assert {known for known, n_rows in asked if n_rows} == {True, False}


@pytest.mark.parametrize(
    "flags",
    [
        {"learner.model": "explicit", "recall.mf.candidates": 20},
        TWO_CHANNELS,
        {"recall.blend.weight": 0.0},
        {"practice.share": 0.0},
        {"bandit.form": "disjoint", "bandit.half_life_s": 86_400.0},
        {"bandit.policy": "beta-thompson", "bandit.impressions": 0},
        {"recall.trending_feature.feature": "item_recency"},
        {"windows.default_features": False},
        {"funnel.ranker": "blend"},
        {"learner.users_max": 2, "learner.items_max": 2, "learner.item_sightings_min": 5},
        {"topics.partitions": 1, "learner.sync_interval_ms": 60_000},
        {"events.save.weight": 2.0},
    ],
    ids=str,
)
def test_any_configuration_warms_up(flags: Mapping[str, object]) -> None:
    warm_up(load_config("/dev/null", env={}, flags=flags))


def test_nothing_is_logged_of_made_up_users(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        warm_up(load_config("/dev/null", env={}, flags={}))
        assert not caplog.records
        logging.getLogger("streamer").info("the real life")
    assert [record.message for record in caplog.records] == ["the real life"]


def test_a_process_that_compiles_elsewhere_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    held: list[str] = []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("fcntl.flock", lambda file, how: held.append(file.name))
    for cache in ("here", "there", "here"):
        monkeypatch.setenv("NUMBA_CACHE_DIR", cache)
        with _one_process_at_a_time():
            pass
    assert held[0] == held[2] != held[1]


IN_A_NEW_PROCESS = """
import sys
from numba.core.dispatcher import Dispatcher
from streamer.application.services.warm_up import warm_up
from streamer.config import load_config
from streamer.simulation.live import LiveSystem
from tests.unit.test_live_system import START_MS, play

def compiled():
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("streamer")]
    found = [each for module in modules for each in vars(module).values()]
    kernels = [each for each in found if isinstance(each, Dispatcher)]
    return {(each.py_func.__name__, str(types)) for each in kernels for types in each.signatures}

config = load_config("/dev/null", env={}, flags={})
warm_up(config)
before = compiled()
assert len(before) > 60, len(before)
play(LiveSystem(config, start_ms=START_MS), n_steps=100, crash_every=40)
print(sorted(compiled() - before))
"""


def test_a_life_after_it_compiles_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
