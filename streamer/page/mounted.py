"""The page within a service: one page of several tabs under ``/ui``."""

from __future__ import annotations

from functools import partial
from typing import Final

from nicegui import Client, app, ui

from streamer.http.access.page_access import PAGE
from streamer.http.served_app import ServedApp
from streamer.page.frame import show
from streamer.page.looking import Looking
from streamer.page.styles import ICON

_AWAY_S: Final = 30.0
"""A browser that is away for less (a telephone in a lift, a service that answers a burst) goes on
where it was. After it the page is loaded anew, and what was typed and opened is gone."""


def add_page(served: ServedApp) -> None:
    """Have a service show the page, once in a process: NiceGUI has one application."""
    served.add_login()
    served.add_reports()
    served.add_entry()
    looking = Looking(served)
    app.on_disconnect(partial(_rest_unseen, looking))
    ui.run_with(
        served.app,
        root=partial(show, looking),
        mount_path=PAGE,
        title="streamer",
        favicon=ICON,
        dark=None,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=_AWAY_S,
    )


async def _rest_unseen(looking: Looking) -> None:
    if not any(client.has_socket_connection for client in list(Client.instances.values())):
        await looking.rest()
