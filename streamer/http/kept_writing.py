"""Items and users from HTTP to their topics, and back at once."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final, Generic, Literal, TypeVar

from starlette.exceptions import HTTPException

from streamer.config import Config
from streamer.errors import StreamerError
from streamer.events import Item, User, decode_item, decode_user, encode, message_key
from streamer.http.bodies import encoded_object
from streamer.http.parts import Parts
from streamer.http.publishing import Publishing
from streamer.http.waiting import delivered

_REMEMBERED_S: Final = 10.0
_REMEMBERED_MAX: Final = 10_000


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
    decode
        Decodes what the topic holds.
    unknown
        Says that there is none.

    Attributes
    ----------
    several
        Publishes messages that name their ids, each in place of what was.
    """

    def __init__(
        self,
        config: Config,
        parts: Parts,
        noun: Literal["item", "user"],
        read: Callable[[str], Kept | None],
        *,
        decode: Callable[[bytes], Kept],
        unknown: str,
    ) -> None:
        self.noun = noun
        self._topic = config.topics.topic("items" if noun == "item" else "users")
        self._timeout_s = config.http.timeout_ms / 1000
        self._sink = parts.sink
        self._unknown = unknown
        self._last: LastWritten[Kept] = LastWritten(read)
        self._decode: Callable[[bytes], Kept] = decode
        self.several: Publishing[Kept] = Publishing(
            self._topic,
            self._sink,
            read=self._noted,
            timeout_s=self._timeout_s,
            forget=lambda message: self._last.forget(message_key(message).decode()),
        )

    def _noted(self, fields: object) -> Kept:
        message = self._decode(encoded_object(fields))
        self._last.note(message_key(message).decode(), message)
        return message

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
        config,
        parts,
        "item",
        parts.answers.item,
        decode=partial(decode_item, embedding=config.catalogue.embedding),
        unknown="the catalogue has no item",
    )


def user_writing(config: Config, parts: Parts) -> KeptWriting[User]:
    """Return what writes to the users topic."""
    unknown = "nothing is known that was said of user"
    return KeptWriting(
        config, parts, "user", parts.answers.user, decode=decode_user, unknown=unknown
    )
