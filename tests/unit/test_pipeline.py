"""Tasks go one behind the other, and none goes after one that failed."""

from __future__ import annotations

import threading
import time
import weakref

import pytest

from streamer.errors import Fenced
from streamer.learner.pipeline import Pipeline


def fail() -> None:
    raise Fenced("taken by another")


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_tasks_are_carried_out_in_order(depth: int) -> None:
    done: list[int] = []
    pipeline = Pipeline(depth, name="tasks")
    for i in range(50):
        pipeline.submit(lambda i=i: done.append(i))  # type: ignore[misc]
    pipeline.flush()
    assert done == list(range(50))


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_nothing_follows_a_failure_until_it_is_abandoned(depth: int) -> None:
    done: list[str] = []
    pipeline = Pipeline(depth, name="tasks")
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
        go.wait(10)

    pipeline = Pipeline(2, name="tasks")
    pipeline.submit(slow)
    pipeline.submit(lambda: None)
    assert begun.wait(10)
    third = threading.Thread(target=lambda: pipeline.submit(lambda: None))
    third.start()
    time.sleep(0.05)
    assert third.is_alive()
    go.set()
    third.join(10)
    assert not third.is_alive()
    pipeline.flush()


def test_abandon_drops_what_waits_and_lets_the_task_in_hand_end() -> None:
    go, begun = threading.Event(), threading.Event()
    done: list[str] = []

    def in_hand() -> None:
        begun.set()
        go.wait(10)
        done.append("in hand")

    pipeline = Pipeline(3, name="tasks")
    pipeline.submit(in_hand)
    pipeline.submit(lambda: done.append("waiting"))
    assert begun.wait(10)
    abandoning = threading.Thread(target=pipeline.abandon)
    abandoning.start()
    time.sleep(0.05)
    go.set()
    abandoning.join(10)
    pipeline.flush()
    assert done == ["in hand"]


def test_a_thread_without_work_ends_and_keeps_nothing_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamer.learner.pipeline._IDLE_S", 0.05)
    pipeline, done = Pipeline(2, name="idle"), list[int]()

    class Work:
        def do(self) -> None:
            done.append(1)

    work = Work()
    alive = weakref.ref(work)
    pipeline.submit(work.do)
    pipeline.flush()
    del work
    deadline = time.monotonic() + 60.0
    while "idle" in {thread.name for thread in threading.enumerate()}:
        assert time.monotonic() < deadline, "the thread goes on"
        time.sleep(0.01)
    assert alive() is None
    pipeline.submit(lambda: done.append(2))
    pipeline.flush()
    assert done == [1, 2]
