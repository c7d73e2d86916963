"""Who may see the page, and what a service without it says."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.routing import Mount

from streamer.config import load_config
from streamer.errors import ConfigError
from streamer.http.access.guard import Guard
from streamer.http.access.page_access import COOKIE
from streamer.http.served_app import ServedApp
from streamer.page.wanted import wanted_page
from tests.http_world import CONFIG, HttpWorld, http_world
from tests.unit.test_http import problem_of
from tests.unit.test_http_guard import KEYS
from tests.unit.test_reports import report_page

HTML = {"Accept": "text/html"}


def with_page(world: HttpWorld) -> HttpWorld:
    """Add what stands for the page: it answers 200 to whoever reaches it."""
    served = ServedApp(
        app=world.app,
        config=world.config,
        parts=world.parts,
        scorer=world.live.scorer,
        registry=world.registry,
    )
    served.add_entry()
    served.add_login()
    served.add_reports()
    world.app.mount("/ui", Starlette(routes=[Mount("/", _shown)]))
    return world


async def _shown(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the page"})


def test_who_leaves_the_slash_out_is_led_to_the_page() -> None:
    with http_world() as world:
        led = with_page(world).client.get("/ui", headers=HTML)
        assert (led.status_code, led.headers["location"]) == (307, "/ui/")


def test_a_page_of_a_service_with_keys_asks_for_one_once() -> None:
    with http_world(api_keys=KEYS) as world:
        client = with_page(world).client
        asked = client.get("/ui/", headers=HTML)
        assert (asked.status_code, asked.headers["location"]) == (303, "/ui/login")
        assert "http.api_keys" in client.get("/ui/login").text
        wrong = client.post("/ui/login", content=b"key=another-key-of-17")
        assert wrong.status_code == 401
        assert "none of http.api_keys" in wrong.text
        assert client.get("/ui/", headers=HTML).status_code == 303
        taken = client.post("/ui/login", content=f"key={KEYS[1]}".encode())
        assert (taken.status_code, taken.headers["location"]) == (303, "/ui/")
        said = taken.headers["set-cookie"].lower()
        assert all(each in said for each in ("httponly", "samesite=strict", "path=/ui"))
        assert KEYS[1] not in said
        assert client.get("/ui/").text == "the page"  # the client keeps the cookie
        problem_of(client.post("/v1/events", json=[]), 401)  # which opens the page alone


def test_a_cookie_ends_with_its_key_and_a_header_does_too() -> None:
    with http_world(api_keys=KEYS[:1]) as world:
        client = with_page(world).client
        client.post("/ui/login", content=f"key={KEYS[0]}".encode())
        cookie = {"Cookie": f"{COOKIE}={client._client.cookies[COOKIE]}"}
    with http_world(api_keys=KEYS[1:]) as world:
        client = with_page(world).client
        assert client.get("/ui/", headers=cookie).status_code == 303
        assert client.get("/ui/", headers={"X-API-Key": KEYS[1]}).text == "the page"


def test_keys_can_not_be_tried_out_by_the_form() -> None:
    with http_world(api_keys=KEYS, requests_per_s=0.001, burst=2) as world:
        client = with_page(world).client
        tries = [client.post("/ui/login", content=b"key=x").status_code for _ in range(3)]
        assert tries == [401, 401, 429]


def test_what_the_page_loads_has_no_rate_and_no_page_of_elsewhere_may_ask() -> None:
    with http_world(requests_per_s=0.001, burst=1) as world:
        client = with_page(world).client
        assert {client.get("/ui/x").status_code for _ in range(5)} == {200}
        counted = {"route": "/ui", "status": "200"}
        assert world.registry.get_sample_value("streamer_http_requests_total", counted) == 5
        found = client.get("/ui/x", headers={"Origin": "https://e.evil"})
        assert "Host header" in problem_of(found, 403)["detail"]
        for odd in ("http://[", "http://[::1", "null", "", "//"):
            assert client.get("/ui/x", headers={"Origin": odd}).status_code == 403, odd
        own = {"Origin": "http://streamer"}
        assert client.post("/ui/x", headers=own).status_code == 200


def test_a_report_is_behind_the_key_and_can_do_nothing(tmp_path: Path) -> None:
    (tmp_path / "out.html").write_text(report_page("League"))
    (tmp_path / "others.html").write_text("<script>fetch('/ui')</script>")
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / "own.html").write_text(report_page("Own"))
    (folder / "link.html").symlink_to(tmp_path / "out.html")
    (folder / "others.html").symlink_to(tmp_path / "others.html")
    with http_world(api_keys=KEYS, reports=str(folder)) as world:
        client = with_page(world).client
        asked = client.get("/ui/reports/own.html", headers=HTML)
        assert (asked.status_code, asked.headers["location"]) == (303, "/ui/login")
        client.post("/ui/login", content=f"key={KEYS[0]}".encode())
        shown = client.get("/ui/reports/own.html")
        assert shown.text == report_page("Own")
        policy = [each.strip() for each in shown.headers["content-security-policy"].split(";")]
        assert {"sandbox", "default-src 'none'", "frame-ancestors 'none'"} <= {*policy}
        assert shown.headers["x-content-type-options"] == "nosniff"
        names = ["link.html", "others.html", "none.html", "%2e%2e%5Cout.html", ".%2fown.html"]
        for name in [*names, "..%2fout.html", "%2e%2e%2fout.html", "own.html%00", "own.html/"]:
            found = client.get(f"/ui/reports/{name}")
            assert "streamer-report" not in found.text, name
        problem_of(client.get("/ui/reports/link.html"), 404)
        foreign = {"Origin": "https://e.evil"}
        problem_of(client.get("/ui/reports/own.html", headers=foreign), 403)


@pytest.mark.parametrize(
    ("headers", "may"),
    [
        ([(b"host", b"here:8080")], False),
        ([(b"host", b"here:8080"), (b"x-api-key", KEYS[0].encode())], True),
        (
            [
                (b"host", b"here:8080"),
                (b"origin", b"http://e.evil"),
                (b"x-api-key", KEYS[0].encode()),
            ],
            False,
        ),
        (
            [
                (b"host", b"here:8080"),
                (b"origin", b"http://["),
                (b"x-api-key", KEYS[0].encode()),
            ],
            False,
        ),
    ],
)
def test_a_websocket_needs_a_key_too(headers: list[tuple[bytes, bytes]], may: bool) -> None:
    said: list[str] = []

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    async def send(message: Any) -> None:
        said.append(message["type"])

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    config = replace(CONFIG.http, api_keys=KEYS)
    scope = {"type": "websocket", "path": "/ui/_nicegui_ws/", "headers": headers}
    asyncio.run(Guard(behind, config, time.monotonic)(scope, receive, send))
    assert said == (["websocket.accept"] if may else ["websocket.close"])


def test_a_page_that_is_asked_for_and_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "nicegui", None)  # as where it is not installed
    for module in [each for each in sys.modules if each.startswith("streamer.page.")]:
        if module != wanted_page.__module__:
            monkeypatch.delitem(sys.modules, module)
    wanted = {
        choice: load_config(env={"STREAMER_HTTP__PAGE": choice}) for choice in ("off", "auto", "on")
    }
    assert wanted_page(wanted["off"]) is None
    assert wanted_page(wanted["auto"]) is None
    with pytest.raises(ConfigError, match=r"pip install '\.\[ui\]'"):
        wanted_page(wanted["on"])


def test_nothing_of_the_page_is_imported_before_it_is_wanted() -> None:
    code = (
        "import sys, streamer.cli, streamer.application.services.serving, streamer.page.wanted;"
        "sys.exit('nicegui' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
