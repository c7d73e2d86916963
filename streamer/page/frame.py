"""The frame of the page: its head, its tabs, light and dark."""

from __future__ import annotations

from typing import Final

from nicegui import ui

from streamer.page.experiments import ExperimentsTab
from streamer.page.item import ItemTab
from streamer.page.letters import LettersTab
from streamer.page.looking import Looking
from streamer.page.now import show_now
from streamer.page.reports import ReportsTab
from streamer.page.styles import CSS
from streamer.page.user import UserTab
from streamer.reports.palette import ACCENT

TABS: Final = {
    "Now": show_now,
    "User": UserTab,
    "Item": ItemTab,
    "Dead letters": LettersTab,
    "Experiments": ExperimentsTab,
    "Reports": ReportsTab,
}
"""What builds each tab for one who looks."""


def show(looking: Looking) -> None:
    """Build the page for one who looks."""
    ui.add_css(CSS)
    ui.colors(primary=ACCENT)
    dark = ui.dark_mode(None)
    with ui.element("main").classes("page"):
        with ui.element("header").classes("top"):
            with ui.element("h1"):
                ui.label("streamer")
            ui.toggle({None: "auto", False: "light", True: "dark"}).bind_value(dark).props(
                'flat dense no-caps aria-label="Colours"'
            )
        with ui.tabs().props(
            'align="left" no-caps inline-label outside-arrows mobile-arrows'
        ) as tabs:
            for name in TABS:
                ui.tab(name)
        with ui.tab_panels(tabs, value=next(iter(TABS)), animated=False, keep_alive=True):
            for name, show_tab in TABS.items():
                with ui.tab_panel(name):
                    show_tab(looking)
