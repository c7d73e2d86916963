"""Events and decisions learned together: whatever stops a learner, nothing final changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from streamer.learner.learner import Learner
from streamer.protocols import MessageBatch
from streamer.store.memory import MemoryStore
from streamer.verify.execution import LearnedWith
from streamer.verify.parameters import Contents, compare_contents, verify_store
from streamer_models.bandits.bandit import OUTCOMES, STATISTICS
from streamer_models.bandits.linear_statistics import statistics
from tests.decision_log import (
    DECISIONS,
    FEATURES,
    JOIN,
    SETTINGS,
    TwoTopics,
    make_topics,
    models_with_bandit,
    read_on,
)
from tests.event_log import TOPIC, Dead, default_rewards, make_learner, stored

MODELS = models_with_bandit()
LOGS = [make_topics(700, seed=s) for s in range(3)]
ONE = [LOGS[0]]


def learn_all(
    logs: Sequence[TwoTopics],
    sizes: dict[str, int],
    *,
    seed: int = 0,
    crash_share: float = 0.0,
    pipeline_depth: int = 0,
    arms_max: int = SETTINGS.bounds.arms_max,
    feedback_max: int = JOIN.feedback_max,
) -> tuple[MemoryStore, Learner]:
    """Read everything in parts of random sizes up to ``sizes``; crash every so often."""
    rng = np.random.default_rng(seed)
    bounds = replace(SETTINGS.bounds, arms_max=arms_max)
    join = replace(JOIN, feedback_max=feedback_max)
    settings = replace(SETTINGS, n_partitions=len(logs), bounds=bounds, join=join)
    store = MemoryStore(log_entries_kept=100_000)
    owned = list(range(len(logs)))

    def started(name: str) -> tuple[Learner, dict[tuple[str, int], int]]:
        learner = make_learner(store, MODELS, settings, owner=name, pipeline_depth=pipeline_depth)
        return learner, learner.assign(owned)

    learner, at = started("first")
    n_rounds = n_learned = 0
    while any(n < logs[p].length(t) for (t, p), n in learner.offsets.items()):
        read_on(learner, logs, at, {t: int(rng.integers(1, n + 1)) for t, n in sizes.items()})
        n_rounds += 1
        assert n_rounds < 50_000, "nothing moves any more"
        if rng.random() < 0.1:
            learner.checkpoint_all()
        n_more = sum(learner.offsets.values()) - n_learned
        if n_more and rng.random() < crash_share:  # else it would read again for ever
            learner.flush()
            n_learned += n_more
            learner, at = started(f"after {n_rounds}")
    learner.flush()
    return store, learner


@pytest.fixture(scope="module")
def undisturbed() -> list[Contents]:
    store, _ = learn_all(ONE, {TOPIC: 100_000, DECISIONS: 100_000})
    return stored(store, MODELS, SETTINGS)


def test_outcomes_are_joined_and_counted() -> None:
    dead = Dead()
    learner = make_learner(MemoryStore(), MODELS, SETTINGS, dead=dead)
    at = learner.assign([0])
    for _ in range(100):
        read_on(learner, ONE, at, {TOPIC: 100, DECISIONS: 100})
    counts = learner.counts.join
    assert counts.n_decisions > 600
    assert min(counts.n_matched, counts.n_late, counts.n_unmatched, counts.n_repeated) > 5
    assert counts.n_amended > 20
    assert any("request_id" in reason for _, reason in dead), "broken decisions are dead letters"


def test_the_statistics_are_those_of_the_outcomes(undisturbed: list[Contents]) -> None:
    (contents,) = undisturbed
    _, rows = contents.tables[STATISTICS]
    total = statistics(rows[0], len(FEATURES))
    _, outcomes = contents.tables[OUTCOMES]
    assert total.n == outcomes[:, 0].sum() > 1_000
    assert total.a[0, 0] == total.n, "the first feature is 1 everywhere"
    assert outcomes[:, 2].sum() * 2.0**-24 == pytest.approx(total.b[0])
    assert np.linalg.eigvalsh(total.a).min() > 0


@pytest.mark.parametrize(
    "sizes", [{TOPIC: 30, DECISIONS: 15}, {TOPIC: 300, DECISIONS: 20}, {TOPIC: 20, DECISIONS: 300}]
)
@pytest.mark.parametrize("crash_share", [0.0, 0.1])
def test_neither_batches_nor_crashes_change_anything_final(
    undisturbed: list[Contents], sizes: dict[str, int], crash_share: float
) -> None:
    store, _ = learn_all(ONE, sizes, seed=3, crash_share=crash_share)
    assert compare_contents(stored(store, MODELS, SETTINGS)[0], undisturbed[0]) == []


def test_a_restart_matches_again_what_was_matched_however_much_is_read_again_first() -> None:
    contents = []
    for crash_share in (0.0, 0.5):
        sizes = {TOPIC: 300, DECISIONS: 20}
        store, learner = learn_all(ONE, sizes, seed=3, crash_share=crash_share, feedback_max=200)
        contents += stored(store, MODELS, SETTINGS)
        assert learner.counts.join.n_lost == 0
    assert compare_contents(*contents) == []


def test_arms_that_fall_out_at_the_bound_are_the_same_wherever_batches_end() -> None:
    """Of 60 items 20 may stay: most decisions evict some."""
    contents = []
    for sizes, crash_share in (
        ({TOPIC: 100_000, DECISIONS: 100_000}, 0.0),
        ({TOPIC: 300, DECISIONS: 100}, 0.1),
        ({TOPIC: 30, DECISIONS: 300}, 0.0),
    ):
        store, learner = learn_all(ONE, sizes, seed=4, crash_share=crash_share, arms_max=20)
        assert learner.counts.n_evicted["arm"] > 100
        contents += stored(store, MODELS, SETTINGS)
    assert contents[0].tables[OUTCOMES][1][:, 0].any()
    for other in contents[1:]:
        assert compare_contents(contents[0], other) == []


class LogStream:
    """One partition of one topic from an offset on, for verification."""

    def __init__(self, log: TwoTopics, topic: str, partition: int, at: int) -> None:
        self._log, self._topic, self._partition = log, topic, partition
        self._at = at

    def take(self, to_offset: int) -> MessageBatch:
        start, self._at = self._at, to_offset
        return self._log.batch(self._topic, self._partition, start, to_offset)


def verified(store: MemoryStore) -> list[str]:
    return verify_store(
        store,
        learned_with=[
            LearnedWith(MODELS, replace(SETTINGS, n_partitions=len(LOGS)), default_rewards)
        ],
        stream=lambda topic, p, at: LogStream(LOGS[p], topic, p, at),
    ).problems


def test_the_schedule_executed_again_gives_the_store() -> None:
    sizes = {TOPIC: 60, DECISIONS: 40}
    store, _ = learn_all(LOGS, sizes, seed=5, crash_share=0.05, pipeline_depth=2)
    assert verified(store) == []
    kept, LOGS[1].decisions[300:310] = LOGS[1].decisions[300:310], [None] * 10
    try:
        problems = verified(store)
    finally:
        LOGS[1].decisions[300:310] = kept
    assert any(problem.startswith("partition 1") for problem in problems)
