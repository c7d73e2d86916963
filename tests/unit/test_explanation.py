"""Why an item stands where it stands: what adds up to its score, and what keeps it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.config import Config, TopicRole, load_config
from streamer.config.sources import from_lines
from streamer.errors import ConfigError
from streamer.events import Event, Item, RecommendedItem, Request
from streamer.ranking.variants import tried
from streamer.scorer.explanation import ColumnPart, Explanation, explain
from streamer.scorer.slate_change import ShownSlate, SlateChange
from streamer.simulation.live import LiveSystem

START_MS = 1_700_000_000_000
N_USERS, N_ITEMS = 20, 60
ROLES = get_args(TopicRole)


def _shop(**flags: object) -> LiveSystem:
    given = {name.replace("__", "."): value for name, value in flags.items()}
    config = load_config(env={}, flags={"bandit.policy": "greedy", **given})
    live, rng = LiveSystem(config, start_ms=START_MS, sync_interval_ms=0), np.random.default_rng(2)
    live.publish(*(Item(item_id=f"i{n}", categories=[f"kind {n % 3}"]) for n in range(N_ITEMS)))
    live.publish(
        *(
            Event(
                event_id=f"e{n}",
                type="click",
                user_id=f"u{rng.integers(N_USERS)}",
                item_id=f"i{int(N_ITEMS * rng.random() ** 2)}",
                ts=START_MS - 60_000 * (500 - n),
            )
            for n in range(500)
        )
    )
    live.sync()
    return live


def _explain(live: LiveSystem, item_id: str, user_id: str = "u1", k: int = 5) -> Explanation:
    request = Request(request_id="r", user_id=user_id, ts=START_MS, k=k, preview=True)
    version, catalogue = live.scorer.replica.current(), live.scorer.catalogue
    return explain(live.config, request, item_id, version, catalogue, known=live.scorer.known)


def _ranked(live: LiveSystem, k: int) -> list[str]:
    request = Request(request_id="r", user_id="u1", ts=START_MS, k=k)
    version, catalogue = live.scorer.replica.current(), live.scorer.catalogue
    slate = live.scorer.variants.of(request.user_id).recommend(
        request, version, catalogue, known=live.scorer.known
    )
    return slate.item_ids


@pytest.mark.parametrize("ranker", ["bandit", "blend"])
def test_the_place_is_that_of_the_slate(ranker: str) -> None:
    live = _shop(funnel__ranker=ranker)
    for place, item_id in enumerate(_ranked(live, 5), start=1):
        found = _explain(live, item_id)
        assert found.place == place
        assert found.barred is None
        assert found.expected >= found.expected_of_last
        assert found.places
    assert (_explain(live, _ranked(live, 5)[0]).bandit == []) == (ranker == "blend")


def test_what_is_expected_is_so_without_boosts_which_move_the_place() -> None:
    plain = _shop()
    of_plain = [_explain(plain, item_id) for item_id in _ranked(plain, 20)]
    last = of_plain[-1].item_id
    found = _explain(
        _shop(rules__own__boost=9.0, rules__own__when=f"item.item_id == '{last}'"), last
    )
    assert (of_plain[-1].place, found.place) == (20, 1)
    assert found.expected == of_plain[-1].expected
    assert found.boost > 0
    assert found.boost_of_last == of_plain[0].boost == 0
    assert found.expected_of_last == of_plain[3].expected  # of five slots, one goes to the boosted
    assert found.lacks < 0


def test_what_columns_add_is_what_tells_two_items_apart() -> None:
    live = _shop()
    first, last = (_explain(live, item_id) for item_id in np.array(_ranked(live, 20))[[0, -1]])
    for parts in ("blend", "bandit"):
        of_first, of_last = (sum(p.adds for p in getattr(each, parts)) for each in (first, last))
        assert of_first > of_last
    apart = sum(part.adds for part in first.bandit) - sum(part.adds for part in last.bandit)
    assert apart == pytest.approx(first.expected - last.expected, rel=1e-6)
    adds = [abs(part.adds) for part in first.blend]
    assert adds == sorted(adds, reverse=True)
    for part in first.blend:
        assert part.adds == pytest.approx(part.weight * (part.value - part.mean))


def test_an_item_that_no_channel_brings_is_ranked_all_the_same() -> None:
    live = _shop(recall__random__candidates=0, recall__popular__candidates=2)
    version = live.scorer.replica.current()
    brought = set(live.request("u1", k=1).decision.candidates)
    left = [f"i{n}" for n in range(N_ITEMS) if f"i{n}" not in brought]
    assert left
    for item_id in (left[0], "never heard of"):
        found = _explain(live, item_id, k=1)
        assert found.places == {}
        assert 1 <= found.place <= found.n_candidates == len(brought) + 1
    assert live.scorer.replica.current() is version


def test_it_says_what_bars_an_item() -> None:
    live = _shop()
    live.publish(
        Item(item_id="gone", available=False),
        Item(item_id="over", expires_ts=START_MS - 1),
        Item(item_id="later", created_ts=START_MS + 60_000),
        Event(event_id="last", type="click", user_id="u1", item_id="i5", ts=START_MS),
    )
    live.sync()
    for item_id, words in (
        ("gone", "unavailable"),
        ("over", "expires_ts"),
        ("later", "created_ts is 60 s ahead"),
        ("i5", "the user met it"),
    ):
        barred = _explain(live, item_id).barred
        assert barred is not None
        assert words in barred


_FOUND = Explanation(
    user_id="ann",
    item_id="[tea]",
    k=2,
    is_known=True,
    barred=None,
    places={"popular": 7},
    n_candidates=120,
    place=9,
    expected=0.25,
    expected_of_last=0.5,
    boost=-0.125,
    boost_of_last=0.0625,
    boosts={"rules.own.boost": -1.0},
    blend=[ColumnPart(f"column {n}", 1.0, 0.5, 2.0, 1.0) for n in range(10)],
    bandit=[],
    objectives={"click": 0.25},
)


def test_the_command_prints_a_place_and_what_is_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, int | None]] = []
    contexts: list[dict[str, Any]] = []

    def explained(config: Config, user: str, item: str, k: int | None, **of: Any) -> Explanation:
        asked.append((user, item, k))
        contexts.append(of)
        return _FOUND

    monkeypatch.setattr("streamer.application.explaining.explain_configured", explained)
    shown = CliRunner().invoke(app, ["explain", "ann", "[tea]", "--k", "2"]).output
    words = " ".join(shown.split())
    assert "[tea] for ann: place 9 of 120 candidates, expected reward 0.2500" in words
    assert "brought by popular at place 7" in words
    assert "expected by objective: click 0.2500" in words
    assert "boosts add -0.1250 to the expected reward" in words
    assert "the last of 2 slots has 0.5000 and +0.0625 by boosts: it lacks 0.4375" in words
    assert "2 more" in words
    assert "+10.0000" in words
    printed = CliRunner().invoke(app, ["explain", "ann", "[tea]", "--json"]).stdout
    assert msgspec.json.decode(printed, type=Explanation) == _FOUND
    assert asked == [("ann", "[tea]", 2), ("ann", "[tea]", None)]
    assert contexts == [{"surface": None, "context": None, "settings": {}}] * 2
    assert "moved by rules.own.boost = -1" in words
    given = ["--context", "region=eu", "--context", "kids=true", "--context", "n=1.5"]
    CliRunner().invoke(app, ["explain", "ann", "[tea]", *given, "--context", "surface=home"])
    assert contexts[-1] == {
        "surface": "home",
        "context": {"region": "eu", "kids": True, "n": 1.5},
        "settings": {},
    }
    CliRunner().invoke(app, ["explain", "ann", "[tea]", "--set", "bandit.policy=greedy"])
    assert contexts[-1]["settings"] == {"bandit.policy": "greedy"}
    refused = CliRunner().invoke(app, ["explain", "ann", "[tea]", "--context", "region"])
    assert refused.exit_code == 2


@pytest.mark.parametrize("name", ["rules.own.boost", "[own]"])
def test_the_command_prints_words_in_brackets_as_they_are(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    found = replace(
        _FOUND,
        barred="the user met it; [recall.again] lets what was met come again",
        places={name: 1},
        boosts={name: 1.0},
        objectives={name: 0.5},
    )
    monkeypatch.setattr(
        "streamer.application.explaining.explain_configured", lambda *args, **of: found
    )
    lines = CliRunner().invoke(app, ["explain", "ann", "[tea]"]).output.splitlines()
    assert f"not recommended: {found.barred}" in lines
    assert f"brought by {name} at place 1" in lines
    assert f"moved by {name} = +1" in lines
    assert f"expected by objective: {name} 0.5000" in lines
    assert not [line for line in lines if "knows" in line]


def test_the_command_says_that_an_item_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    found = replace(_FOUND, is_known=False)
    monkeypatch.setattr(
        "streamer.application.explaining.explain_configured", lambda *args, **of: found
    )
    lines = CliRunner().invoke(app, ["explain", "ann", "[tea]"]).output.splitlines()
    assert [line for line in lines if "nothing is known of [tea]" in line]


def test_an_item_is_known_by_the_catalogue_or_by_what_was_learned() -> None:
    live = _shop()
    live.publish(
        Item(item_id="said"),
        Item(item_id="gone", available=False),
        Event(event_id="new", type="click", user_id="u1", item_id="met", ts=START_MS),
    )
    live.sync()
    known = {each: _explain(live, each).is_known for each in ("said", "gone", "met", "i1", "nope")}
    assert known == {"said": True, "gone": True, "met": True, "i1": True, "nope": False}


def _changed(live: LiveSystem, *lines: str, k: int = 5) -> SlateChange:
    request = Request(request_id="r", user_id="u1", ts=START_MS, k=k, preview=True)
    settings = from_lines(lines)
    other = live.scorer.variants.tried("u1", settings)
    return live.scorer.change(request, other, settings.keys())


def test_a_slate_with_other_settings_is_that_of_a_system_that_has_them() -> None:
    live, bold = _shop(), _shop(slate__diversity="0.9")
    n_messages = {role: len(live.broker.records(live.config.topics.topic(role))) for role in ROLES}
    change = _changed(live, "slate.diversity = 0.9", k=3)
    now, then = ([item.item_id for item in each.items] for each in (change.now, change.then))
    assert now == _ranked(live, 3)
    assert then == _ranked(bold, 3) != now
    n_stay = sum(item_id in now for item_id in then)
    assert change.said().startswith(f"{3 - n_stay} came in, {3 - n_stay} went out, ")
    for place, item_id in enumerate(then, start=1):
        assert change.becomes(item_id) == str(place)
        assert change.was(item_id) == (str(now.index(item_id) + 1) if item_id in now else "new")
    assert {change.becomes(item_id) for item_id in now if item_id not in then} == {"out"}
    assert list(change.changes()) == [("slate.diversity", "0.0", "0.9")]
    assert [item.score for item in change.then.items] == [
        pytest.approx(_explain(live, item_id).expected) for item_id in then
    ]
    assert (
        _changed(live, "slate.diversity = 0").said() == "0 came in, 0 went out, 0 moved, 5 stayed"
    )
    assert n_messages == {
        role: len(live.broker.records(live.config.topics.topic(role))) for role in ROLES
    }


def test_a_rule_that_is_tried_may_empty_a_slate_and_says_so() -> None:
    change = _changed(_shop(), "[rules.own]", "exclude = 'item.item_id != \"\"'")
    assert change.then.items == []
    assert change.then.why_empty is not None
    assert change.then.expected is None
    assert change.said() == "0 came in, 5 went out, 0 moved, 0 stayed"
    assert list(change.changes()) == [("rules.own.exclude", "not set", 'item.item_id != ""')]


def test_what_is_tried_says_what_it_reads_that_no_item_has() -> None:
    live = _shop(slate__caps='["flavour<=2"]')
    change = _changed(live, "slate.caps = ['flavour<=2', 'colour<=1']")
    assert change.unread == ["slate.caps reads item.attributes.colour, which no item has"]
    described = Item(item_id="painted", attributes={"colours": 3})
    live.publish(described)
    live.sync()
    change = _changed(live, "[rules.own]", "exclude = 'item.attributes.colour == 3'")
    (said,) = change.unread
    assert said == (
        "rules.own.exclude reads item.attributes.colour, which no item has (did you mean"
        " item.attributes.colours?)"
    )
    assert _changed(live, "slate.caps = ['colours<=1']").unread == []


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ((), "no setting to try"),
        (("slate.diversity 0.3",), "is not KEY = VALUE"),
        (("[slate]", "diversity = 0.3", "diversity = 0.4"), "slate.diversity comes twice"),
        (("slate.diversity = 7",), "give a number from 0 to 0.99"),
        (("slat.diversity = 0.3",), "the nearest known one is 'slate.diversity'"),
        (("mf.factors = 64",), "mf.factors can't be tried: the learner reads it"),
        (("bandit.time_features = true",), "the ranking columns would be others"),
        (("store.url = 'sqlite:other.db'",), "it belongs to a process"),
    ],
)
def test_a_setting_that_can_not_be_tried_says_why(lines: Sequence[str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        tried(Config(), from_lines(lines))


def test_the_command_prints_both_slates_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, given = {"slate.diversity": "0.3"}, []
    now, then = (
        ShownSlate(
            {"slate.diversity": value},
            [
                RecommendedItem(item_id=item_id, rank=rank, score=score, reason="popular")
                for rank, (item_id, score) in enumerate(items.items())
            ],
            why_empty,
        )
        for value, items, why_empty in (
            (0.0, {"[tea]": 0.5, "milk": 0.25}, None),
            (0.3, {"cake": 0.125}, None),
        )
    )
    found = SlateChange("ann", "v7", now, then, ["slate.caps reads what no item has"])

    def changed(config: Config, user: str, k: int | None, tried: object, **of: Any) -> SlateChange:
        given.append((user, k, tried, of))
        return found

    monkeypatch.setattr("streamer.application.explaining.change_configured", changed)
    asked = ["explain", "ann", "--set", "slate.diversity=0.3"]
    words = " ".join(CliRunner().invoke(app, asked).output.split())
    assert "slate.diversity: 0.0 → 0.3" in words
    assert "1 came in, 2 went out, 0 moved, 0 stayed (for ann, as of v7)" in words
    assert "slate.caps reads what no item has ┏" in words
    assert "│ 1 │ [tea] │ 0.5000 │ cake │ 0.1250 │ new │" in words
    assert "│ 2 │ milk │ 0.2500 │ │ │ │" in words
    assert "│ mean │ │ 0.3750 │ │ 0.1250 │ │" in words
    printed = CliRunner().invoke(app, [*asked, "--json", "--k", "2"]).stdout
    assert msgspec.json.decode(printed, type=SlateChange) == found
    none = {"surface": None, "context": None}
    assert given == [("ann", None, settings, none), ("ann", 2, settings, none)]
    refused = CliRunner().invoke(app, ["explain", "ann"])
    assert refused.exit_code == 2
    assert "--set" in refused.output
