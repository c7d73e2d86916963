"""Who may ask over HTTP, how often, how much at once, and from which pages."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamer.config import describe, load_config
from streamer.config.http import HttpConfig
from streamer.errors import ConfigError
from streamer.http.access.buckets import TokenBuckets
from streamer.http.access.guard import Guard
from tests.http_world import HttpWorld, http_world, served_world
from tests.learner_processes import wait_until
from tests.unit.test_http import problem_of

KEYS = ("a-key-of-16-chars", "another-key-of-16")
ASK = "/v1/users/ann/recommendations?preview=true"


def test_with_keys_only_who_has_one_may_ask() -> None:
    with http_world(api_keys=KEYS) as world:
        client = world.client
        found = client.get(ASK)
        problem_of(found, 401)
        assert found.headers["www-authenticate"] == "Bearer"
        for wrong in ("Bearer ", "Bearer another-key-of-17", f"Basic {KEYS[0]}", "Bearer ü"):
            problem_of(client.get(ASK, headers={"Authorization": wrong.encode()}), 401)
        assert client.get(ASK, headers={"Authorization": f"Bearer {KEYS[0]}"}).status_code == 200
        assert client.get(ASK, headers={"X-API-Key": KEYS[1]}).status_code == 200
        for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
            assert client.get(path).status_code == 200
        operation = client.get("/openapi.json").json()["paths"]["/v1/events"]["post"]
        assert operation["security"] == [{"bearer": []}, {"api_key": []}]


def test_keys_are_shown_nowhere() -> None:
    config = load_config(env={"STREAMER_HTTP__API_KEYS": f'["{KEYS[0]}"]'})
    assert config.http.api_keys == (KEYS[0],)
    shown = {key: value for key, value, _ in describe(config)}
    assert shown["http.api_keys"] == '"***"'
    assert KEYS[0] not in repr(config)
    with pytest.raises(ConfigError) as refused:
        load_config(env={"STREAMER_HTTP__API_KEYS": '["too-short"]'})
    assert "too-short" not in str(refused.value)


def test_each_key_has_a_rate_and_who_has_none_that_of_an_address() -> None:
    with http_world(api_keys=KEYS, requests_per_s=0.001, burst=2) as world:
        first, second = ({"X-API-Key": key} for key in KEYS)
        assert [world.client.get(ASK, headers=first).status_code for _ in range(2)] == [200, 200]
        found = world.client.get(ASK, headers=first)
        assert "http.requests_per_s" in problem_of(found, 429)["detail"]
        assert 990 < int(found.headers["retry-after"]) <= 1_000
        assert world.client.get(ASK, headers=second).status_code == 200
        assert [world.client.get(ASK).status_code for _ in range(3)] == [401, 401, 429]
        assert world.client.get("/healthz").status_code == 200


def test_buckets_fill_again_and_no_further_than_the_burst() -> None:
    buckets = TokenBuckets(per_s=1.0, burst=3)
    assert [buckets.take("ann", 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]
    assert buckets.take("ann", 0.25) == 0.75
    assert [buckets.take("ann", 100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]
    assert buckets.take("bob", 100.0) == 0.0


def test_callers_beyond_the_bound_are_forgotten() -> None:
    buckets = TokenBuckets(per_s=1.0, burst=1)
    for n in range(20_000):
        buckets.take(f"caller {n}", 0.0)
    assert len(buckets._left) == 10_000
    assert buckets.take("caller 19999", 0.0) == 1.0


def test_a_body_has_a_bound_whether_it_says_its_length_or_not() -> None:
    with http_world(body_bytes_max=1_024) as world:
        n_before = len(world.records("events"))
        large = b'{"user_id":"' + b"a" * 1_024 + b'"}'
        found = problem_of(world.client.post("/v1/events", content=large), 413)
        assert "1024 bytes (http.body_bytes_max)" in found["detail"]

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(5):
                yield b" " * 500

        problem_of(world.client.post("/v1/events", content=pieces()), 413)
        assert len(world.records("events")) == n_before
        fits = b'{"type":"click","user_id":"ann","item_id":"tea"}'.ljust(1_024)
        assert world.client.post("/v1/events", content=fits).status_code == 202


async def sent(app: ASGIApp, receive: Receive) -> list[Message]:
    """Return what an application sends to who posts an event, of which ``receive`` has the body."""
    answer: list[Message] = []

    async def send(message: Message) -> None:
        answer.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/events",
        "raw_path": b"/v1/events",
        "query_string": b"",
        "headers": [(b"content-length", b"1000")],
        "client": ("127.0.0.1", 1),
        "state": {},
    }
    await app(scope, receive, send)
    return answer


def counted(world: HttpWorld, status: str) -> float:
    labels = {"route": "/v1/events", "status": status}
    return world.registry.get_sample_value("streamer_http_requests_total", labels) or 0


def test_who_hangs_up_before_the_body_is_there_is_no_error_of_the_service(
    caplog: pytest.LogCaptureFixture,
) -> None:
    messages = iter([{"type": "http.request", "body": b"[{", "more_body": True}])

    async def receive() -> Message:
        return next(messages, {"type": "http.disconnect"})

    with http_world() as world:
        asyncio.run(sent(world.app, receive))
        assert (counted(world, "499"), counted(world, "500")) == (1, 0)
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_who_hangs_up_on_the_network_is_counted_so() -> None:
    with served_world() as (world, url):
        host, port = url.removeprefix("http://").split(":")
        head = b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n[{"
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head)
        wait_until(lambda: counted(world, "499") == 1, "a request that is counted")


def test_a_body_that_does_not_come_has_a_bound() -> None:
    async def receive() -> Message:
        if not begun:
            begun.append(True)
            return {"type": "http.request", "body": b"[{", "more_body": True}
        return await asyncio.Future()  # for ever

    begun: list[bool] = []
    with http_world(body_timeout_s=0.1) as world:
        start, body = asyncio.run(sent(world.app, receive))
        assert start["status"] == 408
        assert (b"connection", b"close") in start["headers"]
        assert b"after 0.1 s (http.body_timeout_s)" in body["body"]
        assert counted(world, "408") == 1


def test_the_bound_of_a_body_is_none_of_its_answer() -> None:
    """What is waited for after the body is the end of the connection, as long as it stands."""
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["body"] == b"{}"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 0.5)
        ended.set()

    whole: list[Message] = [{"type": "http.request", "body": b"{}", "more_body": False}]

    async def receive() -> Message:
        return whole.pop() if whole else await asyncio.Future()

    config = HttpConfig(body_timeout_s=0.1)
    asyncio.run(sent(Guard(app, config, now_s=time.monotonic), receive))
    assert ended.is_set()


@pytest.mark.parametrize("address", ["/v1/items/%F0%9F", "/v1/items/tea?seed_items=%FF"])
def test_an_address_that_is_no_utf_8_is_refused(address: str) -> None:
    with http_world() as world:
        n_before = len(world.records("items"))
        found = problem_of(world.client.put(address, json={"title": "Tea"}), 400)
        assert "no UTF-8; percent-encode" in found["detail"]
        assert len(world.records("items")) == n_before
        assert world.client.put("/v1/items/%F0%9F%8D%B5", json={"title": "Tea"}).status_code == 202


def test_pages_of_configured_origins_may_ask() -> None:
    with http_world(cors_origins=("https://shop.example",), api_keys=KEYS) as world:
        asked = {
            "Origin": "https://shop.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "X-API-Key, Content-Type",
        }
        allowed = world.client.options("/v1/events", headers=asked)  # which sends no key
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
        refused = world.client.options("/v1/events", headers=asked | {"Origin": "https://e.evil"})
        assert "access-control-allow-origin" not in refused.headers
        assert refused.headers["vary"].startswith("Origin")
        said = problem_of(refused, 400)["detail"]
        assert said.startswith("Disallowed CORS origin: http.cors_origins has the origins that")
        traced = asked | {"Access-Control-Request-Method": "TRACE"}
        said = problem_of(world.client.options("/v1/events", headers=traced), 400)["detail"]
        assert said.startswith("Disallowed CORS method:")
        assert "by GET, POST, PUT, PATCH, DELETE, with the headers" in said
        answer = world.client.get(ASK, headers={"Origin": "https://shop.example"})
        assert answer.status_code == 401  # which the page must be able to read
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"


def test_without_origins_no_page_may_ask() -> None:
    with http_world() as world:
        answer = world.client.get(ASK, headers={"Origin": "https://shop.example"})
        assert "access-control-allow-origin" not in answer.headers
