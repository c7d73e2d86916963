"""One item: what the catalogue says, what was learned of it, who gets it, and what goes with it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nicegui import ui

from streamer.errors import BadMessage
from streamer.page.asking import AnswerPlace, at, heading, said
from streamer.page.figures import shown
from streamer.page.known import KnownItem, Named, known_item
from streamer.page.looking import Looking
from streamer.page.recipients import Recipients
from streamer.page.tables import table

_LISTS = {"similar": "Met by the same users", "next": "Met next after it"}


class ItemTab:
    """The tab of one item."""

    def __init__(self, looking: Looking) -> None:
        self._looking = looking
        self._served = looking.served
        with ui.element("div").classes("asked"):
            self._item = ui.input("Item id").props("outlined dense")
            self._answers = AnswerPlace("Look the item up", self._look)
        self._item.on("keydown.enter", self._answers.fill)
        self._answers.put(ui.element("div"))

    async def _look(self) -> None:
        if not self._item.value:
            raise BadMessage("field 'item_id': is empty; write the id of an item")
        served, item_id = self._served, str(self._item.value)
        known = await asyncio.to_thread(known_item, served.scorer, served.config, item_id)
        self._show(known, await self._looking.recipients(item_id))

    def _show(self, known: KnownItem, recipients: Recipients) -> None:
        heading("What is known")
        with ui.element("div").classes("tables"):
            with ui.element("div").classes("card"):
                if known.fields is None:
                    said("The items topic says nothing of this item.")
                else:
                    fields = [[name, value] for name, value in known.fields.items()]
                    table("By the catalogue", ["field", "value"], fields, n_words=2)
            with ui.element("div").classes("card"):
                if known.statistics is None:
                    said("Nothing is learned of this item: no event names it yet.")
                else:
                    rows = [[name, shown(value)] for name, value in known.statistics.items()]
                    table("Learned", ["", "so far"], rows)
        said(f"As of the version {known.model_version}.")
        _show_recipients(recipients)
        heading("What goes with it")
        with ui.element("div").classes("tables"):
            for channel, neighbours in known.neighbours.items():
                with ui.element("div").classes("card"):
                    self._show_neighbours(channel, neighbours)

    def _show_neighbours(self, channel: str, neighbours: Sequence[Named]) -> None:
        async def look_at(place: int) -> None:
            self._item.set_value(neighbours[place].item_id)
            await self._answers.fill()

        caption = f"{_LISTS.get(channel, channel)} ({channel})"
        if not neighbours:
            said(f"{caption}: nothing yet.")
            return
        table(
            caption,
            ["item", "title", "weight"],
            [[each.item_id, each.title, f"{each.value:.3f}"] for each in neighbours],
            n_words=2,
            action=("Look it up", look_at),
        )


def _show_recipients(found: Recipients) -> None:
    heading("Who gets it")
    if not found.n_with:
        said(f"It stands in none of the last {found.n_slates:,} slates.")
        return
    said(
        f"It stands in {found.n_with:,} of the last {found.n_slates:,} slates"
        f" ({found.n_with / found.n_slates:.1%}), of {found.n_users_with:,} of {found.n_users:,}"
        " users"
        + (f", and visitors without a name had {found.n_unnamed:,}." if found.n_unnamed else ".")
    )
    with ui.element("div").classes("tables"):
        with ui.element("div").classes("card"):
            table(
                "By surface",
                ["", "slates with it", "slates", "share"],
                [[name, f"{n:,}", f"{of:,}", f"{n / of:.1%}"] for name, n, of in found.by_surface],
            )
        with ui.element("div").classes("card"):
            table(
                "Last shown to",
                ["user", "at (UTC)", "place", "probability", "expected"],
                [
                    [
                        each.user_id,
                        at(each.ts),
                        f"{each.position + 1}",
                        "pinned" if each.propensity is None else f"{each.propensity:.3f}",
                        "–" if each.expected is None else f"{each.expected:.4f}",
                    ]
                    for each in found.last
                ],
                n_words=2,
            )
