"""Messages from HTTP to their topics: taken means that the broker has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from msgspec.structs import replace

from streamer.config import Config
from streamer.errors import BadMessage, DeliveryFailed, KafkaError
from streamer.events import Event, Item, User, encode, message_key
from streamer.http.bodies import event_of
from streamer.http.parts import Acknowledges, Parts, Room
from streamer.http.problems import field_of
from streamer.http.schemas import PublishResult, PublishResults
from streamer.http.waiting import acknowledged
from streamer.protocols import DeliveredAt

ACCEPTED: Final = 202
BAD: Final = 422
NOT_TAKEN: Final = 503
_FULL: Final = (
    "the learner has not read what was sent before, and the broker of a trial would drop it: send"
    " it again in a second"
)


M = TypeVar("M", bound=Event | Item | User)


@dataclass(frozen=True, slots=True)
class _Sent(Generic[M]):
    """What became of a message so far, and what is still to be waited for."""

    result: PublishResult
    message: M | None = None
    future: Future[DeliveredAt] | None = None


class Publishing(Generic[M]):
    """Publishes messages of one topic, and says of each what became of it.

    Parameters
    ----------
    read
        A message of a body → what is published; raises BadMessage.
    note
        Called with what ``read`` returned and what is done when the broker has it.
    room
        Nothing is sent while it is full; None: there is always room.
    """

    def __init__(
        self,
        topic: str,
        sink: Acknowledges,
        *,
        read: Callable[[object], M],
        timeout_s: float,
        note: Callable[[M, Future[DeliveredAt]], None] = lambda _, __: None,
        room: Room | None = None,
    ) -> None:
        self._topic = topic
        self._sink = sink
        self._read = read
        self._note = note
        self._room = room
        self._timeout_s = timeout_s

    async def many(self, given: Sequence[object]) -> PublishResults:
        """Publish the messages of a body, the good ones of them."""
        if (refusal := await self._refusal()) is not None:
            found = [self._refused(index, fields, refusal) for index, fields in enumerate(given)]
        else:
            found = [self._sent(index, fields) for index, fields in enumerate(given)]
        sent = [each for each in found if each.future is not None]
        failures = await acknowledged(
            [each.future for each in sent if each.future], self._timeout_s
        )
        results = [each.result for each in found]
        for each, failure in zip(sent, failures, strict=True):
            if failure is not None:
                results[each.result.index] = _not_taken(each, failure)
        return results_of(results)

    async def one(self, fields: dict[str, Any]) -> PublishResults:
        """Publish the message of some fields.

        Raises
        ------
        BadMessage
            With the words of a dead letter.
        DeliveryFailed
            When the broker does not acknowledge it in time.
        """
        found = await self.many([fields])
        refuse_failure(found.results[0])
        return found

    async def _refusal(self) -> str | None:
        """Why nothing may be sent now."""
        if self._room is None or not self._room.is_due:
            return None
        try:
            is_full = await asyncio.to_thread(self._room.is_full)
        except KafkaError as error:
            return str(error)
        return _FULL if is_full else None

    def _checked(self, index: int, fields: object) -> _Sent[M]:
        """Return a message as if it was taken, or that it is bad."""
        try:
            message = self._read(fields)
        except BadMessage as error:
            return _Sent(_not(PublishResult(index=index, status=BAD), str(error)))
        taken = PublishResult(index=index, status=ACCEPTED, **_named(message))
        return _Sent(taken, message)

    def _refused(self, index: int, fields: object, why: str) -> _Sent[M]:
        found = self._checked(index, fields)
        return found if found.message is None else _Sent(_not_taken(found, why))

    def _sent(self, index: int, fields: object) -> _Sent[M]:
        """Return what is known of a message at once: that it is bad, or that it is on its way."""
        found = self._checked(index, fields)
        if found.message is None:
            return found
        try:
            key, value = message_key(found.message), encode(found.message)
            future = self._sink.send(self._topic, key=key, value=value)
        except DeliveryFailed as error:
            return _Sent(_not_taken(found, str(error)))
        self._note(found.message, future)
        if self._room is not None:
            self._room.note(len(value))
        return _Sent(found.result, found.message, future)


def event_publishing(config: Config, parts: Parts) -> Publishing[Event]:
    """Return what publishes events."""

    def read(fields: object) -> Event:
        return event_of(fields, config.event_types, now_ms=parts.clock.now_ms())

    return Publishing(
        config.topics.topic("events"),
        parts.sink,
        read=read,
        timeout_s=config.http.timeout_ms / 1000,
        room=parts.room,
    )


def results_of(results: list[PublishResult]) -> PublishResults:
    """Return what became of the messages of a body, counted."""
    n_accepted = sum(result.status == ACCEPTED for result in results)
    return PublishResults(accepted=n_accepted, rejected=len(results) - n_accepted, results=results)


def refuse_failure(result: PublishResult) -> None:
    """Raise BadMessage, or DeliveryFailed, where a message was not taken."""
    if result.status == BAD:
        raise BadMessage(result.detail)
    if result.status == NOT_TAKEN:
        raise DeliveryFailed(result.detail)


def _named(message: Event | Item | User) -> dict[str, str]:
    if isinstance(message, Event):
        return {"event_id": message.event_id}
    if isinstance(message, Item):
        return {"item_id": message.item_id}
    return {"user_id": message.user_id}


def _not_taken(sent: _Sent[M], detail: str) -> PublishResult:
    return _not(replace(sent.result, status=NOT_TAKEN), detail)


def _not(result: PublishResult, detail: str) -> PublishResult:
    return replace(result, detail=detail, field=field_of(detail))
