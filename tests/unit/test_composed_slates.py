"""Composed slates of the live system: what they hold, what is logged, and drawing them again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from streamer.config import BanditConfig, SlateConfig, load_config
from streamer.config.rules import RuleConfig
from streamer.errors import BadMessage, ConfigError
from streamer.events import Decision, Event, Item, Pin, Request, decode_decision, encode
from streamer.ope.decision_log import DecisionLog
from streamer.scorer.funnel import Funnel, Slate
from streamer.scorer.policy.policies import redraw
from streamer.simulation.live import LiveSystem
from streamer_models.bandits.composition_settings import LIKENESS_BY
from streamer_models.bandits.pinned_slots import free_slots
from streamer_models.bandits.slates import draw_best
from tests.scoring import START_MS, Shop
from tests.unit.ope_files import event, write_decisions
from tests.unit.test_live_policies import NAMES, POLICIES, experienced, logged
from tests.unit.test_ope_logs import decision_log
from tests.verified_slates import verified_again

SLATE = SlateConfig(
    diversity=0.4, calibration=0.2, caps=("categories<=2 in 4", "brand<=1 in 2", "brand<=3")
)
KINDS = ("tea", "coffee", "cake")
K = 6


def stocked(bandit: BanditConfig, slate: SlateConfig = SLATE) -> Shop:
    shop = experienced(bandit, slate)
    for item in range(20):
        kinds = [KINDS[item % 3], *(["gift"] if item % 4 == 0 else [])]
        shop.publish(f"i{item}", categories=kinds, attributes={"brand": f"b{item % 5 // 2}"})
    return shop


def page_of(slate: Slate) -> list[str]:
    found = list(slate.item_ids)
    for pin in slate.pinned:
        found.insert(pin.position, pin.item_id)
    return found


def brands_of(shop: Shop, slate: Slate) -> list[object]:
    items = [shop.catalogue.get(item_id) for item_id in page_of(slate)]
    return [(item.attributes or {})["brand"] for item in items if item is not None]


def assert_again(decision: Decision, slate: Slate) -> None:
    again = redraw(decision)
    assert [slate.candidates[place] for place in again.order] == slate.item_ids
    assert again.propensities.tolist() == slate.propensities
    assert again.explored.tolist() == slate.explored


@pytest.mark.parametrize("bandit", POLICIES, ids=NAMES)
def test_every_policy_keeps_the_caps_and_is_drawn_again_to_the_bit(bandit: BanditConfig) -> None:
    shop = stocked(bandit)
    for n in range(20):
        pinned = [Pin(position=0, item_id="i19")] if n % 2 else None
        slate = shop.ask(f"u{n}", request_id=f"r{n}", k=K, pinned=pinned)
        assert_again(logged(slate), slate)
        assert pinned is None or page_of(slate)[0] == "i19"
        brands = brands_of(shop, slate)
        first = [shop.catalogue.get(item_id) for item_id in page_of(slate)[:4]]
        kinds = [kind for each in first if each for kind in each.categories or ()]
        assert len(brands) == K
        assert brands[0] != brands[1]
        assert max(map(brands.count, brands)) <= 3
        assert max(map(kinds.count, kinds)) <= 2
        assert slate.policy_parameters["slate_caps"] == (
            "categories<=2 in 4; brand<=1 in 2; brand<=3 in 500"
        )


def test_the_same_without_a_composition_breaks_them_and_logs_nothing_of_it() -> None:
    # Almost all orders are as likely, whatever was learned.
    plain = stocked(BanditConfig(policy="plackett-luce", temperature=10.0), SlateConfig())
    slates = [plain.ask(f"u{n}", request_id=f"r{n}", k=K) for n in range(20)]
    brands = [brands_of(plain, slate) for slate in slates]
    assert sum(each[0] == each[1] for each in brands) > 3
    for slate in slates:
        assert slate.composition is None
        assert not any(name.startswith("slate_") for name in slate.policy_parameters)
        assert b"composition" not in encode(logged(slate))


@pytest.mark.parametrize("bandit", POLICIES, ids=NAMES)
def test_places_for_new_items_leave_the_caps_where_nothing_is_new(bandit: BanditConfig) -> None:
    fresh = stocked(bandit, replace(SLATE, fresh=("1 in 2", "3 in 6")))
    plain, differs = stocked(bandit), 0
    for n in range(10):
        one, other = (shop.ask(f"u{n}", request_id=f"r{n}", k=K) for shop in (plain, fresh))
        assert (other.item_ids, other.propensities) == (one.item_ids, one.propensities)
        assert_again(logged(other), other)
        differs += one.composition != other.composition
    assert differs == 10, "places for new ones are asked for"


def test_a_cap_that_can_not_be_met_leaves_the_others_in_force(tmp_path: Path) -> None:
    caps = ("brand<=2", "categories<=1")  # of four kinds, one in each of three items
    for bandit in POLICIES:
        shop = stocked(bandit, SlateConfig(caps=caps))
        slates = [shop.ask(f"u{n}", request_id=f"r{n}", k=K) for n in range(10)]
        for slate in slates:
            brands = brands_of(shop, slate)
            assert max(map(brands.count, brands)) == 2
            assert_again(logged(slate), slate)
    decisions = [logged(slate, request_id=f"r{n}") for n, slate in enumerate(slates)]
    log = decision_log(write_decisions(tmp_path, decisions, []))
    assert (log.survey().n_malformed, len(list(log.rows(features=False)))) == (0, 10 * K)


@pytest.mark.parametrize("bandit", POLICIES, ids=NAMES)
def test_where_the_catalogue_says_nothing_slates_are_what_they_were(bandit: BanditConfig) -> None:
    plain, bare = experienced(bandit, SlateConfig()), experienced(bandit, SLATE)
    for n in range(10):
        one, other = (shop.ask(f"u{n}", request_id=f"r{n}", k=K) for shop in (plain, bare))
        assert other.item_ids == one.item_ids
        assert other.propensities == pytest.approx(one.propensities, rel=1e-9)
        assert_again(logged(other), other)
    nothing = Shop(bandit=bandit, slate=SLATE).ask("ann")
    assert (nothing.item_ids, nothing.composition) == ([], None)
    assert len(redraw(logged(nothing)).order) == 0


def test_rules_boost_what_is_composed() -> None:
    config = stocked(POLICIES[0]).config
    boosts = {"tea": RuleConfig(when="'tea' in item.categories", boost=3.0)}
    shop, n_tea = stocked(POLICIES[0]), []
    given: list[dict[str, RuleConfig]] = [{}, boosts]
    for rules in given:
        shop.funnel = Funnel(replace(config, rules=rules))
        slate = shop.ask("u3", k=4)
        assert_again(logged(slate), slate)
        items = [shop.catalogue.get(item_id) for item_id in slate.item_ids]
        n_tea.append(sum("tea" in (item.categories or ()) for item in items if item))
    assert n_tea[0] < n_tea[1] == 2  # as many as the cap allows


def test_variety_and_calibration_change_slates() -> None:
    plain = stocked(BanditConfig(policy="greedy"), SlateConfig())
    varied = stocked(BanditConfig(policy="greedy"), SlateConfig(diversity=0.9))
    different = 0
    for n in range(20):
        one, other = (shop.ask(f"u{n}", k=K) for shop in (plain, varied))
        assert one.item_ids[0] == other.item_ids[0]
        different += one.item_ids != other.item_ids
    assert different > 10


def test_what_is_logged_is_bounded_and_needed() -> None:
    shop = stocked(POLICIES[0])
    slate = shop.ask("u1", k=K)
    assert slate.composition is not None
    n = len(slate.candidates)
    # 2 B, 6 B a share; of two fields 1 B a candidate, 2 B for each of up to 2 kinds and a brand.
    assert 2 + 2 * n <= len(slate.composition) <= 2 + 6 * 4 + 2 * n + 6 * n
    for changed in (None, slate.composition[:-1], slate.composition + b"x"):
        with pytest.raises(BadMessage, match="can't be drawn again: composition"):
            redraw(logged(slate, composition=changed))


@pytest.mark.parametrize("by", LIKENESS_BY)
def test_decisions_of_a_live_system_are_verified_to_the_bit(by: str) -> None:
    flags = {
        "topics.partitions": 2,
        "store.log_entries_kept": 10_000,
        "recall.session.factors": 8,
        "catalogue.embedding": 2,
        "slate.diversity": 0.3,
        "slate.diversity_by": by,
        "slate.calibration": 0.3,
        "slate.caps": ["categories<=2 in 4", "brand<=2"],
    }
    live = LiveSystem(load_config(env={}, flags=flags), start_ms=START_MS)
    rng = np.random.default_rng(2)
    live.publish(
        *(
            Item(
                item_id=f"i{n}",
                categories=[KINDS[n % 3]],
                attributes={"brand": f"b{n % 5}"},
                embedding=rng.normal(size=2).tolist() if n % 4 else None,
            )
            for n in range(30)
        )
    )
    for step in range(60):
        live.publish(
            Event(
                event_id=f"e{step}",
                type="click",
                user_id=f"u{step % 7}",
                item_id=f"i{rng.integers(30)}",
                ts=live.clock.now_ms(),
            )
        )
        live.advance(live.clock.now_ms() + 500)
        # One at all positions, also behind the end, and one that the catalogue does not know.
        pins = [Pin(position=1 + step % 5, item_id="i7"), Pin(position=0, item_id="ad")]
        request = Request(
            request_id=f"r{step}",
            user_id=f"u{step % 7}",
            ts=live.clock.now_ms(),
            k=5,
            pinned=pins[: step % 3],
        )
        live.answer([request])
    decisions = [decode_decision(each.value) for each in live.broker.records("decisions")]
    assert sum(each.composition is not None for each in decisions) > 40
    verified = verified_again(live, decisions)
    assert (verified.problems, verified.n_same) == ([], len(decisions))
    if by == "embedding":
        assert sum(_drawn_else_if_nothing_is_alike(each) for each in decisions) > 10
    (last,) = [each for each in decisions if each.items][-1:]
    assert last.composition is not None
    changed = replace(last, composition=last.composition + b"x")
    assert verified_again(live, [changed]).n_different == 1


def _drawn_else_if_nothing_is_alike(decision: Decision) -> bool:
    """Without what the decision logs behind all else: a byte a candidate, for all places above the
    last that was drawn."""
    places = free_slots(len(decision.items), [pin.position for pin in decision.pinned or ()])
    n = len(decision.candidates) * int(places.max(initial=0))
    logged = decision.composition or b""
    bare = replace(decision, composition=logged[: len(logged) - n] + bytes(n))
    order = [decision.candidates[place] for place in redraw(bare).order]
    return order != decision.items


def test_a_log_of_them_says_what_each_place_could_show(tmp_path: Path) -> None:
    shop = stocked(BanditConfig(policy="greedy"))
    slates = {f"r{n}": shop.ask(f"u{n}", request_id=f"r{n}", k=K) for n in range(10)}
    decisions = [logged(slate, request_id=name) for name, slate in slates.items()]
    clicks = [event(name, slate.item_ids[0], user_id="u") for name, slate in slates.items()]
    log: DecisionLog = decision_log(write_decisions(tmp_path, decisions, clicks))
    survey = log.survey()
    assert survey.n_malformed == 0
    rows = list(log.rows(features=True))
    assert len(rows) == 10 * K
    barred = 0
    for row in rows:
        slate = slates[row.request_id]
        ids = [survey.actions[action] for action in row.candidates]
        barred += len(ids) < len(slate.candidates) - row.slot
        assert ids[row.chosen] == slate.item_ids[row.slot]
        # Greedy took the best by its score less what it cost there; so does a policy of the row.
        at = [slate.candidates.index(each) for each in ids]
        expected = redraw(logged(slate)).expected[at]
        again = draw_best(expected, 1, 0, uniform_share=0.0, composition=row.composition)
        assert again.order.tolist() == [row.chosen]
    assert barred > 10


@pytest.mark.parametrize("cap", ["categories", "brand<=0", "brand<=2 of 3"])
def test_a_cap_that_is_none_is_refused(cap: str) -> None:
    with pytest.raises(ConfigError, match=r"slate\.caps"):
        load_config(env={}, flags={"slate.caps": [cap]})


def test_likeness_by_embedding_needs_some() -> None:
    flags = {"slate.diversity": 0.2, "slate.diversity_by": "embedding"}
    with pytest.raises(ConfigError, match=r"slate\.diversity_by: catalogue\.embedding is 0"):
        load_config(env={}, flags=flags)
    assert load_config(env={}, flags=flags | {"catalogue.embedding": 4}).slate.settings.by_vectors
