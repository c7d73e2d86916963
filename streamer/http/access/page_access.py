"""Who may see the page: a browser from which a key was sent once, and no page of elsewhere."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from streamer.http.access.keys import place_of

PAGE: Final = "/ui"
LOGIN: Final = f"{PAGE}/login"
COOKIE: Final = "streamer_page"
_FIELD: Final = "key"
_PURPOSE: Final = b"streamer page"
_BODY_BYTES_MAX: Final = 4_096


def is_of_page(path: str) -> bool:
    """Whether a path belongs to the page."""
    return path == PAGE or path.startswith(f"{PAGE}/")


def is_foreign(connection: HTTPConnection) -> bool:
    """Whether a page of another origin asks: a browser says where a script came from."""
    origin = connection.headers.get("origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc != connection.headers.get("host")
    except ValueError:  # it is no URL, which no page of this service has
        return True


class PageAccess:
    """Cookies that stand for the keys of the configuration.

    A cookie is an HMAC under its key, so nothing is stored, it holds over restarts and in other
    processes, and ends when its key is taken out of the configuration.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys
        self._cookies = [hmac.new(key, _PURPOSE, hashlib.sha256).hexdigest() for key in keys]

    def holds(self, connection: HTTPConnection) -> bool:
        """Whether a request brings a cookie that stands for a key."""
        given = connection.cookies.get(COOKIE, "")
        return place_of(given, [each.encode() for each in self._cookies]) >= 0

    def cookie_for(self, key: str) -> str | None:
        """Return the cookie that stands for a key; None where it is none."""
        place = place_of(key, self._keys)
        return self._cookies[place] if place >= 0 else None


def login_routes(keys: Sequence[bytes]) -> APIRouter:
    """Return the form that asks for a key, and what takes it."""
    router = APIRouter(include_in_schema=False)
    access = PageAccess(keys)

    @router.get(LOGIN)
    async def ask() -> Response:
        return HTMLResponse(_form(""))

    @router.post(LOGIN)
    async def take(request: Request) -> Response:
        body = (await request.body())[:_BODY_BYTES_MAX].decode("latin-1")
        cookie = access.cookie_for(parse_qs(body).get(_FIELD, [""])[0])
        if cookie is None:
            return HTMLResponse(_form("This is none of http.api_keys."), 401)
        answer = RedirectResponse(f"{PAGE}/", 303)
        answer.set_cookie(
            COOKIE,
            cookie,
            path=PAGE,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    return router


def _form(said: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>streamer</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 24rem; margin: 15vh auto; padding: 1rem; }}
input, button {{ font: inherit; padding: .5rem; margin: .3rem 0; width: 100%;
  box-sizing: border-box; }}
</style></head><body>
<h1>streamer</h1>
<form method="post" action="{LOGIN}">
<label for="key">One of http.api_keys</label>
<input id="key" name="{_FIELD}" type="password" autocomplete="current-password" required autofocus>
<p role="alert">{said}</p>
<button>Open the page</button>
</form></body></html>"""
