"""The server of the application: a socket, an event loop, an end in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from streamer.errors import ConfigError
from streamer.http.connections import closing_unfinished

_GRACE_S: Final = 15
"""For the requests under way when the service is asked to end."""
_KEEP_ALIVE_S: Final = 75
"""Longer than load balancers keep idle connections: they close them, not we while they send."""
_UNFINISHED_S: Final = 65.0
_BACKLOG: Final = 2_048


class _Server(uvicorn.Server):
    """Leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """Serves an application on an address of this machine.

    Parameters
    ----------
    host, port
        Bound at once.
    unfinished_s
        After which a connection is closed whose request is not whole.

    Raises
    ------
    ConfigError
        When the port is taken, or the address is not one of this machine.
    """

    def __init__(
        self, app: ASGIApp, *, host: str, port: int, unfinished_s: float = _UNFINISHED_S
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise ConfigError(
                f"http.port = {port} can't be opened on http.host = {host} ({error.strerror}):"
                " choose a free one, and an address of this machine"
            ) from error
        # Connections inherit it. asyncio sets it by itself on sockets of another making alone, and
        # without it the body of an answer waits 40 ms for the acknowledgement of its head.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._socket.getsockname()[1]}"
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        self._server = _Server(
            uvicorn.Config(
                app,
                http=closing_unfinished(unfinished_s),
                log_config=None,
                access_log=False,
                lifespan="on",  # the page starts with it, and ends with it
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )

    def stop(self) -> None:
        """Ask :meth:`run` to answer what it has taken and return; any thread or signal handler."""
        self._server.should_exit = True

    def run(self) -> None:
        """Serve until :meth:`stop`."""
        try:
            asyncio.run(self._server.serve(sockets=[self._socket]))
        finally:
            self._socket.close()
