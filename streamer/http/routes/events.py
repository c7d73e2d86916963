"""Routes that take events: accepted means that the broker has them."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from streamer.config import Config
from streamer.errors import BadMessage
from streamer.events import Event
from streamer.http.bodies import object_of
from streamer.http.examples import EVENT, FEEDBACK
from streamer.http.mistakes import refuse_mistakes
from streamer.http.parts import Parts
from streamer.http.publishing import ACCEPTED, event_publishing
from streamer.http.routes.queries import KNOWN_PARAMETERS
from streamer.http.routes.several import accepted, published, several_answers
from streamer.http.schemas import answers, body, one_or_many


def event_routes(config: Config, parts: Parts) -> APIRouter:
    """Return the routes under ``/v1`` that publish events."""
    router = APIRouter(prefix="/v1", tags=["events"], dependencies=[KNOWN_PARAMETERS])
    publishing = event_publishing(config, parts)
    n_max = config.http.events_max

    @router.post(
        "/events",
        status_code=ACCEPTED,
        summary="Publish what users did: one event, or an array of them",
        openapi_extra=one_or_many("EventFields", n_max=n_max, one=EVENT, several=[EVENT, EVENT]),
        responses=several_answers(),
    )
    async def publish(request: Request) -> Response:
        """Without an `event_id` an event is new each time it is sent; with one it counts once."""
        return await published(publishing, request, n_max=n_max)

    @router.post(
        "/feedback",
        status_code=ACCEPTED,
        summary="Report what a user did with a recommendation, by its request_id",
        openapi_extra=body("FeedbackFields", FEEDBACK),
        responses=answers("PublishResults", 503, ok=ACCEPTED, words="The broker has it"),
    )
    async def feedback(request: Request) -> Response:
        """An event that names its request; its `type` is `click` where none is given."""
        given = object_of(await request.body())
        refuse_mistakes(given, Event)
        fields = given if given.get("type") is not None else {**given, "type": "click"}
        if fields.get("request_id") is None:
            raise BadMessage(
                "field 'request_id': missing; send the request_id of the recommendation, or publish"
                " to /v1/events what answers none"
            )
        return accepted(await publishing.one(fields))

    return router
