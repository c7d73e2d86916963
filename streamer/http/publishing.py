"""Events and items from HTTP to their topics: taken means that the broker has them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final

from starlette.exceptions import HTTPException

from streamer.config import Config
from streamer.errors import BadMessage, DeliveryFailed, StreamerError
from streamer.events import Item, encode, message_key
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


class LastWritten:
    """What this process wrote of late, until the catalogue has read it: a caller that writes and
    then reads or patches meets its own item.

    Between processes the last one wins, as on the topic.
    """

    def __init__(
        self, read: Callable[[str], Item | None], *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._now_s = now_s
        self._written: OrderedDict[str, tuple[float, Item | None]] = OrderedDict()

    def get(self, item_id: str) -> Item | None:
        """Return the item as it is, or will be in a moment; None: there is none."""
        written_s, item = self._written.get(item_id, (-_REMEMBERED_S, None))
        return item if self._now_s() - written_s < _REMEMBERED_S else self._read(item_id)

    def note(self, item_id: str, item: Item | None) -> None:
        """Remember what is written now; None: that it is deleted."""
        self._written.pop(item_id, None)
        self._written[item_id] = (self._now_s(), item)
        if len(self._written) > _REMEMBERED_MAX:
            self._written.popitem(last=False)

    def forget(self, item_id: str) -> None:
        """Forget what was not delivered."""
        self._written.pop(item_id, None)


class ItemWriting:
    """Writes to the items topic, and reads the catalogue as it will be in a moment."""

    def __init__(self, config: Config, parts: Parts) -> None:
        self._topic = config.topics.topic("items")
        self._timeout_s = config.http.timeout_ms / 1000
        self._sink = parts.sink
        self._last = LastWritten(parts.answers.item)

    def find(self, item_id: str) -> Item | None:
        """Return an item; None where there is none."""
        return self._last.get(item_id)

    def get(self, item_id: str) -> Item:
        """Return an item; raises HTTPException 404 where there is none."""
        found = self.find(item_id)
        if found is None:
            raise HTTPException(404, f"the catalogue has no item {item_id!r}")
        return found

    async def put(self, item: Item) -> None:
        """Publish an item, in place of what was.

        Raises
        ------
        DeliveryFailed
            When the broker does not acknowledge it in time.
        """
        await self._write(item, encode(item))

    async def delete(self, item: Item) -> None:
        """Send the tombstone of an item; raises as :meth:`put`."""
        await self._write(item, None)

    async def _write(self, item: Item, value: bytes | None) -> None:
        future = self._sink.send(self._topic, key=message_key(item), value=value)
        self._last.note(item.item_id, None if value is None else item)
        try:
            await delivered(future, self._timeout_s)
        except StreamerError:
            self._last.forget(item.item_id)
            raise
