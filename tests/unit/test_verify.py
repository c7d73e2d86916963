"""Verification is content with what was learned once and in order, and reports anything else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamer.errors import Fenced
from streamer.learner.learner import Learner
from streamer.protocols import Entry, ParameterStore, PartitionImage
from streamer.store.layout import encode_schedule
from streamer.store.memory import MemoryStore
from streamer.verify.execution import LearnedWith
from streamer.verify.parameters import Verification, verify_store
from tests.event_log import (
    TOPIC,
    LogStream,
    default_rewards,
    make_learner,
    make_log,
    messages,
    small_models,
    with_settings,
)

N_PARTITIONS = 3
SETTINGS = with_settings(n_partitions=N_PARTITIONS)
MODELS = small_models()
LOGS = [make_log(600, seed=30 + p) for p in range(N_PARTITIONS)]


def verified(store: ParameterStore) -> Verification:
    return verify_store(
        store,
        learned_with=[LearnedWith(MODELS, SETTINGS, default_rewards)],
        stream=lambda topic, p: LogStream(LOGS[p], p),
    )


def learn(learner: Learner, start: int, end: int, *, size: int = 50) -> None:
    """Learn offsets ``[start, end)`` of every partition, a batch of each in turn."""
    for at in range(start, end, size):
        learner.learn([messages(LOGS[p], p, at, at + size) for p in range(N_PARTITIONS)])


class Busy(MemoryStore):
    """A store whose learner goes on whenever somebody loads a partition."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def load(self, partition: int) -> PartitionImage:
        self.meanwhile()
        return super().load(partition)


def test_a_store_that_is_learned_into_meanwhile_is_verified_as_of_its_loading() -> None:
    store = Busy()
    learner = make_learner(store, MODELS, SETTINGS)
    learner.assign(range(N_PARTITIONS))
    learn(learner, 0, 100)
    at = iter(range(100, 600, 50))

    def meanwhile() -> None:
        start = next(at)
        learn(learner, start, start + 50)

    store.meanwhile = meanwhile
    found = verified(store)
    assert found.problems == []
    # The last partition was loaded after 100 + 3 * 50 offsets, and had seen as many of the others.
    assert 3 * 200 < found.n_messages <= 3 * 250


# --- learned twice, or not at all -----------------------------------------------------------------


class Unfenced(MemoryStore):
    """A store without the compare-and-set: whoever comes last is right."""

    def commit(self, entry: Entry, *, owner: str) -> None:
        try:
            super().commit(entry, owner=owner)
        except Fenced:
            stored = self._partition(entry.partition)
            stored.schedule.append(encode_schedule(entry.schedule))
            stored.progress = stored.progress.after(entry)


def test_two_owners_at_once_are_noticed() -> None:
    store = Unfenced()
    former, latter = (make_learner(store, MODELS, SETTINGS, owner=name) for name in "ab")
    former.assign(range(N_PARTITIONS))
    learn(former, 0, 100)
    again_from = latter.assign(range(N_PARTITIONS))
    learn(latter, again_from[TOPIC, 0], 200)
    assert verified(store).problems == []
    learn(former, 100, 200)
    assert any("should start at 200" in problem for problem in verified(store).problems)


# --- what is missing ------------------------------------------------------------------------------


@pytest.mark.parametrize("n_lost", [1, 100])
def test_schedules_that_end_too_early_are_said(n_lost: int) -> None:
    store = MemoryStore()
    learner = make_learner(store, MODELS, SETTINGS)
    learner.assign(range(N_PARTITIONS))
    learn(learner, 0, 100)
    schedule = store._partition(1).schedule
    for _ in range(min(n_lost, len(schedule))):
        schedule.pop()
    assert any("partition 1: the schedule" in problem for problem in verified(store).problems)


def test_an_empty_store_is_not_verified() -> None:
    (problem,) = verified(MemoryStore()).problems
    assert "the store holds no commit" in problem
    assert "store.url" in problem
