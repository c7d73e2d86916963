"""The server: its socket, its end."""

from __future__ import annotations

import socket
import threading
import urllib.request

import pytest
from starlette.types import Receive, Scope, Send

from deploy.kafka.node import free_port
from streamer.errors import ConfigError
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


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"http.port = {port}.*choose a free one"):
            HttpServer(Slow(), host="127.0.0.1", port=port)
