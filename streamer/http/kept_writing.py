"""Items and users from HTTP to their topics, and back at once."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, Literal, TypeVar

from starlette.exceptions import HTTPException

from streamer.config import Config
from streamer.events import Item, Message, User, decode_item, decode_user, encode, message_key
from streamer.http.bodies import sent_object
from streamer.http.parts import Parts
from streamer.http.publishing import Publishing
from streamer.http.waiting import delivered
from streamer.protocols import DeliveredAt

_REMEMBERED_S: Final = 10.0
"""For how long at most, as where no learner reads the users, or a broker says no offset."""
_REMEMBERED_MAX: Final = 10_000


Kept = TypeVar("Kept", Item, User)
"""What a topic keeps by key."""


@dataclass(frozen=True, slots=True)
class _LastWrite(Generic[Kept]):
    """What was written last of a key, and when; None: that it is deleted."""

    message: Kept | None
    sent: Future[DeliveredAt]
    written_s: float


class LastWritten(Generic[Kept]):
    """What this process wrote of late, until it is read from the topic: a caller that writes and
    then reads or patches meets its own message.

    From then on the topic has the word, so that what others wrote behind it shows as soon as it is
    read. Between processes the last one wins, as on the topic. What was not delivered is forgotten.

    Parameters
    ----------
    read
        What the topic says of a key, as far as it is read.
    is_read
        Whether the topic is read up to a message, and behind it.
    """

    def __init__(
        self,
        read: Callable[[str], Kept | None],
        is_read: Callable[[DeliveredAt], bool],
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read: Callable[[str], Kept | None] = read
        self._is_read = is_read
        self._now_s = now_s
        self._written: OrderedDict[str, _LastWrite[Kept]] = OrderedDict()

    def get(self, key: str) -> Kept | None:
        """Return a message as it is, or will be in a moment; None: there is none."""
        written = self._written.get(key)
        if written is not None and not self._is_over(written):
            return written.message
        self._written.pop(key, None)
        return self._read(key)  # behind the look at what is read: it is no older than that

    def note(self, key: str, message: Kept | None, sent: Future[DeliveredAt]) -> None:
        """Remember what is written now; None: that it is deleted."""
        self._written.pop(key, None)
        self._written[key] = _LastWrite(message, sent, self._now_s())
        if len(self._written) > _REMEMBERED_MAX:
            self._written.popitem(last=False)

    def _is_over(self, written: _LastWrite[Kept]) -> bool:
        sent = written.sent
        if self._now_s() - written.written_s >= _REMEMBERED_S:
            return True
        if not sent.done():
            return False
        return sent.cancelled() or sent.exception() is not None or self._is_read(sent.result())


class KeptWriting(Generic[Kept]):
    """Writes to a topic of items or users, and reads them as they will be in a moment.

    Parameters
    ----------
    noun
        ``item`` or ``user``.
    read
        What the service knows of an id.
    is_read
        Whether it has read its topic up to a message, and behind it.
    decode
        Decodes what the topic holds.
    unknown
        Says that there is none.

    Attributes
    ----------
    kind
        Of the messages.
    several
        Publishes messages that name their ids, each in place of what was.
    """

    def __init__(
        self,
        config: Config,
        parts: Parts,
        noun: Literal["item", "user"],
        read: Callable[[str], Kept | None],
        is_read: Callable[[DeliveredAt], bool],
        *,
        decode: Callable[[bytes], Kept],
        unknown: str,
    ) -> None:
        self.noun = noun
        self.kind: type[Message] = Item if noun == "item" else User
        self._topic = config.topics.topic("items" if noun == "item" else "users")
        self._timeout_s = config.http.timeout_ms / 1000
        self._sink = parts.sink
        self._unknown = unknown
        self._last: LastWritten[Kept] = LastWritten(read, is_read)
        self._decode: Callable[[bytes], Kept] = decode
        self.several: Publishing[Kept] = Publishing(
            self._topic,
            self._sink,
            read=lambda fields: self._decode(sent_object(fields, self.kind)),
            timeout_s=self._timeout_s,
            note=self._note,
        )

    def _note(self, message: Kept, sent: Future[DeliveredAt]) -> None:
        self._last.note(message_key(message).decode(), message, sent)

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
        sent = self._sink.send(self._topic, key=key, value=value)
        self._last.note(key.decode(), None if value is None else message, sent)
        await delivered(sent, self._timeout_s)


def item_writing(config: Config, parts: Parts) -> KeptWriting[Item]:
    """Return what writes to the items topic."""
    return KeptWriting(
        config,
        parts,
        "item",
        parts.answers.item,
        parts.answers.item_is_read,
        decode=partial(decode_item, embedding=config.catalogue.embedding),
        unknown="the catalogue has no item",
    )


def user_writing(config: Config, parts: Parts) -> KeptWriting[User]:
    """Return what writes to the users topic."""
    unknown = "nothing is known that was said of user"
    return KeptWriting(
        config,
        parts,
        "user",
        parts.answers.user,
        parts.answers.user_is_read,
        decode=decode_user,
        unknown=unknown,
    )
