"""Commits go one behind the other, and none goes after one that failed."""

from __future__ import annotations

import threading
import time

import pytest

from streamer.errors import Fenced
from streamer.learner.pipeline import CommitPipeline


def fail() -> None:
    raise Fenced("taken by another")


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_tasks_are_carried_out_in_order(depth: int) -> None:
    done: list[int] = []
    pipeline = CommitPipeline(depth)
    for i in range(50):
        pipeline.submit(lambda i=i: done.append(i))  # type: ignore[misc]
    pipeline.flush()
    assert done == list(range(50))


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_nothing_follows_a_failure_until_it_is_abandoned(depth: int) -> None:
    done: list[str] = []
    pipeline = CommitPipeline(depth)
    if depth:
        pipeline.submit(fail)
        with pytest.raises(Fenced, match="taken"):
            pipeline.flush()
        for call in (pipeline.check, pipeline.flush, lambda: pipeline.submit(fail)):
            with pytest.raises(Fenced):
                call()
    else:
        with pytest.raises(Fenced, match="taken"):
            pipeline.submit(fail)
    pipeline.abandon()
    pipeline.submit(lambda: done.append("anew"))
    pipeline.flush()
    assert done == ["anew"]


def test_submit_waits_when_too_many_are_under_way() -> None:
    go, begun = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go.wait(60)

    pipeline = CommitPipeline(2)
    pipeline.submit(slow)
    pipeline.submit(lambda: None)
    assert begun.wait(60)
    third = threading.Thread(target=lambda: pipeline.submit(lambda: None))
    third.start()
    time.sleep(0.05)
    assert third.is_alive()
    go.set()
    third.join(60)
    assert not third.is_alive()
    pipeline.flush()


def test_abandon_drops_what_waits_and_lets_the_task_in_hand_end() -> None:
    go, begun = threading.Event(), threading.Event()
    done: list[str] = []

    def in_hand() -> None:
        begun.set()
        go.wait(60)
        done.append("in hand")

    pipeline = CommitPipeline(3)
    pipeline.submit(in_hand)
    pipeline.submit(lambda: done.append("waiting"))
    assert begun.wait(60)
    abandoning = threading.Thread(target=pipeline.abandon)
    abandoning.start()
    while len(pipeline._tasks) > 1:  # what waits is dropped before the task in hand may end
        time.sleep(0.001)
    go.set()
    abandoning.join(60)
    pipeline.flush()
    assert done == ["in hand"]
