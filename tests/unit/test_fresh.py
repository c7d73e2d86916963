"""New items reach those they suit from the first second, and are preferred for a while."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.catalogue.item_facts import ItemFacts
from streamer.config import Config, load_config
from streamer.errors import ConfigError
from streamer.events import Event, Item, Request
from streamer.ranking.candidates import Candidates
from streamer.ranking.columns import feature_names, prior_mean
from streamer.ranking.context import request_context
from streamer.ranking.recall.fresh import FreshChannel
from streamer.scorer.policy.policies import redraw
from streamer.simulation.live import LiveSystem
from streamer_models.state.ids.id_table import keys_of
from tests.kinds import N_KINDS, START_MS, clicks_of_kinds
from tests.verified_slates import verified_again

N_ITEMS = 80
N_EVENTS = 3_000
NEW_AT_MS = START_MS + N_EVENTS * 1_000
DAY_MS = 86_400_000


def _item(item_id: str, kind: int, created_ms: int | None) -> Item:
    return Item(item_id=item_id, categories=[f"kind {kind}"], created_ts=created_ms)


def _shop(*, n_events: int = 1_000, **flags: object) -> LiveSystem:
    """Users who meet items of one kind, that of their own number, but for one in ten; then one new
    item of each kind is published."""
    config = load_config(env={}, flags={key.replace("__", "."): flags[key] for key in flags})
    live = LiveSystem(config, start_ms=START_MS, sync_interval_ms=0)
    old_ms = START_MS - 30 * DAY_MS
    live.publish(*(_item(f"i{n}", n % N_KINDS, old_ms) for n in range(N_ITEMS)))
    live.publish(*clicks_of_kinds(n_events, N_ITEMS))
    live.advance(NEW_AT_MS)
    live.publish(*(_item(f"new{kind}", kind, NEW_AT_MS) for kind in range(N_KINDS)))
    live.sync()
    return live


def _value(live: LiveSystem, user_id: str, item_id: str, *, at_ms: int = NEW_AT_MS) -> float:
    channel = FreshChannel(live.config)
    request = Request(request_id="r", user_id=user_id, ts=at_ms)
    context = request_context(request, live.scorer.replica.current(), live.scorer.catalogue)
    keys = keys_of([item_id])
    rows = context.item_rows(keys)
    known = rows[rows >= 0]
    new = [] if len(known) else [item_id]
    candidates = Candidates(known, new, keys, np.zeros((1, 1), dtype=np.int32))
    (value,) = channel.score(context, candidates)
    return float(value)


def _shares_of_slates(live: LiveSystem, item: str, user_ids: list[str]) -> float:
    answers = [live.request(user_id, k=10) for user_id in user_ids for _ in range(20)]
    return float(np.mean([item in answer.item_ids for answer in answers]))


def test_a_new_item_is_in_the_slates_of_those_it_suits_a_second_after_it_was_published() -> None:
    others = [f"u{kind}" for kind in range(1, N_KINDS)]
    live = _shop(n_events=N_EVENTS)
    without = _shop(n_events=N_EVENTS, recall__fresh__candidates=0)
    assert _shares_of_slates(live, "new0", ["u0"]) > 0.5
    assert _shares_of_slates(live, "new0", others) < 0.05
    assert _shares_of_slates(without, "new0", ["u0"]) < 0.3


def test_it_is_worth_what_is_left_of_its_trial_to_those_it_suits() -> None:
    live = _shop(recall__fresh__proven_after=40)  # four times taken up
    first = _value(live, "u0", "new0")
    assert 0.5 < first <= 1
    assert _value(live, "u1", "new0") == _value(live, "nobody", "new0") == 0
    for n in range(1, 6):
        live.publish(
            Event(event_id=f"n{n}", type="click", user_id=f"x{n}", item_id="new0", ts=NEW_AT_MS)
        )
        live.sync()
        left = max(0.0, 1 - n / 4)
        assert _value(live, "u0", "new0") == pytest.approx(left * first, rel=0.1)


def test_to_be_shown_uses_up_the_trial_too() -> None:
    live = _shop(recall__fresh__proven_after=3, join__window_s=1)
    first = _value(live, "u0", "new0")
    for n in range(20):
        answer = live.answer(
            [Request(request_id=f"a{n}", user_id="u0", ts=NEW_AT_MS, candidates=["new0"])]
        )[0]
        assert answer.item_ids == ["new0"]
        live.publish(
            Event(
                event_id=f"s{n}",
                type="impression",
                user_id="u0",
                item_id="new0",
                ts=live.clock.now_ms(),
                request_id=f"a{n}",
            )
        )
        live.advance(live.clock.now_ms() + 5_000)
    assert first > 0.5
    assert _value(live, "u0", "new0") == 0


def test_what_was_made_long_ago_or_without_a_date_is_not_new() -> None:
    live = _shop()
    live.publish(_item("undated", 0, None), _item("later", 0, NEW_AT_MS + 30 * DAY_MS))
    live.sync()
    assert _value(live, "u0", "i0") == _value(live, "u0", "undated") == 0
    assert _value(live, "u0", "later") == 0, "it is not out yet"
    assert _value(live, "u0", "new0", at_ms=NEW_AT_MS + 6 * DAY_MS) > 0
    assert _value(live, "u0", "new0", at_ms=NEW_AT_MS + 8 * DAY_MS) == 0


def test_its_weight_is_of_its_score_and_off_means_no_column() -> None:
    config = load_config(env={}, flags={"recall.fresh.weight": 3, "bandit.prior_reward": 0.1})
    at = feature_names(config).index("fresh_score")
    assert prior_mean(config)[at] == pytest.approx(0.3)
    for flags in (
        {"recall.fresh.candidates": 0},
        {"catalogue.fields": ()},
        {"recall.taste.on": False},
    ):
        off = load_config(env={}, flags=flags)
        assert "fresh_score" not in feature_names(off)
    assert "fresh_score" in feature_names(Config())


def test_the_blend_alone_is_brought_new_items_too() -> None:
    live = _shop(funnel__ranker="blend")
    assert _value(live, "u0", "new0") > 0.5
    channel = FreshChannel(live.config)
    request = Request(request_id="r", user_id="u0", ts=NEW_AT_MS)
    context = request_context(request, live.scorer.replica.current(), live.scorer.catalogue)
    brought = channel.recall(context, np.ones(len(context.item_keys), dtype=np.bool_), 5)
    assert brought.new_keys.tolist() == keys_of(["new0"]).tolist()


def test_the_newest_come_first_and_equal_times_by_key_whatever_was_published_when() -> None:
    rng = np.random.default_rng(0)
    facts, made = ItemFacts(), dict[str, int | None]()
    for step in range(4_000):
        item_id = f"i{rng.integers(2_500)}"
        if step % 5 == 4:
            facts.remove(item_id)
            made.pop(item_id, None)
        else:
            made[item_id] = None if step % 7 == 6 else int(rng.integers(500))
            facts.put(_item(item_id, 0, made[item_id]))
        if step % 50 == 49:
            from_ms, to_ms = sorted(rng.integers(0, 600, 2).tolist())
            n = int(rng.choice([0, 5, 500, 1_500]))
            key_of = dict(zip(made, keys_of(list(made)).tolist(), strict=True))
            dated = {each: ms for each, ms in made.items() if ms is not None}
            fitting = [each for each, ms in dated.items() if from_ms <= ms <= to_ms]
            expected = sorted(fitting, key=lambda each: (-dated[each], key_of[each]))[:n]
            found = facts.newest(from_ms, to_ms, n).tolist()
            assert found == [key_of[each] for each in expected]
            ahead = sorted(key_of[each] for each, ms in dated.items() if ms > from_ms)
            assert sorted(facts.ahead(from_ms).tolist()) == ahead
            assert facts.n_ahead(from_ms) == len(ahead)


def test_places_are_kept_for_what_is_new_inside_the_propensities() -> None:
    live = _shop(slate__fresh=["1 in 3", "2 in 6"])
    new = {f"new{kind}" for kind in range(N_KINDS)}
    answers = [live.request(f"u{n}", k=6) for n in range(12)]
    for answer in answers:
        assert new & set(answer.item_ids[:3])
        assert len(new & set(answer.item_ids)) >= 2
        decision = answer.decision
        assert decision.policy_parameters["slate_caps"] == "not new<=2 in 3; not new<=4 in 6"
        again = redraw(decision)
        assert [decision.candidates[at] for at in again.order] == decision.items
        assert again.propensities.tolist() == decision.propensities
    found = verified_again(live, [answer.decision for answer in answers])
    assert (found.n_same, found.problems) == (12, [])
    plain = _shop()
    assert any(len(new & set(plain.request(f"u{n}", k=6).item_ids)) < 2 for n in range(12))


def test_without_anything_new_the_places_give_way() -> None:
    live = _shop(slate__fresh=["2 in 3"])
    live.advance(NEW_AT_MS + 8 * DAY_MS)
    answer = live.request("u0", k=6)
    assert len(answer.item_ids) == 6
    for wrong in (["3 in 3"], ["0 in 3"], ["1"]):
        with pytest.raises(ConfigError, match=r"slate\.fresh"):
            load_config(env={}, flags={"slate.fresh": wrong})
