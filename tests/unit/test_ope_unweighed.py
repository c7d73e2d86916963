"""What a log doesn't say is not made up; what the learner doesn't count is left out and said."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace as replace_settings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from streamer.cli import app
from streamer.config import Config, JoinConfig
from streamer.errors import ConfigError, StreamerError
from streamer.events import Decision, Event, encode
from streamer.learner.batch import decode_batch
from streamer.learner.configured import join_settings, reward_function
from streamer.learner.dedup import DedupWindow
from streamer.learner.join.answers import decode_decisions
from streamer.learner.join.join import Join
from streamer.learner.join.shown import Matching
from streamer.ope.decision_log import DecisionLog
from streamer.ope.obd_log import OpenBanditLog
from streamer.protocols import MessageBatch
from streamer_producers.gone_messages import GoneMessages, write_note
from tests.unit.ope_files import (
    ITEMS,
    START_MS,
    decision,
    event,
    obd_line,
    write_decisions,
    write_obd,
)

HORIZON_MS = round(JoinConfig().horizon_s * 1_000)
FEW = ["--ci", "normal", "--estimators", "ips,snips"]


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["ope", *words], env={"COLUMNS": "200"})
    if isinstance(result.exception, StreamerError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_feedback_of_another_user_counts_for_nothing_and_what_is_left_out_is_said(
    tmp_path: Path,
) -> None:
    slates = [decision("r", ["a", "b"]), decision("s", ["a", "b"])]
    events = [
        event("r", "a"),
        event("r", "b", user_id="another"),
        event("s", "a", user_id="another"),
        event("s", "c"),
        event(None, "b"),
        event("unknown", "b"),
        event("s", "b", ts=START_MS + HORIZON_MS + 1),
        event("s", "b", "impression"),
    ]
    path = write_decisions(tmp_path, slates, events)
    config = Config()
    log = DecisionLog(path, rewards=reward_function(config), join=config.join)
    assert log.survey().rewards.tolist() == [1.0, 0.0, 0.0]  # only b of s was seen
    said = (
        "6 of 8 events that could be answers found no decision and count for nothing: 2 of another"
        " user than the decision's, 1 of an item that was not shown, 1 without a request_id, of"
        " an item in several slates, 1 of a request that has no decision, 1 later than"
        " join.horizon_s"
    )
    log.survey()
    assert list(log.remarks()) == [said]
    assert said in run(str(path), "--format", "decisions", "--policy", "uniform", *FEW)


def test_what_a_record_lacks_is_said(tmp_path: Path) -> None:
    path = write_decisions(tmp_path, [decision("r", ["a", "b"])], [event("r", "a")])
    write_note(path / "events.jsonl", GoneMessages("kafka:events: 7 messages were deleted", 1))
    said = "events.jsonl, as recorded: kafka:events: 7 messages were deleted"
    assert said in run(str(path), "--format", "decisions", "--policy", "uniform", *FEW)


@pytest.mark.parametrize(
    ("matches", "reward"), [("always", 1.0), ("reported", 0.0), ("never", 0.0)]
)
def test_an_event_without_a_request_counts_where_the_learner_would_match_it(
    tmp_path: Path, matches: Matching, reward: float
) -> None:
    slates = [decision("r", ["a", "b"]), decision("s", ["c"])]
    late = START_MS + round(1_000 * JoinConfig().window_s) + 1
    events = [event(None, "b"), event(None, "b"), event(None, "a", ts=late), event("s", "c")]
    path = write_decisions(tmp_path, slates, events)
    join = JoinConfig(match_without_request=matches)
    log = DecisionLog(path, rewards=reward_function(Config()), join=join)
    assert log.survey().rewards.tolist() == [0.0, reward, 1.0]
    said, *_ = log.remarks()
    assert f"{3 if matches == 'never' else 1} without a request_id" in said
    seen = [event("r", "a", "impression"), event("r", "b", "impression")]
    path = write_decisions(tmp_path / "seen", slates, [*seen, *events])
    log = DecisionLog(path, rewards=reward_function(Config()), join=join)
    assert log.survey().rewards.tolist() == [0.0, float(matches != "never"), 1.0]


def test_the_same_events_of_another_user_are_worth_nothing(tmp_path: Path) -> None:
    slates = [decision(f"r{at}", ["a", "b"]) for at in range(20)]
    clicks: list[Event] = [event(f"r{at}", "a") for at in range(20)]
    config = Config()
    values = []
    for name, user in (("own", "user"), ("other", "another")):
        changed = [event(click.request_id, "a", user_id=user) for click in clicks]
        path = write_decisions(tmp_path / name, slates, changed)
        log = DecisionLog(path, rewards=reward_function(config), join=config.join)
        values.append(log.survey().rewards.sum())
    assert values == [20.0, 0.0]


def remarks_and_rewards(
    folder: Path, slates: list[Decision], events: list[Event], **join: Any
) -> tuple[list[str], list[float]]:
    path = write_decisions(folder, slates, events)
    log = DecisionLog(path, rewards=reward_function(Config()), join=JoinConfig(**join))
    rewards = log.survey().rewards.tolist()
    return list(log.remarks()), rewards


def test_feedback_without_a_request_is_matched_where_the_learner_matches_it(tmp_path: Path) -> None:
    slates = [decision("r", ["a", "b"]), decision("s", ["b", "c"], ts=START_MS + 2_000)]
    events = [
        event(None, "b", ts=START_MS + 3_000),  # shown twice
        event(None, "a", "like", ts=START_MS + 4_000),
        event(None, "c", "like", ts=START_MS + 60_000),  # after join.window_s
        event(None, "x", ts=START_MS + 3_000),
    ]
    found: dict[Matching, tuple[list[str], list[float]]] = {
        matching: remarks_and_rewards(
            tmp_path / matching, slates, events, match_without_request=matching, window_s=30.0
        )
        for matching in ("never", "reported", "always")
    }
    assert {matching: rewards for matching, (_, rewards) in found.items()} == {
        "never": [0.0, 0.0, 0.0, 0.0],
        "reported": [0.0, 0.0, 0.0, 0.0],
        "always": [2.0, 0.0, 0.0, 0.0],
    }
    why = {
        matching: remarks[0].partition("nothing: ")[2] for matching, (remarks, _) in found.items()
    }
    several = "1 without a request_id, of an item in several slates"
    assert why == {
        "never": "4 without a request_id",
        "reported": f"2 without a request_id, {several}, 1 without a request_id, of a slate of"
        " which nothing else was reported",
        "always": f"2 without a request_id, {several}",
    }


def test_feedback_that_comes_too_far_out_of_order_counts_for_nothing(tmp_path: Path) -> None:
    slates = [decision("r", ["a", "b"])]
    later = START_MS + 3_660_001  # join.lateness_s after the horizon
    events = [event("r", "a"), event("none", "a", ts=later), event("r", "b")]
    remarks, rewards = remarks_and_rewards(tmp_path / "as", slates, events, horizon_s=3_600.0)
    assert rewards == [1.0, 0.0]
    assert "1 out of order by more than join.lateness_s" in remarks[0]
    remarks, rewards = remarks_and_rewards(
        tmp_path / "late", slates, events, horizon_s=3_600.0, lateness_s=61.0
    )
    assert rewards == [1.0, 1.0]
    assert "out of order" not in remarks[0]


DAY_MS = 86_400_000


@pytest.mark.parametrize("at", [0, 1, 30])
@pytest.mark.parametrize("kind", ["decision", "event"])
@pytest.mark.parametrize("ahead_ms", [20 * DAY_MS // 24, 11 * DAY_MS, 4_000_000_000_000 - START_MS])
def test_one_clock_that_is_ahead_changes_nothing_for_anyone_in_a_recorded_log(
    tmp_path: Path, kind: str, ahead_ms: int, at: int
) -> None:
    minute_ms = 60_000
    slates = [
        decision(f"r{n}", ["a", "b"], user_id=f"u{n}", ts=START_MS + n * minute_ms)
        for n in range(60)
    ]
    events = [
        event(f"r{n}", "a", user_id=f"u{n}", ts=START_MS + (n + 5) * minute_ms) for n in range(60)
    ]
    join = JoinConfig(horizon_s=3_600.0)
    _, rewards = remarks_and_rewards(tmp_path / "right", slates, events, horizon_s=join.horizon_s)
    assert rewards == [1.0, 0.0] * 60
    ahead = START_MS + at * minute_ms + ahead_ms
    if kind == "decision":
        slates = [*slates[:at], decision("x", ["a", "b"], user_id="x", ts=ahead), *slates[at:]]
        del rewards[2 * at : 2 * at]
    else:
        events = [*events[:at], event("x", "a", user_id="x", ts=ahead), *events[at:]]
    path = write_decisions(tmp_path / "wrong", slates, events)
    log = DecisionLog(path, rewards=reward_function(Config()), join=join)
    survey = log.survey()
    is_far = ahead_ms > DAY_MS
    own = [] if is_far or kind == "event" else [0.0, 0.0]
    assert survey.rewards.tolist() == [*rewards[: 2 * at], *own, *rewards[2 * at :]]
    assert [len([*log.rows(features=False)]), survey.n_malformed] == [len(survey), is_far]
    if is_far:
        assert f"{kind}s.jsonl:{at + 1}: field 'ts': {ahead} is over a day" in str(
            survey.malformed[0]
        )
    said = "1 decisions and events whose time lies ahead of those around them count as these do"
    assert (said in [*log.remarks()]) != is_far


@pytest.mark.parametrize("ahead_ms", [20 * DAY_MS // 24, 11 * DAY_MS])
@pytest.mark.parametrize(("kind", "n"), [("decision", 60), ("decision", 350), ("event", 900)])
def test_one_clock_that_is_ahead_is_outvoted_however_often_it_sends_in_a_row(
    tmp_path: Path, kind: str, n: int, ahead_ms: int
) -> None:
    """A phone that was offline sends what it has kept at once, and its clock is wrong."""
    minute_ms = 60_000
    slates = [
        decision(f"r{at}", ["a", "b"], user_id=f"u{at % 40}", ts=START_MS + at * minute_ms)
        for at in range(90)
    ]
    events = [
        event(f"r{at}", "a", user_id=f"u{at % 40}", ts=START_MS + (at + 5) * minute_ms)
        for at in range(90)
    ]
    times = [START_MS + 30 * minute_ms + ahead_ms + at for at in range(n)]
    if kind == "decision":
        of_phone = [
            decision(f"x{at}", ["a", "b"], user_id="x", ts=ts) for at, ts in enumerate(times)
        ]
        slates = [*slates[:30], *of_phone, *slates[30:]]
    else:
        kept = [event(f"x{at}", "a", user_id="x", ts=ts) for at, ts in enumerate(times)]
        events = [*events[:30], *kept, *events[30:]]
    path = write_decisions(tmp_path, slates, events)
    join = JoinConfig(horizon_s=3_600.0)
    log = DecisionLog(path, rewards=reward_function(Config()), join=join)
    survey = log.survey()
    is_far = ahead_ms > DAY_MS
    assert survey.n_malformed == n * is_far
    assert survey.rewards.sum() == 90.0
    said = f"{n} decisions and events whose time lies ahead of those around them count as these do"
    assert (said in [*log.remarks()]) != is_far


def test_what_phones_kept_that_were_offline_makes_no_right_clock_one_that_is_ahead(
    tmp_path: Path,
) -> None:
    """After a night, two of sixty phones send what they did two days before, all at once."""
    late = [
        event(f"late{at}", "a", user_id=f"offline{at % 2}", ts=START_MS - 2 * DAY_MS + at)
        for at in range(300)
    ]
    days = [
        [(f"r{day}-{at}", f"u{at}", START_MS + day * DAY_MS // 2 + at * 60_000) for at in range(60)]
        for day in range(2)
    ]
    slates = [
        decision(name, ["a", "b"], user_id=user, ts=ts) for day in days for name, user, ts in day
    ]
    before, after = (
        [event(name, "a", user_id=user, ts=ts + 1) for name, user, ts in day] for day in days
    )
    path = write_decisions(tmp_path, slates, [*before, after[0], *late, *after[1:]])
    log = DecisionLog(path, rewards=reward_function(Config()), join=JoinConfig(horizon_s=3_600.0))
    survey = log.survey()
    assert (survey.n_malformed, survey.rewards.sum()) == (0, 120.0)
    assert not any("lies ahead" in said for said in log.remarks())


def test_time_that_passes_is_no_clock_that_is_ahead(tmp_path: Path) -> None:
    """A log with a week without traffic, with late messages at its end."""
    hours = [*range(30), *range(200, 230), 210, 210, 210]
    slates = [
        decision(f"r{n}", ["a", "b"], ts=START_MS + hour * DAY_MS // 24)
        for n, hour in enumerate(hours)
    ]
    events = [event(f"r{n}", "a", ts=each.ts) for n, each in enumerate(slates)]
    path = write_decisions(tmp_path, slates, events)
    log = DecisionLog(path, rewards=reward_function(Config()), join=JoinConfig())
    survey = log.survey()
    assert survey.n_malformed == 0
    assert {row.ts_ms for row in log.rows(features=False)} == {each.ts for each in slates}
    assert survey.rewards.tolist()[:120] == [1.0, 0.0] * 60
    assert not any("ahead" in said for said in log.remarks())


def test_slates_of_which_nothing_was_reported_are_left_out_or_said_to_count(
    tmp_path: Path,
) -> None:
    slates = [decision(each, ["a", "b"]) for each in ("r", "s", "t")]
    clicked, seen = [event("r", "a")], [event("s", "b", "impression")]
    remarks, rewards = remarks_and_rewards(tmp_path / "clicks", slates, clicked)
    assert rewards == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert "2 slates without any feedback or impression count as seen and not taken" in remarks[0]
    remarks, rewards = remarks_and_rewards(tmp_path / "both", slates, clicked + seen)
    assert rewards == [1.0, 0.0, 0.0]  # of s what was seen, and nothing of t
    assert "1 slates without any feedback or impression were left out" in remarks[0]
    counts = remarks_and_rewards(tmp_path / "all", slates, clicked + seen, unanswered="counts")
    assert counts == ([], [1.0, 0.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize("matching", ["reported", "always"])
@pytest.mark.parametrize("seed", range(5))
def test_rewards_are_those_of_a_join_that_reads_both_topics_as_they_come(
    tmp_path: Path, seed: int, matching: Matching
) -> None:
    rng = random.Random(seed)
    slates = [
        decision(f"r{at}", rng.sample(ITEMS, 2), user_id=f"u{at % 3}", ts=START_MS + at * 500)
        for at in range(60)
    ]
    events = [
        event(
            rng.choice([f"r{at // 3}", f"r{at // 3}", f"r{rng.randrange(70)}", None]),
            rng.choice(ITEMS),
            rng.choice(["click", "like", "impression"]),
            event_id=f"e{rng.randrange(150)}",
            user_id=f"u{rng.choice([at // 3 % 3, rng.randrange(3)])}",
            ts=START_MS + at * 167 + rng.randrange(-3_000, 9_000),
        )
        for at in range(189)
    ]
    limits: dict[str, Any] = {
        "match_without_request": matching,
        "unanswered": "counts",
        "window_s": 4.0,
        "horizon_s": 6.0,
        "lateness_s": 1.0,
    }
    _, rewards = remarks_and_rewards(tmp_path / "log", slates, events, **limits)
    config = replace(Config(), join=JoinConfig(**limits))
    settings = replace_settings(join_settings(config), feature_names=("one", "number"))
    join, dedup = Join(settings), DedupWindow(1_000)
    learned: dict[tuple[int, str], float] = {}
    end = decision("end", ["a"], ts=START_MS + 10**8)  # so that time passes
    for first in range(0, 61, 3):
        batch = batch_of("decisions", [*slates, end], first, 3)
        decided, _ = decode_decisions(batch, ("one", "number"))
        several = batch_of("events", events, 3 * first, 9)
        answered = decode_batch(
            several,
            types=config.event_types,
            dedup=dedup,
            rewards=reward_function(config),
            join=settings,
        ).answers
        examples = join.take(decided, answered).examples
        for offset, item, after in zip(
            examples.offsets.tolist(), examples.arm_ids, examples.after.tolist(), strict=True
        ):
            learned[offset, item] = after
    expected = [
        learned[at, item]
        for at, each in enumerate(slates)
        for item in each.items
        if not math.isnan(learned.get((at, item), math.nan))
    ]
    assert rewards == expected
    assert sum(reward > 0 for reward in expected) > 1


def batch_of(topic: str, messages: Sequence[Decision | Event], first: int, n: int) -> MessageBatch:
    payloads: list[bytes | None] = [encode(each) for each in messages[first : first + n]]
    offsets = np.arange(first, first + len(payloads), dtype=np.int64)
    return MessageBatch(topic, 0, payloads, offsets, np.full(len(payloads), -1))


@pytest.mark.parametrize("ids", [list(range(1, 11)), [1001, 2005, 30010, *range(7, 14)]])
def test_no_item_is_made_up_where_the_log_does_not_say_how_many_there_are(
    tmp_path: Path, ids: list[int]
) -> None:
    rng = random.Random(0)
    path = tmp_path / "log.csv"
    rows = [
        f"{at},2019-11-24 00:00:00+00:00,{rng.choice(ids)},1,{int(rng.random() < 0.2)},0.1"
        for at in range(2_000)
    ]
    path.write_text("\n".join([",timestamp,item_id,position,click,propensity_score", *rows]))
    log = OpenBanditLog(path)
    survey = log.survey()
    assert survey.actions == tuple(map(str, sorted(ids)))
    assert survey.uniform
    assert {
        int(survey.actions[row.candidates[row.chosen]]) for row in log.rows(features=False)
    } == {*ids}
    words = [str(path), "--format", "obd", "--policy", "uniform", *FEW, "--json"]
    output = run(*words, str(tmp_path / "out.json"))
    assert "the log has no affinities, which would say what could be shown: its 10 items" in output
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["metrics"]["ips"]["value"] == pytest.approx(found["logged"]["value"])


def test_a_log_with_affinities_has_nothing_to_say_of_its_items(tmp_path: Path) -> None:
    log = OpenBanditLog(write_obd(tmp_path / "all", [obd_line()]))
    assert log.survey().actions == ("0", "1", "2")
    assert list(log.remarks()) == []


@pytest.mark.parametrize(
    ("n_rows", "remedy"), [(3, r"--folds 3, or --reward-model none"), (1, "--reward-model none")]
)
def test_a_small_log_says_how_it_can_be_evaluated(tmp_path: Path, n_rows: int, remedy: str) -> None:
    path = write_obd(tmp_path / "all", [obd_line(propensity=1 / 3)] * n_rows)
    words = [str(path), "--format", "obd", "--policy", "uniform", "--ci", "normal"]
    with pytest.raises(ConfigError, match=rf"from 2 to the log's {n_rows} requests; take {remedy}"):
        run(*words)
    assert "ips" in run(*words, "--reward-model", "none")
    if n_rows > 1:
        assert "dm" in run(*words, "--folds", str(n_rows))
