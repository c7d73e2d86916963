"""The HTTP service as an ASGI application."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry

from streamer.config import Config
from streamer.http import paths
from streamer.http.access.guard import guarded
from streamer.http.kept_writing import item_writing
from streamer.http.metrics import HttpMetrics
from streamer.http.parts import Parts
from streamer.http.problems import add_problems, failed
from streamer.http.request_ids import RequestIds
from streamer.http.routes import metarank, personalizer
from streamer.http.routes.events import event_routes
from streamer.http.routes.health import health_routes
from streamer.http.routes.items import item_routes
from streamer.http.routes.metarank import metarank_routes
from streamer.http.routes.personalizer import personalizer_routes
from streamer.http.routes.recommendations import recommendation_routes
from streamer.http.routes.users import user_routes
from streamer.http.schemas import DOCS, DOCS_FILES, completed


def create_app(config: Config, parts: Parts, *, registry: CollectorRegistry) -> FastAPI:
    """Return the application; :mod:`streamer.http.server` serves it.

    Parameters
    ----------
    parts
        What answers, what sends, and the time.
    registry
        Where its metrics are.
    """
    app = FastAPIOffline(
        title="streamer",
        version=version("streamer"),
        description="Recommendations that have learned what happened a moment ago.",
        docs_url=DOCS,
        redoc_url=None,
        static_url=DOCS_FILES,
        redirect_slashes=False,  # an id that is empty is none of the paths without it
    )
    paths.register()  # before any route names it
    add_problems(app)
    items = item_writing(config, parts)  # one: each reads at once what the other wrote
    for routes in (
        recommendation_routes(config, parts),
        event_routes(config, parts),
        item_routes(config, items),
        user_routes(config, parts),
        personalizer_routes(config, parts),
        metarank_routes(config, parts, items),
        health_routes(parts),
    ):
        app.include_router(routes)
    guarded(app, config.http, now_s=time.monotonic)
    app.add_middleware(RequestIds, metrics=HttpMetrics(registry), failed=failed)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            routes = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            app.openapi_schema = completed(
                routes, config, (*personalizer.STRUCTS, *metarank.STRUCTS)
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app
