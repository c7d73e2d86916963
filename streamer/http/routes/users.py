"""Routes of what users say of themselves: what they write goes to the users topic."""

from __future__ import annotations

from fastapi import APIRouter

from streamer.config import Config
from streamer.http.bodies import user_of
from streamer.http.examples import USER
from streamer.http.kept_writing import user_writing
from streamer.http.parts import Parts
from streamer.http.routes.kept import kept_routes


def user_routes(config: Config, parts: Parts) -> APIRouter:
    """Return the routes under ``/v1/users`` that are no recommendations."""
    return kept_routes(
        user_writing(config, parts),
        user_of,
        n_max=config.http.events_max,
        example=USER,
        patch_example={"attributes": {"country": "pt"}},
        put_means="Publish what a user says of themselves, in place of what was",
        delete_means="Erase a user",
        deletes="All that belongs to them leaves the parameters once a learner has read it. Topics"
        " keep their messages for as long as they keep any.",
    )
