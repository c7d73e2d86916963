"""The server: its socket, its end."""

from __future__ import annotations

import asyncio
import socket
import threading
import urllib.request
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from deploy.kafka.node import free_port
from streamer.errors import ConfigError
from streamer.http.connections import closing_unfinished
from streamer.http.server import HttpServer


class Slow:
    """An application that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.may_answer = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        self.asked.set()
        self.may_answer.wait(60)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


def test_no_answer_waits_for_an_acknowledgement_of_its_head() -> None:
    server = HttpServer(Slow(), host="127.0.0.1", port=free_port())
    address = server._socket.getsockname()
    with server._socket, socket.create_connection(address), server._socket.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_what_was_asked_before_the_end_is_answered() -> None:
    app = Slow()
    server = HttpServer(app, host="127.0.0.1", port=free_port())
    serving = threading.Thread(target=server.run)
    serving.start()
    answers: list[bytes] = []

    def ask() -> None:
        with urllib.request.urlopen(server.url, timeout=60) as answer:
            answers.append(answer.read())

    asking = threading.Thread(target=ask)
    asking.start()
    assert app.asked.wait(60)
    server.stop()
    app.may_answer.set()
    asking.join(60)
    serving.join(60)
    assert answers == [b"done"]
    assert not serving.is_alive()


# --- requests that never get whole ----------------------------------------------------------------

ASKED = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BODY_TO_COME = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n["


@pytest.mark.parametrize("sent", [b"", b"GET / HT"])
def test_a_connection_that_asks_nothing_is_closed(sent: bytes) -> None:
    server = HttpServer(Slow(), host="127.0.0.1", port=free_port(), unfinished_s=0.1)
    serving = threading.Thread(target=server.run)
    serving.start()
    try:
        with socket.create_connection(server._socket.getsockname(), timeout=60) as connection:
            connection.sendall(sent)
            assert connection.recv(4_096) == b""  # or a timeout
    finally:
        server.stop()
        serving.join(60)


class Wire(asyncio.Transport):
    """A connection without a network."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed = b"", False
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_protocol(self) -> Any:
        return self.protocol

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def connected(app: ASGIApp) -> tuple[Any, Wire]:
    """Return a protocol of ours, and its connection; its time is told by calling ``_look``."""
    kind, wire = closing_unfinished(3_600.0), Wire()
    config = uvicorn.Config(app, log_config=None)
    made: Any = kind
    wire.protocol = made(config=config, server_state=ServerState(), app_state={})
    wire.protocol.connection_made(wire)
    return wire.protocol, wire


def is_timed(protocol: Any) -> bool:
    return protocol._timer is not None


@pytest.mark.parametrize(("before", "sent"), [(ASKED, b"GET / HT"), (BODY_TO_COME, b"1")])
def test_what_comes_after_an_answer_and_is_nothing_whole_is_not_waited_for(
    before: bytes, sent: bytes
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    async def ask() -> None:
        protocol, wire = connected(app)
        protocol.data_received(before)
        while b"done" not in wire.written:
            await asyncio.sleep(0)
        answered = protocol.cycle
        protocol._look(None)  # nothing is waited for
        assert not is_timed(protocol)
        protocol.data_received(sent)
        assert is_timed(protocol)
        assert not wire.is_closing()
        protocol._look(answered)
        assert wire.is_closing()

    asyncio.run(ask())


def test_what_is_asked_whole_may_wait_for_its_answer() -> None:
    async def ask() -> None:
        may_answer = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await may_answer.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"done"})

        protocol, wire = connected(app)
        protocol.data_received(ASKED)
        protocol._look(protocol.cycle)
        assert not wire.is_closing()
        may_answer.set()
        while b"done" not in wire.written:
            await asyncio.sleep(0)

    asyncio.run(ask())


def test_a_body_that_comes_is_waited_for_anew_from_its_head_on() -> None:
    async def ask() -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            while (await receive()).get("more_body"):
                pass

        protocol, wire = connected(app)
        protocol.data_received(BODY_TO_COME)
        protocol._look(None)  # since it was connected
        assert not wire.is_closing()
        assert is_timed(protocol)
        protocol._look(protocol.cycle)
        assert wire.is_closing()
        protocol.connection_lost(None)

    asyncio.run(ask())


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"http.port = {port}.*choose a free one"):
            HttpServer(Slow(), host="127.0.0.1", port=port)
