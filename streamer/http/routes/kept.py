"""Routes of what a topic keeps by key: they read what it says, and write to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Path, Request, Response

from streamer.events import encode
from streamer.http.bodies import merged, object_of
from streamer.http.kept_writing import Kept, KeptWriting
from streamer.http.mistakes import refuse_mistakes
from streamer.http.routes.queries import KNOWN_PARAMETERS
from streamer.http.routes.several import published, several_answers
from streamer.http.schemas import JSON, answers, body, one_or_many


def kept_routes(
    writing: KeptWriting[Kept],
    made: Callable[[Mapping[str, Any], str], Kept],
    *,
    n_max: int,
    example: Mapping[str, object],
    patch_example: Mapping[str, object],
    put_means: str,
    delete_means: str,
    deletes: str,
) -> APIRouter:
    """Return the routes under ``/v1/items`` or ``/v1/users``.

    Parameters
    ----------
    made
        Makes a message of the fields of a body and the id of the path; raises BadMessage.
    n_max
        Messages in one body.
    example, patch_example
        Bodies, for the documentation.
    put_means, delete_means, deletes
        Summaries, and what else there is to say of a deletion, for the documentation.
    """
    noun, schema = writing.noun, writing.noun.capitalize()
    router = APIRouter(prefix=f"/v1/{noun}s", tags=[f"{noun}s"], dependencies=[KNOWN_PARAMETERS])
    path = f"/{{{noun}_id:id}}"
    named: Any = Path(alias=f"{noun}_id", min_length=1, max_length=256)

    async def sent(request: Request) -> dict[str, Any]:
        fields = object_of(await request.body())
        refuse_mistakes(fields, writing.kind)
        return fields

    async def put_fields(fields: dict[str, Any], key: str) -> Response:
        message = made(fields, key)
        await writing.put(message)
        return Response(encode(message), 202, media_type=JSON)

    whole = {f"{noun}_id": "one", **example}

    @router.post(
        "",
        status_code=202,
        summary=f"Publish what is known of one of the {noun}s, or of an array of them",
        openapi_extra=one_or_many(
            schema, n_max=n_max, one=whole, several=[whole, {f"{noun}_id": "another"}]
        ),
        responses=several_answers(),
    )
    async def post(request: Request) -> Response:
        """Each in place of what was, as `PUT`."""
        return await published(writing.several, request, n_max=n_max)

    @router.get(
        path,
        summary=f"Read what is known of one of the {noun}s",
        responses=answers(schema, 404, 503, words="As the service knows it"),
    )
    async def get(key: str = named) -> Response:
        return Response(encode(writing.get(key)), media_type=JSON)

    @router.put(
        path,
        status_code=202,
        summary=put_means,
        openapi_extra=body(f"{schema}Fields", example),
        responses=answers(schema, 503, ok=202, words="The broker has it"),
    )
    async def put(request: Request, key: str = named) -> Response:
        return await put_fields(await sent(request), key)

    @router.patch(
        path,
        status_code=202,
        summary="Change some fields: a JSON merge patch, null removes",
        openapi_extra=body(f"{schema}Patch", patch_example),
        responses=answers(schema, 404, 503, ok=202, words="The broker has it"),
    )
    async def patch(request: Request, key: str = named) -> Response:
        change = await sent(request)  # from here to the sending nothing is awaited
        return await put_fields(merged(msgspec.to_builtins(writing.get(key)), change), key)

    @router.delete(
        path,
        status_code=202,
        summary=delete_means,
        description=deletes,
        responses=answers(schema, 503, ok=202, words="The broker has it"),
    )
    async def delete(key: str = named) -> Response:
        message = made({}, key)
        await writing.delete(message)
        return Response(encode(message), 202, media_type=JSON)

    return router
