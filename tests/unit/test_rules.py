"""Rules of the configuration and filters of requests, through the scorer, live and again."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from streamer.config import Config, load_config
from streamer.errors import BadMessage, ConfigError
from streamer.events import Decision, Item, Request, User
from streamer.replay.funnel_model import FunnelModel, funnel_config, funnel_keys
from streamer.replay.interactions import Interaction
from streamer.scorer.explanation import explain
from streamer.scorer.funnel import Funnel
from streamer.simulation.live import Answer, LiveSystem
from streamer.verify.decisions import SlatesVerification
from tests.kinds import N_KINDS, START_MS, clicks_of_kinds
from tests.verified_slates import verified_again

N_ITEMS = 80
ADULT = "'kind 1' in item.categories"
REGION = "!(item.attributes.region in [request.context.region, 'all'])"
CAPPED: dict[str, object] = {"slate.caps": ["categories<=20 in 30"]}
NOTHING: Mapping[str, object] = MappingProxyType({})
_numbers = itertools.count()


def _system(
    ranker: str = "bandit", composed: Mapping[str, object] = NOTHING, **rules: str
) -> LiveSystem:
    """Items of four kinds, each third for another region; ``i0`` to ``i3`` are described nowhere,
    and ``new`` and ``new 1`` have no parameters."""
    flags: dict[str, object] = {
        f"rules.{name.replace('__', '.')}": text for name, text in rules.items()
    }
    flags |= {"recall.random.candidates": 20, "funnel.ranker": ranker, **composed}
    config = load_config(env={}, flags=flags)
    live = LiveSystem(config, start_ms=START_MS, sync_interval_ms=0)
    live.publish(*(_item(f"i{n}", n) for n in range(4, N_ITEMS)))
    live.publish(_item("new", 0), _item("new 1", 1))
    live.publish(*clicks_of_kinds(600, N_ITEMS))
    live.sync()
    return live


def _item(item_id: str, n: int) -> Item:
    region = ("eu", "us", "all")[n % 3]
    created = START_MS - 1_000 * n
    return Item(
        item_id=item_id,
        categories=[f"kind {n % N_KINDS}"],
        created_ts=created,
        attributes={"region": region, "price": n},
    )


def _request(user_id: str, **given: object) -> Request:
    return Request(
        request_id=f"q{next(_numbers)}",
        user_id=user_id,
        ts=START_MS,
        **{"k": 30, **given},  # type: ignore[arg-type]
    )


def _ask(live: LiveSystem, user_id: str = "u1", **given: object) -> Answer:
    return live.answer([_request(user_id, **given)])[0]


def _number(item_id: str) -> int:
    return int(item_id.removeprefix("i")) if item_id.startswith("i") else 0


def test_what_a_rule_excludes_is_in_no_slate_whatever_brings_it() -> None:
    live = _system(adult__exclude=ADULT)
    shown = {item for n in range(30) for item in _ask(live, f"u{n}").item_ids}
    assert "new" in shown
    assert not shown & {f"i{n}" for n in range(5, N_ITEMS, N_KINDS)} | {"new 1"} & shown
    assert shown & {"i1"}, "nothing is known of i1, so the rule can't be said of it"
    asked_for = [f"i{n}" for n in range(4, 8)] + ["new", "new 1"]
    assert set(_ask(live, "nobody", candidates=asked_for).item_ids) == {"i4", "i6", "i7", "new"}
    seeded = _ask(live, "nobody", seed_items=["i9"], k=10).item_ids
    assert seeded
    assert not set(seeded) & {f"i{n}" for n in range(5, N_ITEMS, N_KINDS)}


def test_only_leaves_out_what_cannot_be_said() -> None:
    live = _system(known__only="item.attributes.price >= 0")
    shown = {item for n in range(20) for item in _ask(live, f"u{n}").item_ids}
    assert not shown & {"i0", "i1", "i2", "i3"}
    plain = _system()
    everything = {item for n in range(40) for item in _ask(plain, f"u{n}").item_ids}
    assert {"i0", "i1", "i2", "i3"} <= everything


def test_a_rule_reads_the_context_of_the_request() -> None:
    live = _system(region__exclude=REGION)
    for region, others in (("eu", 1), ("us", 0)):
        shown = _ask(live, context={"region": region}, k=60).item_ids
        assert len(shown) > 20
        assert others not in {_number(each) % 3 for each in shown if _number(each) > 3}
    everywhere = {_number(each) % 3 for each in _ask(live, k=60).item_ids}
    assert everywhere == {0, 1, 2}, "a request without a region: the rule can't be said"


def test_a_minimum_age_is_a_rule_and_time_passes() -> None:
    live = _system(age__exclude="now_ms - item.created_ts < 40000")
    young = {_number(each) for each in _ask(live, k=80).item_ids if _number(each) > 3}
    assert young
    assert min(young) >= 40
    live.advance(START_MS + 30_000)
    later = Request(request_id="later", user_id="u1", ts=START_MS + 30_000, k=80)
    known = {_number(each) for each in live.answer([later])[0].item_ids if _number(each) > 3}
    assert min(known) in range(10, 40)


def test_items_that_change_are_ruled_as_they_are_now() -> None:
    live = _system(dear__exclude="item.attributes.price > 100")
    ids = [f"i{n}" for n in range(40, 44)]
    assert set(_ask(live, "nobody", candidates=ids).item_ids) == set(ids)
    live.publish(Item(item_id="i40", attributes={"price": 101}))
    live.sync()
    assert set(_ask(live, "nobody", candidates=ids).item_ids) == set(ids[1:])
    live.publish(Item(item_id="i40", attributes={"price": 99}), Item(item_id="i0"))
    live.sync()
    assert set(_ask(live, "nobody", candidates=ids).item_ids) == set(ids)


def test_a_request_has_a_filter_of_its_own_beside_the_rules() -> None:
    live = _system(adult__exclude=ADULT)
    shown = _ask(live, "u2", filter="item.attributes.price < 20 && has(item.created_ts)").item_ids
    assert shown
    assert {_number(each) for each in shown} <= {n for n in range(20) if n % N_KINDS != 1}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "item.colour == 'red'",
            "field 'filter': \"item.colour == 'red'\": at column 1: item",
        ),
        ("item.", "it is no CEL"),
    ],
)
def test_a_bad_filter_is_a_dead_letter(text: str, complaint: str) -> None:
    live = _system()
    with pytest.raises(BadMessage, match=r"requests\[\d\]") as refused:
        _ask(live, filter=text)
    assert complaint in str(refused.value)
    with pytest.raises(BadMessage):
        _ask(live, filter="true || " * 200 + "true")
    assert _ask(live).item_ids


def test_a_slate_that_rules_empty_says_so_and_is_counted() -> None:
    live = _system(adult__exclude=ADULT, all__only="item.attributes.price < 1000")
    answer = _ask(live, "u1", filter="item.attributes.price > 1000")
    assert answer.item_ids == []
    assert answer.recommendation.why_empty == (
        "of 78 items of the catalogue, rules.adult.exclude keeps out 20, rules.all.only keeps out"
        " 0, the filter keeps out 78"
    )
    assert answer.decision.items == []
    assert _ask(live, "u1").recommendation.why_empty is None
    (family,) = live.scorer.metrics.emptied.collect()
    assert {
        sample.labels["rule"]: sample.value
        for sample in family.samples
        if sample.name == "streamer_scorer_emptied_total"
    } == {"filter": 1, "rules.adult.exclude": 1, "rules.all.only": 1}
    never = _system(never__exclude="item.attributes.price > 1000", up__boost="1", up__when="true")
    nothing = _ask(never, "u1", candidates=["nowhere"], exclude=["nowhere"])
    assert nothing.item_ids == []
    assert nothing.recommendation.why_empty == (
        "of 1 candidate of the request, the catalogue does not know 1 ('nowhere'), 1 excluded"
    )


def test_a_slate_says_what_its_filter_and_rules_read_that_nothing_has() -> None:
    live = _system(known__only="has(item.attributes.price)")
    live.publish(User(user_id="u1", attributes={"country": "pt"}))
    live.sync()

    def why(text: str, **given: object) -> str:
        empty = _ask(live, "u1", filter=text, **given).recommendation.why_empty or ""
        return empty.removeprefix("of 78 items of the catalogue, rules.known.only keeps out 0, ")

    assert why("item.attributes.prise < 20") == (
        "the filter keeps out 78 (no item has item.attributes.prise: did you mean"
        " item.attributes.price?)"
    )
    assert why("user.cuntry == 'pt' || item.attributes.zzz == 1") == (
        "the filter keeps out 78 (no item has item.attributes.zzz; the user has no user.cuntry: did"
        " you mean user.country?)"
    )
    assert why("item.attributes.region == user.region", context={"region": "eu"}) == (
        "the filter keeps out 78 (the user has no user.region: did you mean"
        " request.context.region?)"
    )
    assert why("item.attributes.price > 1000") == "the filter keeps out 78"
    wrong = _system(ship__only="item.attributes.Region == 'eu'")
    assert _ask(wrong).recommendation.why_empty == (
        "of 78 items of the catalogue, rules.ship.only keeps out 78 (no item has"
        " item.attributes.Region: did you mean item.attributes.region?)"
    )
    explained = explain(
        wrong.config,
        _request("nobody"),
        "i44",
        wrong.scorer.replica.current(),
        wrong.scorer.catalogue,
    )
    assert "(no item has item.attributes.Region: did you mean" in (explained.barred or "")


def test_a_slate_says_why_none_of_the_candidates_that_were_named_is_in_it() -> None:
    live = _system(cheap__only="item.attributes.price < 50")
    live.publish(
        Item(item_id="i40", available=False),
        Item(item_id="i41", created_ts=START_MS + 10**9, attributes={"price": 1}),
    )
    live.sync()

    def why(*candidates: str, **given: object) -> str | None:
        return _ask(live, "u1", candidates=candidates, **given).recommendation.why_empty

    assert why("NOPE") == (
        "of 1 candidate of the request, the catalogue does not know 1 ('NOPE'),"
        " rules.cheap.only keeps out 1"
    )
    assert why("I42", "i42", exclude=["i42"]) == (
        "of 2 candidates of the request, the catalogue does not know 1 ('I42': did you mean"
        " 'i42'?), 1 excluded, rules.cheap.only keeps out 1"
    )
    assert why("a", "b", "c", "d", "i60") == (
        "of 5 candidates of the request, the catalogue does not know 4 ('a', 'b', 'c', …),"
        " rules.cheap.only keeps out 5"
    )
    assert why("i40", "i41", "i42", exclude=["i42"]) == (
        "of 3 candidates of the request, 1 deleted or unavailable, 1 not out yet or ended,"
        " 1 excluded, rules.cheap.only keeps out 1"
    )
    met = next(each.item_id for each in clicks_of_kinds(600, N_ITEMS) if each.user_id == "u1")
    plain = _system()
    answer = plain.answer([_request("u1", candidates=[met])])[0].recommendation
    assert answer.why_empty == "of 1 candidate of the request, the user met 1"
    assert why("i42") is None


@pytest.mark.parametrize(
    ("ranker", "composed"),
    [("bandit", {}), ("blend", {}), ("bandit", {"slate.diversity": 0.3}), ("blend", CAPPED)],
)
def test_boosts_and_buries_order_the_candidates_and_bring_none(
    ranker: str, composed: dict[str, object]
) -> None:
    rules = {
        "fresh__boost": "3",
        "fresh__when": "now_ms - item.created_ts < 30000",
        "own__boost": "-3",
        "own__when": "item.attributes.region == 'us'",
    }
    live, plain = _system(ranker, composed, **rules), _system(ranker, composed)
    moved_by: dict[str, list[float]] = {"fresh": [], "us": []}
    for n in range(10):
        request = _request(f"u{n}", k=40)
        moved, still = (each.answer([request])[0] for each in (live, plain))
        assert moved.decision.candidates == still.decision.candidates
        assert moved.decision.features == still.decision.features
        assert moved.decision.policy_state == still.decision.policy_state
        assert moved.decision.boosts is not None
        assert still.decision.boosts is None
        for name, ids in (("fresh", range(4, 30)), ("us", range(4, N_ITEMS, 3))):
            places = [_mean_place(answer, ids) for answer in (moved, still)]
            moved_by[name].append(places[0] - places[1])
    assert np.mean(moved_by["fresh"]) < -3
    assert np.mean(moved_by["us"]) > 3
    decisions = [_ask(live, f"u{n}").decision for n in range(10)]
    found = verified_again(live, decisions)
    assert (found.n_same, found.n_different) == (10, 0), found.problems


def _mean_place(answer: Answer, numbers: range) -> float:
    places = [p for p, each in enumerate(answer.item_ids) if _number(each) in numbers]
    return float(np.mean(places or [len(answer.item_ids)]))


def test_explain_says_what_moves_an_item() -> None:
    boosted = _system(own__boost="2", own__when="item.attributes.price == 44")
    found, before = (
        explain(
            live.config,
            _request("nobody"),
            "i44",
            live.scorer.replica.current(),
            live.scorer.catalogue,
        )
        for live in (boosted, _system())
    )
    assert found.boosts == {"rules.own.boost": 2.0}
    assert before.boosts == {}
    assert found.place < before.place


def test_explain_names_the_rule_that_bars_an_item() -> None:
    live = _system(adult__exclude=ADULT, cheap__only="item.attributes.price < 50")
    barred = {
        item_id: explain(
            live.config,
            _request("nobody"),
            item_id,
            live.scorer.replica.current(),
            live.scorer.catalogue,
        ).barred
        for item_id in ("i44", "i45", "i60", "i0")
    }
    assert barred["i44"] is None
    assert barred["i45"] == f'rules.adult.exclude = "{ADULT}" holds'
    assert barred["i60"] == "rules.cheap.only = 'item.attributes.price < 50' does not hold"
    assert barred["i0"] == barred["i60"]


def test_decisions_under_rules_are_made_again_to_the_bit() -> None:
    live = _system(region__exclude=REGION, age__exclude="now_ms - item.created_ts < 20000")
    decisions: list[Decision] = []
    for n in range(20):
        given = {"context": {"region": "eu"}} if n % 2 else {"filter": "size(item.categories) > 0"}
        decisions.append(_ask(live, f"u{n}", k=8, **given).decision)
        live.advance(START_MS + 1_000 * (n + 1))
    found = verified_again(live, decisions)
    assert (found.n_same, found.n_different) == (20, 0), found.problems
    ruled_otherwise = _system(region__exclude="!(item.attributes.region in ['us'])").config
    assert _again_under(live, ruled_otherwise, decisions).n_different > 0


def _again_under(live: LiveSystem, config: Config, decisions: list[Decision]) -> SlatesVerification:
    live.config, own = config, live.config
    try:
        return verified_again(live, decisions)
    finally:
        live.config = own


def test_a_rule_that_bars_nothing_changes_no_slate() -> None:
    """Slates, candidates and propensities are what they are without rules."""
    with_rules, without = _system(none__exclude="item.attributes.price > 1000"), _system()
    for n in range(10):
        request = _request(f"u{n}", k=10)
        first, second = (each.answer([request])[0] for each in (with_rules, without))
        assert first.decision_message == second.decision_message


def test_no_columns_are_made_where_nothing_is_asked_of_them() -> None:
    live = _system()
    _ask(live)
    columns = live.scorer.catalogue.columns
    assert (columns._values, columns._labels) == ({}, {})


def test_columns_of_the_rules_are_made_before_the_first_request() -> None:
    live = _system(region__exclude=REGION, adult__exclude=ADULT)
    columns = live.scorer.catalogue.columns
    Funnel(live.config).prepare(live.scorer.catalogue)
    assert set(columns._values) == {"attributes.region"}
    assert set(columns._labels) == {"categories"}


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"rules.a.exclude": "item.x == 1"}, "flag: rules.a.exclude: 'item.x == 1': at column 1:"),
        ({"rules.a.only": "item ="}, "rules.a.only: 'item =': it is no CEL at column 6"),
        (
            {"rules.a.exclude": ""},
            "rules.a.exclude: the rule says nothing; give it exclude",
        ),
        ({"rules.a.boost": "2"}, "rules.a.when: a boost needs boost and when; give both"),
        ({"rules.a.when": "true"}, "rules.a.when: a boost needs boost and when; give both"),
        ({"rules.a.exclud": "true"}, "the nearest known one is 'rules.a.exclude'"),
        ({"rules.A.exclude": "true"}, "the name of a rule matches"),
    ],
)
def test_a_bad_rule_is_refused_at_the_start(flags: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(env={}, flags=flags)
    assert complaint in str(refused.value)


def test_rules_come_from_the_file_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "streamer.toml"
    file.write_text(f'[rules.adult]\nexclude = "{ADULT}"\n')
    config = load_config(file, env={"STREAMER_RULES__REGION__EXCLUDE": REGION})
    assert {name: rule.exclude for name, rule in config.rules.items()} == {
        "adult": ADULT,
        "region": REGION,
    }


def test_a_replay_has_the_rules_of_its_configuration() -> None:
    """What a rule excludes is recommended by no funnel of a replay; keys may be given to it."""
    config = _system(adult__exclude=ADULT).config
    replayed = funnel_config(config, {}, seed=0, n_partitions=1)
    assert replayed.rules == config.rules
    assert "rules.adult.exclude" in funnel_keys(config)
    other = funnel_config(config, {"rules.adult.exclude": REGION}, seed=0, n_partitions=1)
    assert other.rules["adult"].exclude == REGION
    for of_replay, expected in ((replayed, {0, 2, 3}), (_system().config, {0, 1, 2, 3})):
        assert _kinds_in_replay(of_replay) == expected


def _kinds_in_replay(config: Config) -> set[int]:
    """Kinds of the items that a replay of clicks, with a catalogue, ranks for its users."""
    model, users, items = FunnelModel(config, k=20), dict[str, int](), dict[str, int]()
    for n, event in enumerate(clicks_of_kinds(400, N_ITEMS)):
        rows = {
            "user_row": users.setdefault(event.user_id, len(users)),
            "item_row": items.setdefault(event.item_id, len(items)),
        }
        item = _item(event.item_id, int(event.item_id[1:]))
        model.learn(Interaction(number=n, event=event, reward=1.0, item=item, **rows))
    model.sync(START_MS)
    names, found = list(items), set()
    for user_row in range(10):
        ranked = np.isfinite(model.score(user_row, START_MS, len(items)))
        found |= {_number(names[row]) % N_KINDS for row in np.flatnonzero(ranked).tolist()}
    return found


def test_many_filters_leave_memory_bounded() -> None:
    live = _system()
    rng = np.random.default_rng(0)
    for n in range(200):
        _ask(live, filter=f"item.attributes.a{n} == {rng.integers(100)} || true")
    assert len(live.scorer.catalogue.columns._values) <= 64
    assert len(live.scorer.variants.of("ann")._rules._verdicts._kept) <= 64
