"""Routes of the catalogue: what they write goes to the items topic."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter

from streamer.config import Config
from streamer.events import Item
from streamer.http.bodies import item_of
from streamer.http.examples import ITEM
from streamer.http.kept_writing import KeptWriting
from streamer.http.routes.kept import kept_routes


def item_routes(config: Config, writing: KeptWriting[Item]) -> APIRouter:
    """Return the routes under ``/v1/items``."""
    return kept_routes(
        writing,
        partial(item_of, embedding=config.catalogue.embedding),
        n_max=config.http.events_max,
        example=ITEM,
        patch_example={"available": False},
        put_means="Publish what is known of an item, in place of what was",
        delete_means="Take an item out of the catalogue",
        deletes="What was learned of it is forgotten. Deleted for good only while the topic"
        " remembers it: to retire an item, publish it with `available: false`.",
    )
