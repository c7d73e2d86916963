"""Messages of explicit partitions, without a group: for subscribers, verification, catalogues."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from streamer.kafka.assignment import EMBEDDED_WAIT_MS, Anew, Assignment
from streamer.kafka.connection import REQUEST_TIMEOUT_S, Options, Stopping, never
from streamer.kafka.log_ends import EARLIEST, Ends, TopicPartition
from streamer.protocols import MessageBatch
from streamer.telemetry import RAISE_RETENTION


class KafkaReader:
    """Reads partitions that no group shares out; any number of readers see every message.

    Its batches have the messages' keys, as whoever follows a compacted topic needs them.

    Nothing happens before the first call that needs the broker. Each method may raise
    KafkaUnavailable, and TopicMismatch for a topic that isn't there. Not for several threads.

    Parameters
    ----------
    starts
        (topic, partition) → offset, ``EARLIEST`` or ``LATEST``; read from there at the first
        :meth:`poll`. Leave it out to call :meth:`start` with what :meth:`partitions` says.
    client_options
        Raw librdkafka options, added to ours.
    timeout_s
        How long the broker may take to answer.
    lost
        Told how many messages were deleted before they were read, when that is noticed.
    remedy
        What the line about them in the log advises.
    embedded_wait_ms
        How long a message may lie at an embedded broker; other brokers hand it over at once.
    stopping
        Whether to stop waiting for answers of the broker, and raise Stopped.
    group
        Of :meth:`committed` and :meth:`commit`. It keeps offsets and shares out nothing: it has no
        members.
    anew
        What becomes of a topic that is deleted and made anew while it is read.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        starts: Mapping[TopicPartition, int] | None = None,
        *,
        client_options: Options | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
        lost: Callable[[int], None] = lambda n: None,
        remedy: str = RAISE_RETENTION,
        embedded_wait_ms: int = EMBEDDED_WAIT_MS,
        stopping: Stopping = never,
        group: str | None = None,
        anew: Anew = "ignored",
    ) -> None:
        self._assignment = Assignment(
            bootstrap_servers,
            own={} if group is None else {"group.id": group},
            given=client_options,
            timeout_s=timeout_s,
            keep_keys=True,
            lost=lost,
            remedy=remedy,
            embedded_wait_ms=embedded_wait_ms,
            stopping=stopping,
            anew=anew,
        )
        self._to_start = starts

    @property
    def skipped_offsets(self) -> int:
        """Messages that were deleted before they were read; each time said in the log."""
        return self._assignment.skipped_offsets

    @property
    def is_embedded(self) -> bool:
        """Whether the broker is the embedded one."""
        self._assignment.connect()
        return self._assignment.is_embedded

    @property
    def positions(self) -> dict[TopicPartition, int]:
        """Next offset of each partition that is read."""
        return dict(self._assignment.positions)

    def partitions(self, *topics: str, timeout_s: float | None = None) -> list[TopicPartition]:
        """Every partition the topics have.

        Parameters
        ----------
        timeout_s
            Other than the reader's, once it has reached the broker.
        """
        return self._assignment.all_partitions(topics, timeout_s=timeout_s)

    def start(
        self,
        starts: Mapping[TopicPartition, int],
        *,
        needed: Mapping[TopicPartition, int] | None = None,
    ) -> dict[TopicPartition, int]:
        """Read exactly these from now on; returns the offsets, ``LATEST`` being the end now.

        Parameters
        ----------
        needed
            Partition → the first offset that must still be in the log; by default its start.

        Raises
        ------
        KafkaError
            When an offset lies beyond the end of its log.
        """
        self._to_start = None
        self._assignment.start(list(starts), starts, needed=needed or {})
        return self.positions

    def start_whole(self, *topics: str, timeout_s: float | None = None) -> None:
        """Read every partition of the topics from its start, and those that are added later.

        Added ones are noticed within seconds, unless ``anew`` is ``ignored``.

        Parameters
        ----------
        timeout_s
            As of :meth:`partitions`.
        """
        starts = dict.fromkeys(self.partitions(*topics, timeout_s=timeout_s), EARLIEST)
        self._to_start = None
        self._assignment.start(list(starts), starts, needed={}, whole=topics)

    def poll(self, *, n_max: int, timeout_s: float) -> list[MessageBatch]:
        """Up to ``n_max`` messages: all that are here, else the first to come in ``timeout_s``."""
        if n_max < 1:
            raise ValueError(f"n_max must be at least 1, not {n_max}")
        if self._to_start is not None:
            self.start(self._to_start)
        deadline = time.monotonic() + timeout_s
        while True:
            wait_s = max(0.0, deadline - time.monotonic())
            messages = self._assignment.fetch(n_max, wait_s)
            # An error of a partition comes as a message, and is no reason to return.
            if messages and (batches := self._assignment.batches(messages)):
                return batches
            if time.monotonic() >= deadline:
                return []

    def end_offsets(
        self, partitions: Sequence[TopicPartition] | None = None
    ) -> dict[TopicPartition, int]:
        """Offset the next message of each partition will get, asked for now.

        Parameters
        ----------
        partitions
            By default those that are read.
        """
        asked = list(self._to_start or self._assignment.positions)
        ends = self.ends(asked if partitions is None else partitions)
        return {where: each.high for where, each in ends.items()}

    def ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Ends]:
        """Offset of the oldest message kept, and that of the next one, asked for now."""
        return self._assignment.ends(partitions)

    def offsets_at(
        self, partitions: Sequence[TopicPartition], ts_ms: int
    ) -> dict[TopicPartition, int]:
        """First offset of each partition published at ``ts_ms`` or later; none: its end."""
        found = self._assignment.offsets_at(partitions, ts_ms)
        late = [where for where, offset in found.items() if offset < 0]
        return found | self.end_offsets(late)

    def committed(
        self, partitions: Collection[TopicPartition], *, timeout_s: float | None = None
    ) -> dict[TopicPartition, int]:
        """Offsets that the group has committed, of any topics; absent: none."""
        return self._assignment.committed(list(partitions), timeout_s=timeout_s)

    def commit(self, offsets: Mapping[TopicPartition, int], *, wait: bool) -> None:
        """Commit offsets for the group, of any topics; ``wait`` until the broker has them."""
        self._assignment.commit(offsets, wait=wait)

    def close(self) -> None:
        self._assignment.close()
