"""New messages of some topics, from near their ends on, while the page is looked at."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import Final

from streamer.config import Config, TopicRole
from streamer.errors import KafkaError
from streamer.kafka.configured import configured_reader
from streamer.kafka.log_ends import Ends, TopicPartition
from streamer.kafka.reader import KafkaReader
from streamer.protocols import MessageBatch

READ_MAX: Final = 5_000
"""Messages that one look reads: some 90 MB of decisions at the most."""
_WAIT_S: Final = 0.05
_LOOK_S: Final = 0.3
"""Where messages come without a pause, the next look takes the rest."""
_TIMES_TOOK: Final = 10


class FollowedTopics:
    """Follows topics from so many messages before their ends. For one thread at a time.

    Nothing is read before the first :meth:`look`, nor after :meth:`close` until the next.

    Parameters
    ----------
    n_back
        Role → messages of the topic that the first look begins with. A look that finds too many
        begins anew, near the ends.

    Attributes
    ----------
    ends
        Of every partition, as of the last look.
    begun
        Whether the last look began near the ends: what was read before is not all there was since.
    """

    def __init__(self, config: Config, n_back: Mapping[TopicRole, int]) -> None:
        self._config = config
        self._roles = {config.topics.topic(role): role for role in n_back}
        self._n_back = {config.topics.topic(role): n for role, n in n_back.items()}
        self._reader: KafkaReader | None = None
        self._ask_again_s = -math.inf
        self.ends: dict[TopicPartition, Ends] = {}
        self.begun = False

    def look(self) -> list[tuple[TopicRole, MessageBatch]]:
        """Return what was published since the last look.

        Raises
        ------
        KafkaError
            When the broker does not answer; the next look begins near the ends again.
        """
        try:
            return self._look()
        except KafkaError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the broker."""
        if self._reader is not None:
            with contextlib.suppress(KafkaError):
                self._reader.close()
        self._reader = None
        self._ask_again_s = -math.inf

    def _look(self) -> list[tuple[TopicRole, MessageBatch]]:
        if self._reader is None:
            self._reader = configured_reader(self._config, anew="followed")
        reader = self._reader
        self._ask_ends(reader)
        self.begun = not reader.positions or any(
            self.ends[where].high - at > READ_MAX for where, at in reader.positions.items()
        )
        if self.begun:
            self._begin(reader)
        found: list[tuple[TopicRole, MessageBatch]] = []
        n_left = READ_MAX
        deadline_s = time.monotonic() + _LOOK_S
        while n_left > 0 and time.monotonic() < deadline_s:
            batches = reader.poll(n_max=n_left, timeout_s=_WAIT_S)
            if not batches:
                break
            found += [(self._roles[batch.topic], batch) for batch in batches]
            n_left -= sum(map(len, batches))
        for where, at in reader.positions.items():
            low, high = self.ends[where]
            self.ends[where] = Ends(low, max(high, at))
        return found

    def _ask_ends(self, reader: KafkaReader) -> None:
        """Ask for the ends, which takes some ms a partition, for a tenth of the time at most."""
        began_s = time.monotonic()
        if began_s < self._ask_again_s:
            return
        self.ends = reader.ends(list(self.ends) or reader.partitions(*self._roles))
        took_s = time.monotonic() - began_s
        self._ask_again_s = began_s + _TIMES_TOOK * took_s

    def _begin(self, reader: KafkaReader) -> None:
        n_partitions = Counter(topic for topic, _ in self.ends)
        starts = {
            where: max(end.low, end.high - max(1, self._n_back[where[0]] // n_partitions[where[0]]))
            for where, end in self.ends.items()
        }
        reader.start(starts)
