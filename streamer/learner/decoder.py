"""Messages of one partition, decoded in the order of their offsets, ahead of what is learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streamer.events.decoding import Rejected
from streamer.learner.batch import DecodedBatch, RewardFunction, decode_batch
from streamer.learner.dedup import DedupWindow
from streamer.learner.join.answers import DecidedBatch, decode_decisions
from streamer.learner.settings import LearnerSettings
from streamer.protocols import MessageBatch

Read = Mapping[str, MessageBatch]
"""Topic → what was read of a partition of it."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was read of a partition, and what its messages say; None: nothing read of the topic.

    Attributes
    ----------
    read
        The messages.
    events, decided
        Events, and decisions with the bad messages of their topic.
    """

    read: Read
    events: DecodedBatch | None
    decided: tuple[DecidedBatch, list[Rejected]] | None


class PartitionDecoder:
    """Decodes one partition and finds repeated events.

    It knows nothing of what is learned, and what is learned touches nothing of it. So one thread
    may decode while another learns, and what it gives depends on the log alone.
    """

    def __init__(self, settings: LearnerSettings, rewards: RewardFunction) -> None:
        self._settings = settings
        self._rewards = rewards
        self._dedup = DedupWindow(settings.dedup_window)

    def decode(self, read: Read) -> Decoded:
        """Decode the next messages; the window of duplicates moves on by them."""
        settings, events, decided = self._settings, None, None
        if (batch := read.get(settings.topic)) is not None:
            events = decode_batch(
                batch,
                types=settings.event_types,
                dedup=self._dedup,
                rewards=self._rewards,
                join=settings.join,
            )
        join = settings.join
        if join is not None and (batch := read.get(join.topic)) is not None:
            decided = decode_decisions(batch, join.feature_names)
        return Decoded(read, events, decided)
