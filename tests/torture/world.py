"""A deployment as its operator keeps it: what ends is started again, and how it ended is noted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from tests.learner_processes import StreamerProcess

_TAIL: Final = 1_500
"""Characters of a log that a problem shows."""
_ERROR: Final = "error:"


class Worker:
    """A process that is started again whenever it has ended, while it is wanted.

    Attributes
    ----------
    ended
        How often it ended by itself, by the reason it gave.
    problems
        Ends without a reason in words.
    """

    def __init__(self, role: str, new: Callable[[], StreamerProcess]) -> None:
        self.role = role
        self.ended: Counter[str] = Counter()
        self.problems: list[str] = []
        self._new = new
        self._process: StreamerProcess | None = None
        self._leaving: list[StreamerProcess] = []
        self._at_work = False

    def start(self) -> None:
        self._process, self._at_work = self._new(), False

    def kill(self) -> None:
        """SIGKILL, in the midst of whatever it does."""
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def pause(self) -> None:
        """Let it stand still; the group takes it for dead meanwhile."""
        if self._process is not None:
            self._process.freeze()

    def go_on(self) -> None:
        if self._process is not None:
            self._process.thaw()

    def leave(self) -> None:
        """SIGTERM; :meth:`look` sees how it ends."""
        process, self._process = self._process, None
        if process is not None:
            process.ask_to_stop()
            self._leaving.append(process)

    @property
    def at_work(self) -> bool:
        """Whether it has taken partitions in its present life."""
        if not self._at_work and self._process is not None:
            log = self._process.log
            self._at_work = "partitions_taken" in log or "features_restored" in log
        return self._at_work

    @property
    def has_left(self) -> bool:
        return not self._leaving

    def look(self) -> None:
        """Note what has ended, and start it again where it is wanted."""
        if self._process is not None and not self._process.running:
            self._note(self._process)
            self.start()
        for process in [each for each in self._leaving if not each.running]:
            self._leaving.remove(process)
            began = "_ready" in process.log  # before, the signal ends it as it ends any program
            if began and not (process.status == 0 and "_stopped" in process.log):
                self._note(process)

    def _note(self, process: StreamerProcess) -> None:
        _, found, reason = process.log.rpartition(_ERROR)
        if found and "Traceback" not in reason and process.status == 1:
            self.ended[" ".join(reason.split())[:200]] += 1
        else:
            self.problems.append(
                f"{self.role} ended with status {process.status}: {process.log[-_TAIL:]}"
            )
