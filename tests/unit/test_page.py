"""The page: what it shows of a shop that sells, without a browser and in one."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

pytest.importorskip("nicegui", reason="pip install '.[ui]'")
from nicegui import core, ui
from nicegui.functions.navigate import Navigate
from nicegui.functions.notify import notify
from nicegui.testing.user import User

from streamer import events
from streamer.cli import app as cli
from streamer.config import Config
from streamer.errors import BadMessage
from streamer.events import DeadLetter
from streamer.ope.experiment_report import ExperimentReport, VariantReport
from streamer.ope.mean_difference import MeanDifference
from streamer.page.frame import TABS as OF_PAGE
from streamer.page.known import known_user
from streamer.page.letters import key_again
from streamer.page.looking import Looking
from streamer.page.reports import ReportsTab
from tests.http_world import served
from tests.imports import ROOT
from tests.page_world import PageWorld, page_world
from tests.unit.ope_files import small_log
from tests.unit.test_reports import report_page

TABS = tuple(OF_PAGE)
STEPS: dict[str, list[tuple[str, str]]] = {
    "Now": [("Look over all of it", "confluent-kafka")],
    "User": [
        ("Look the user up", "The slate now"),
        ("Why?", "Brought by"),
        ("Try the settings", "1 went out"),
    ],
    "Item": [("Look the item up", "Last shown to")],
    "Dead letters": [("Read the newest letters", "missing from"), ("Open", "Publish again …")],
    "Experiments": [("Read the topics", "as configured")],
    "Reports": [("Look again", "What uniform would have earned on all.csv")],
}
"""What is pressed in each tab, and what is seen then."""
LEADS = {"Why?", "Open"}
"""Of these, what leads to a heading elsewhere on the page."""
TYPED = {
    "User id": "bob",
    "Item id": "tea",
    "Window of a user": "5s",
    "Settings, KEY = VALUE": "rules.own.exclude = \"item.item_id == 'jam'\"",
}
"""What is written in a field once there is one."""
PICTURES = ROOT / ".cache" / "page"


class ServedPage:
    """A shop whose page is served on a port, and users that look at it without a browser."""

    def __init__(self, world: PageWorld, url: str) -> None:
        self.world = world
        self.url = url

    def look(self, scenario: Callable[[User], Awaitable[None]]) -> None:
        """Have a user open the page and look, in the event loop of the server."""

        async def run() -> None:
            transport = httpx.ASGITransport(self.world.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://streamer") as client:
                user = User(client)
                await user.open("/ui/")
                await scenario(user)

        assert core.loop is not None
        try:
            asyncio.run_coroutine_threadsafe(run(), core.loop).result(timeout=120)
        finally:
            ui.navigate, ui.notify = Navigate(), notify


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of reports, the page of ``streamer ope`` among them."""
    folder = tmp_path_factory.mktemp("reports")
    (folder / "replay.html").write_text(report_page("Replay of a log"))
    log = small_log(folder)
    asked = ["ope", str(log), "--format", "obd", "--policy", "uniform", "--ci", "normal"]
    asked += ["--report", str(folder / "a b.html")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["streamer", *asked])
        result = CliRunner().invoke(cli, asked)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def page(reports: Path) -> Iterator[ServedPage]:
    with page_world(reports=str(reports)) as world, served(world.app) as url:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"{url}/healthz", timeout=60)
        yield ServedPage(world, url)


async def seen(user: User, *contents: str) -> None:
    """Wait until all is on the page."""
    for content in contents:
        await user.should_see(content, retries=100)


def test_the_page_shows_figures_rates_and_what_it_does_not_know(page: ServedPage) -> None:
    async def look(user: User) -> None:
        await seen(user, "Events learned", "By channel", "By slot", "By surface", "popular")
        await seen(user, "Exposure", "New items", "Calibration", "Drift")
        await seen(user, "By expected reward", "Over time")
        await seen(user, "12 slates whose window of feedback")
        await seen(user, "26 of 26 events that could answer one did")
        await seen(user, "this one does not know")

    page.look(look)


def test_the_doctor_answers_on_the_page(page: ServedPage) -> None:
    async def look(user: User) -> None:
        user.find("Look over all of it").click()
        await seen(user, "versions", "broker", "dead letters")

    page.look(look)


def test_a_user_is_looked_up_and_a_slate_explained_without_a_decision(page: ServedPage) -> None:
    world = page.world
    n_decisions = len(world.records("decisions"))

    async def look(user: User) -> None:
        user.find("User id").type("bob")
        user.find("Look the user up").click()
        await seen(
            user, "Met items 2 times", "Met last", "Fresh milk", "The slate now", "Experiment mix"
        )
        user.find(kind=ui.button, content="Why?").click()
        await seen(user, "Brought by", "All columns", "popular_high")
        n_answers = len(world.records("recommendations"))
        field = user.find("Settings, KEY = VALUE")
        (keys,) = user.find(kind=ui.select, content="Add a setting").elements
        assert not {"mf.factors", "scorer.poll_ms", "slate"} & {*keys.options}
        keys.set_value("slate.diversity")
        await seen(user, "slate.diversity = 0.0")
        for written, said in (
            ("", "name one, such as slate.diversity"),
            ("slate.diversity = 7", "give a number from 0 to 0.99"),
            ("mf.factors = 64", "mf.factors can't be tried: the learner reads it"),
            ("rules.own.exclude = 'milk' == ", "it is no CEL"),
        ):
            field.clear().type(written)
            user.find("Try the settings").click()
            await seen(user, said)
        field.clear().type("rules.own.exclude = \"item.item_id == 'cake'\"")
        user.find("Try the settings").click()
        await seen(user, "not set", "item.item_id == 'cake'", "1 went out", "Mean expected reward")
        assert len(world.records("recommendations")) == n_answers

    page.look(look)
    assert len(world.records("decisions")) == n_decisions


def test_an_item_met_twice_is_one_item_and_an_empty_slate_says_why(page: ServedPage) -> None:
    world = page.world
    now_ms = world.live.clock.now_ms()
    world.live.publish(
        *(
            events.Event(
                event_id=f"flo {n}", type="click", user_id="flo", item_id=item, ts=now_ms - n
            )
            for n, item in ((3, "milk"), (2, "tea"), (1, "milk"))
        )
    )
    world.live.advance(now_ms + 1_000)
    known = known_user(world.live.scorer, world.config, "flo")
    assert (known.n_events, known.n_barred) == (3, 2)
    last = [(each.item_id, now_ms - each.value) for each in known.met]
    assert last == [("milk", 1), ("tea", 2)]

    async def look(user: User) -> None:
        user.find("User id").type("flo")
        user.find("Surface").type("closed")
        user.find("Look the user up").click()
        await seen(user, "Met items 3 times", "remembered are 2 different ones")
        await seen(user, "The slate is empty.", "rules.closed")

    page.look(look)


def test_a_stranger_and_a_wrong_number_are_said_in_words(page: ServedPage) -> None:
    async def look(user: User) -> None:
        user.find("User id").type("nobody")
        user.find("Look the user up").click()
        await seen(user, "Nothing is known of this user", "The slate now")
        user.find("User id").clear()
        user.find("Look the user up").click()
        await seen(user, "field 'user_id'")

    page.look(look)


def test_what_a_user_says_of_themselves_is_shown_before_any_event(page: ServedPage) -> None:
    page.world.describe(
        events.User(
            user_id="zoe", categories=["drinks", "tea"], attributes={"country": "de", "age": 31}
        )
    )

    async def look(user: User) -> None:
        user.find("User id").type("zoe")
        user.find("Look the user up").click()
        await seen(user, "No event of this user is learned", "you chose drinks")
        await seen(user, "Said of themselves", "drinks, tea", "attributes.country", "de", "31")
        await user.should_not_see("Nothing is known of this user")

    page.look(look)


def test_an_item_is_looked_up_with_what_goes_with_it(page: ServedPage) -> None:
    async def look(user: User) -> None:
        user.find("Item id").type("tea")
        user.find("Look the item up").click()
        await seen(user, "Green tea", "times shown in a slate", "positive feedback ever")
        await seen(user, "Met by the same users (similar)", "Apple cake")
        await seen(user, "It stands in 1", "of the last 13 slates", "Last shown to", "user 3")
        user.find("Item id").clear().type("none")
        user.find("Look the item up").click()
        await seen(user, "The items topic says nothing", "no event names it yet")

    page.look(look)


def test_a_dead_letter_is_opened_and_published_again_once_it_is_confirmed(
    page: ServedPage,
) -> None:
    world = page.world
    world.publish_bad_event()
    n_events = len(world.records("events"))

    async def look(user: User) -> None:
        user.find("Read the newest letters").click()
        await seen(user, "missing from", "Open")
        user.find(kind=ui.button, content="Open").click()
        await seen(user, '{"type": "click", "user_id": "bob"}')
        await seen(user, "The message events", "Publish again")
        user.find("Publish again").click()
        await seen(user, "Publish this message to events again?")
        assert len(world.records("events")) == n_events
        user.find(kind=ui.button, content="Publish it").click()
        await seen(user, "The broker has it, on events.")

    page.look(look)
    assert len(world.records("events")) == n_events + 1
    n_letters = len(world.records("dead_letters"))
    world.live.advance(world.live.clock.now_ms() + 500)
    assert len(world.records("dead_letters")) == n_letters + 1  # it is as bad as it was
    world.copy()


@pytest.mark.parametrize(
    ("letter", "why"),
    [
        ({"topic": "requests", "raw": b'{"user_id": "bob"}'}, "only events and items"),
        ({"topic": "events", "raw": None}, "whole message"),
        ({"topic": "events", "raw": b"12", "n_bytes": 3}, "whole message"),
        ({"topic": "events", "raw": b"[1]"}, "names no user_id"),
        ({"topic": "items", "raw": b'{"user_id": "bob"}'}, "names no item_id"),
    ],
)
def test_what_can_not_be_published_again_says_why(letter: dict[str, Any], why: str) -> None:
    fields: dict[str, Any] = {
        "reason": "",
        "partition": 0,
        "offset": 0,
        "n_bytes": len(letter["raw"] or b""),
    }
    with pytest.raises(BadMessage, match=why):
        key_again(Config(), DeadLetter(**(fields | letter)))


def test_an_experiment_is_shown_as_the_command_says_it(page: ServedPage) -> None:
    async def look(user: User) -> None:
        user.find("Read the topics").click()
        await seen(
            user,
            "users are split 0.5 : 0.5, as configured",
            "whose time is over",
            "control",
            "objectives.taken",
            "Not shown: reward a slot, off-policy",
            "Not shown: objectives a slot, off-policy",
        )
        user.find("Window of a user").clear().type("soon")
        user.find("Read the topics").click()
        await seen(user, "--window")

    page.look(look)


def test_reports_are_listed_and_read_again_when_there_are_more(
    page: ServedPage, reports: Path
) -> None:
    async def look(user: User) -> None:
        await seen(user, "Replay of a log", "2023-11-14 22:13:20", "streamer replay log.jsonl")
        await seen(user, "What uniform would have earned on all.csv", "streamer ope ")
        links = {each.text: each.props["href"] for each in user.find(kind=ui.link).elements}
        assert links["What uniform would have earned on all.csv"] == "/reports/a%20b.html"
        (reports / "more.html").write_text(report_page("One more"))
        (reports / "other.html").write_text("<p>of elsewhere</p>")
        user.find("Look again").click()
        await seen(user, "One more", "that are not shown: 1.")

    try:
        page.look(look)
    finally:
        for name in ("more", "other"):
            (reports / f"{name}.html").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("", "start the service with --reports FOLDER"),
        ("empty", "One is written by"),
        ("nowhere", "make the folder, or name another one"),
    ],
)
def test_a_page_without_reports_says_how_to_write_one(
    page: ServedPage, tmp_path: Path, folder: str, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    served = page.world.served
    path = str(tmp_path / folder) if folder else ""
    http = replace(served.config.http, reports=path)
    other = dataclasses.replace(served, config=replace(served.config, http=http))

    async def look(user: User) -> None:
        with user, ui.element("div"):
            ReportsTab(Looking(other))
        await seen(user, said)
        if folder != "nowhere":
            command = f"--report {path or 'FOLDER'}/ope.html"
            await seen(user, "streamer replay LOG --model all", command)

    page.look(look)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize(("width", "colours"), [(400, "dark"), (1_400, "light")])
def test_the_page_in_a_browser(page: ServedPage, browser: Any, width: int, colours: str) -> None:
    elsewhere: list[str] = []
    said: list[str] = []
    shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=colours)
    shown.set_default_timeout(60_000)
    context = shown.context  # of the page, and of the tabs that it opens
    context.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    shown.on("pageerror", lambda error: said.append(f"error: {error}"))

    def only_here(route: Any) -> None:
        if route.request.url.startswith((page.url, "data:", "blob:")):
            route.continue_()
        else:
            elsewhere.append(route.request.url)
            route.abort()

    context.route("**/*", only_here)
    shown.goto(f"{page.url}/ui/")
    shown.get_by_text("By channel").wait_for()
    letters = shown.locator(".card", has_text="Dead letters").locator(".value")
    n_before = int(letters.inner_text())
    page.world.publish_bad_event()
    letters.and_(shown.get_by_text(f"{n_before + 1}", exact=True)).wait_for()  # with no click
    reached = ""
    for _ in range(10):
        shown.keyboard.press("Tab")
        if shown.evaluate("document.activeElement.getAttribute('role')") == "tab":
            reached = shown.evaluate("document.activeElement.textContent")
            break
    assert reached == TABS[0]
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name in TABS:
        tab = shown.get_by_role("tab", name=name, exact=True)
        tab.focus()
        shown.keyboard.press("Enter")
        shown.get_by_role("tab", name=name, exact=True, selected=True).wait_for()
        for button, wanted in STEPS[name]:
            for label, typed in TYPED.items():
                if (field := shown.get_by_label(label, exact=True)).is_visible():
                    field.fill(typed)
            if button == "Try the settings":  # one more by the keyboard, from the list of them
                shown.get_by_label("Add a setting").press_sequentially("slate.div")
                shown.get_by_role("option", name="slate.diversity", exact=True).wait_for()
                shown.keyboard.press("ArrowDown")
                shown.keyboard.press("Enter")
            shown.get_by_role("button", name=button).first.press("Enter")
            shown.get_by_text(wanted).last.wait_for()
            if button in LEADS:  # the keyboard goes on there: what is typed before would be lost
                shown.wait_for_function("document.activeElement.tagName === 'H2'")
            if button == "Try the settings":
                assert shown.get_by_role("cell", name="slate.diversity").is_visible()
        assert shown.evaluate("document.documentElement.scrollWidth") <= width, name
        file = PICTURES / f"{name.lower().replace(' ', '-')}-{width}.png"
        shown.screenshot(path=file, full_page=True, animations="disabled")
    with context.expect_page() as opened:
        shown.get_by_role("link", name="What uniform would have earned").press("Enter")
    report = opened.value
    report.get_by_role("heading", name="What uniform would have earned").wait_for()
    assert report.url == f"{page.url}/ui/reports/a%20b.html"
    assert report.evaluate("self.origin") == "null"  # so it can't ask with the page's cookie
    assert report.evaluate("document.documentElement.scrollWidth") <= width
    file = PICTURES / f"report-{width}.png"
    report.screenshot(path=file, full_page=True, animations="disabled")
    report.close()
    first = {"x": 0, "y": 0, "width": width, "height": 760}  # docs/images has the wide one
    shown.get_by_role("tab", name=TABS[0]).click()
    shown.get_by_text("By channel").wait_for()
    shown.mouse.move(width / 2, 8)
    file = PICTURES / f"first-{width}.png"
    shown.screenshot(path=file, full_page=True, clip=first, animations="disabled")
    shown.close()
    assert elsewhere == []
    assert said == []


def test_intervals_of_an_experiment_fit_a_telephone(
    page: ServedPage, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = experiment_with_intervals()
    monkeypatch.setattr("streamer.page.experiments.reported", lambda *args, **of: found)
    shown = browser.new_page(viewport={"width": 400, "height": 900})
    shown.set_default_timeout(60_000)
    shown.goto(f"{page.url}/ui/")
    shown.get_by_role("tab", name="Experiments", exact=True).click()
    shown.get_by_role("button", name="Read the topics").click()
    shown.get_by_text("-13.7117 to -11.2147 *").first.wait_for()
    beyond = "each => each.scrollWidth - each.clientWidth"
    tables = shown.locator(".scrolled").filter(visible=True).all()
    assert [table.evaluate(beyond) for table in tables] == [0] * len(tables)
    shown.screenshot(path=PICTURES / "intervals-400.png", full_page=True, animations="disabled")
    shown.close()


def experiment_with_intervals() -> ExperimentReport:
    change = MeanDifference(estimate=-12.4632, low=-13.7117, high=-11.2147)
    variants = [
        VariantReport(
            name=name,
            share=0.5,
            users=12_345,
            complete=12_345,
            slates=123_456,
            means=dict.fromkeys(("reward", "conversion"), 16.4997),
            differences=dict.fromkeys(("reward", "conversion"), change) if at else {},
        )
        for at, name in enumerate(("control", "daring"))
    ]
    return ExperimentReport(
        experiment="mix",
        control="control",
        window_s=86_400.0,
        alpha=0.05,
        n_planned=10_000,
        split_p_value=1.0,
        variants=variants,
        shadows=[],
        remarks=[],
    )


def test_what_is_opened_below_a_long_table_comes_into_view(page: ServedPage, browser: Any) -> None:
    for _ in range(12):
        page.world.publish_bad_event()
    shown = browser.new_page(viewport={"width": 1_400, "height": 900})
    shown.set_default_timeout(60_000)
    shown.goto(f"{page.url}/ui/")
    shown.get_by_role("tab", name="Dead letters", exact=True).click()
    shown.get_by_role("button", name="Read the newest letters").click()
    opening = shown.get_by_role("button", name="Open", exact=True)
    opening.nth(11).wait_for()
    opening.first.click()
    heading = shown.get_by_role("heading", name="The message ")
    heading.wait_for()
    shown.wait_for_function(
        """heading => document.activeElement === heading
        && heading.getBoundingClientRect().top >= 0
        && document.querySelector("pre.raw").getBoundingClientRect().bottom <= innerHeight""",
        arg=heading.element_handle(),
    )
    shown.close()
