"""A lock that threads get in the order in which they asked."""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """A fair lock: the thread that has waited longest is next.

    With ``threading.Lock`` a thread that lets go and takes again at once, as one with a backlog
    does, may keep another waiting for as long as the backlog lasts.

    Examples
    --------
    >>> turns = Turns()
    >>> with turns:
    ...     pass
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = False
        self._waiting: deque[threading.Lock] = deque()

    @property
    def awaited(self) -> bool:
        """Whether a thread waits for its turn."""
        return bool(self._waiting)

    def __enter__(self) -> None:
        with self._lock:
            if not self._held:
                self._held = True
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()  # until the thread before hands over

    def __exit__(self, *error: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._held = False
