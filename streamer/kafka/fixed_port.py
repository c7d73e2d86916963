"""A port of one's choice for the embedded broker, whose own port librdkafka chooses.

A client that asks there hears the broker's own address with the first answer, and goes on at that
one: next to nothing passes here, and who knows this port finds the broker at each of its starts.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import Final

from streamer.errors import ConfigError

LOOPBACK: Final = "127.0.0.1"
_CHUNK_BYTES: Final = 65_536
_CONNECT_S: Final = 5.0


@contextlib.contextmanager
def opened_port(port: int) -> Iterator[PortServer]:
    """Yield a server of a port of this machine, which hands connections on once it knows where to.

    Raises
    ------
    ConfigError
        When the port can't be opened.
    """
    try:
        server = PortServer((LOOPBACK, port), _Connection)
    except OSError as error:
        raise ConfigError(
            f"kafka.embedded_port = {port} can't be opened on {LOOPBACK} ({error.strerror}): choose"
            " a free one, end what is there, or give 0, for any"
        ) from error
    with server:
        yield server


class PortServer(socketserver.ThreadingTCPServer):
    """Made by :func:`opened_port`."""

    allow_reuse_address = True  # also where the connections of a killed process are not over yet
    daemon_threads = True
    block_on_close = False  # a connection ends with either of its ends
    target: tuple[str, int]

    @contextlib.contextmanager
    def serving(self, host: str, port: int) -> Iterator[None]:
        """Hand connections on to an address while entered."""
        self.target = host, port
        thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            thread.join()

    def handle_error(self, *_: object) -> None:
        """A client that is gone, or a broker that is not there, is its client's to notice."""


class _Connection(socketserver.BaseRequestHandler):
    server: PortServer

    def handle(self) -> None:
        with socket.create_connection(self.server.target, timeout=_CONNECT_S) as broker:
            broker.settimeout(None)
            back = threading.Thread(target=_pass_on, args=(broker, self.request), daemon=True)
            back.start()
            _pass_on(self.request, broker)
            back.join()


def _pass_on(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK_BYTES):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)
