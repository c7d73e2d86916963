"""Routes for who watches the service: does it live, and can it be asked?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from fastapi import APIRouter, Response

from streamer.errors import StreamerError
from streamer.http.parts import Parts
from streamer.http.schemas import JSON, Health, content

_BROKER_ANSWER_S: Final = 2.0
"""How long one look at the broker holds: probes of many watchers cost it one question."""


class BrokerWatch:
    """Looks for the broker, at most once in a while, and not in the event loop."""

    def __init__(
        self, check: Callable[[], None], *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._check = check
        self._now_s = now_s
        self._lock = asyncio.Lock()
        self._looked_s = -_BROKER_ANSWER_S
        self._lacks: list[str] = []

    async def lacks(self) -> list[str]:
        """Why the broker can't be used; empty: it answers."""
        async with self._lock:
            if self._now_s() - self._looked_s >= _BROKER_ANSWER_S:
                self._lacks = await asyncio.to_thread(self._asked)
                self._looked_s = self._now_s()
            return self._lacks

    def _asked(self) -> list[str]:
        try:
            self._check()
        except StreamerError as error:
            return [str(error)]
        return []


def health_routes(parts: Parts) -> APIRouter:
    """Return ``/healthz`` and ``/readyz``."""
    router = APIRouter(tags=["health"])
    broker = BrokerWatch(parts.check_broker)
    answers = {
        200: {"description": "It does", "content": content("Health")},
        503: {"description": "It does not, with what it lacks", "content": content("Health")},
    }

    @router.get("/healthz", summary="Whether all threads run", responses=answers)  # type: ignore[arg-type]
    async def healthz() -> Response:
        """Start the service again where this is not 200."""
        ended = list(parts.answers.ended())
        if not parts.sink.alive:
            ended.append("the thread that takes acknowledgements has ended")
        return _said(ended)

    @router.get("/readyz", summary="Whether it can be asked now", responses=answers)  # type: ignore[arg-type]
    async def readyz() -> Response:
        """Send it no requests where this is not 200: it starts, or its broker is away."""
        return _said([*parts.answers.missing(), *await broker.lacks()])

    return router


def _said(lacks: Sequence[str]) -> Response:
    health = Health(status="unavailable" if lacks else "ok", lacks=list(lacks))
    return Response(msgspec.json.encode(health), 503 if lacks else 200, media_type=JSON)
