"""The features topic where a scorer is older than it: looked for now and then, then read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from streamer.errors import KafkaUnavailable, TopicMismatch
from streamer.protocols import MessageBatch
from streamer.windows.latest import FeaturesReader

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 5.0
"""Each look is one question to the broker."""


class AwaitedFeatures:
    """A reader of a topic that is not there yet: nothing is in it until somebody makes it.

    Looked for by :meth:`poll`, so by the thread that follows and never within a request. Not for
    several threads.

    Parameters
    ----------
    open_reader
        Begins to read the topic from its start; raises TopicMismatch while there is none. Should
        ask the broker for a moment only: whoever follows waits for it.
    now_s
        Seconds on a clock that only goes forward.
    """

    def __init__(
        self,
        open_reader: Callable[[], FeaturesReader],
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_reader = open_reader
        self._now_s = now_s
        self._reader: FeaturesReader | None = None
        self._look_at_s = now_s() + LOOK_EVERY_S

    @property
    def positions(self) -> dict[tuple[str, int], int]:
        """Next offset of each partition that is read."""
        return {} if self._reader is None else self._reader.positions

    def end_offsets(self) -> dict[tuple[str, int], int]:
        """Offset the next message of each partition that is read will get."""
        return {} if self._reader is None else self._reader.end_offsets()

    def poll(self, *, n_max: int, timeout_s: float) -> list[MessageBatch]:
        """Up to ``n_max`` messages; while there is no topic none, and that at once.

        Raises
        ------
        StreamerError
            Whatever the reader raises; and what goes wrong with looking, other than that there is
            no topic yet or that the broker is away.
        """
        if self._reader is None:
            self._reader = self._looked()
        return [] if self._reader is None else self._reader.poll(n_max=n_max, timeout_s=timeout_s)

    def _looked(self) -> FeaturesReader | None:
        """The reader, where it is time to look and the topic is there."""
        if self._now_s() < self._look_at_s:
            return None
        try:
            reader = self._open_reader()
        except (TopicMismatch, KafkaUnavailable):
            # A scorer that has its topic gets over an outage too; its client says so in the log.
            self._look_at_s = self._now_s() + LOOK_EVERY_S
            return None
        log.info("features_found")
        return reader
