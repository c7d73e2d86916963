"""Whatever comes to the topics of a broker goes to a file, too."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Final, get_args

from streamer.application.local.kept_topics import KeptTopics
from streamer.config import Config, TopicRole
from streamer.errors import KafkaUnavailable, StreamerError
from streamer.kafka.configured import configured_reader
from streamer.kafka.log_ends import TopicPartition

_MESSAGES_MAX: Final = 5_000
_POLL_S: Final = 0.2


class TopicsKeeper:
    """Keeps all messages of the topics in a thread of its own, until it is closed.

    Parameters
    ----------
    config
        Of the broker and its topics.
    kept
        Holds what is before ``starts``. This keeper's alone from now on.
    starts
        Where to begin; absent partitions: at their beginning.
    """

    def __init__(
        self, config: Config, kept: KeptTopics, starts: Mapping[TopicPartition, int]
    ) -> None:
        self._kept = kept
        self._timeout_s = config.kafka.request_timeout_s
        self._failure: StreamerError | None = None
        self._stop = threading.Event()
        self._reader = configured_reader(config)
        topics = [config.topics.topic(role) for role in get_args(TopicRole)]
        partitions = self._reader.partitions(*topics)
        self._reader.start({where: starts.get(where, 0) for where in partitions})
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise StreamerError when something can't be kept, and nothing is from then on."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Keep what is on the topics now, and end.

        Raises
        ------
        StreamerError
            When something could not be kept.
        """
        self._stop.set()
        self._thread.join()
        try:
            self.check()
            self._keep_to_end()
        finally:
            self._reader.close()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._keep(_POLL_S)
        except StreamerError as error:
            self._failure = error

    def _keep_to_end(self) -> None:
        ends = self._reader.end_offsets()
        deadline = time.monotonic() + self._timeout_s
        while any(self._reader.positions[where] < end for where, end in ends.items()):
            self._keep(_POLL_S)
            if time.monotonic() > deadline:
                raise KafkaUnavailable(
                    f"the last messages of the topics did not come within {self._timeout_s:.0f} s,"
                    " and are not kept: the next start learns without them"
                )

    def _keep(self, timeout_s: float) -> None:
        batches = self._reader.poll(n_max=_MESSAGES_MAX, timeout_s=timeout_s)
        if n_lost := self._reader.skipped_offsets:
            raise StreamerError(
                f"{n_lost:,} messages were gone from the embedded broker before they were kept; it"
                " keeps 5 MB of a partition: publish with `streamer publish`, which waits, or"
                " slower, or use a Kafka of your own"
            )
        if batches:
            self._kept.keep(batches)
