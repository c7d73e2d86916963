"""Feedback finds its decision; what is learned depends on what was read, never on the order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from streamer.events.messages import ANYBODY
from streamer.learner.join.join import Join
from streamer.learner.join.shown import Combine, Matching, Shown
from tests.joins import (
    SETTINGS,
    START_MS,
    Answer,
    Chosen,
    Outcomes,
    answers_at,
    decided,
    decisions_at,
    fold_in,
    learned,
)

WINDOW_MS, HORIZON_MS = SETTINGS.window_ms, SETTINGS.horizon_ms


def tick(after_ms: int) -> Answer:
    """An event of somebody else, which moves time on."""
    return Answer(START_MS + after_ms, "other", user_id="other")


def take(join: Join, outcomes: Outcomes, answers: Sequence[Answer | None], start: int) -> None:
    fold_in(outcomes, join.take(None, answers_at(answers, start, len(answers))).examples)


# --- one decision -----------------------------------------------------------------------------


def test_the_first_click_settles_its_slate_at_once() -> None:
    join, outcomes = Join(SETTINGS), Outcomes()
    fold_in(outcomes, join.take(decisions_at([decided("r")], 0, 1), None).examples)
    assert outcomes == {}
    log: list[Answer | None] = [Answer(START_MS + 50, "r", item_id="b")]
    take(join, outcomes, log, 0)
    assert outcomes == {(0, "a"): 0.0, (0, "b"): 1.0, (0, "c"): 0.0}
    log += [Answer(START_MS + 60, "r", item_id="c")]
    take(join, outcomes, log, 1)
    assert outcomes == {(0, "a"): 0.0, (0, "b"): 1.0, (0, "c"): 1.0}
    assert (join.counts.n_matched, join.counts.n_outcomes, join.counts.n_positive) == (2, 3, 2)


def test_a_slate_of_which_nothing_was_reported_teaches_nothing() -> None:
    """It may never have been on a screen: a test request, a preview, a page that was left."""
    for seen in (False, True):
        join, outcomes = Join(replace(SETTINGS, unanswered=False)), Outcomes()
        fold_in(outcomes, join.take(decisions_at([decided("r")], 0, 1), None).examples)
        report = Answer(START_MS + 20, "r", item_id="b", reward=np.nan, seen=True)
        log = [report, tick(WINDOW_MS + 1)] if seen else [tick(WINDOW_MS + 1)]
        take(join, outcomes, log, 0)
        assert outcomes == ({(0, "b"): 0.0} if seen else {})
        late = Answer(START_MS + WINDOW_MS + 500, "r", item_id="a")
        take(join, outcomes, [*log, late], len(log))
        expected = {(0, "a"): 1.0, (0, "b"): 0.0}
        assert outcomes == (expected if seen else expected | {(0, "c"): 0.0})


def test_without_feedback_the_default_comes_when_the_window_closes() -> None:
    join, outcomes = Join(SETTINGS), Outcomes()
    fold_in(outcomes, join.take(decisions_at([decided("r")], 0, 1), None).examples)
    log: list[Answer | None] = [tick(WINDOW_MS)]
    take(join, outcomes, log, 0)
    assert outcomes == {}, "the window has not passed"
    log += [tick(WINDOW_MS + 1)]
    take(join, outcomes, log, 1)
    assert outcomes == {(0, "a"): 0.0, (0, "b"): 0.0, (0, "c"): 0.0}


def test_a_later_reward_amends_until_the_horizon() -> None:
    late = START_MS + HORIZON_MS
    log = [
        tick(WINDOW_MS + 1),
        Answer(late, "r", item_id="a", reward=2.0),
        Answer(late + 1, "r", item_id="b"),
    ]
    outcomes, join = learned([decided("r")], log, [(1, 0), (0, 1), (0, 1), (0, 1)])
    assert outcomes == {(0, "a"): 2.0, (0, "b"): 0.0, (0, "c"): 0.0}
    assert (join.counts.n_amended, join.counts.n_late) == (1, 1)


def test_feedback_read_long_after_its_time_is_late_by_the_order_of_the_events() -> None:
    log = [tick(HORIZON_MS + SETTINGS.lateness_ms + 1), Answer(START_MS + 5, "r")]
    for steps in ([(1, 2)], [(0, 2), (1, 0)], [(1, 1), (0, 1)], [(0, 1), (1, 0), (0, 1)]):
        outcomes, join = learned([decided("r")], log, steps)
        assert outcomes.get((0, "a"), 0.0) == 0.0, steps
        assert join.counts.n_matched == 0, steps


@pytest.mark.parametrize(("combine", "reward"), [("sum", 1.5), ("max", 2.0), ("first", -0.5)])
def test_rewards_of_one_item_are_combined_as_configured(combine: Combine, reward: float) -> None:
    log = [Answer(START_MS + ms, "r", reward=r) for ms, r in ((10, -0.5), (20, 2.0))]
    outcomes, _ = learned([decided("r")], log, [(1, 2)], replace(SETTINGS, combine=combine))
    assert outcomes == {(0, "a"): reward, (0, "b"): 0.0, (0, "c"): 0.0}


@pytest.mark.parametrize("combine", ["sum", "max", "first"])
def test_a_reward_that_is_all_negative_stays_so(combine: Combine) -> None:
    log = [Answer(START_MS + 10, "r", reward=-1.0), tick(WINDOW_MS + 1)]
    settings = replace(SETTINGS, combine=combine, default_reward=0.25)
    outcomes, _ = learned([decided("r")], log, [(1, 2)], settings)
    assert outcomes == {(0, "a"): -1.0, (0, "b"): 0.25, (0, "c"): 0.25}


def test_impressions_restrict_the_negatives_even_when_they_come_late() -> None:
    log = [
        tick(WINDOW_MS + 1),
        Answer(START_MS + 10, "r", item_id="b", reward=np.nan, seen=True),
        Answer(START_MS + 11, "r", item_id="c", reward=np.nan, seen=True),
        Answer(START_MS + 12, "r", item_id="a"),
    ]
    known = [learned([decided("r")], log[:n], [(1, 0), *[(0, 1)] * n])[0] for n in range(1, 5)]
    assert known == [
        {(0, "a"): 0.0, (0, "b"): 0.0, (0, "c"): 0.0},
        {(0, "b"): 0.0},
        {(0, "b"): 0.0, (0, "c"): 0.0},
        {(0, "a"): 1.0, (0, "b"): 0.0, (0, "c"): 0.0},
    ]


def test_feedback_of_another_user_or_on_another_item_matches_nothing() -> None:
    log = [Answer(START_MS, "r", user_id="v"), Answer(START_MS, "r", item_id="z")]
    outcomes, join = learned([decided("r")], log, [(1, 2)])
    assert outcomes == {}
    assert join.counts.n_unmatched == 2


def test_a_repeated_decision_is_known_as_one() -> None:
    decisions = [decided("r"), decided("r", START_MS + 9, items="xyz")]
    outcomes, join = learned(decisions, [Answer(START_MS + 10, "r", item_id="a")], [(2, 1)])
    assert outcomes == {(0, "a"): 1.0, (0, "b"): 0.0, (0, "c"): 0.0}
    assert (join.counts.n_decisions, join.counts.n_repeated) == (1, 1)


UNNAMED = replace(SETTINGS, match_without_request="always")


def test_an_event_without_a_request_answers_the_one_slate_that_showed_its_user_the_item() -> None:
    before = START_MS - WINDOW_MS - 1
    decisions = [
        decided("passed", before),
        decided("new", START_MS + 100),
        decided("others", START_MS + 200, items="xyz"),
        decided("of another", START_MS + 210, user_id="w"),
        decided("after", START_MS + 400),
    ]
    log = [Answer(START_MS + 300), Answer(START_MS + 350, user_id="v")]
    for steps in ([(5, 2)], [(0, 2), (5, 0)], [(1, 1), (4, 0), (0, 1)], [(4, 2), (1, 0)]):
        outcomes, join = learned(decisions, log, steps, UNNAMED)
        of_new = {key: value for key, value in outcomes.items() if key[0] == 1}
        assert of_new == {(1, "a"): 1.0, (1, "b"): 0.0, (1, "c"): 0.0}, steps
        assert not any(value for (at, _), value in outcomes.items() if at != 1), steps
        counts = join.counts
        # Most events answer nothing that was recommended: that is no fault of their names.
        assert (counts.n_matched, counts.n_unmatched, counts.n_ambiguous) == (1, 0, 0), steps


def test_an_event_of_a_visitor_without_a_name_answers_no_slate_that_it_does_not_name() -> None:
    """It may be of any of the visitors."""
    decisions = [decided("r", user_id=ANYBODY), decided("z", START_MS + 999, user_id="z")]
    for request_id, n_matched in ((None, 0), ("r", 1)):
        log = [Answer(START_MS + 300, request_id, user_id=ANYBODY), tick(SETTINGS.horizon_ms * 2)]
        for steps in ([(2, 2)], [(0, 2), (2, 0)], [(1, 1), (1, 1)]):
            _, join = learned(decisions, log, steps, UNNAMED)
            assert (join.counts.n_matched, join.counts.n_ambiguous) == (n_matched, 0), steps


def test_where_two_slates_could_be_meant_neither_is() -> None:
    decisions = [decided("old"), decided("new", START_MS + 100), decided("x", START_MS + 999)]
    for steps in ([(3, 1)], [(0, 1), (3, 0)], [(1, 1), (2, 0)]):
        outcomes, join = learned(decisions, [Answer(START_MS + 300)], steps, UNNAMED)
        assert outcomes == {}, steps
        assert (join.counts.n_matched, join.counts.n_ambiguous) == (0, 1), steps


@pytest.mark.parametrize("combine", ["sum", "max", "first"])
def test_a_slot_has_one_reward_where_no_event_names_it_and_only_the_named_ones_else(
    combine: Combine,
) -> None:
    settings = replace(UNNAMED, combine=combine)
    decisions = [decided("r"), decided("z", START_MS + 999, user_id="z")]
    guesses = [Answer(START_MS + 30, reward=0.5), Answer(START_MS + 20, reward=2.0)]
    named = [Answer(START_MS + 40, "r", reward=0.25)]
    for log, reward in ((guesses, 0.5), (guesses + named, 0.25), (named + guesses, 0.25)):
        n = len(log)
        for steps in ([(2, n)], [(0, n), (2, 0)], [(2, 0), *[(0, 1)] * n], [(1, 1), (1, n)]):
            outcomes, join = learned(decisions, log, steps, settings)
            assert outcomes == {(0, "a"): reward, (0, "b"): 0.0, (0, "c"): 0.0}, (log, steps)
            assert join.counts.n_matched == n


def test_a_click_without_a_request_is_no_miss_of_a_slate_that_reports_what_was_seen() -> None:
    """A client that sends ids with impressions alone, or none at all."""
    seen = [Answer(START_MS + 5, "r", item_id=i, reward=np.nan, seen=True) for i in "ab"]
    log = [*seen, Answer(START_MS + 9, item_id="b"), tick(WINDOW_MS + 1)]
    decisions = [decided("r"), decided("z", START_MS + 999, user_id="z", items=())]
    reported = replace(UNNAMED, match_without_request="reported", unanswered=False)
    for settings in (UNNAMED, reported):
        for steps in ([(2, 4)], [(0, 4), (2, 0)], [(1, 0), *[(0, 1)] * 3, (1, 1)]):
            outcomes, join = learned(decisions, log, steps, settings)
            assert outcomes == {(0, "a"): 0.0, (0, "b"): 1.0}
            assert join.counts.n_matched == 3
    # Of a slate that no event names nobody knows who saw it, or where.
    outcomes, join = learned(decisions, log[2:], [(2, 2)], reported)
    assert (outcomes, join.counts.n_matched, join.counts.n_unmatched) == ({}, 0, 0)


def test_what_names_no_request_waits_in_a_tenth_of_the_bound() -> None:
    settings = replace(UNNAMED, feedback_max=20_000)
    log = [Answer(START_MS + i, None if i % 2 else f"r{i}") for i in range(30_000)]
    _, join = learned([], log, [(0, 1_000)] * 30, settings)
    assert join.n_early == 20_000 // 2 + 2_000 // 2
    assert join.counts.n_lost == 5_000  # of those that name one
    outcomes, _ = learned(
        [decided("z", START_MS + 29_000, items="a"), decided("y", START_MS + 40_000, user_id="z")],
        log,
        [*[(0, 1_000)] * 30, (2, 0)],
        settings,
    )
    assert outcomes == {(0, "a"): 1.0}


@pytest.mark.parametrize("restarts", [(), range(30), (1, 20), (22,)])
def test_where_requests_are_few_a_click_does_not_wait_for_the_next_of_them(
    restarts: Sequence[int],
) -> None:
    settings = replace(UNNAMED, feedback_max=40)  # 4 of those without a request_id
    decisions = [decided("r"), decided("next", START_MS + 50_000, user_id="z")]
    others = [Answer(START_MS + 400 + i, user_id="z") for i in range(20)]
    log = [Answer(START_MS + 300), *others, Answer(START_MS + 40_000, "r", item_id="b")]
    steps = [(1, 1), *[(0, 1)] * 20, (1, 0), (0, 1)]
    learned_first, join = learned(decisions, log, steps[:6], settings, restarts=restarts)
    assert learned_first == {(0, "a"): 1.0, (0, "b"): 0.0, (0, "c"): 0.0}
    assert join.n_early == 4
    outcomes, join = learned(decisions, log, steps, settings, restarts=restarts)
    assert outcomes == {(0, "a"): 1.0, (0, "b"): 1.0, (0, "c"): 0.0}
    assert join.n_early == 0


def test_a_decision_that_comes_after_its_time_does_not_take_what_was_matched_before() -> None:
    settings = UNNAMED
    decisions = [
        decided("old", START_MS),
        decided("beyond", START_MS + 400, items="xyz"),  # by now all up to 300 should be known
        decided("behind", START_MS + 200),
    ]
    for steps in ([(3, 1)], [(0, 1), (3, 0)], [(2, 1), (1, 0)], [(1, 1), (1, 0), (1, 0)]):
        outcomes, _ = learned(decisions, [Answer(START_MS + 300)], steps, settings)
        assert outcomes == {(0, "a"): 1.0, (0, "b"): 0.0, (0, "c"): 0.0}, steps


def test_what_was_foreseen_is_compared_with_what_came() -> None:
    decisions = [decided("r", expected=(0.4, 0.04, 0.0))]
    _, join = learned(decisions, [Answer(START_MS + 1, "r"), tick(WINDOW_MS + 1)], [(1, 2)])
    counts = join.counts
    assert counts.n_foreseen.sum() == 3
    assert counts.expected_sums.sum() == pytest.approx(0.44)
    assert counts.observed_sums.sum() == 1.0
    foreseen = counts.take_foreseen()
    assert foreseen.expected.tolist() == [0.4, 0.04, 0.0]
    assert foreseen.observed.tolist() == [1.0, 0.0, 0.0]
    assert counts.take_delays_ms() == [1]
    assert counts.take_delays_ms() == []


# --- bounds -----------------------------------------------------------------------------------


def test_at_the_bound_the_oldest_decisions_are_closed_and_forgotten() -> None:
    settings = replace(SETTINGS, decisions_max=10)
    decisions = [decided(f"r{i}", START_MS + i) for i in range(50)]
    outcomes, join = learned(decisions, [], [(7, 0)] * 8, settings)
    assert join.n_open == 10
    assert join.counts.n_closed_early == 40
    assert len(outcomes) == 3 * 40, "their default rewards are not lost"


def test_at_the_bound_the_oldest_early_feedback_is_lost_and_counted() -> None:
    settings = replace(SETTINGS, feedback_max=10)
    log = [Answer(START_MS + i, f"r{i}") for i in range(50)]
    _, join = learned([], log, [(0, 7)] * 8, settings)
    assert (join.n_early, join.counts.n_lost) == (10, 40)


def test_feedback_is_forgotten_when_its_decision_would_have_been_read() -> None:
    after = SETTINGS.lateness_ms + 1
    decisions = [decided("r", START_MS + after)]
    _, join = learned(decisions, [Answer(START_MS, "gone")], [(0, 1), (1, 0)])
    assert (join.n_early, join.counts.n_unmatched) == (0, 1)


def test_decisions_are_forgotten_after_the_horizon() -> None:
    after_ms = HORIZON_MS + SETTINGS.lateness_ms + 1
    decisions = [decided("r"), decided("s", START_MS + after_ms)]
    _, join = learned(decisions, [tick(after_ms)], [(2, 1)])
    assert join.n_open == 1
    assert join.cursor().decisions_from == 1


# --- any order, and restarts ------------------------------------------------------------------


def made_up(seed: int, n: int = 300) -> tuple[list[Shown], list[Answer | None]]:
    """Decisions, and feedback on them in and out of order, late, repeated, foreign and early."""
    rng = np.random.default_rng(seed)
    decisions: list[Shown] = []
    answers: list[tuple[int, int, Answer]] = []
    at_ms = START_MS
    for i in range(n):
        at_ms += int(rng.integers(0, 1_500))
        ts_ms = at_ms - int(rng.integers(0, 2_000)) * (rng.random() < 0.2)
        request_id = f"r{i if rng.random() > 0.05 else max(0, i - int(rng.integers(1, 20)))}"
        user_id = f"u{rng.integers(5)}"
        items = [f"i{item}" for item in rng.choice(12, 4, replace=False)]
        blended = i % 10 > 0
        decisions.append(decided(request_id, ts_ms, user_id=user_id, items=items, slate=blended))
        for _ in range(rng.poisson(1.2)):
            delay_ms = int(
                rng.exponential(6_000) if rng.random() < 0.8 else rng.exponential(50_000)
            )
            named = rng.random() < 0.8
            answer = Answer(
                ts_ms + delay_ms,
                request_id if named else None,
                user_id=user_id,
                item_id=items[rng.integers(4)] if rng.random() < 0.9 else "elsewhere",
                reward=float(rng.choice([1.0, 2.0, -0.5, np.nan])),
                seen=bool(rng.random() < 0.2),
            )
            read_ms = answer.ts_ms + int(rng.exponential(3_000) * (rng.random() < 0.3))
            answers.append((read_ms, len(answers), answer))
    log: list[Answer | None] = [answer for *_, answer in sorted(answers)]
    return decisions, log


def walk(seed: int, n_decisions: int, n_events: int, largest: int) -> list[tuple[int, int]]:
    """Steps through both topics at random, sometimes one far ahead of the other."""
    rng = np.random.default_rng(seed)
    steps = []
    while n_decisions > 0 or n_events > 0:
        lean = rng.random()
        step = (int(rng.integers(0, largest) * lean), int(rng.integers(0, largest) * (1 - lean)))
        n_decisions, n_events = n_decisions - step[0], n_events - step[1]
        steps.append(step)
    return steps


def test_no_bound_drops_what_waits_because_one_topic_is_read_again_before_the_other() -> None:
    settings = replace(UNNAMED, feedback_max=40)  # 4 of those without a request_id
    decisions, log, steps = [], list[Answer | None](), list[tuple[int, int]]()
    for i in range(200):
        at_ms = START_MS + 1_000 * i
        decisions.append(decided(f"r{i}", at_ms, offset=i, user_id=f"u{i}"))
        of_user = partial(Answer, user_id=f"u{i}")
        log += [of_user(at_ms + 100, f"r{i}"), of_user(at_ms + 200, item_id="b")]
        if i >= 30:  # which amends what was learned
            log.append(Answer(at_ms + 300, f"r{i - 30}", user_id=f"u{i - 30}", item_id="c"))
        steps.append((1, len(log) - sum(n for _, n in steps)))
    outcomes, whole = learned(decisions, log, steps, settings)
    assert whole.counts.n_lost == 0
    assert whole.counts.n_matched == len(log) - 1  # the next decision would say of the last
    again, join = learned(decisions, log, steps, settings, restarts=range(0, 200, 7))
    assert again == outcomes
    assert join.cursor() == whole.cursor()


@pytest.mark.parametrize("restarts", [(), (1,)])
def test_what_could_be_meant_by_a_click_is_read_again_with_what_is_open(
    restarts: Sequence[int],
) -> None:
    """Of two slates that a click may answer one is forgotten before the other."""
    gone_ms = START_MS + HORIZON_MS + SETTINGS.lateness_ms
    decisions = [
        decided("old"),
        decided("new", START_MS + 5_000),
        decided("z", gone_ms + 1_000, user_id="z"),
    ]
    log = [
        Answer(START_MS + 5_500, "new", item_id="c"),
        Answer(START_MS + 6_000),
        Answer(gone_ms + 1_000, user_id="z"),
        Answer(START_MS + HORIZON_MS, "new", item_id="b"),
    ]
    steps = [(2, 2), (1, 1), (0, 1)]
    outcomes, join = learned(decisions, log, steps, UNNAMED, restarts=restarts)
    of_new = {item: value for (at, item), value in outcomes.items() if at == 1}
    assert of_new == {"a": 0.0, "b": 1.0, "c": 1.0}
    assert join.cursor().decisions_from == 0


@pytest.mark.parametrize("restarts", [(), range(8)])
def test_a_repeat_is_none_as_long_as_it_may_be_read_again(restarts: Sequence[int]) -> None:
    settings = replace(SETTINGS, decisions_max=3)
    names = ["r", "s", "r", "t", "v", "w", "x", "y"]
    decisions = [decided(name, START_MS + i) for i, name in enumerate(names)]
    outcomes, join = learned(decisions, [], [(1, 0)] * 8, settings, restarts=restarts)
    assert {at for at, _ in outcomes} == {0, 1, 3, 4}
    assert join.n_open == 3


@pytest.mark.parametrize("steps", [[(1, 0)] * 6, [(4, 0), (2, 0)], [(6, 0)]])
@pytest.mark.parametrize("restarts", [(), range(8)])
def test_a_repeat_of_what_is_forgotten_is_new_wherever_steps_end(
    steps: Sequence[tuple[int, int]], restarts: Sequence[int]
) -> None:
    settings = replace(SETTINGS, decisions_max=3)
    names = ["r", "s", "t", "v", "r", "w"]
    decisions = [decided(name, START_MS + i) for i, name in enumerate(names)]
    outcomes, join = learned(decisions, [], steps, settings, restarts=restarts)
    assert {at for at, _ in outcomes} == {0, 1, 2}
    assert (join.n_open, join.counts.n_repeated) == (3, 0)


def test_feedback_on_what_is_forgotten_does_not_wait_whichever_was_read_first() -> None:
    settings = replace(SETTINGS, decisions_max=2)
    decisions = [decided(name, START_MS + i) for i, name in enumerate("rstv")]
    log = [Answer(START_MS + 3, "r"), None]
    cursors = [
        learned(decisions, log, steps, settings)[1].cursor()
        for steps in ([(1, 0), (0, 1), (3, 1)], [(4, 0), (0, 2)], [(4, 0), (0, 1), (0, 1)])
    ]
    assert cursors == [cursors[0]] * 3
    assert cursors[0].events_from == 2


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("matching", ["never", "reported", "always"])
def test_any_interleaving_and_any_restart_teach_the_same(seed: int, matching: Matching) -> None:
    settings = replace(SETTINGS, match_without_request=matching)
    decisions, log = made_up(seed)
    if matching == "never":
        log = [each if each and each.request_id else None for each in log]
    chosen: Chosen = {}
    all_at_once = [(len(decisions), len(log))]
    at_once, whole = learned(decisions, log, all_at_once, settings, chosen=chosen)
    assert len(chosen) > 50
    counts = whole.counts
    assert min(counts.n_matched, counts.n_late, counts.n_unmatched, counts.n_repeated) > 3
    assert (counts.n_ambiguous > 3) == (matching != "never")
    for walked, largest in ((1, 4), (2, 40), (3, 400)):
        steps = walk(10 * seed + walked, len(decisions), len(log), largest)
        in_steps: Chosen = {}
        assert learned(decisions, log, steps, settings, chosen=in_steps)[0] == at_once
        assert in_steps == chosen
        restarts = np.random.default_rng(seed).choice(
            len(steps), min(25, len(steps)), replace=False
        )
        after_restarts: Chosen = {}
        outcomes, join = learned(
            decisions, log, steps, settings, restarts=restarts.tolist(), chosen=after_restarts
        )
        assert outcomes == at_once
        assert after_restarts == chosen
        assert join.cursor() == whole.cursor()
