"""What a replica knows of slates' outcomes is what partitions learned, however it came to know."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from models.bandit import ARM_STATISTICS, OUTCOMES, STATISTICS, Bandit
from models.linear_statistics import statistics, statistics_width
from models.partition import Bounds
from models.table import ARM
from streamer.scorer.arms import BanditView
from streamer.scorer.recall import keys_of
from streamer.scorer.replica import Replica
from streamer.telemetry import ScorerMetrics
from streamer.testing import ManualClock
from tests.scoring import HOUR_MS, START_MS, Click, Partitions, Shown, small_models

D = 3
ITEMS = [f"i{item}" for item in range(60)]
KEYS = keys_of(ITEMS)
HALF_LIVES_S = (3_600.0, 86_400.0)


def learned_by(n_partitions: int, *, half_life_s: float = 0.0, arms_max: int = 40) -> Partitions:
    bandit = Bandit(n_features=D, half_lives_s=HALF_LIVES_S, half_life_s=half_life_s, per_arm=True)
    bounds = Bounds(users_max=100, items_max=100, arms_max=arms_max)
    return Partitions(n_partitions, bounds=bounds, models=small_models(bandit=bandit))


def replica_of(learned: Partitions) -> Replica:
    return Replica(
        store=learned.store,
        models=learned.models,
        n_partitions=len(learned.states),
        clock=ManualClock(START_MS),
        metrics=ScorerMetrics(CollectorRegistry()),
    )


def followed(replica: Replica) -> BanditView:
    while replica.follow(timeout_s=0):
        pass
    return replica.current().bandit


def run(learned: Partitions, n_steps: int) -> Iterator[None]:
    """Outcomes of many items, every fourth amended, and a checkpoint now and then."""
    rng = np.random.default_rng(3)
    for step in range(n_steps):
        partition = step % len(learned.states)
        ts_ms = START_MS + step * HOUR_MS // 4
        shown = [
            Shown(ITEMS[item], float(reward), features=(1.0, *x), ts_ms=ts_ms)
            for item, reward, x in zip(
                rng.integers(len(ITEMS), size=8),
                rng.integers(-1, 3, size=8),
                rng.normal(size=(8, 2)).round(2).tolist(),
                strict=True,
            )
        ]
        learned.show(partition, shown)
        first = shown[0]
        learned.show(
            partition,
            [Shown(first.item, 2.5, before=first.reward, features=first.features, ts_ms=ts_ms)],
        )
        if step % 7 == 3:
            learned.checkpoint(partition)
        yield


def contents(bandit: BanditView) -> list[bytes]:
    at_ms = bandit.watermark_ms + HOUR_MS
    assert bandit.statistics is not None
    known, rows = bandit.arms.statistics(KEYS)
    arrays = (
        bandit.statistics,
        bandit.arms.outcomes(KEYS),
        bandit.arms.totals,
        *bandit.arms.faded(KEYS, at_ms),
        known,
        rows,
    )
    return [array.tobytes() for array in arrays]


@pytest.mark.parametrize("half_life_s", [0.0, 7_200.0], ids=["for ever", "fading"])
def test_following_equals_loading_to_the_bit_through_evictions(half_life_s: float) -> None:
    learned = learned_by(3, half_life_s=half_life_s, arms_max=16)
    replica = replica_of(learned)
    replica.load()
    for _ in run(learned, 40):
        followed(replica)
    assert sum(state.ids[ARM].n_evicted for state in learned.states) > 30
    fresh = replica_of(learned)
    fresh.load()
    assert contents(followed(replica)) == contents(fresh.current().bandit)


def contribution(learned: Partitions, table: str, key: int) -> NDArray[np.int64]:
    """The sum of a row over partitions."""
    total = np.zeros(1, dtype=np.int64)
    for state in learned.states:
        slot = int(state.ids[ARM].map.find(np.array([key], dtype=np.uint64))[0])
        if slot >= 0:
            total = total + state.contributions[table].values[slot]
    return total


def test_outcomes_and_statistics_are_the_sums_over_partitions() -> None:
    learned = learned_by(3)
    replica = replica_of(learned)
    replica.load()
    for _ in run(learned, 20):
        pass
    bandit = followed(replica)
    shared = sum(state.contributions[STATISTICS].values[0] for state in learned.states)
    assert bandit.statistics is not None
    assert bandit.statistics.tolist() == np.asarray(shared).tolist()
    assert statistics(bandit.statistics, D).n == 20 * 8
    outcomes = bandit.arms.outcomes(KEYS)
    assert outcomes.sum(axis=0).tolist() == bandit.arms.totals[:3].tolist()
    assert outcomes[:, 0].sum() == 20 * 8
    of_each, of_all = bandit.arms.faded(KEYS, START_MS), bandit.arms.faded_totals(START_MS)
    for each, total in zip(of_each, of_all, strict=True):
        assert each.sum(axis=0) == pytest.approx(total, rel=1e-5)
    known, rows = bandit.arms.statistics(KEYS)
    assert rows.shape == (len(known), statistics_width(D))
    for place, row in zip(known.tolist(), rows, strict=True):
        key = int(KEYS[place])
        assert row.tolist() == contribution(learned, ARM_STATISTICS, key).tolist()
        n, n_positive, rewards, _ = contribution(learned, OUTCOMES, key)
        assert outcomes[place].tolist() == [n, n_positive, rewards / 2**24]
    never_shown = np.setdiff1d(np.arange(len(KEYS)), known)
    assert not outcomes[never_shown].any()


def test_rates_fade_by_the_time_that_passed() -> None:
    learned = learned_by(2)
    replica = replica_of(learned)
    replica.load()
    for hour in range(26):  # more than an epoch of the half-life of an hour
        reward = float(hour % 2)
        learned.show(hour % 2, [Shown("i7", reward, ts_ms=START_MS + hour * HOUR_MS)])
        followed(replica)
    ages_h = np.arange(25, -1, -1) + 3
    arms, at_ms = followed(replica).arms, START_MS + 28 * HOUR_MS
    shown, positive = arms.faded(KEYS[7:9], at_ms)
    weights = 0.5 ** (ages_h[:, None] / np.array([1, 24]))
    np.testing.assert_allclose(shown[0], weights.sum(axis=0), rtol=1e-3)
    np.testing.assert_allclose(positive[0], weights[1::2].sum(axis=0), rtol=1e-3)
    assert not shown[1].any()
    np.testing.assert_allclose(arms.faded_totals(at_ms)[0], shown[0])


def test_versions_share_what_did_not_change_and_never_change() -> None:
    learned = learned_by(1)
    replica = replica_of(learned)
    replica.load()
    kept = []
    for _ in run(learned, 12):
        bandit = followed(replica)
        kept.append((bandit, contents(bandit)))
    learned.commit(0, [Click("ann", "i1")])
    last = followed(replica)
    assert last.statistics is kept[-1][0].statistics
    assert last.arms is kept[-1][0].arms
    for bandit, told in kept:
        assert contents(bandit) == told


def test_dropped_items_are_packed_away_when_they_are_many() -> None:
    learned = learned_by(1, arms_max=1_024)
    replica = replica_of(learned)
    replica.load()
    for start in range(0, 6_000, 10):
        items = [f"many {i}" for i in range(start, start + 10)]
        learned.show(0, [Shown(item, 1.0) for item in items])
        if start % 500 == 490:
            arms = followed(replica).arms
            assert arms.outcomes(keys_of(items)).tolist() == [[1.0, 1.0, 1.0]] * 10
    assert len(arms.stats) <= 2 * 1_024 + 500  # live ones, dead ones, those since the last look
    assert arms.totals[0] == len(learned.states[0].ids[ARM])


def test_without_a_bandit_among_the_models_nothing_is_known() -> None:
    learned = Partitions(1)
    learned.commit(0, [Click("ann", "i1")])
    replica = replica_of(learned)
    replica.load()
    bandit = followed(replica)
    assert bandit.statistics is None
    assert not bandit.arms.outcomes(KEYS).any()
    assert not bandit.arms.faded_totals(START_MS)[0].any()
    assert len(bandit.arms.statistics(KEYS)[0]) == 0
