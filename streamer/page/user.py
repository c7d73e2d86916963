"""One user: what is known, and the slate that the user would get now, with its reasons."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nicegui import ui

from streamer.events import Recommendation, Request
from streamer.events.profiles import NO_PROFILE, Profile
from streamer.http.bodies import request_of
from streamer.http.waiting import answered
from streamer.page.asking import AnswerPlace, at, heading, opened, said
from streamer.page.charts import bar_chart
from streamer.page.known import KnownUser, known_user, title_of
from streamer.page.looking import Looking
from streamer.page.tables import table
from streamer.page.tried import TriedSettings
from streamer.scorer.explanation import ColumnPart, Explanation

_BARS = 10


class UserTab:
    """The tab of one user."""

    def __init__(self, looking: Looking) -> None:
        self._served = looking.served
        self._timeout_s = self._served.config.http.timeout_ms / 1000
        with ui.element("div").classes("asked"):
            self._user = ui.input("User id").props("outlined dense")
            self._k = ui.number("Slots", min=1, max=500, precision=0).props("outlined dense")
            self._surface = ui.input("Surface").props("outlined dense")
            answers = AnswerPlace("Look the user up", self._look)
        for field in (self._user, self._k, self._surface):
            field.on("keydown.enter", answers.fill)
        answers.put(ui.element("div"))
        self._tried = TriedSettings(looking)

    def _request(self) -> Request:
        fields = {
            "user_id": self._user.value,
            "k": None if self._k.value is None else int(self._k.value),
            "surface": self._surface.value or None,
            "preview": True,  # a slate that is only looked at must teach nothing
        }
        return request_of(fields, now_ms=self._served.parts.clock.now_ms())

    async def _look(self) -> None:
        request, served = self._request(), self._served
        known = await asyncio.to_thread(known_user, served.scorer, served.config, request.user_id)
        future = served.parts.answers.recommend(request, timeout_s=self._timeout_s)
        answer = (await answered(future, self._timeout_s)).recommendation
        _show_known(known)
        self._show_slate(request, answer)

    def _show_slate(self, request: Request, answer: Recommendation) -> None:
        heading("The slate now")
        said("A preview: it makes no decision and teaches nothing.")
        if not answer.items:
            ui.label("The slate is empty.")
            said(answer.why_empty or "")
            return
        item_ids = [item.item_id for item in answer.items]

        async def explain(place: int) -> None:
            asking = self._served.parts.answers.explain(
                request, item_ids[place], timeout_s=self._timeout_s
            )
            found = await answered(asking, self._timeout_s)
            explained.clear()
            with explained:
                _show_explanation(found, title_of(self._served.scorer, found.item_id))

        table(
            "",
            ["", "item", "title", "reason", "expected reward"],
            [
                [
                    f"{item.rank + 1}",
                    item.item_id,
                    title_of(self._served.scorer, item.item_id),
                    item.reason,
                    f"{item.score:.4f}",
                ]
                for item in answer.items
            ],
            n_words=4,
            action=("Why?", explain),
        )
        explained = ui.element("div").props('aria-live="polite"')
        self._tried.show(request)


def _show_known(known: KnownUser) -> None:
    heading("What is known")
    if known.last_ms is None and known.profile == NO_PROFILE:
        ui.label("Nothing is known of this user: the slate is that of a stranger.")
    elif known.last_ms is None:
        ui.label("No event of this user is learned: the slate goes by what they said.")
    else:
        ui.label(
            f"Met items {known.n_events:,} {'time' if known.n_events == 1 else 'times'}, the last"
            f" event at {at(known.last_ms)} UTC; remembered are {known.n_barred:,} different ones,"
            " which are kept out of the slate unless [recall.again] lets them come again."
        )
    for experiment, variant in known.variants.items():
        ui.label(f"Experiment {experiment}: {variant}")
    said(f"As of the version {known.model_version}.")
    with ui.element("div").classes("tables"):
        if known.profile != NO_PROFILE:
            with ui.element("div").classes("card"):
                table("Said of themselves", ["field", "value"], _fields(known.profile), n_words=2)
        if known.met:
            with ui.element("div").classes("card"):
                rows = [[each.item_id, each.title, at(each.value)] for each in known.met]
                table("Met last", ["item", "title", "at (UTC)"], rows, n_words=2)
        if known.shown:
            with ui.element("div").classes("card"):
                rows = [[each.item_id, each.title, f"{each.value:.0f}"] for each in known.shown]
                table("Shown last", ["item", "title", "times"], rows, n_words=2)


def _fields(profile: Profile) -> list[list[str]]:
    found = [["categories", ", ".join(profile.categories)]] if profile.categories else []
    found += [[f"attributes.{name}", str(each)] for name, each in profile.attributes.items()]
    return found if profile.ts is None else [*found, ["ts", f"{at(profile.ts)} UTC"]]


def _show_explanation(found: Explanation, title: str) -> None:
    opened(f"Why {title or found.item_id} stands at place {found.place:,}")
    brought = ", ".join(f"{name} at place {place:,}" for name, place in found.places.items())
    own, of_last = f"{found.expected:.4f}", f"{found.expected_of_last:.4f}"
    if found.boost or found.boost_of_last:
        own += f" and {found.boost:+.4f} by boosts"
        of_last += f" and {found.boost_of_last:+.4f}"
    ui.label(
        f"Of {found.n_candidates:,} candidates, with an expected reward of {own};"
        f" the last of {found.k} slots has {of_last}."
    )
    if not found.is_known:
        ui.label(
            f"Nothing is known of {found.item_id}: neither the catalogue has it, nor was anything"
            " learned of it; check how it is spelled."
        ).classes("wrong")
    if found.objectives:
        each = ", ".join(f"{name} {value:.4f}" for name, value in found.objectives.items())
        ui.label(f"Expected by objective: {each}.")
    ui.label(f"Brought by {brought}." if brought else "No channel brings it.")
    for name, amount in found.boosts.items():
        ui.label(f"Moved by {name}: {amount:+g} deviations.")
    if found.barred is not None:
        ui.label(f"Not recommended: {found.barred}.").classes("wrong")
    for caption, parts in (
        ("The blend: what columns add to its logit, against the mean candidate", found.blend),
        ("The bandit: what columns add to the expected reward", found.bandit),
    ):
        if parts:
            _show_parts(caption, parts)


def _show_parts(caption: str, parts: Sequence[ColumnPart]) -> None:
    with ui.element("div").classes("tables"):
        with ui.element("div").classes("card"):
            ui.label(caption).classes("name")
            bar_chart(caption, {part.column: part.adds for part in parts[:_BARS]})
        with ui.element("div").classes("card"):
            table(
                "All columns",
                ["column", "value", "mean", "weight", "adds"],
                [
                    [
                        part.column,
                        f"{part.value:z.3f}",
                        f"{part.mean:z.3f}",
                        f"{part.weight:z.3f}",
                        f"{part.adds:+z.4f}",
                    ]
                    for part in parts
                ],
            )
