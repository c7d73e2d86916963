"""Tables of the page: plain HTML, read out by a screen reader as one."""

from __future__ import annotations

from collections.abc import Sequence

from nicegui import ui


def table(
    caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, n_words: int = 1
) -> None:
    """Show rows of text.

    Parameters
    ----------
    n_words
        Columns of words, from the left; the others are numbers.
    """

    def cell(kind: str, text: str, at: int) -> None:
        with ui.element(kind).classes("number" if at >= n_words else "words"):
            ui.label(text).style("display: inline")

    with ui.element("div").classes("scrolled"), ui.element("table").classes("plain"):
        with ui.element("caption"):
            ui.label(caption)
        with ui.element("thead"), ui.element("tr"):
            for at, name in enumerate(columns):
                cell("th", name, at)
        with ui.element("tbody"):
            for row in rows:
                with ui.element("tr"):
                    for at, text in enumerate(row):
                        cell("td", text, at)
