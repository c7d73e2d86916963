"""Routes that ask for recommendations and explain them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response

from streamer.config import Config
from streamer.events import encode
from streamer.events.messages import FILTER_MAX, TIMEOUT_MS_MAX, ListName
from streamer.http.bodies import object_of, request_of
from streamer.http.parts import Parts
from streamer.http.schemas import ASKED, ASKED_ROWS, JSON, answers, body
from streamer.http.waiting import answered

Id = Annotated[str, Query(min_length=1, max_length=256)]
K = Annotated[int | None, Query(ge=1, le=500, description="items wanted; default: configured")]


def recommendation_routes(config: Config, parts: Parts) -> APIRouter:
    """Return the routes under ``/v1`` that answer from the parameters."""
    router = APIRouter(prefix="/v1", tags=["recommendations"])

    def timeout_s(given_ms: int | None) -> float:
        return (given_ms or config.http.timeout_ms) / 1000

    async def recommended(fields: dict[str, Any]) -> Response:
        asked = request_of(fields, now_ms=parts.clock.now_ms())
        wait_s = timeout_s(asked.timeout_ms)
        found = await answered(parts.answers.recommend(asked, timeout_s=wait_s), wait_s)
        return Response(
            encode(found.recommendation), media_type=JSON, headers={"Cache-Control": "no-store"}
        )

    @router.post(
        "/recommendations",
        summary="Recommend items to a user",
        openapi_extra=body("RequestFields", ASKED, rows=ASKED_ROWS),
        responses=answers("Recommendation", 503, 504, words="Items, best first"),
    )
    async def recommend(request: Request) -> Response:
        """The decision is logged for learning and evaluation, unless it is a `preview`."""
        return await recommended(object_of(await request.body()))

    @router.get(
        "/users/{user_id:id}/recommendations",
        summary="Recommend items to a user, the short form",
        responses=answers("Recommendation", 503, 504, words="Items, best first"),
    )
    async def recommend_to(
        user_id: Annotated[str, Path(min_length=1, max_length=256)],
        k: K = None,
        surface: Annotated[
            str | None, Query(min_length=1, max_length=256, description="where it is shown")
        ] = None,
        seed_items: Annotated[
            list[Id] | None, Query(max_length=64, description="what goes with these")
        ] = None,
        exclude: Annotated[list[Id] | None, Query(max_length=1_000)] = None,
        list_name: Annotated[
            ListName | None, Query(description="the same for whoever asks; no decision is made")
        ] = None,
        only: Annotated[
            str | None,
            Query(alias="filter", max_length=FILTER_MAX, description="of items, in CEL"),
        ] = None,
        preview: Annotated[bool, Query(description="log no decision")] = False,
        timeout_ms: Annotated[int | None, Query(ge=1, le=TIMEOUT_MS_MAX)] = None,
    ) -> Response:
        """As `POST /v1/recommendations`, for whoever has no body to send."""
        return await recommended(
            {
                "user_id": user_id,
                "k": k,
                "surface": surface,
                "seed_items": seed_items,
                "exclude": exclude,
                "list_name": list_name,
                "filter": only,
                "preview": preview,
                "timeout_ms": timeout_ms,
            }
        )

    @router.get(
        "/explanations",
        summary="Explain where an item stands in a user's ranking now",
        responses=answers("Explanation", 503, 504, words="Its place, and what adds to its score"),
    )
    async def explain(user: Id, item: Id, k: K = None) -> Response:
        """No decision is made; an item that can't be recommended is ranked all the same."""
        now_ms = parts.clock.now_ms()
        asked = request_of({"user_id": user, "k": k, "preview": True}, now_ms=now_ms)
        found = parts.answers.explain(asked, item, timeout_s=timeout_s(None))
        explanation = await answered(found, timeout_s(None))
        return Response(msgspec.json.encode(asdict(explanation)), media_type=JSON)

    return router
