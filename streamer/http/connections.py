"""Connections whose requests never get whole."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.auto import AutoHTTPProtocol

GRACE_S: Final = 5.0
"""So much longer than a body may take is waited: by then its request has had its answer."""

_Http: Any = AutoHTTPProtocol  # one of two classes, by what is installed


def closing_unfinished(timeout_s: float) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol with a bound for what it waits for without end: the head of a
    request, and the rest of a body that nothing reads."""

    class Connection(_Http):  # type: ignore[misc]
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._timer is None and self._waits():
                self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

        def _watch(self) -> None:
            self._timer = self.loop.call_later(timeout_s, self._look, self.cycle)

        def _look(self, before: object) -> None:
            """End the connection where it still waits for what it waited for before."""
            self._timer = None
            if self.transport.is_closing() or self.transport.get_protocol() is not self:
                return  # it ends already, or has become a websocket
            if not self._waits():
                return
            if self.cycle is before:
                self.transport.close()
            else:
                self._watch()

        def _waits(self) -> bool:
            if self.cycle is None:
                return True  # for the first head
            if not self.cycle.response_complete:
                return bool(self.cycle.more_body)
            # An idle connection has a timer of its own, until something comes.
            return self.timeout_keep_alive_task is None

    return Connection
