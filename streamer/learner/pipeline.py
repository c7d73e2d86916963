"""Store transactions in order, one behind the other, while the next batch is learned."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

Task = Callable[[], None]


class CommitPipeline:
    """Carries out tasks in the order given, in one thread of its own.

    After a task fails none of those behind it is carried out, since each may build on the one
    before; the error is raised by the next call of any method but :meth:`abandon`.

    Parameters
    ----------
    depth
        Tasks that may wait or run; :meth:`submit` waits while there are more. 0: no thread, tasks
        are carried out by :meth:`submit` itself.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._tasks: deque[Task] = deque()
        self._changed = threading.Condition()
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None

    def submit(self, task: Task) -> None:
        """Have ``task`` carried out after all before it."""
        if self._depth == 0:
            return task()
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="commits", daemon=True)
                self._thread.start()
            self._changed.wait_for(lambda: self._failure or len(self._tasks) < self._depth)
            self._raise_failure()
            self._tasks.append(task)
            self._changed.notify_all()
        return None

    def check(self) -> None:
        """Raise what went wrong, if anything did."""
        with self._changed:
            self._raise_failure()

    def flush(self) -> None:
        """Wait until every task is carried out."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure or not self._tasks)
            self._raise_failure()

    def abandon(self) -> None:
        """Drop what waits, let the task in hand end, and forget any failure."""
        with self._changed:
            while len(self._tasks) > 1:
                self._tasks.pop()
            self._changed.wait_for(lambda: self._failure or not self._tasks)
            self._tasks.clear()
            self._failure = None

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._tasks and self._failure is None)
                task = self._tasks[0]
            try:
                task()
            except Exception as error:  # noqa: BLE001 - raised again in the learner's thread
                with self._changed:
                    self._failure = error
                    self._changed.notify_all()
            else:
                with self._changed:
                    self._tasks.popleft()
                    self._changed.notify_all()
