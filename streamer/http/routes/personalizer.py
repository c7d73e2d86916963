"""Calls in the form of Azure Personalizer's: rank, reward, activate.

What is mapped to what, and what is not, is in ``docs/http.md``.
"""

from __future__ import annotations

import logging
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Path, Request, Response
from msgspec import Meta
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from streamer.config import Config
from streamer.errors import StreamerError
from streamer.events.decoding import check_id
from streamer.events.messages import Id
from streamer.http.bodies import decoded, request_of
from streamer.http.parts import Parts
from streamer.http.publishing import event_publishing
from streamer.http.schemas import JSON, answers, body, problems
from streamer.http.waiting import answered

log = logging.getLogger(__name__)

ACTIONS_MAX: Final = 500
_RANKED_MAX: Final = 100_000
"""Rank calls that rewards are awaited for, some 400 B each; the oldest are forgotten."""
_DEPTH_MAX: Final = 8
"""Of context features; what is nested deeper is left out."""
Features = list[dict[str, Any]]
ApiVersion = Literal["v1.0", "v1.1-preview.1", "v1.1-preview.2", "v1.1-preview.3"]
EventId = Annotated[str, Path(min_length=1, max_length=256)]


class RankableAction(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One of the actions to choose from."""

    id: Annotated[Id, Meta(description="the item_id")]
    features: Annotated[
        Features, Meta(description="not used: what is known of items comes from the catalogue")
    ] = []


class RankRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What to choose from, and for whom."""

    actions: Annotated[list[RankableAction], Meta(min_length=1, max_length=ACTIONS_MAX)]
    context_features: Annotated[
        Features | None, Meta(description="becomes the context of the request, nested by dots")
    ] = None
    excluded_actions: Annotated[
        list[str] | None, Meta(description="ids; they come last, with probability 0")
    ] = None
    event_id: Annotated[Id | None, Meta(description="the request_id; absent: a new one")] = None
    defer_activation: Annotated[
        bool | None, Meta(description="the action is shown only when it is activated")
    ] = None


class RankedAction(msgspec.Struct, frozen=True, kw_only=True):
    """An action in its place."""

    id: str
    probability: Annotated[float, Meta(ge=0, le=1, description="that its place got this action")]


class RankResponse(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The actions, best first."""

    ranking: list[RankedAction]
    event_id: str
    reward_action_id: Annotated[str, Meta(description="the action to show")]


class RewardRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an event was worth."""

    value: Annotated[float, Meta(ge=-1, le=1)]


RANK: Final = {
    "contextFeatures": [{"user_id": "ann"}, {"device": "phone"}],
    "actions": [{"id": "tea", "features": [{"kind": "drink"}]}, {"id": "cake"}],
    "eventId": "75269ad0",
}
STRUCTS: Final = (RankRequest, RankResponse, RewardRequest)


class RankedEvents:
    """Whom a rank call was for and what it chose, by the id of its event; a bounded number."""

    def __init__(self, n_max: int = _RANKED_MAX) -> None:
        self._n_max = n_max
        self._chosen: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def note(self, event_id: str, user_id: str, item_id: str) -> None:
        """Remember a call."""
        self._chosen[event_id] = (user_id, item_id)
        if len(self._chosen) > self._n_max:
            self._chosen.popitem(last=False)

    def get(self, event_id: str) -> dict[str, Any]:
        """Return the fields of an event that answers a call; raises HTTPException 404."""
        if event_id not in self._chosen:
            raise HTTPException(
                404,
                f"no rank call of this process has eventId {event_id!r}: send rewards to the"
                f" process that ranked, within its next {self._n_max:,} rank calls",
            )
        user_id, item_id = self._chosen[event_id]
        return {"request_id": event_id, "user_id": user_id, "item_id": item_id, "position": 0}


def flat(
    features: Sequence[Mapping[str, Any]], depth: int = _DEPTH_MAX
) -> Iterator[tuple[str, str | int | float | bool]]:
    """Yield the plain values of nested features by their dotted names; lists are left out.

    >>> dict(flat([{"user": {"age": 31, "tags": [1]}}, {"device": "phone"}]))
    {'user.age': 31, 'device': 'phone'}
    """
    for each in features:
        for name, value in each.items():
            if isinstance(value, dict) and depth:
                inner = flat([value], depth - 1)
                yield from ((f"{name}.{part}", found) for part, found in inner)
            elif isinstance(value, str | int | float):
                yield name, value


def personalizer_routes(config: Config, parts: Parts) -> APIRouter:
    """Return the routes under ``/personalizer``."""
    router = APIRouter(prefix="/personalizer/{version}", tags=["personalizer"])
    publishing, ranked = event_publishing(config, parts), RankedEvents()
    timeout_s = config.http.timeout_ms / 1000
    names = {
        "context": "contextFeatures",
        "user_id": f"contextFeatures.{config.http.user_feature}",
    }

    async def report(kind: str, fields: dict[str, Any]) -> None:
        """Publish an event whose id says what it reports: sent twice it counts once."""
        said = f"{kind} {fields['request_id']} {fields.get('value')}".encode()
        await publishing.one({**fields, "event_id": blake2b(said, digest_size=16).hexdigest()})

    @router.post(
        "/rank",
        status_code=201,
        summary="Choose among actions",
        openapi_extra=body("RankRequest", RANK),
        responses=answers("RankResponse", 503, 504, ok=201, words="The actions, best first"),
    )
    async def rank(version: ApiVersion, request: Request) -> Response:
        """The decision is logged; unless it is deferred, its first action counts as shown."""
        asked = decoded(await request.body(), RankRequest)
        check_id("eventId", asked.event_id)
        for index, action in enumerate(asked.actions):
            check_id(f"actions[{index}].id", action.id)
        context = dict(flat(asked.context_features or ()))
        user = context.pop(config.http.user_feature, None)
        excluded = set(asked.excluded_actions or ())
        ids = list(dict.fromkeys(action.id for action in asked.actions))
        candidates = [each for each in ids if each not in excluded]
        event_id = asked.event_id or uuid.uuid4().hex
        if not candidates:
            return _ranking(event_id, [], ids)
        fields = {
            "request_id": event_id,
            "user_id": event_id if user is None else str(user),
            "context": context or None,
            "candidates": candidates,
            "k": len(candidates),
        }
        made = request_of(fields, now_ms=parts.clock.now_ms(), names=names)
        found = await answered(parts.answers.recommend(made, timeout_s=timeout_s), timeout_s)
        places = [each.item_id for each in found.recommendation.items]
        if places:
            ranked.note(event_id, made.user_id, places[0])
        answer = _ranking(event_id, list(zip(places, found.propensities, strict=True)), ids)
        if places and not asked.defer_activation:
            answer.background = BackgroundTask(impress, event_id)  # nobody waits for it
        return answer

    async def impress(event_id: str) -> None:
        try:
            await report("impression", shown(event_id))
        except StreamerError as error:
            log.warning("impression_not_reported", extra={"reason": str(error)})

    def shown(event_id: str) -> dict[str, Any]:
        return {**ranked.get(event_id), "type": "impression"}

    @router.post(
        "/events/{event_id:id}/reward",
        status_code=204,
        summary="Say what an event was worth",
        openapi_extra=body("RewardRequest", {"value": 0.5}),
        responses=problems(404, 503),
        response_class=Response,
    )
    async def reward(version: ApiVersion, event_id: EventId, request: Request) -> Response:
        """Feedback on the action that was chosen; what it is worth, `[events]` says."""
        value = decoded(await request.body(), RewardRequest).value
        fields = {"type": config.http.reward_type, "value": value}
        await report("reward", ranked.get(event_id) | fields)
        return Response(status_code=204)

    @router.post(
        "/events/{event_id:id}/activate",
        status_code=204,
        summary="Say that the action of a deferred event is shown",
        responses=problems(404, 503),
        response_class=Response,
    )
    async def activate(version: ApiVersion, event_id: EventId) -> Response:
        """An impression of the action that was chosen."""
        await report("impression", shown(event_id))
        return Response(status_code=204)

    return router


def _ranking(
    event_id: str, chosen: Sequence[tuple[str, float]], action_ids: Sequence[str]
) -> Response:
    """Return the chosen actions, and then those that were not, with probability 0."""
    places = {item_id for item_id, _ in chosen}
    left = [(each, 0.0) for each in action_ids if each not in places]
    ranking = [RankedAction(id=each, probability=p) for each, p in (*chosen, *left)]
    said = RankResponse(ranking=ranking, event_id=event_id, reward_action_id=ranking[0].id)
    return Response(msgspec.json.encode(said), 201, media_type=JSON)
