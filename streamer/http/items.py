"""Routes of the catalogue: what they write goes to the items topic."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Request, Response

from streamer.config import Config
from streamer.events import encode
from streamer.http.bodies import item_of, merged, object_of
from streamer.http.parts import Parts
from streamer.http.publishing import ItemWriting
from streamer.http.schemas import ITEM, JSON, answers, body

ItemId = Annotated[str, Path(min_length=1, max_length=256)]


def item_routes(config: Config, parts: Parts) -> APIRouter:
    """Return the routes under ``/v1/items``."""
    router = APIRouter(prefix="/v1/items", tags=["items"])
    catalogue = ItemWriting(config, parts)

    async def put_fields(fields: dict[str, Any], item_id: str) -> Response:
        item = item_of(fields, item_id)
        await catalogue.put(item)
        return Response(encode(item), 202, media_type=JSON)

    @router.get(
        "/{item_id:id}",
        summary="Read an item of the catalogue",
        responses=answers("Item", 404, 503, words="As the service knows it"),
    )
    async def get(item_id: ItemId) -> Response:
        return Response(encode(catalogue.get(item_id)), media_type=JSON)

    @router.put(
        "/{item_id:id}",
        status_code=202,
        summary="Publish what is known of an item, in place of what was",
        openapi_extra=body("ItemFields", ITEM),
        responses=answers("Item", 503, ok=202, words="The broker has it"),
    )
    async def put(item_id: ItemId, request: Request) -> Response:
        return await put_fields(object_of(await request.body()), item_id)

    @router.patch(
        "/{item_id:id}",
        status_code=202,
        summary="Change some fields of an item: a JSON merge patch, null removes",
        openapi_extra=body("ItemPatch", {"available": False}),
        responses=answers("Item", 404, 503, ok=202, words="The broker has it"),
    )
    async def patch(item_id: ItemId, request: Request) -> Response:
        change = object_of(await request.body())  # from here to the sending nothing is awaited
        return await put_fields(
            merged(msgspec.to_builtins(catalogue.get(item_id)), change), item_id
        )

    @router.delete(
        "/{item_id:id}",
        status_code=202,
        summary="Take an item out of the catalogue",
        responses=answers("Item", 503, ok=202, words="The broker has it"),
    )
    async def delete(item_id: ItemId) -> Response:
        """Deleted for good only while the topic remembers it: to retire an item, publish it with
        `available: false`."""
        item = item_of({}, item_id)
        await catalogue.delete(item)
        return Response(encode(item), 202, media_type=JSON)

    return router
