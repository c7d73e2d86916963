"""``streamer ope``: known answers, results as JSON, and refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from streamer.cli import app
from streamer.errors import BadMessage, ConfigError, LogRefused, StreamerError
from streamer.events import Decision
from streamer.reports.frame import head_of
from tests.html_pages import whole_report
from tests.unit.ope_files import (
    CLICK_RATES,
    MAB,
    OBD,
    decision,
    event,
    needs_mab,
    needs_obd,
    simulated_slates,
    small_log,
    write_decisions,
)

PRIOR = f"bts:{OBD / 'prior_bts.yaml'}"


def ope(tmp_path: Path, log: Path, *arguments: str) -> dict[str, Any]:
    """The JSON that the command writes."""
    out = tmp_path / "out.json"
    result = CliRunner().invoke(
        app, ["ope", str(log), *arguments, "--json", str(out)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@pytest.mark.parametrize("option", ["--json", "--report"])
def test_a_result_does_not_replace_what_is_read(tmp_path: Path, option: str) -> None:
    log = tmp_path / "log"
    log.mkdir()
    events, other = tmp_path / "e.jsonl", tmp_path / "other,1.json"
    read = [log / "decisions.jsonl", events, other]
    for each in read:
        each.write_bytes(b"no JSON: it is refused before it is read")
    for each in read:
        words = ["ope", str(log), "--format", "decisions", "--events", str(events)]
        words += ["--policy", f"logged:{other}", option, str(each)]
        result = CliRunner().invoke(app, words)
        assert isinstance(result.exception, ConfigError)
        assert f"{option} {each} is a file " in str(result.exception)
        assert each.read_bytes().startswith(b"no JSON")


@pytest.mark.parametrize("policy", ["uniform", "best-fixed", "linucb:alpha=0.05"])
def test_a_propensity_next_to_nothing_is_weighed(tmp_path: Path, policy: str) -> None:
    decisions, events = simulated_slates(40)
    decisions[3] = replace(decisions[3], propensities=[1e-300, 0.5])
    log = write_decisions(tmp_path / "log", decisions, events)
    page = tmp_path / "out.html"
    words = ["--format", "decisions", "--policy", policy, "--ci", "bootstrap:50"]
    found = ope(tmp_path, log, *words, "--report", str(page))
    for name, each in found["metrics"].items():
        assert None not in (each["value"], *each["interval"]), name
    assert not re.search(r"\d{40}", page.read_text())


# --- known answers ------------------------------------------------------------------------------


@needs_obd
def test_thompson_on_the_uniform_log_of_all_items(tmp_path: Path) -> None:
    log = OBD / "random" / "all"
    found = ope(tmp_path, log, "--format", "obd", "--policy", PRIOR, "--ci", "bootstrap:1000")
    metrics = found["metrics"]
    assert metrics["ips"]["value"] == pytest.approx(0.004553, abs=0.00002)
    assert metrics["snips"]["value"] == pytest.approx(0.004776, abs=0.00003)
    assert found["logged"]["value"] == 0.0038
    for name in ("ips", "snips", "dr", "switch-dr"):
        low, high = metrics[name]["interval"]
        assert low < 0.0042 < high, f"{name} misses the on-policy value of bts"
        assert 1_500 < metrics[name]["effective_sample_size"] < 3_000
    assert set(found["positions"]) == {"1", "2", "3"}
    n_rows = [found["positions"][position]["ips"]["n"] for position in "123"]
    values = [found["positions"][position]["ips"]["value"] for position in "123"]
    assert sum(n_rows) == 10_000
    total = sum(n * value for n, value in zip(n_rows, values, strict=True))
    assert total / 10_000 == pytest.approx(metrics["ips"]["value"])


@needs_obd
def test_thompson_drawn_as_obp_draws_it(tmp_path: Path) -> None:
    log, policy = OBD / "random" / "all", f"{PRIOR},draws=100000"
    common = ("--format", "obd", "--policy", policy, "--estimators", "ips,snips", "--ci", "normal")
    metrics = ope(tmp_path, log, *common)["metrics"]
    assert metrics["ips"]["value"] == pytest.approx(0.004553, abs=0.00002)
    assert metrics["snips"]["value"] == pytest.approx(0.004776, abs=0.00003)


@needs_obd
def test_thompson_on_the_uniform_log_of_men(tmp_path: Path) -> None:
    log = OBD / "random" / "men"
    found = ope(tmp_path, log, "--format", "obd", "--policy", PRIOR, "--estimators", "ips,snips")
    assert found["metrics"]["ips"]["value"] == pytest.approx(0.00453, abs=0.00002)
    low, high = found["metrics"]["ips"]["interval"]
    assert low < 0.0069 < high
    assert found["logged"]["value"] == 0.0046


@needs_obd
def test_uniform_on_the_log_of_thompson(tmp_path: Path) -> None:
    log = OBD / "bts" / "all"
    common = ("--format", "obd", "--policy", "uniform", "--reward-model", "none")
    found = ope(tmp_path, log, *common, "--ci", "bootstrap:200")
    assert "replay" not in found["metrics"]
    low, high = found["metrics"]["snips"]["interval"]
    assert low < 0.0038 < high
    assert found["logged"]["value"] == 0.0042
    with pytest.raises(LogRefused, match="replay matching needs a log drawn uniformly"):
        ope(tmp_path, log, "--format", "obd", "--policy", "uniform", "--estimators", "replay")


@needs_mab
@pytest.mark.parametrize(("alpha", "value"), [("1", 0.53), ("0.25", 0.6425), ("0.05", 0.72375)])
def test_disjoint_linucb_by_replay(tmp_path: Path, alpha: str, value: float) -> None:
    policy = f"linucb:alpha={alpha}"
    arguments = (
        "--format",
        "mab",
        "--policy",
        policy,
        "--estimators",
        "replay",
        "--matches",
        "800",
    )
    found = ope(tmp_path, MAB, *arguments, "--ci", "normal")["metrics"]["replay"]
    assert found["value"] == value
    assert found["effective_sample_size"] == 800
    assert 0.09 < found["matched_share"] < 0.11


def test_the_result_has_the_settings_in_effect(tmp_path: Path) -> None:
    common = ("--format", "obd", "--estimators", "ips", "--ci", "normal")
    log = small_log(tmp_path)
    found = ope(tmp_path, log, *common, "--policy", "linucb:alpha=0.5,half_life_s=60")
    assert found["policy_parameters"] == {
        "form": "disjoint",
        "pooled": False,
        "prior_strength": 1.0,
        "blend_strength": 1.0,
        "prior_reward": 1.0,
        "uniform_share": 0.0,
        "explore_slots": [],
        "alpha": 0.5,
        "half_life_s": 60.0,
    }
    assert ope(tmp_path, log, *common, "--policy", "uniform")["policy_parameters"] == {}


@needs_mab
def test_policies_that_learn_nothing_on_ten_arms(tmp_path: Path) -> None:
    uniform = ope(tmp_path, MAB, "--format", "mab", "--policy", "uniform", "--ci", "t")
    assert uniform["metrics"]["ips"]["value"] == pytest.approx(0.104, abs=0.0005)
    low, high = uniform["metrics"]["replay"]["interval"]
    assert low < 0.104 < high
    best = ope(tmp_path, MAB, "--format", "mab", "--policy", "best-fixed", "--ci", "t")
    for name in ("replay", "snips"):
        assert best["metrics"][name]["value"] == pytest.approx(0.268, abs=0.0005)


# --- decisions ----------------------------------------------------------------------------------


def test_uniform_slates_are_worth_what_they_are(tmp_path: Path) -> None:
    log = write_decisions(tmp_path, *simulated_slates(3_000))
    common = (log, "--format", "decisions", "--policy", "uniform", "--ci", "normal")
    found = ope(tmp_path, *common)
    # Each of three items, alike likely, in the first slot; the second depends on the first.
    first = found["positions"]["0"]
    for name in ("ips", "snips", "dr", "switch-dr"):
        low, high = first[name]["interval"]
        assert low < CLICK_RATES.mean() < high
        assert abs(first[name]["value"] - CLICK_RATES.mean()) < 0.04
    assert found["mean_weight"] == pytest.approx(1.0, abs=0.04)
    assert found["n_requests"] == 3_000
    assert found["n"] == 6_000
    # The reward model knows the items, so it takes most of the variance away.
    assert first["dr"]["standard_error"] < first["ips"]["standard_error"]


def test_a_logged_stream_is_a_policy(tmp_path: Path) -> None:
    log = write_decisions(
        tmp_path / "log",
        [decision("r", ["a", "b"]), decision("s", ["c"]), decision("t", ["b"])],
        [event("r", "a"), event("t", "b")],
    )
    other = write_decisions(
        tmp_path / "other", [decision("r", ["a", "c"]), decision("t", ["b", "a"])], []
    )
    found = ope(
        tmp_path,
        log,
        *("--format", "decisions", "--policy", f"logged:{other}", "--estimators", "ips,replay"),
    )
    # Agreed on a for r and b for t, both in the first slot with propensity 1/3, of four rows.
    assert found["metrics"]["ips"]["value"] == pytest.approx((3 + 3) / 4)
    assert found["metrics"]["replay"]["value"] == 1.0
    assert found["metrics"]["replay"]["matched_share"] == 0.5
    assert found["mean_weight"] == pytest.approx(1.5)
    with pytest.raises(ConfigError, match="is the log itself"):
        ope(tmp_path, log, "--format", "decisions", "--policy", f"logged:{log}")
    with pytest.raises(ConfigError, match="those of decisions have names"):
        ope(tmp_path, log, "--format", "decisions", "--policy", "bts:prior.yaml")


def test_what_a_logged_stream_lacks_is_said(tmp_path: Path) -> None:
    slates = [decision("r", ["a", "b"]), decision("s", ["c"])]
    log = write_decisions(tmp_path / "log", slates, [event("r", "a")])
    lines: list[Decision | bytes] = [b"nonsense", b"", decision("r", ["a"])]
    lines.append(decision("r", ["c"]))
    other = write_decisions(tmp_path / "other", lines, [])
    words = ["ope", str(log), "--format", "decisions", "--policy", f"logged:{other}"]
    result = CliRunner().invoke(app, [*words, "--estimators", "ips"], catch_exceptions=False)
    file = other / "decisions.jsonl"
    said = result.output.splitlines()
    unread = f"1 lines of {file} can't be read and are left out: {file}:1: message:"
    assert sum(each.startswith(unread) for each in said) == 1
    assert f"1 requests of the log are not in {file}: there the policy shows nothing" in said
    repeated = f"1 decisions of {file} repeat the request_id of one before and are left out; 1 of"
    assert sum(each.startswith(repeated) for each in said) == 1
    strict = CliRunner().invoke(app, [*words, "--strict"])
    assert isinstance(strict.exception, BadMessage)
    file.write_bytes(b"nonsense\n")
    refused = CliRunner().invoke(app, words)
    assert isinstance(refused.exception, LogRefused)
    assert f"{file} holds no decision that can be read; the first: {file}:1" in str(
        refused.exception
    )


def test_many_positions_are_left_to_the_json(tmp_path: Path) -> None:
    shown = [decision(f"r{i}", ["a"], positions=[i % 5], propensities=[1 / 3]) for i in range(20)]
    log = write_decisions(tmp_path, shown, [event("r1", "a")])
    arguments = ["ope", str(log), "--format", "decisions", "--policy", "uniform"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "values at each of 5 positions: see --json" in result.output
    assert result.output.count("snips") == 1
    assert len(ope(tmp_path, log, *arguments[2:])["positions"]) == 5


def test_a_bandit_learns_on_decisions(tmp_path: Path) -> None:
    log = write_decisions(tmp_path, *simulated_slates(3_000))
    arguments = ("--format", "decisions", "--ci", "normal", "--policy")
    learned = ope(tmp_path, log, *arguments, "linucb:alpha=0.1,form=shared")
    uniform = ope(tmp_path, log, *arguments, "uniform")
    values = [each["positions"]["0"]["snips"]["value"] for each in (learned, uniform)]
    # It takes the best of three, 0.9, nearly always.
    assert values[0] > 0.8 > values[1]


# --- results and refusals -----------------------------------------------------------------------


def test_the_result_says_what_it_depends_on_and_repeats(tmp_path: Path) -> None:
    log = small_log(tmp_path)
    common = ("--format", "obd", "--policy", "fixed:1", "--clip", "2", "--ci", "bootstrap:100")
    first, again = (ope(tmp_path, log, *common, "--seed", "4") for _ in range(2))
    assert first == again
    assert first["kind"] == "ope"
    assert len(first["log_digest"]) == 64
    assert first["seed"] == 4
    assert first["n_malformed"] == 1
    assert "62: " in first["malformed"][0]
    assert set(first["versions"]) == {"streamer", "numpy", "python"}
    assert set(first["metrics"]) == {"replay", "ips", "snips", "dm", "dr", "switch-dr"}
    assert first["metrics"]["ips"]["clipped_share"] == pytest.approx(1 / 3)
    assert first["settings"]["clip"] == 2
    other = ope(tmp_path, log, *common, "--seed", "5")
    assert other["metrics"]["ips"]["value"] == first["metrics"]["ips"]["value"]
    assert other["metrics"]["ips"]["interval"] != first["metrics"]["ips"]["interval"]


def test_people_read_a_table(tmp_path: Path) -> None:
    log = small_log(tmp_path)
    result = CliRunner().invoke(app, ["ope", str(log), "--format", "obd", "--policy", "uniform"])
    assert result.exit_code == 0
    for part in ("switch-dr", "(logged)", "60 rows of 3 items", "1 malformed", "all.csv:62"):
        assert part in result.output


def test_a_report_draws_what_the_table_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    out = tmp_path / "out.html"
    flags = ("--format", "obd", "--policy", "uniform", "--ci", "normal", "--report", str(out))
    found = ope(tmp_path, small_log(tmp_path), *flags, "--open")
    assert opened == [out.as_uri()]
    text = out.read_text()
    page = whole_report(text)
    assert page.tags.count("figure") == 3  # values, effective rows, positions
    head = head_of(text.encode())
    assert head is not None
    assert (head.kind, head.title) == ("ope", "What uniform would have earned on all.csv")
    n_estimators = len(found["metrics"])
    assert text.count('<div class="row">') == n_estimators + len(found["positions"])
    for each in (found["logged"], *found["metrics"].values()):
        low, high = each["interval"]
        cells = "".join(f"<td>{number:.6f}</td>" for number in (each["value"], low, high))
        assert cells in text
        assert f"{each['value']:.4g} ({low:.4g} to {high:.4g})" in text
    assert "1 malformed line" in text
    assert "all.csv:62" in text
    assert found["log_digest"] in text
    holding = "so the log does not say that the policy is better or worse: "
    assert holding + "replay, ips, snips, dm, dr, switch-dr." in text


def test_a_report_says_whose_interval_lies_beside_the_log(tmp_path: Path) -> None:
    log = write_decisions(tmp_path, *simulated_slates(300))
    out = tmp_path / "out.html"
    common = ("--format", "decisions", "--ci", "normal", "--report", str(out), "--estimators")
    ope(tmp_path, log, *common, "snips", "--policy", "fixed:c")
    assert "The whole interval lies above what the log earned" in out.read_text()
    ope(tmp_path, log, *common, "snips", "--policy", "fixed:a")
    assert "The whole interval lies below what the log earned" in out.read_text()


def test_a_report_of_a_sweep_draws_the_policy_under_each_setting(tmp_path: Path) -> None:
    log, out = write_decisions(tmp_path, *simulated_slates(100)), tmp_path / "out.html"
    found = ope(
        tmp_path,
        log,
        *("--format", "decisions", "--policy", "linucb:form=shared", "--ci", "normal"),
        *("--estimators", "ips,snips", "--sweep", "bandit.alpha=0.1,2", "--report", str(out)),
    )
    text = out.read_text()
    head = head_of(text.encode())
    assert head is not None
    assert head.kind == "ope sweep"
    assert whole_report(text).tags.count("figure") == 2  # values, effective rows
    for run in found["runs"]:
        each = run["result"]["metrics"]["snips"]
        low, high = each["interval"]
        drawn = f"{each['value']:.4g} ({low:.4g} to {high:.4g})"
        assert f"<span>alpha = {run['value']}</span><span>{drawn}</span>" in text
    assert "Estimates of ips are in the JSON" in text


def test_without_a_reward_model_there_are_three_estimators(tmp_path: Path) -> None:
    log = small_log(tmp_path)
    common = ("--format", "obd", "--policy", "uniform", "--reward-model", "none")
    assert set(ope(tmp_path, log, *common)["metrics"]) == {"replay", "ips", "snips"}
    with pytest.raises(ConfigError, match="dm: they need a reward model"):
        ope(tmp_path, log, *common, "--estimators", "ips,dm")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--ci", "exact"), "write bootstrap:1000, normal or t"),
        (("--ci", "normal:3"), "write bootstrap:1000"),
        (("--ci", "bootstrap:1"), "n_resamples=1 must be at least 2"),
        (("--level", "95"), r"level=95.0 must be in \(0, 1\)"),
        (("--estimators", "magic"), "out of replay, ips"),
        (("--estimators", "ips,ips"), "name each once"),
        (("--clip", "0"), "clip=0.0 must be above 0"),
        (("--switch", "-1"), "threshold=-1.0 must be above 0"),
        (("--matches", "1000"), "not the 1,000 of --matches"),
        (("--matches", "5", "--estimators", "ips"), "goes with the estimator replay"),
        (("--folds", "61"), "folds=61 must be from 2 to the log's 60 requests"),
        (("--reward-model", "magic"), "none of ridge, none"),
        (("--events", "x"), "--events goes with --format decisions"),
        (("--format", "magic"), "none of obd, decisions, mab"),
        (("--strict",), "62: .*--strict"),
        (("--open",), "add --report"),
        (("--report", "nowhere/out.html"), "nowhere is no folder; make it first"),
    ],
)
def test_what_is_refused_says_why(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    log = small_log(tmp_path)
    common = ["ope", str(log), "--format", "obd", "--policy", "uniform"]
    with pytest.raises(StreamerError, match=complaint):
        CliRunner().invoke(app, [*common, *arguments], catch_exceptions=False)
