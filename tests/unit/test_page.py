"""The page: what it shows of a shop that sells, without a browser and in one."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

pytest.importorskip("nicegui", reason="pip install 'streamer[ui]'")
from nicegui import core, ui
from nicegui.functions.navigate import Navigate
from nicegui.functions.notify import notify
from nicegui.testing.user import User

from deploy.kafka.node import free_port
from streamer.http.server import HttpServer
from streamer.page.frame import TABS as OF_PAGE
from tests.imports import ROOT
from tests.page_world import PageWorld, page_world

TABS = tuple(OF_PAGE)
PICTURES = ROOT / ".cache" / "page"


class ServedPage:
    """A shop whose page is served on a port, and users that look at it without a browser."""

    def __init__(self, world: PageWorld, url: str) -> None:
        self.world = world
        self.url = url

    def look(self, scenario: Callable[[User], Awaitable[None]]) -> None:
        """Have a user open the page and look, in the event loop of the server."""

        async def run() -> None:
            transport = httpx.ASGITransport(self.world.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://streamer") as client:
                user = User(client)
                await user.open("/ui/")
                await scenario(user)

        assert core.loop is not None
        try:
            asyncio.run_coroutine_threadsafe(run(), core.loop).result(timeout=120)
        finally:
            ui.navigate, ui.notify = Navigate(), notify


@pytest.fixture(scope="module")
def page() -> Iterator[ServedPage]:
    with page_world() as world:
        server = HttpServer(world.app, host="127.0.0.1", port=free_port())
        serving = threading.Thread(target=server.run)
        serving.start()
        try:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{server.url}/healthz", timeout=60)
            yield ServedPage(world, server.url)
        finally:
            server.stop()
            serving.join()


async def seen(user: User, *contents: str) -> None:
    """Wait until all is on the page."""
    for content in contents:
        await user.should_see(content, retries=100)


def test_the_page_shows_figures_rates_and_what_it_does_not_know(page: ServedPage) -> None:
    async def look(user: User) -> None:
        await seen(user, "Events learned", "By channel", "By surface", "popular")
        await seen(user, "12 slates whose window of feedback")
        await seen(user, "24 of 24 events that could answer one did")
        await seen(user, "this one does not know")

    page.look(look)


def test_the_doctor_answers_on_the_page(page: ServedPage) -> None:
    async def look(user: User) -> None:
        user.find("Look over all of it").click()
        await seen(user, "versions", "broker", "dead letters")

    page.look(look)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize(("width", "colours"), [(400, "dark"), (1_400, "light")])
def test_the_page_in_a_browser(page: ServedPage, browser: Any, width: int, colours: str) -> None:
    elsewhere: list[str] = []
    said: list[str] = []
    shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=colours)
    shown.set_default_timeout(60_000)
    shown.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    shown.on("pageerror", lambda error: said.append(f"error: {error}"))

    def only_here(route: Any) -> None:
        if route.request.url.startswith((page.url, "data:", "blob:")):
            route.continue_()
        else:
            elsewhere.append(route.request.url)
            route.abort()

    shown.route("**/*", only_here)
    shown.goto(f"{page.url}/ui/")
    shown.get_by_text("By channel").wait_for()
    letters = shown.locator(".card", has_text="Dead letters").locator(".value")
    n_before = int(letters.inner_text())
    page.world.publish_bad_event()
    letters.and_(shown.get_by_text(f"{n_before + 1}", exact=True)).wait_for()  # with no click
    reached = ""
    for _ in range(10):
        shown.keyboard.press("Tab")
        if shown.evaluate("document.activeElement.getAttribute('role')") == "tab":
            reached = shown.evaluate("document.activeElement.textContent")
            break
    assert reached == TABS[0]
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name in TABS:
        tab = shown.get_by_role("tab", name=name, exact=True)
        tab.focus()
        shown.keyboard.press("Enter")
        shown.get_by_role("tab", name=name, exact=True, selected=True).wait_for()
        assert shown.evaluate("document.documentElement.scrollWidth") <= width, name
        shown.screenshot(path=PICTURES / f"{name.lower()}-{width}.png", full_page=True)
    shown.close()
    assert elsewhere == []
    assert said == []
