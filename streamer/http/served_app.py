"""A service that is being put together, for what is added to it."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from streamer.config import Config
from streamer.http.access.page_access import PAGE, login_routes
from streamer.http.parts import Parts
from streamer.http.routes.reports import report_routes
from streamer.scorer.scorer import Scorer


@dataclass(frozen=True, slots=True)
class ServedApp:
    """An application before it is served, and what it answers from.

    Attributes
    ----------
    registry
        Where the metrics of this process are.
    """

    app: FastAPI
    config: Config
    parts: Parts
    scorer: Scorer
    registry: CollectorRegistry

    def add_entry(self) -> None:
        """Have the application lead on to the page, all of which is below its path."""
        self.app.add_route(PAGE, _lead_on, include_in_schema=False)

    def add_login(self) -> None:
        """Have the application ask for a key before it shows the page, where there are keys."""
        if keys := self.config.http.api_keys:
            self.app.include_router(login_routes([key.encode() for key in keys]))

    def add_reports(self) -> None:
        """Have the application answer with the reports of the folder that is configured."""
        if self.config.http.reports:
            self.app.include_router(report_routes(self.config.http.reports))


async def _lead_on(request: Request) -> Response:
    return RedirectResponse(f"{PAGE}/")
