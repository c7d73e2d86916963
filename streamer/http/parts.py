"""What the HTTP service is made of, as it sees it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from streamer.events import Item, Request, User
from streamer.protocols import Clock, DeliveredAt
from streamer.scorer.explanation import Explanation
from streamer.scorer.funnel import Funnel
from streamer.scorer.replies import Answered
from streamer.scorer.slate_change import SlateChange


class Answering(Protocol):
    """Answering requests; see :class:`streamer.scorer.answer_queue.AnswerQueue`."""

    def recommend(self, request: Request, *, timeout_s: float) -> Future[Answered]: ...

    def explain(
        self, request: Request, item_id: str, *, timeout_s: float
    ) -> Future[Explanation]: ...

    def change(
        self, request: Request, other: Funnel, keys: Collection[str], *, timeout_s: float
    ) -> Future[SlateChange]: ...

    def item(self, item_id: str) -> Item | None: ...

    def knows_item(self, item_id: str) -> bool: ...

    def item_meant(self, item_id: str) -> str | None: ...

    def user(self, user_id: str) -> User | None: ...

    def item_is_read(self, sent: DeliveredAt) -> bool: ...

    def user_is_read(self, sent: DeliveredAt) -> bool: ...

    def missing(self) -> list[str]: ...

    def ended(self) -> list[str]: ...


class Acknowledges(Protocol):
    """Sends messages; see :class:`streamer.kafka.acknowledged.AcknowledgedSink`."""

    @property
    def alive(self) -> bool: ...

    def send(self, topic: str, *, key: bytes, value: bytes | None) -> Future[DeliveredAt]: ...


class Room(Protocol):
    """How much may be published; see :class:`streamer.client.embedded_room.EmbeddedRoom`."""

    @property
    def is_due(self) -> bool: ...

    def is_full(self) -> bool: ...

    def note(self, n_bytes: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What answers, what sends, and the time.

    Attributes
    ----------
    room
        For events.
    check_broker
        Raises StreamerError where the broker does not answer; may take a second.
    """

    answers: Answering
    sink: Acknowledges
    clock: Clock
    room: Room
    check_broker: Callable[[], None]
