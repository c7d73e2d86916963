"""The simulated world is exact, repeatable, and worth learning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.errors import ConfigError
from streamer.events import Event, encode
from streamer_producers.baselines import PopularitySlates, RandomSlates, Slates
from streamer_producers.click_model import ClickModel
from streamer_producers.simulator import Simulator, SimulatorConfig
from tests.default_types import decode_event

SMALL = SimulatorConfig(n_users=20, n_items=100, seed=3)
START = SMALL.start_ms
HOUR_MS = 3_600_000
# Every item is there and no trend moves: only tastes change.
TASTES_ONLY = replace(SMALL, n_users=200, new_item_share=0.0, n_trends=0)


def _tastes(config: SimulatorConfig, after_s: float) -> np.ndarray:
    users = np.arange(config.n_users)
    times = np.full(config.n_users, config.start_ms + int(after_s * 1000))
    return ClickModel(config).tastes(users, times)


def test_the_same_seed_makes_the_same_world_and_the_same_events() -> None:
    one, other = Simulator(SMALL), Simulator(SMALL)
    times = START + np.arange(50) * 1000
    assert one.items() == other.items()
    assert one.organic_events(times) == other.organic_events(times)
    slate = one.item_ids[:10]
    for user in one.user_ids:
        assert one.react(user, slate, START, "r") == other.react(user, slate, START, "r")


def test_another_seed_makes_another_world() -> None:
    other = Simulator(replace(SMALL, seed=4))
    mine = Simulator(SMALL).click_probabilities("u00000", other.item_ids, START)
    assert not np.allclose(mine, other.click_probabilities("u00000", other.item_ids, START))


def test_organic_events_are_the_same_one_by_one_and_in_a_batch() -> None:
    times = START + np.arange(30) * 1000
    batch = Simulator(SMALL).organic_events(times)
    single = Simulator(SMALL)
    one_by_one = [event for ts in times for event in single.organic_events(np.array([ts]))]
    assert one_by_one == batch


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**53),
    after_s=st.floats(-1e9, 1e9),
    drift_share=st.floats(0, 1),
    scale=st.floats(0, 100),
)
def test_probabilities_are_probabilities(
    seed: int, after_s: float, drift_share: float, scale: float
) -> None:
    config = SimulatorConfig(
        n_users=5, n_items=30, seed=seed, drift_share=drift_share, affinity_scale=scale
    )
    simulator = Simulator(config)
    ts_ms = config.start_ms + int(after_s * 1000)
    for user in simulator.user_ids:
        found = simulator.click_probabilities(user, simulator.item_ids, ts_ms)
        assert found.shape == (30,)
        assert ((found >= 0) & (found <= 1)).all()


def test_the_best_slate_has_no_regret_and_others_have() -> None:
    simulator = Simulator(SMALL)
    rng = np.random.default_rng(0)
    for user in simulator.user_ids:
        best = simulator.expected_clicks(user, simulator.best_slate(user, 5, START), START)
        every = np.sort(simulator.click_probabilities(user, simulator.item_ids, START))
        assert best == pytest.approx(every[-5:].sum())
        shown = [simulator.item_ids[row] for row in rng.permutation(100)[:5]]
        assert simulator.expected_clicks(user, shown, START) <= best


def test_the_best_slate_leaves_out_what_is_excluded_and_what_has_not_arrived() -> None:
    simulator = Simulator(replace(SMALL, new_item_share=0.5))
    first = simulator.best_slate("u00001", 5, START)
    without = simulator.best_slate("u00001", 5, START, exclude=[*first, "no such item"])
    assert set(without).isdisjoint(first)
    here = {item.item_id for item in simulator.items()}
    assert here.issuperset(simulator.best_slate("u00001", 30, START))


def test_items_arrive_and_are_clicked_only_then() -> None:
    simulator = Simulator(replace(SMALL, new_item_share=0.3, arrival_span_s=3600))
    here = {item.item_id for item in simulator.items()}
    arrivals = simulator.arrivals(START, START + HOUR_MS)
    assert len(here) == 70
    assert len(arrivals) == 30
    times = [item.created_ts for item in arrivals]
    assert times == sorted(times, key=lambda ts: ts or 0)
    first = arrivals[0]
    assert first.created_ts is not None
    before, after = first.created_ts - 1, first.created_ts
    assert simulator.click_probabilities("u00000", [first.item_id], before)[0] == 0
    assert simulator.click_probabilities("u00000", [first.item_id], after)[0] > 0
    assert {event.item_id for event in simulator.organic_events(np.full(200, START))} <= here


def test_drift_moves_tastes_little_soon_and_much_later() -> None:
    correlations = []
    for after_s in (60.0, 3600.0, 10 * 3600.0):
        drifting = replace(TASTES_ONLY, drift_share=1.0, drift_time_s=3600.0)
        pair = _tastes(drifting, 0.0).ravel(), _tastes(drifting, after_s).ravel()
        correlations.append(float(np.corrcoef(*pair)[0, 1]))
    # exp(-dt / drift time); 1,600 numbers, whose correlation is known to a few hundredths.
    assert correlations == pytest.approx([np.exp(-1 / 60), np.exp(-1), 0.0], abs=0.12)
    still = replace(TASTES_ONLY, drift_share=0.0)
    np.testing.assert_array_equal(_tastes(still, 0.0), _tastes(still, 1e6))


def test_an_abrupt_change_happens_at_its_time_to_its_share_of_users() -> None:
    config = replace(TASTES_ONLY, drift_share=0.0, change_at_s=100.0, change_share=0.5)
    before, just_before, after = (_tastes(config, at) for at in (0.0, 99.9, 100.0))
    np.testing.assert_array_equal(before, just_before)
    changed = (before != after).any(axis=1)
    assert 70 <= changed.sum() <= 130
    never = replace(config, change_at_s=None)
    np.testing.assert_array_equal(_tastes(never, 0.0), _tastes(never, 100.0))


def test_trends_come_and_go() -> None:
    simulator = Simulator(replace(SMALL, drift_share=0.0, trend_scale=2.0, new_item_share=0.0))
    times = START + np.arange(0, 24 * HOUR_MS, HOUR_MS // 6)
    heights = simulator.model.trends(times)
    assert ((heights >= 0) & (heights <= 1)).all()
    assert (heights.max(axis=0) > 0.9).all()
    assert (heights.min(axis=0) < 0.1).all()


def test_items_surge_for_their_time_and_then_others_do() -> None:
    calm = replace(SMALL, drift_share=0.0, n_trends=0, new_item_share=0.0)
    simulator = Simulator(replace(calm, n_surges=4, surge_s=600.0, surge_scale=3.0))
    times = START + np.arange(0, 3_600_000, 10_000)
    surging = simulator.model.surging(times)
    assert surging.shape == (360, 4)
    changes = (np.diff(surging, axis=0) != 0).sum(axis=0)
    assert (changes <= 6).all()
    assert changes.sum() >= 4 * 5 - 2
    assert len(np.unique(np.flatnonzero((np.diff(surging, axis=0) != 0).any(axis=1)) % 60)) == 4
    user, ts_ms = simulator.user_ids[0], int(times[100])
    names = [simulator.item_ids[row] for row in surging[100]]
    before = Simulator(calm).click_probabilities(user, simulator.item_ids, ts_ms)
    now = simulator.click_probabilities(user, simulator.item_ids, ts_ms)
    lifted = [name for name, a, b in zip(simulator.item_ids, before, now, strict=True) if a != b]
    assert sorted(lifted) == sorted(set(names))
    odds_before, odds_now = (p / (1 - p) for p in (before, now))
    row = simulator.item_ids.index(names[0])
    assert np.log(odds_now[row] / odds_before[row]) == pytest.approx(3.0)


def _clicked(events: list[Event]) -> dict[str, bool]:
    clicks = {event.item_id for event in events if event.type == "click"}
    return {e.item_id: e.item_id in clicks for e in events if e.type == "impression"}


def test_two_policies_get_the_same_answer_about_the_same_item() -> None:
    one, other = Simulator(SMALL), Simulator(SMALL)
    other.organic_events(np.full(7, START))  # What else went on changes no answer.
    n_same = n_clicks = 0
    for user in one.user_ids:
        mine = _clicked(one.react(user, one.item_ids[:60], START, "mine"))
        theirs = _clicked(other.react(user, one.item_ids[99:29:-1], START, "theirs"))
        common = mine.keys() & theirs.keys()
        assert len(common) == 30
        assert all(mine[item] == theirs[item] for item in common)
        n_same += len(common)
        n_clicks += sum(mine.values())
    assert 0 < n_clicks < 20 * 60


def test_clicks_come_at_their_true_rate() -> None:
    simulator = Simulator(TASTES_ONLY)
    slate = simulator.item_ids
    expected = clicked = variance = 0.0
    for user in simulator.user_ids:
        probabilities = simulator.click_probabilities(user, slate, START)
        expected += probabilities.sum()
        variance += (probabilities * (1 - probabilities)).sum()
        clicked += sum(_clicked(simulator.react(user, slate, START)).values())
    assert clicked == pytest.approx(expected, abs=4 * variance**0.5)
    later = _clicked(simulator.react("u00000", slate, START + 1))
    assert later != _clicked(simulator.react("u00000", slate, START))


def test_a_reaction_is_valid_events_in_order() -> None:
    simulator = Simulator(SMALL)
    events = [
        event
        for user in simulator.user_ids
        for event in simulator.react(user, simulator.best_slate(user, 10, START), START, user)
    ]
    assert [decode_event(encode(event)) for event in events] == events
    assert len({event.event_id for event in events}) == len(events)
    assert {event.type for event in events} == {"impression", "click", "watch"}
    seen: set[tuple[str, str, str]] = set()
    for event in events:
        assert (event.request_id, event.ts) == (event.user_id, START)
        if event.type == "watch":
            assert event.value is not None
            assert 0 <= event.value <= 1
        before = {"click": "impression", "watch": "click"}.get(event.type)
        assert before is None or (before, event.user_id, event.item_id) in seen
        seen.add((event.type, event.user_id, event.item_id))


def test_position_bias_is_off_unless_asked_for() -> None:
    slate = Simulator(SMALL).item_ids[:4]
    plain, biased = Simulator(SMALL), Simulator(replace(SMALL, position_bias=1.0))
    forward, backward = (plain.expected_clicks("u00000", s, START) for s in (slate, slate[::-1]))
    assert forward == pytest.approx(backward)
    np.testing.assert_allclose(biased.examined(4), [1, 1 / 2, 1 / 3, 1 / 4])
    shown = biased.click_probabilities("u00000", slate, START) @ [1, 1 / 2, 1 / 3, 1 / 4]
    assert biased.expected_clicks("u00000", slate, START) == pytest.approx(shown)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_defaults_leave_room_between_random_popular_and_best(seed: int) -> None:
    simulator = Simulator(SimulatorConfig(seed=seed))
    times = simulator.config.start_ms + np.arange(10_000) * 20
    popular = PopularitySlates(simulator.item_ids)
    for event in simulator.organic_events(times):
        popular.observe(event)
    end, rng = int(times[-1]), np.random.default_rng(seed)

    def rate(slates: Slates) -> float:
        shown = {user: slates.slate(user, 10, end, rng) for user in simulator.user_ids}
        clicks = [simulator.expected_clicks(user, slate, end) for user, slate in shown.items()]
        return float(np.mean(clicks)) / 10

    best = np.mean(
        [
            simulator.expected_clicks(user, simulator.best_slate(user, 10, end), end) / 10
            for user in simulator.user_ids
        ]
    )
    assert 0.05 <= rate(RandomSlates(simulator.item_ids)) <= 0.08
    assert 0.09 <= rate(popular) <= 0.19
    assert best >= 0.4


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_users", 0), ("seed", -1), ("drift_share", 1.5), ("new_item_share", 0.6)],
)
def test_a_wrong_setting_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"SimulatorConfig\.{name}={value} .* choose"):
        SimulatorConfig(**{name: value})  # type: ignore[arg-type]


def test_strangers_are_refused() -> None:
    simulator = Simulator(SMALL)
    with pytest.raises(ConfigError, match=r"user 'nobody' .* Simulator\.user_ids"):
        simulator.react("nobody", [], START)
    with pytest.raises(ConfigError, match=r"item 'nothing' .* Simulator\.item_ids"):
        simulator.expected_clicks("u00000", ["nothing"], START)


def _click(item: str, ts: int, user: str = "u") -> Event:
    return Event(event_id=f"{user}{item}{ts}", type="click", user_id=user, item_id=item, ts=ts)


def test_popularity_halves_in_a_half_life_and_survives_any_time() -> None:
    slates = PopularitySlates(["a", "b", "c"], half_life_s=10)
    rng = np.random.default_rng(0)
    for ts in (0, 1, 2):
        slates.observe(_click("a", ts))
    slates.observe(_click("b", 20_000))  # 1 against 3 / 4
    assert slates.slate("v", 3, 20_000, rng) == ["b", "a", "c"]
    slates.observe(_click("a", 0))  # too late to count for more than 1 / 4: 1 against 1
    slates.observe(_click("a", 19_000))
    assert slates.slate("v", 1, 20_000, rng) == ["a"]
    slates.observe(_click("c", 10**12))  # a hundred million half-lives later
    assert slates.slate("v", 1, 10**12, rng) == ["c"]


def test_old_clicks_of_the_item_that_is_clicked_fade_as_the_others_do() -> None:
    slates = PopularitySlates(["a", "b"], half_life_s=10)
    for _ in range(3):
        slates.observe(_click("a", 0))
    for _ in range(8):
        slates.observe(_click("b", 4_990_000))
    slates.observe(_click("a", 5_010_000))  # 501 half-lives: 1, against 8 * 2^-2
    assert slates.slate("w", 2, 5_010_000, np.random.default_rng(0)) == ["b", "a"]


def test_popularity_ignores_what_is_no_click_and_what_is_not_in_the_catalogue() -> None:
    slates = PopularitySlates(["a", "b"])
    slates.observe(_click("z", 0))
    slates.observe(Event(event_id="1", type="impression", user_id="u", item_id="a", ts=0))
    slates.observe(_click("b", 0))
    assert slates.slate("u", 5, 0, np.random.default_rng(0)) == ["a"]
    assert slates.slate("v", 5, 0, np.random.default_rng(0)) == ["b", "a"]
    with pytest.raises(ConfigError, match="half_life_s=0"):
        PopularitySlates([], half_life_s=0)
