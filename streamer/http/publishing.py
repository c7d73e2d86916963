"""Events, items and users from HTTP to their topics: taken means that the broker has them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final, Generic, Literal, TypeVar

from starlette.exceptions import HTTPException

from streamer.config import Config
from streamer.errors import BadMessage, DeliveryFailed, StreamerError
from streamer.events import Item, User, encode, message_key
from streamer.http.bodies import event_of
from streamer.http.parts import Parts
from streamer.http.problems import field_of
from streamer.http.schemas import EventResult, EventResults
from streamer.http.waiting import acknowledged, delivered

ACCEPTED: Final = 202
BAD: Final = 422
NOT_TAKEN: Final = 503
_REMEMBERED_S: Final = 10.0
_REMEMBERED_MAX: Final = 10_000


class EventPublishing:
    """Publishes events, and says of each what became of it."""

    def __init__(self, config: Config, parts: Parts) -> None:
        self._topic = config.topics.topic("events")
        self._types = config.event_types
        self._timeout_s = config.http.timeout_ms / 1000
        self._parts = parts

    async def many(self, events: Sequence[object]) -> EventResults:
        """Publish the events of some fields, the good ones of them."""
        found = [self._sent(index, fields) for index, fields in enumerate(events)]
        on_their_way = [(result, future) for result, future in found if future is not None]
        failures = await acknowledged([future for _, future in on_their_way], self._timeout_s)
        results = [result for result, _ in found]
        for (result, _), failure in zip(on_their_way, failures, strict=True):
            if failure is not None:
                at = result.index
                results[at] = _not(at, NOT_TAKEN, failure, result.event_id)
        n_accepted = sum(result.status == ACCEPTED for result in results)
        return EventResults(
            accepted=n_accepted, rejected=len(results) - n_accepted, results=results
        )

    async def one(self, fields: dict[str, Any]) -> EventResults:
        """Publish the event of some fields.

        Raises
        ------
        BadMessage
            With the words of a dead letter.
        DeliveryFailed
            When the broker does not acknowledge it in time.
        """
        found = await self.many([fields])
        result = found.results[0]
        if result.status == BAD:
            raise BadMessage(result.detail)
        if result.status == NOT_TAKEN:
            raise DeliveryFailed(result.detail)
        return found

    def _sent(self, index: int, fields: object) -> tuple[EventResult, Future[None] | None]:
        """Return what is known of an event at once: that it is bad, or that it is on its way."""
        try:
            event = event_of(fields, self._types, now_ms=self._parts.clock.now_ms())
        except BadMessage as error:
            return _not(index, BAD, str(error)), None
        taken = EventResult(index=index, status=ACCEPTED, event_id=event.event_id)
        try:
            key, value = message_key(event), encode(event)
            return taken, self._parts.sink.send(self._topic, key=key, value=value)
        except DeliveryFailed as error:
            return _not(index, NOT_TAKEN, str(error), event.event_id), None


def _not(index: int, status: int, detail: str, event_id: str | None = None) -> EventResult:
    return EventResult(
        index=index, status=status, event_id=event_id, detail=detail, field=field_of(detail)
    )


Kept = TypeVar("Kept", Item, User)
"""What a topic keeps by key."""


class LastWritten(Generic[Kept]):
    """What this process wrote of late, until it is read from the topic: a caller that writes and
    then reads or patches meets its own message.

    Between processes the last one wins, as on the topic.
    """

    def __init__(
        self, read: Callable[[str], Kept | None], *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._read: Callable[[str], Kept | None] = read
        self._now_s = now_s
        self._written: OrderedDict[str, tuple[float, Kept | None]] = OrderedDict()

    def get(self, key: str) -> Kept | None:
        """Return a message as it is, or will be in a moment; None: there is none."""
        written_s, message = self._written.get(key, (-_REMEMBERED_S, None))
        return message if self._now_s() - written_s < _REMEMBERED_S else self._read(key)

    def note(self, key: str, message: Kept | None) -> None:
        """Remember what is written now; None: that it is deleted."""
        self._written.pop(key, None)
        self._written[key] = (self._now_s(), message)
        if len(self._written) > _REMEMBERED_MAX:
            self._written.popitem(last=False)

    def forget(self, key: str) -> None:
        """Forget what was not delivered."""
        self._written.pop(key, None)


class KeptWriting(Generic[Kept]):
    """Writes to a topic of items or users, and reads them as they will be in a moment.

    Parameters
    ----------
    noun
        ``item`` or ``user``.
    read
        What the service knows of an id.
    unknown
        Says that there is none.
    """

    def __init__(
        self,
        config: Config,
        parts: Parts,
        noun: Literal["item", "user"],
        read: Callable[[str], Kept | None],
        *,
        unknown: str,
    ) -> None:
        self.noun = noun
        self._topic = config.topics.topic("items" if noun == "item" else "users")
        self._timeout_s = config.http.timeout_ms / 1000
        self._sink = parts.sink
        self._unknown = unknown
        self._last: LastWritten[Kept] = LastWritten(read)

    def find(self, key: str) -> Kept | None:
        """Return what is known of an id; None where there is none."""
        return self._last.get(key)

    def get(self, key: str) -> Kept:
        """Return what is known of an id; raises HTTPException 404 where there is none."""
        found = self.find(key)
        if found is None:
            raise HTTPException(404, f"{self._unknown} {key!r}")
        return found

    async def put(self, message: Kept) -> None:
        """Publish a message, in place of what was.

        Raises
        ------
        DeliveryFailed
            When the broker does not acknowledge it in time.
        """
        await self._write(message, encode(message))

    async def delete(self, message: Kept) -> None:
        """Send the tombstone of a message; raises as :meth:`put`."""
        await self._write(message, None)

    async def _write(self, message: Kept, value: bytes | None) -> None:
        key = message_key(message)
        future = self._sink.send(self._topic, key=key, value=value)
        self._last.note(key.decode(), None if value is None else message)
        try:
            await delivered(future, self._timeout_s)
        except StreamerError:
            self._last.forget(key.decode())
            raise


def item_writing(config: Config, parts: Parts) -> KeptWriting[Item]:
    """Return what writes to the items topic."""
    return KeptWriting(
        config, parts, "item", parts.answers.item, unknown="the catalogue has no item"
    )


def user_writing(config: Config, parts: Parts) -> KeptWriting[User]:
    """Return what writes to the users topic."""
    unknown = "nothing is known that was said of user"
    return KeptWriting(config, parts, "user", parts.answers.user, unknown=unknown)
