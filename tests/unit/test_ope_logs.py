"""Logs of bandit feedback: what rows they hold, and what is refused with which reason."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from streamer.config import Config, JoinConfig
from streamer.errors import BadMessage, ConfigError, LogRefused
from streamer.events import Decision, Event, Pin, encode
from streamer.learner.rewards import Rewards
from streamer.ope.bandit_log import BanditLog
from streamer.ope.decision_log import DecisionLog, LoggedSlates
from streamer.ope.mab_log import UniformArmsLog
from streamer.ope.obd_log import OpenBanditLog
from tests.unit.ope_files import (
    OBD_HEADER,
    START_MS,
    decision,
    event,
    obd_line,
    write_decisions,
    write_obd,
)


def decision_log(
    path: Path, *, join: JoinConfig | None = None, uniform: bool = False, strict: bool = False
) -> DecisionLog:
    return DecisionLog(
        path,
        rewards=Rewards(Config().events),
        join=join or JoinConfig(),
        uniform=uniform,
        strict=strict,
    )


def agree(log: BanditLog) -> None:
    """Whether the columns of the survey are those of the rows."""
    survey = log.survey()
    for features in (False, True):
        rows = list(log.rows(features=features))
        assert [row.request for row in rows] == survey.requests.tolist()
        assert [row.slot for row in rows] == survey.slots.tolist()
        assert [int(row.candidates[row.chosen]) for row in rows] == survey.chosen.tolist()
        assert [row.reward for row in rows] == survey.rewards.tolist()
        assert [row.propensity for row in rows] == survey.propensities.tolist()
        width = len(log.feature_names) if features else 0
        assert all(row.features.shape == (len(row.candidates), width) for row in rows)


# --- Open Bandit Dataset ------------------------------------------------------------------------


def test_open_bandit_rows(tmp_path: Path) -> None:
    lines = [obd_line(2, 1, 1, 0.25), obd_line(0, 3, 0, 0.5, user="v"), obd_line(1, 1, 0, 1.0)]
    log = OpenBanditLog(write_obd(tmp_path / "all", lines))
    survey = log.survey()
    assert survey.actions == ("0", "1", "2")
    assert survey.positions == (1, 3)
    assert survey.slots.tolist() == [0, 1, 0]
    assert survey.chosen.tolist() == [2, 0, 1]
    assert survey.rewards.tolist() == [1.0, 0.0, 0.0]
    assert survey.propensities.tolist() == [0.25, 0.5, 1.0]
    assert not survey.uniform
    assert log.campaign == "all"
    assert log.feature_names == ("user_feature_0=u", "user_feature_0=v", "affinity")
    first, second, _ = log.rows(features=True)
    assert first.features.tolist() == [[1, 0, 0.0], [1, 0, 1.5], [1, 0, 0.25]]
    assert second.features[0].tolist() == [0, 1, 0.0]
    assert first.ts_ms == 1_574_553_634_762
    agree(log)


def test_malformed_lines_are_counted_with_their_numbers(tmp_path: Path) -> None:
    lines = [
        obd_line(),
        obd_line(item="many"),
        obd_line(item=3),
        "1,2",
        obd_line(click="nan"),
        obd_line(1),
    ]
    path = write_obd(tmp_path / "all", lines)
    log = OpenBanditLog(path)
    survey = log.survey()
    assert len(survey) == 2
    assert survey.n_malformed == 4
    assert [each.line for each in survey.malformed] == [3, 4, 5, 6]
    assert "item_id=3" in str(survey.malformed[1])
    agree(log)
    with pytest.raises(BadMessage, match=r"all.csv:3: .*'many'.*--strict"):
        OpenBanditLog(path, strict=True).survey()


@pytest.mark.parametrize("propensity", ["0", "-0.1", "1.01", "nan", "inf", "", "NULL", "33%"])
def test_a_propensity_outside_its_range_is_refused(tmp_path: Path, propensity: str) -> None:
    path = write_obd(tmp_path / "all", [obd_line(), obd_line(propensity=propensity)])
    with pytest.raises(LogRefused, match=rf"all.csv:3: propensity '?{propensity}.*\(0, 1\]"):
        OpenBanditLog(path).survey()
    assert len(OpenBanditLog(path, uniform=True).survey()) == 2


def test_whole_numbers_may_be_written_as_floats(tmp_path: Path) -> None:
    lines = [obd_line("2.0").replace(",1,0,", ",1.0,0,"), obd_line("1.5"), obd_line(1, 1)]
    survey = OpenBanditLog(write_obd(tmp_path / "all", lines)).survey()
    assert survey.chosen.tolist() == [2, 1]
    assert survey.positions == (1,)
    assert "'1.5' is no whole number" in survey.malformed[0].reason


def test_semicolons_between_columns_are_said_not_taken_for_a_uniform_log(tmp_path: Path) -> None:
    lines = [each.replace(",", ";") for each in [OBD_HEADER, obd_line()]]
    path = write_obd(tmp_path / "all", lines[1:], lines[0])
    with pytest.raises(LogRefused, match=r"names one column.*write commas") as refused:
        OpenBanditLog(path).survey()
    assert "--uniform" not in str(refused.value)


def test_a_path_at_which_there_is_nothing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nonesuch"
    for opened in (OpenBanditLog, UniformArmsLog, decision_log):
        with pytest.raises(ConfigError, match=r"nonesuch.* is not there"):
            opened(path)


def test_a_log_without_propensities_must_be_stated_uniform(tmp_path: Path) -> None:
    header = OBD_HEADER.replace("propensity_score", "something")
    path = write_obd(tmp_path / "all", [obd_line(), obd_line(1)], header)
    with pytest.raises(LogRefused, match=r"no propensities.*--uniform"):
        OpenBanditLog(path).survey()
    log = OpenBanditLog(path, uniform=True)
    assert log.survey().uniform
    assert log.survey().propensities.tolist() == [1 / 3, 1 / 3]
    agree(log)


def test_what_is_no_open_bandit_log_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds 0 logs"):
        OpenBanditLog(tmp_path)
    other = write_obd(tmp_path / "all", ["1,2"], "propensity_score,click")
    with pytest.raises(LogRefused, match="no column 'item_id'"):
        OpenBanditLog(other).survey()
    with pytest.raises(LogRefused, match="no row"):
        OpenBanditLog(write_obd(tmp_path / "all", [])).survey()


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    path = write_obd(tmp_path / "all", [obd_line()]) / "all.csv"
    zipped = tmp_path / "all.csv.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert OpenBanditLog(zipped).digest() == OpenBanditLog(path).digest()
    path.write_text(path.read_text() + obd_line() + "\n")
    assert OpenBanditLog(zipped).digest() != OpenBanditLog(path).digest()


# --- ten arms -----------------------------------------------------------------------------------


def mab_line(arm: int, reward: int = 0) -> str:
    return " ".join(map(str, [arm, reward, *range(100)]))


@pytest.mark.parametrize("first", [0, 1])
def test_arms_are_numbered_from_zero_or_one(tmp_path: Path, first: int) -> None:
    path = tmp_path / "dataset.txt"
    path.write_text("\n".join([mab_line(first, 1), mab_line(first + 9), "3 0 1", "x" * 9]) + "\n")
    log = UniformArmsLog(tmp_path)
    survey = log.survey()
    assert survey.actions == tuple(str(first + arm) for arm in range(10))
    assert survey.chosen.tolist() == [0, 9]
    assert survey.propensities.tolist() == [0.1, 0.1]
    assert survey.uniform
    assert [each.line for each in survey.malformed] == [3, 4]
    row = next(log.rows(features=True))
    assert row.features[3].tolist() == list(range(30, 40))
    agree(log)


def test_eleven_arms_are_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.txt").write_text(f"{mab_line(0)}\n{mab_line(10)}\n")
    with pytest.raises(LogRefused, match="eleven"):
        UniformArmsLog(tmp_path).survey()


# --- decisions ----------------------------------------------------------------------------------


def test_decisions_are_rows_of_what_each_slot_could_show(tmp_path: Path) -> None:
    # Listed out of order: the slot says what came first.
    slate = decision("r", ["a", "c"], positions=[1, 0], propensities=[0.5, 1 / 3])
    log = decision_log(write_decisions(tmp_path, [slate], [event("r", "a")]))
    survey = log.survey()
    assert survey.uniform
    assert survey.n_requests == 1
    first, second = log.rows(features=True)
    names = survey.actions
    assert [names[action] for action in first.candidates] == ["a", "b", "c"]
    assert [names[action] for action in second.candidates] == ["a", "b"]
    assert (names[first.candidates[first.chosen]], first.reward) == ("c", 0.0)
    assert (names[second.candidates[second.chosen]], second.reward) == ("a", 1.0)
    assert second.features.tolist() == [[1, 0], [1, 1]]
    agree(log)


def test_items_count_at_the_positions_where_they_stood_among_pinned_ones(tmp_path: Path) -> None:
    pinned = [Pin(position=1, item_id="p"), Pin(position=9, item_id="q")]
    other = write_decisions(tmp_path / "other", [decision("r", ["c", "b"], pinned=pinned)], [])
    decisions = [
        decision("r", ["a", "b"], pinned=pinned),
        # Listed out of order: what came first stands behind the pinned one.
        decision("s", ["a", "b"], positions=[1, 0], pinned=[Pin(position=0, item_id="p")]),
        decision("t", ["c", "b"]),
    ]
    log = decision_log(write_decisions(tmp_path, decisions, [event("s", "b")]))
    survey = log.survey()
    assert survey.positions == (0, 1, 2)
    found = [
        (survey.actions[chosen], survey.positions[slot], reward)
        for chosen, slot, reward in zip(
            survey.chosen.tolist(), survey.slots.tolist(), survey.rewards.tolist(), strict=True
        )
    ]
    assert found == [("a", 0, 0), ("b", 2, 0), ("b", 1, 1), ("a", 2, 0), ("c", 0, 0), ("b", 1, 0)]
    shown = LoggedSlates(other, log, strict=True)
    assert [shown.shows("r", ["b", "c"], position).tolist() for position in range(3)] == [
        [False, True],
        [False, False],
        [True, False],
    ]
    agree(log)


def test_rewards_are_joined_by_request_and_item(tmp_path: Path) -> None:
    decisions = [decision("r", ["a", "b"]), decision("s", ["a", "b"]), decision("r", ["c"])]
    events: list[Event | bytes] = [
        event("r", "a"),
        event("r", "a"),  # the same event again
        event("s", "c"),  # not shown
        event(None, "b"),
        event("unknown", "b"),
        event("s", "b", "purchase"),
        event("s", "b"),
        event("s", "a", ts=START_MS + 86_400_001),  # beyond the horizon
        b"{",
    ]
    path = write_decisions(tmp_path, decisions, events)
    weights = Config().events
    log = decision_log(path)
    survey = log.survey()
    purchase = weights["purchase"].weight + weights["click"].weight
    assert survey.rewards.tolist() == [1.0, 0.0, 0.0, purchase]
    assert survey.n_malformed == 1
    assert survey.malformed[0].file.endswith("events.jsonl")
    most = decision_log(path, join=JoinConfig(combine="max", default_reward=-0.5)).survey()
    assert most.rewards.tolist() == [1.0, -0.5, -0.5, weights["purchase"].weight]


def test_items_that_were_not_seen_are_no_rows(tmp_path: Path) -> None:
    seen = [event("r", "a", "impression"), event("s", "b")]
    decisions = [decision("r", ["a", "b"]), decision("s", ["a", "b"])]
    log = decision_log(write_decisions(tmp_path, decisions, seen))
    survey = log.survey()
    assert survey.requests.tolist() == [0, 1, 1]
    assert survey.rewards.tolist() == [0.0, 0.0, 1.0]
    agree(log)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"propensities": [0.0]}, r"decisions.jsonl:2: propensity 0.0 is not in \(0, 1\]"),
        ({"propensities": [1.5]}, "propensity 1.5"),
        ({"propensities": []}, "no propensities"),
        ({"propensities": None}, "no propensities"),
        ({"propensities": [float("nan")]}, "decisions.jsonl:2: propensity nan"),
        ({"propensities": [float("inf")]}, "propensity inf"),
        ({"propensities": [None]}, "propensity None"),
        ({"propensities": ["0.5"]}, "propensity '0.5'"),
        ({"propensities": [True]}, "propensity True"),
        ({"propensities": [0.5, 0.5]}, "2 propensities for 1 items"),
    ],
)
def test_decisions_without_good_propensities_are_refused(
    tmp_path: Path, changes: dict[str, object], complaint: str
) -> None:
    fields = {**json.loads(encode(decision("r", ["a"]))), **changes}
    lines: list[Decision | bytes] = [decision("q", ["b"]), json.dumps(fields).encode()]
    path = write_decisions(tmp_path, lines, [])
    with pytest.raises(LogRefused, match=complaint):
        decision_log(path).survey()
    stated = decision_log(path, uniform=True)
    assert stated.survey().propensities.tolist() == [1 / 3, 1 / 3]


@pytest.mark.parametrize("value", ["nan", "NULL", ".5x", ""])
def test_a_propensity_that_is_no_json_is_refused(tmp_path: Path, value: str) -> None:
    line = encode(decision("r", ["a", "b"])).replace(b"0.5]", value.encode() + b"]")
    path = write_decisions(tmp_path, [decision("q", ["b"]), line], [])
    with pytest.raises(LogRefused, match=r"decisions.jsonl:2: propensity .* is not in \(0, 1\]"):
        decision_log(path).survey()


def test_a_line_that_is_cut_is_malformed_whatever_its_propensities(tmp_path: Path) -> None:
    whole = encode(decision("r", ["a", "b"]))
    cut = [whole[:n] for n in range(1, len(whole))]
    path = write_decisions(tmp_path, [decision("q", ["b"]), *cut], [])
    survey = decision_log(path).survey()
    assert (len(survey), survey.n_malformed) == (1, len(cut))


def test_repeated_messages_are_left_out_and_said_apart_where_they_differ(tmp_path: Path) -> None:
    slates = [decision(f"r{n}", ["a", "b"]) for n in range(4)]
    again = [slates[0], slates[1], decision("r2", ["b", "a"])]
    clicks = [event(f"r{n}", "a") for n in range(3)]
    events = [*clicks, clicks[0], event("r1", "b", event_id=clicks[1].event_id)]
    log = decision_log(write_decisions(tmp_path, [*slates, *again], events))
    for _ in range(2):
        assert log.survey().rewards.tolist() == [1.0, 0.0] * 3 + [0.0, 0.0]
        of_decisions, of_events = (each for each in log.remarks() if "repeat" in each)
        assert of_decisions == (
            "3 decisions repeat the request_id of one before and are left out; 1 of them say"
            f" something else than that one, the first at {tmp_path}/decisions.jsonl:7: an id is to"
            " be of one alone"
        )
        assert of_events == (
            "2 events repeat the event_id of one before and are left out; 1 of them say something"
            f" else than that one, the first at {tmp_path}/events.jsonl:5: an id is to be of one"
            " alone"
        )
    log = decision_log(write_decisions(tmp_path, [*slates, slates[3]], clicks))
    log.survey()
    said = "1 decisions repeat the request_id of one before and are left out"
    assert [each for each in log.remarks() if "repeat" in each] == [said]


def test_a_byte_order_mark_costs_no_line(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    slate, click = decision("r", ["a", "b"]), event("r", "a")
    log = decision_log(write_decisions(tmp_path, [mark + encode(slate)], [mark + encode(click)]))
    survey = log.survey()
    assert (survey.rewards.tolist(), survey.n_malformed) == ([1.0, 0.0], 0)
    assert LoggedSlates(
        write_decisions(tmp_path / "other", [mark + encode(slate)], []), log, strict=True
    ).shows("r", ["a", "b"], 0).tolist() == [True, False]


def test_times_in_seconds_are_malformed_lines_as_http_refuses_them(tmp_path: Path) -> None:
    seconds = START_MS // 1_000
    said = f"field 'ts': {seconds} is in seconds, as it seems; send milliseconds since 1970"
    decisions = [decision("q", ["a"]), decision("r", ["b"]), decision("s", ["b"], ts=seconds)]
    events = [event("r", "b"), event("q", "a", ts=seconds)]
    survey = decision_log(write_decisions(tmp_path, decisions, events)).survey()
    assert len(survey) == 2
    assert survey.rewards.tolist()[1] > survey.rewards.tolist()[0]
    assert [(each.line, each.reason.startswith(said)) for each in survey.malformed] == [
        (3, True),
        (2, True),
    ]


def test_a_log_whose_events_are_all_in_seconds_is_refused(tmp_path: Path) -> None:
    events = [event("q", "a", ts=START_MS // 1_000 + each) for each in range(3)]
    log = decision_log(write_decisions(tmp_path, [decision("q", ["a"])], events))
    complaint = r"none of the 3 events can be read.*events.jsonl:1: field 'ts'.*is in seconds"
    with pytest.raises(LogRefused, match=complaint):
        log.survey()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"items": ["x"]}, "not among the candidates"),
        ({"items": ["a", "a"], "positions": [0, 1], "propensities": [0.5, 0.5]}, "shown twice"),
        ({"feature_names": ["one", "other"]}, "not the 2 of the first"),
        ({"user_id": ""}, "user_id"),
    ],
)
def test_bad_decisions_are_counted(
    tmp_path: Path, changes: dict[str, object], complaint: str
) -> None:
    fields = {**json.loads(encode(decision("r", ["a"]))), **changes}
    path = write_decisions(tmp_path, [decision("q", ["b"]), json.dumps(fields).encode()], [])
    survey = decision_log(path).survey()
    assert len(survey) == 1
    assert complaint in survey.malformed[0].reason
    with pytest.raises(BadMessage, match="--strict"):
        decision_log(path, strict=True).survey()


def test_where_events_are_must_be_said(tmp_path: Path) -> None:
    path = write_decisions(tmp_path, [decision("r", ["a"])], [event("r", "a")])
    with pytest.raises(ConfigError, match="--events"):
        decision_log(path / "decisions.jsonl")
    log = DecisionLog(
        path / "decisions.jsonl",
        events=path / "events.jsonl",
        rewards=Rewards(Config().events),
        join=JoinConfig(),
    )
    assert np.array_equal(log.survey().rewards, decision_log(path).survey().rewards)
    (path / "events.jsonl").unlink()
    with pytest.raises(ConfigError, match="0 files of events"):
        decision_log(path)
