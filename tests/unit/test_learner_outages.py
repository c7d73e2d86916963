"""A learner waits for a store that does not answer, wherever it asks for something."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from streamer.errors import StoreUnavailable
from streamer.logs import EventFormatter
from streamer.protocols import Checkpoint, Entry, PartitionImage
from streamer.store.memory import MemoryStore
from streamer.verify.parameters import compare_contents
from tests.event_log import make_learner, make_log, messages, small_models, stored, with_settings

MODELS = small_models()
LOGS = [make_log(200, seed=40 + p) for p in range(2)]


class Interrupted(MemoryStore):
    """A store that is silent before each answer."""

    def __init__(self, methods: Sequence[str]) -> None:
        super().__init__()
        self.methods = methods
        self._silent = False

    def _answer(self, method: str) -> None:
        self._silent = method in self.methods and not self._silent
        if self._silent:
            raise StoreUnavailable(f"{method}: no answer")

    def acquire(self, partition: int, owner: str) -> None:
        self._answer("acquire")
        super().acquire(partition, owner)

    def load(self, partition: int) -> PartitionImage:
        self._answer("load")
        return super().load(partition)

    def commit(self, entry: Entry, *, owner: str) -> None:
        self._answer("commit")
        super().commit(entry, owner=owner)

    def checkpoint(self, checkpoint: Checkpoint, *, owner: str) -> None:
        self._answer("checkpoint")
        super().checkpoint(checkpoint, owner=owner)

    def follow(self, after: Mapping[int, int], *, timeout_s: float, **known: Any) -> list[Entry]:
        self._answer("follow")
        return super().follow(after, timeout_s=timeout_s, **known)


METHODS = ("acquire", "load", "commit", "checkpoint", "follow")


def learn(store: MemoryStore, *, deadline_s: float) -> None:
    """Two learners of a partition each, in turn."""
    settings = with_settings(n_partitions=2, commit_deadline_s=deadline_s)
    learners = [make_learner(store, MODELS, settings, owner=f"{p}") for p in range(2)]
    for p, learner in enumerate(learners):
        learner.assign([p])
    for p, learner in enumerate(learners):
        learner.learn([messages(LOGS[p], p, 0, 200)])
        learner.checkpoint_all()


def test_a_store_that_comes_back_in_time_makes_no_difference() -> None:
    undisturbed, interrupted = MemoryStore(), Interrupted(METHODS)
    learn(undisturbed, deadline_s=0.0)
    learn(interrupted, deadline_s=5.0)
    interrupted.methods = ()
    settings = with_settings(n_partitions=2)
    for a, b in zip(
        stored(undisturbed, MODELS, settings), stored(interrupted, MODELS, settings), strict=True
    ):
        assert compare_contents(a, b) == []


def test_an_attempt_is_a_line_that_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        learn(Interrupted(["commit"]), deadline_s=5.0)
    said = [each for each in caplog.records if each.msg == "store_unavailable"]
    assert said
    for record in said:
        line = EventFormatter().format(record)
        assert line.endswith("WARNING store_unavailable attempt=0 reason=commit: no answer")
        assert "\n" not in line


@pytest.mark.parametrize("method", METHODS)
def test_a_store_that_stays_away_ends_the_learner(method: str) -> None:
    with pytest.raises(StoreUnavailable, match=method):
        learn(Interrupted([method]), deadline_s=0.0)
