"""LinUCB on a public log, replayed (Li et al. 2011): the answers are known to four digits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from streamer_models.bandits.in_memory import InMemoryBandit, published_bandit

DATA = Path(os.environ.get("STREAMER_DATA") or Path(__file__).parents[3] / "shared" / "data")
LOG = DATA / "mab-10x100" / "dataset.txt"
N_ARMS = 10
N_MATCHES = 800


def _matched_rewards(policy: InMemoryBandit) -> Sequence[float]:
    """Rewards of the events whose logged arm the policy chooses; it learns from these alone."""
    log = np.loadtxt(LOG)
    logged, rewards = log[:, 0].astype(int), log[:, 1]
    contexts = np.ascontiguousarray(log[:, 2:].reshape(len(log), N_ARMS, -1))  # one an arm
    arms = np.arange(N_ARMS, dtype=np.uint64)
    matched: list[float] = []
    for i in range(len(log)):
        shown = policy.choose(contexts[i], arms, 1, seed=i).order
        if shown[0] == logged[i]:
            ts_ms = np.array([i])
            policy.update(contexts[i, shown], arms[shown], rewards[i : i + 1], ts_ms)
            matched.append(float(rewards[i]))
            if len(matched) == N_MATCHES:
                break
    return matched


@pytest.mark.skipif(not LOG.exists(), reason=f"no {LOG}: STREAMER_DATA says where the logs are")
@pytest.mark.parametrize(("alpha", "mean_reward"), [(1.0, 0.53), (0.25, 0.6425), (0.05, 0.72375)])
def test_replay_gives_the_known_rewards(alpha: float, mean_reward: float) -> None:
    matched = _matched_rewards(published_bandit("linucb", 10, alpha=alpha))
    assert len(matched) == N_MATCHES
    assert np.mean(matched) == pytest.approx(mean_reward, abs=1e-9)
