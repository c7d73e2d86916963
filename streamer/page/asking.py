"""Fields and buttons that ask for something, and what is shown of the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from nicegui import ui

from streamer.errors import StreamerError


class AnswerPlace:
    """A place for an answer, and a button that fills it.

    Parameters
    ----------
    button
        Its text.
    ask
        Builds the answer inside the place; what it raises of ours is shown there as a sentence.
    """

    def __init__(self, button: str, ask: Callable[[], Awaitable[None]]) -> None:
        self._ask = ask
        self._button = ui.button(button, on_click=self.fill).props("outline no-caps")
        self._place: ui.element | None = None

    def put(self, place: ui.element) -> None:
        """Say where answers are shown."""
        self._place = place.props('aria-live="polite"')

    async def fill(self) -> None:
        """Ask, and show the answer in place of the one before."""
        assert self._place is not None, "a place is put before anything is asked"
        self._button.disable()
        self._place.clear()
        try:
            with self._place:
                await self._ask()
        except StreamerError as error:
            self._place.clear()
            with self._place:
                ui.label(str(error)).classes("wrong")
        finally:
            self._button.enable()


def at(ts_ms: float | None) -> str:
    """Return a time as it is read, in UTC.

    >>> at(1_700_000_000_000), at(None)
    ('2023-11-14 22:13:20', '–')
    """
    if ts_ms is None or ts_ms < 0:
        return "–"
    return f"{datetime.fromtimestamp(ts_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def heading(text: str) -> None:
    """Show a heading."""
    with ui.element("h2"):
        ui.label(text)


def opened(text: str) -> None:
    """Show the heading of what a button opens elsewhere on the page, and lead there: what it heads
    comes into view, and the keyboard goes on from it."""
    with ui.element("h2").props('tabindex="-1"') as found:
        ui.label(text)
    found.run_method("scrollIntoView", {"block": "start"})
    found.run_method("focus", {"preventScroll": True})


def said(text: str) -> None:
    """Show a sentence beside what it is about."""
    ui.label(text).classes("soft")
