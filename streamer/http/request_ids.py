"""An id of each HTTP request: the caller's, or a new one; every answer carries it."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamer.http.access.page_access import PAGE, is_of_page
from streamer.http.metrics import HttpMetrics

HEADER: Final = "X-Request-ID"
_FROM_CALLERS = re.compile(rb"[\x21-\x7e]{1,128}")
_KEY: Final = "streamer.request_id"
_UNROUTED: Final = "none"


def request_id_of(scope: Scope) -> str | None:
    """Return the id of a request."""
    found: str | None = scope.get(_KEY)
    return found


class RequestIds:
    """Gives requests their ids, and counts and times them by route.

    Parameters
    ----------
    failed
        Makes the answer where the application raised something.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: HttpMetrics,
        failed: Callable[[Request, Exception], Response],
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()
        request_id = scope[_KEY] = _given(scope) or uuid.uuid4().hex
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).append(HEADER, request_id)
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            if status:  # the answer has begun
                raise
            await self._failed(Request(scope), error)(scope, receive, send_with_id)
        finally:
            route = getattr(scope.get("route"), "path", _UNROUTED)
            if is_of_page(scope["path"]):  # whose files are named by their versions
                route = PAGE
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.request_seconds.observe(time.perf_counter() - began_s)


def _given(scope: Scope) -> str | None:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    name: Any = HEADER.lower().encode()
    value = next((value for key, value in headers if key == name), b"")
    return value.decode("ascii") if _FROM_CALLERS.fullmatch(value) else None
