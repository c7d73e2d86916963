"""Who may ask, how often, and how much at once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote_to_bytes

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamer.config.http import HttpConfig
from streamer.http.access.buckets import TokenBuckets
from streamer.http.access.keys import HOW, key_of, place_of
from streamer.http.access.page_access import LOGIN, PageAccess, is_foreign, is_of_page
from streamer.http.problems import problem
from streamer.http.request_ids import HEADER
from streamer.http.schemas import OPEN

HUNG_UP: Final = 499
"""Status, in the metrics alone, of a request whose caller hung up before its body was there; nginx
counts them as the same."""
_REFUSED: Final = 1008  # of a websocket: against the policy
_NO_TEXT: Final = (
    "the path or its query holds bytes that are no UTF-8; percent-encode ids and values as UTF-8"
)


def guarded(app: FastAPI, config: HttpConfig, *, now_s: Callable[[], float]) -> None:
    """Have an application let in whom the configuration lets in, and pages of its origins."""
    app.add_middleware(Guard, config=config, now_s=now_s)
    if config.cors_origins:
        app.add_middleware(
            _Origins,
            allow_origins=config.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", HEADER],
            expose_headers=["Retry-After", HEADER],
        )


class _Origins(CORSMiddleware):
    """Says as a problem why the page of an origin may not ask."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        asked = headers.get("access-control-request-method")
        if "origin" in headers and asked is not None and scope["method"] == "OPTIONS":
            answer = self.preflight_response(headers)
            if answer.status_code == HTTPStatus.BAD_REQUEST:
                answer = self._refusal(Request(scope), bytes(answer.body).decode(), answer.headers)
            await answer(scope, receive, send)
            return
        await super().__call__(scope, receive, send)

    def _refusal(self, request: Request, why: str, headers: Mapping[str, str]) -> Response:
        detail = (
            f"{why}: http.cors_origins has the origins that may ask, by"
            f" {', '.join(self.allow_methods)}, with the headers {', '.join(self.allow_headers)}"
        )
        kept = {name: headers[name] for name in headers if not name.startswith("content-")}
        return problem(
            request, 400, "preflight-refused", "A page may not ask", detail, headers=kept
        )


class _TooLarge(Exception):
    pass


class _TooSlow(Exception):
    pass


class _HungUp(Exception):
    pass


class Guard:
    """Refuses callers without a key, requests beyond the rate, addresses that are no text, and
    bodies beyond their bounds of size and time.

    Health and documents are open to all. Who sends a wrong key has the rate of an address, so that
    keys can't be tried out. The page of ``/ui`` takes a cookie in place of a key
    (:class:`streamer.http.access.page_access.PageAccess`), answers no page of another origin, and
    has no rate: what it loads and keeps open is no question to a scorer.
    """

    def __init__(self, app: ASGIApp, config: HttpConfig, now_s: Callable[[], float]) -> None:
        self._app = app
        self._keys = [key.encode() for key in config.api_keys]
        self._page = PageAccess(self._keys)
        self._body_bytes_max = config.body_bytes_max
        self._body_timeout_s = config.body_timeout_s
        self._buckets = TokenBuckets(per_s=config.requests_per_s, burst=config.burst)
        self._now_s = now_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and not self._lets_in(HTTPConnection(scope)):
            await send({"type": "websocket.close", "code": _REFUSED})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refusal = None if request.url.path in OPEN else self._refusal(request)
        if refusal is None and not _is_text(scope):
            refusal = problem(request, 400, "bad-request", "The address is no text", _NO_TEXT)
        if refusal is None and _length(request) > self._body_bytes_max:
            refusal = self._too_large(request)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        n_bytes, is_read = 0, not _has_body(request)
        end_s = asyncio.get_running_loop().time() + self._body_timeout_s

        async def bounded() -> Message:
            nonlocal n_bytes, is_read
            if is_read:  # what comes is the end of the connection
                return await receive()
            try:
                async with asyncio.timeout_at(end_s):
                    message = await receive()
            except TimeoutError:
                raise _TooSlow from None
            if message["type"] == "http.disconnect":
                raise _HungUp
            is_read = not message.get("more_body", False)
            n_bytes += len(message.get("body", b""))
            if n_bytes > self._body_bytes_max:
                raise _TooLarge
            return message

        # They are raised where the body is read, so before an answer.
        try:
            await self._app(scope, bounded, send)
        except _TooLarge:
            await self._too_large(request)(scope, receive, send)
        except _TooSlow:
            await self._too_slow(request)(scope, receive, send)
        except _HungUp:  # for the metrics alone: it is sent to nobody
            said = "the connection ended before the body did"
            answer = problem(request, HUNG_UP, "hung-up", "The caller hung up", said)
            await answer(scope, receive, send)

    def _lets_in(self, connection: HTTPConnection) -> bool:
        """Whether a connection may use the page."""
        known = not self._keys or self._page.holds(connection)
        known = known or place_of(key_of(connection), self._keys) >= 0
        return known and not is_foreign(connection)

    def _refusal(self, request: Request) -> Response | None:
        of_page = is_of_page(request.url.path)
        if of_page and is_foreign(request):
            said = "the page answers none of another origin; a proxy must pass the Host header on"
            return problem(request, 403, "forbidden", "Another origin asks", said)
        if of_page and request.url.path != LOGIN and self._lets_in(request):
            return None
        key = key_of(request)
        place = place_of(key, self._keys)
        address = request.client.host if request.client else ""
        wait_s = self._buckets.take(f"key {place}" if place >= 0 else address, self._now_s())
        if wait_s > 0:
            return problem(
                request,
                429,
                "too-many-requests",
                "Too many requests",
                f"this is more than http.requests_per_s; ask again after {wait_s:.3f} s",
                headers={"Retry-After": str(math.ceil(wait_s))},
            )
        if of_page and request.url.path == LOGIN:
            return None
        if self._keys and place < 0 and of_page and request.method == "GET":
            return RedirectResponse(LOGIN, 303)
        if self._keys and place < 0:
            return problem(
                request,
                401,
                "unauthorized",
                "A key is needed",
                "it is none of http.api_keys" if key else HOW,
                headers={"WWW-Authenticate": "Bearer"},
            )
        return None

    def _too_large(self, request: Request) -> Response:
        detail = f"the body is over {self._body_bytes_max} bytes (http.body_bytes_max); send less"
        return problem(request, 413, "too-large", "The body is too large", detail)

    def _too_slow(self, request: Request) -> Response:
        detail = (
            f"the body was not there after {self._body_timeout_s:g} s (http.body_timeout_s); send"
            " it again, or less of it"
        )
        # The rest of the body may never come, and no request after it could be told from it.
        return problem(
            request,
            408,
            "body-too-slow",
            "The body took too long",
            detail,
            headers={"Connection": "close"},
        )


def _has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or _length(request) > 0


def _is_text(scope: Scope) -> bool:
    """Whether an address is UTF-8: what isn't is decoded to one and the same character, by which
    different ids would fall together."""
    try:
        for part in (scope.get("raw_path") or b"", scope["query_string"]):
            unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        return False
    return True


def _length(request: Request) -> int:
    said = request.headers.get("content-length", "")
    return int(said) if said.isascii() and said.isdigit() else 0
