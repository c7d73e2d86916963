"""Routes of the catalogue: what they write goes to the items topic."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Request, Response
from starlette.exceptions import HTTPException

from streamer.config import Config
from streamer.errors import StreamerError
from streamer.events import Item, encode, message_key
from streamer.http.bodies import item_of, merged, object_of
from streamer.http.parts import Parts
from streamer.http.schemas import ITEM, JSON, answers, body
from streamer.http.waiting import delivered

_REMEMBERED_S: Final = 10.0
_REMEMBERED_MAX: Final = 10_000
ItemId = Annotated[str, Path(min_length=1, max_length=256)]


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


def item_routes(config: Config, parts: Parts) -> APIRouter:
    """Return the routes under ``/v1/items``."""
    router = APIRouter(prefix="/v1/items", tags=["items"])
    topic, timeout_s = config.topics.topic("items"), config.http.timeout_ms / 1000
    last = LastWritten(parts.answers.item)

    async def write(item: Item, value: bytes | None) -> None:
        future = parts.sink.send(topic, key=message_key(item), value=value)
        last.note(item.item_id, None if value is None else item)
        try:
            await delivered(future, timeout_s)
        except StreamerError:
            last.forget(item.item_id)
            raise

    def known(item_id: str) -> Item:
        found = last.get(item_id)
        if found is None:
            raise HTTPException(404, f"the catalogue has no item {item_id!r}")
        return found

    async def put_fields(fields: dict[str, Any], item_id: str) -> Response:
        item = item_of(fields, item_id)
        payload = encode(item)
        await write(item, payload)
        return Response(payload, 202, media_type=JSON)

    @router.get(
        "/{item_id:path}",
        summary="Read an item of the catalogue",
        responses=answers("Item", 404, 503, words="As the service knows it"),
    )
    async def get(item_id: ItemId) -> Response:
        return Response(encode(known(item_id)), media_type=JSON)

    @router.put(
        "/{item_id:path}",
        status_code=202,
        summary="Publish what is known of an item, in place of what was",
        openapi_extra=body("ItemFields", ITEM),
        responses=answers("Item", 503, ok=202, words="The broker has it"),
    )
    async def put(item_id: ItemId, request: Request) -> Response:
        return await put_fields(object_of(await request.body()), item_id)

    @router.patch(
        "/{item_id:path}",
        status_code=202,
        summary="Change some fields of an item: a JSON merge patch, null removes",
        openapi_extra=body("ItemPatch", {"available": False}),
        responses=answers("Item", 404, 503, ok=202, words="The broker has it"),
    )
    async def patch(item_id: ItemId, request: Request) -> Response:
        change = object_of(await request.body())  # from here to the sending nothing is awaited
        return await put_fields(merged(msgspec.to_builtins(known(item_id)), change), item_id)

    @router.delete(
        "/{item_id:path}",
        status_code=202,
        summary="Take an item out of the catalogue",
        responses=answers("Item", 503, ok=202, words="The broker has it"),
    )
    async def delete(item_id: ItemId) -> Response:
        """Deleted for good only while the topic remembers it: to retire an item, publish it with
        `available: false`."""
        item = item_of({}, item_id)
        await write(item, None)
        return Response(encode(item), 202, media_type=JSON)

    return router
