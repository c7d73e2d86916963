"""Routes that ask for recommendations and explain them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from starlette.exceptions import HTTPException

from streamer.config import Config
from streamer.events.messages import ANYBODY, ListName
from streamer.http.bodies import object_of, request_of
from streamer.http.examples import ASKED, ASKED_ROWS
from streamer.http.parts import Parts
from streamer.http.paths import WordBehindId
from streamer.http.routes.queries import KNOWN_PARAMETERS, Id, K, Wanted
from streamer.http.routes.slate_answers import SlateAnswers
from streamer.http.schemas import JSON, answers, body
from streamer.http.waiting import answered

PathId = Annotated[str, Path(min_length=1, max_length=256)]
Preview = Annotated[bool, Query(description="log no decision")]
WhoAsks = Annotated[
    str, Query(min_length=1, max_length=256, description="who asks; absent: a visitor")
]


def recommendation_routes(config: Config, parts: Parts) -> APIRouter:
    """Return the routes under ``/v1`` that answer from the parameters."""
    router = APIRouter(
        prefix="/v1",
        tags=["recommendations"],
        dependencies=[KNOWN_PARAMETERS],
        route_class=WordBehindId,
    )
    slates = SlateAnswers(config, parts)
    responses = answers("Recommendation", 503, 504, words="Items, best first")

    @router.post(
        "/recommendations",
        summary="Recommend items to a user",
        openapi_extra=body("RequestFields", ASKED, rows=ASKED_ROWS),
        responses=responses,
    )
    async def recommend(request: Request) -> Response:
        """The decision is logged for learning and evaluation, unless it is a `preview`."""
        return await slates(object_of(await request.body()))

    @router.get(
        "/users/{user_id:id}/recommendations",
        summary="Recommend items to a user, the short form",
        responses=responses,
    )
    async def recommend_to(
        user_id: PathId,
        wanted: Wanted,
        seed_items: Annotated[
            list[Id] | None, Query(max_length=64, description="what goes with these")
        ] = None,
        list_name: Annotated[
            ListName | None, Query(description="the same for whoever asks; no decision is made")
        ] = None,
        preview: Preview = False,
    ) -> Response:
        """As `POST /v1/recommendations`, for whoever has no body to send."""
        fields = {"seed_items": seed_items, "list_name": list_name, "preview": preview}
        return await slates({"user_id": user_id, **wanted, **fields})

    @router.get(
        "/lists/{list_name}",
        summary="List what is popular, trending or latest",
        responses=responses,
    )
    async def listed(list_name: ListName, wanted: Wanted, user_id: WhoAsks = ANYBODY) -> Response:
        """The same for whoever asks, so no decision is made."""
        return await slates({"user_id": user_id, **wanted, "list_name": list_name})

    @router.get(
        "/items/{item_id:id}/related",
        summary="Recommend what goes with an item",
        responses=answers("Recommendation", 404, 503, 504, words="Items, best first"),
    )
    async def related(
        item_id: PathId, wanted: Wanted, user_id: WhoAsks = ANYBODY, preview: Preview = False
    ) -> Response:
        """As recommendations with one of `seed_items`; the user's own taste ranks them.

        404 where neither the catalogue has the item nor anything was learned of it.
        """
        if not (parts.answers.missing() or parts.answers.knows_item(item_id)):
            meant = parts.answers.item_meant(item_id)
            raise HTTPException(
                404,
                f"nothing is known of item {item_id!r}: neither the catalogue has it, nor was"
                " anything learned of it; "
                + ("check how it is spelled" if meant is None else f"did you mean {meant!r}?"),
            )
        fields = {"seed_items": [item_id], "preview": preview}
        return await slates({"user_id": user_id, **wanted, **fields})

    @router.get(
        "/explanations",
        summary="Explain where an item stands in a user's ranking now",
        responses=answers("Explanation", 503, 504, words="Its place, and what adds to its score"),
    )
    async def explain(user: Id, item: Id, k: K = None) -> Response:
        """No decision is made; an item that can't be recommended is ranked all the same."""
        now_ms = parts.clock.now_ms()
        asked = request_of({"user_id": user, "k": k, "preview": True}, now_ms=now_ms)
        found = parts.answers.explain(asked, item, timeout_s=slates.timeout_s())
        explanation = await answered(found, slates.timeout_s())
        return Response(msgspec.json.encode(asdict(explanation)), media_type=JSON)

    return router
