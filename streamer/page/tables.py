"""Tables of the page: plain HTML, read out by a screen reader as one."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence

from nicegui import ui


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    n_words: int = 1,
    action: tuple[str, Callable[[int], Awaitable[None]]] | None = None,
    link: Callable[[int], str] | None = None,
) -> None:
    """Show rows of text.

    Parameters
    ----------
    n_words
        Columns of words, from the left; the others are numbers.
    action
        What a button at the end of each row says, and what it does with the row's place.
    link
        Address below the page that the first cell of a row opens, in a tab of its own.
    """

    def cell(kind: str, text: str, at: int) -> None:
        with ui.element(kind).classes("number" if at >= n_words else "words"):
            ui.label(text).style("display: inline")

    kind = "plain" if link is None else "plain linked"
    with ui.element("div").classes("scrolled"), ui.element("table").classes(kind):
        if caption:
            with ui.element("caption"):
                ui.label(caption)
        with ui.element("thead"), ui.element("tr"):
            for at, name in enumerate(columns):
                cell("th", name, at)
            if action is not None:
                ui.element("th")
        with ui.element("tbody"):
            for place, row in enumerate(rows):
                with ui.element("tr"):
                    for at, text in enumerate(row):
                        if link is not None and at == 0:
                            with ui.element("td").classes("words"):
                                ui.link(text, link(place), new_tab=True).props('rel="noopener"')
                            continue
                        cell("td", text, at)
                    if action is not None:
                        with ui.element("td"):
                            do = functools.partial(action[1], place)
                            ui.button(action[0], on_click=do).props("flat dense no-caps")
