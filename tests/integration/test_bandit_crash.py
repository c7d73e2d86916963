"""Exactly-once effect on the bandit: learners of decisions and events are killed at any moment.

As in ``test_crash.py``, with two topics: after each kill both are read again from where joins were
open, and what was joined, closed or amended before must count once.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from streamer_models.bandits.bandit import ARM_STATISTICS, N_OUTCOMES, OUTCOMES, STATISTICS
from streamer_models.bandits.linear_statistics import STATISTICS_BITS
from tests.crashes import (
    RATE,
    assert_same,
    assert_verified,
    finish,
    kill_learners,
    redis_settings,
    send_and_wait,
    share,
    topic_settings,
    undisturbed,
)
from tests.learner_processes import Deployment, wait_until
from tests.recorded_decisions import SETTINGS, recorded_decisions
from tests.recorded_stream import Stream

N_DECISIONS = 4_000
N_FEW = 3_000


def assert_learned(deployment: Deployment, n_decisions: int) -> None:
    """The bandit has learned of most items shown, and arms have been dropped on the way."""
    for contents in deployment.contents():
        _, rows = contents.tables[STATISTICS]
        n_outcomes = rows[0, 0] * 2.0**-STATISTICS_BITS
        assert n_outcomes > 3 * n_decisions / len(deployment.versions())
        _, outcomes = contents.tables[OUTCOMES]
        assert 0 < outcomes[:, N_OUTCOMES].sum() < n_outcomes
        assert np.count_nonzero(contents.tables[ARM_STATISTICS][1][:, 0]) > 50


def test_a_bandit_whose_learner_is_killed_many_times_ends_as_an_undisturbed_one(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    topic = topic_settings(kafka_bootstrap, topic_prefix, 1) | SETTINGS
    with Deployment(tmp_path / "killed", topic | redis_settings(request)) as killed:
        messages = recorded_decisions(killed.config, N_DECISIONS, seed=1)
        kill_learners(killed, messages, seed=1)
        finish(killed)
        assert_verified(killed, messages)
        assert_learned(killed, N_DECISIONS)
        with undisturbed(tmp_path / "undisturbed", topic) as other:
            assert_same(killed, other)


def test_joins_of_a_killed_learner_go_on_at_the_survivor(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    topic = topic_settings(kafka_bootstrap, topic_prefix, 4) | SETTINGS
    with Deployment(tmp_path, topic | redis_settings(request)) as deployment:
        messages = recorded_decisions(deployment.config, N_FEW, seed=2)
        survivor, killed = deployment.start(), deployment.start()
        share(survivor, killed)
        with Stream(deployment.config, messages, n_parts=3, rate=RATE) as stream:
            send_and_wait(stream, deployment)
            time.sleep(np.random.default_rng(2).uniform(0.0, 0.3))
            killed.kill()
            stream.send_part()
            wait_until(lambda: survivor.partitions == [0, 1, 2, 3], "the survivor has them all")
            send_and_wait(stream, deployment)
        finish(deployment, survivor)
        assert_verified(deployment, messages)
        assert_learned(deployment, N_FEW)
