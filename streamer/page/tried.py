"""Settings to try on a user's slate: it as it is, beside what they would make of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nicegui import ui

from streamer.config.experiments import SERVING, refusal
from streamer.config.keys import known_keys, value_of
from streamer.config.masking import toml_text
from streamer.config.sources import from_lines
from streamer.events import Request
from streamer.http.waiting import answered
from streamer.page.asking import AnswerPlace, heading, said
from streamer.page.known import title_of
from streamer.page.looking import Looking
from streamer.page.tables import table
from streamer.scorer.slate_change import ShownSlate, SlateChange


class TriedSettings:
    """What is tried below a slate; what was written stays for the next user."""

    def __init__(self, looking: Looking) -> None:
        self._served = looking.served
        self._timeout_s = self._served.config.http.timeout_ms / 1000
        self._keys = [
            key for key in known_keys() if key.partition(".")[0] in SERVING and refusal(key) is None
        ]
        self._written = ""

    def show(self, request: Request) -> None:
        """Show the fields below the slate of a request."""
        heading("The slate with other settings")
        said(
            "What an experiment may change, as a configuration file has it. It is looked at alone:"
            " nothing is logged, and nobody is served by it."
        )

        def append() -> None:
            if key.value is None:
                return
            config = self._served.scorer.variants.of(request.user_id).config
            line = f"{key.value} = {toml_text(value_of(config, key.value))}"
            written.set_value("\n".join(filter(None, [written.value.rstrip(), line])))
            key.set_value(None)

        async def ask() -> None:
            self._written = written.value
            await self._ask(request)

        with ui.element("div").classes("asked"):
            key = ui.select(self._keys, with_input=True, label="Add a setting", on_change=append)
            key.props("outlined dense")
        written = ui.textarea("Settings, KEY = VALUE", value=self._written)
        written.props("outlined dense autogrow").classes("settings")
        with ui.element("div").classes("asked"):
            answers = AnswerPlace("Try the settings", ask)
        written.on("keydown.ctrl.enter", answers.fill)
        answers.put(ui.element("div"))

    async def _ask(self, request: Request) -> None:
        served, settings = self._served, from_lines(self._written.splitlines())
        # The funnel is built beside the thread that scores, which others wait for.
        other = await asyncio.to_thread(served.scorer.variants.tried, request.user_id, settings)
        asking = served.parts.answers.change(
            request, other, settings.keys(), timeout_s=self._timeout_s
        )
        self._show(await answered(asking, self._timeout_s))

    def _show(self, change: SlateChange) -> None:
        heading(change.said())
        table("", ["setting", "now", "tried"], list(map(list, change.changes())), n_words=3)
        for each in change.unread:
            said(f"{each}.")
        with ui.element("div").classes("tables"):
            self._show_slate("As it is", change.now, "becomes", change.becomes)
            self._show_slate("With the settings", change.then, "was", change.was)
        said(f"Both of the version {change.model_version}, drawn with the same random numbers.")

    def _show_slate(
        self, caption: str, slate: ShownSlate, other: str, place_of: Callable[[str], str]
    ) -> None:
        with ui.element("div").classes("card"):
            if not slate.items:
                ui.label(f"{caption}: the slate is empty.")
                said(slate.why_empty or "")
                return
            table(
                caption,
                ["", "item", "title", "expected reward", other],
                [
                    [
                        f"{item.rank + 1}",
                        item.item_id,
                        title_of(self._served.scorer, item.item_id),
                        f"{item.score:.4f}",
                        place_of(item.item_id),
                    ]
                    for item in slate.items
                ],
                n_words=3,
            )
            said(f"Mean expected reward {slate.expected:.4f}")
