"""Shadow variants: computed behind the answer, logged, made again, and valued off-policy."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from streamer.application.experiments import reported
from streamer.cli import app
from streamer.config import Config, load_config
from streamer.config.experiments import ExperimentConfig, VariantConfig
from streamer.errors import BadMessage
from streamer.events import Decision, Event, Item, Request, Shadow, decode_decision, encode
from streamer.ope.experiment_report import ExperimentReport
from streamer.ope.mean_difference import MeanDifference
from streamer.ope.shadow_report import ShadowReport
from streamer.ranking.features import Features
from streamer.scorer.answer_queue import AnswerQueue
from streamer.scorer.policy.choice import Choice
from streamer.scorer.policy.knowledge import Knowledge
from streamer.scorer.policy.policies import BanditPolicy
from streamer.simulation.broker import MemorySink
from streamer.simulation.live import LiveSystem
from tests.scoring import TWO_CHANNELS, Click
from tests.unit.ope_files import START_MS, decision, event, write_decisions
from tests.unit.test_live_system import CONFIG, play
from tests.unit.test_scorer_service import CONFIG as SCORER_CONFIG
from tests.unit.test_scorer_service import Scoring
from tests.verified_slates import verified_again

OTHER = {
    "bandit.policy": "plackett-luce",
    "recall.mf.candidates": 7,
    "slate.caps": ("categories<=2 in 5",),
}


def shadowing(config: Config, share: float = 1.0, **shadows: dict[str, Any]) -> Config:
    """An experiment in which the control serves all users."""
    variants = {"control": VariantConfig()} | {
        name: VariantConfig(shadow=share, settings=settings) for name, settings in shadows.items()
    }
    return replace(config, experiments={"x": ExperimentConfig(variants=variants)})


def logged(live: LiveSystem) -> list[Decision]:
    return [decode_decision(record.value) for record in live.broker.records("decisions")]


# --- what a decision says of them, and that it can be said again ----------------------------------


@pytest.fixture(scope="module")
def live() -> LiveSystem:
    played = LiveSystem(shadowing(CONFIG, same={}, other=OTHER), start_ms=START_MS)
    play(played, n_steps=20)
    return played


def of(variant: str, live: LiveSystem) -> list[tuple[Decision, Shadow]]:
    return [
        (each, shadow)
        for each in logged(live)
        for shadow in each.shadows or ()
        if shadow.variant == variant
    ]


def test_a_shadow_of_the_served_settings_is_the_slate_itself(live: LiveSystem) -> None:
    same = of("same", live)
    assert len(same) > 10
    for served, shadow in same:
        assert served.variants == {"x": "control"}
        assert shadow.items == served.items
        assert shadow.propensities == served.propensities
        assert shadow.settings == served.settings


def test_users_are_served_as_without_shadows(live: LiveSystem) -> None:
    plain = LiveSystem(CONFIG, start_ms=START_MS)
    play(plain, n_steps=20)
    added = {"variants": None, "settings": None, "shadows": None}
    assert [replace(each, **added) for each in logged(live)] == logged(plain)


def test_a_shadow_is_drawn_and_weighed_by_its_own_settings(live: LiveSystem) -> None:
    other = of("other", live)
    assert len(other) == len(of("same", live))
    for served, shadow in other:
        assert shadow.settings == {
            "bandit.policy": "plackett-luce",
            "recall.mf.candidates": 7,
            "slate.caps": '["categories<=2 in 5"]',
        }
        assert len(shadow.items) == len(served.items)
        assert all(0 <= each < 1 for each in shadow.propensities)  # 0: its caps bar the item
    assert any(each for _, shadow in other for each in shadow.propensities)
    assert any(served.items != shadow.items for served, shadow in other)


def test_shadows_are_made_again_to_the_bit_and_tampering_is_found(live: LiveSystem) -> None:
    found = logged(live)
    n_shadows = len(of("same", live)) + len(of("other", live))
    verified = verified_again(live, found)
    assert verified.n_same == len(found)
    assert (verified.n_shadows_same, verified.n_shadows) == (n_shadows, n_shadows)
    served, shadow = of("other", live)[-1]
    changed = replace(shadow, propensities=[0.5, *shadow.propensities[1:]])
    unknown = replace(shadow, settings={"bandit.form": "disjoint"})
    verified = verified_again(live, [replace(served, shadows=[changed, unknown])])
    assert (verified.n_shadows_different, verified.n_shadows_unknown) == (1, 1)
    assert verified.problems[0].endswith("made again it has other shadow of variant other")


def test_a_shadow_of_other_objectives_is_made_again_by_them() -> None:
    flags = {"topics.partitions": "1", "objectives.taken.events": ["click"], **TWO_CHANNELS}
    config = load_config(env={}, flags=flags)
    played = LiveSystem(
        shadowing(config, other={"objectives.taken.weight": -1.0}), start_ms=START_MS
    )
    play(played, n_steps=6)
    other = of("other", played)
    assert any(served.items != shadow.items for served, shadow in other)
    assert verified_again(played, logged(played)).n_shadows_same == len(other) > 0


def test_a_shadow_takes_no_users_and_a_share_of_the_slates() -> None:
    plan = ExperimentConfig(
        variants={
            "control": VariantConfig(),
            "bold": VariantConfig(),
            "rare": VariantConfig(shadow=0.2),
            "often": VariantConfig(shadow=0.6),
        }
    )
    users = {plan.variant_of("x", f"user {n}") for n in range(200)}
    assert users == {"control", "bold"}
    assert plan.shares() == {"bold": 0.5, "control": 0.5}
    wanted = [plan.shadows_of("x", f"request {n}") for n in range(4_000)]
    assert wanted == [plan.shadows_of("x", f"request {n}") for n in range(4_000)]
    for name, share in (("rare", 0.2), ("often", 0.6)):
        n = sum(name in each for each in wanted)
        assert abs(n - 4_000 * share) < 4.5 * np.sqrt(4_000 * share * (1 - share))
    assert all("often" in each for each in wanted if "rare" in each)


# --- behind the answer ----------------------------------------------------------------------------


class Watched(BanditPolicy):
    """A policy that stops before it draws for the second time, which is for a shadow."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.n_draws = 0
        self.fails = False
        self.go = threading.Event()
        self.go.set()

    def choose(self, features: Features, knowledge: Knowledge, k: int, seed: int) -> Choice:
        self.n_draws += 1
        if self.n_draws > 1:
            assert self.go.wait(60)
            if self.fails:
                raise ZeroDivisionError("of a shadow")
        return super().choose(features, knowledge, k, seed)


def scoring(*names: str, policy: Watched | None = None) -> Scoring:
    found = Scoring(
        config=shadowing(SCORER_CONFIG, 1.0, **{name: {} for name in names}),
        policy=policy,
    )
    found.learned.commit(0, [Click("bob", item) for item in "abcd"])
    found.scorer.load()
    found.begin()
    return found


def outcomes(found: Scoring, variant: str) -> dict[str, float]:
    counts = {
        outcome: found.counted(
            "experiment_shadows_total", experiment="x", variant=variant, outcome=outcome
        )
        for outcome in ("computed", "shed", "failed")
    }
    return {outcome: n for outcome, n in counts.items() if n is not None}


def variants(found: Decision) -> list[str]:
    return [each.variant for each in found.shadows or ()]


def test_whoever_waits_goes_first() -> None:
    found = scoring("one")
    for n in range(3):
        found.ask("ann", f"r{n}")
    assert found.service.round() == 3
    assert [variants(each) for each in found.decisions()] == [[], [], ["one"]]
    assert outcomes(found, "one") == {"computed": 1, "shed": 2}


def test_under_overload_none_is_computed() -> None:
    found = scoring("one")
    for n in range(300):
        found.ask("ann", f"r{n}", k=1)
    assert found.service.round() == 256
    assert outcomes(found, "one") == {"shed": 256}
    assert not any(map(variants, found.decisions()))


def test_a_preview_and_an_empty_slate_have_none() -> None:
    found = scoring("one")
    found.ask("ann", preview=True)
    found.service.round()
    found.ask("ann", exclude=[*"abcd"])
    found.service.round()
    assert outcomes(found, "one") == {}


def test_a_shadow_that_fails_is_counted_and_harms_no_answer() -> None:
    policy = Watched(SCORER_CONFIG)
    policy.fails = True
    found = scoring("one", policy=policy)
    found.ask("ann")
    found.service.round()
    assert [len(each.items) for each in found.recommendations()] == [4]
    assert [variants(each) for each in found.decisions()] == [[]]
    assert outcomes(found, "one") == {"failed": 1}
    assert not found.dead_letters()


def test_a_decision_that_is_too_large_with_shadows_is_sent_without() -> None:
    plain, found = scoring(), scoring("one")
    for each in (plain, found):
        each.ask("ann")
        each.service.round()
    sizes = [len(each.broker.records("t.decisions")[0].value or b"") for each in (plain, found)]
    assert sizes[0] + 100 < sizes[1] < sizes[0] + 400
    sink = found.scorer._sink
    assert isinstance(sink, MemorySink)
    sink.bytes_max["t.decisions"] = sizes[1] - 1
    for n in (1, 2):  # once the topic refuses it, then it is known
        found.ask("ann", f"r{n}")
        found.service.round()
    assert [variants(each) for each in found.decisions()] == [["one"], [], []]
    assert not found.dead_letters()


def test_over_http_the_answer_does_not_wait_and_the_next_one_ends_the_shadows() -> None:
    policy = Watched(SCORER_CONFIG)
    policy.go.clear()
    found = scoring("one", "two", policy=policy)
    queue = AnswerQueue(found.scorer, found.scorer.replies, n_waiting_max=4)
    try:
        first = queue.recommend(
            Request(request_id="r1", user_id="ann", ts=START_MS), timeout_s=60
        ).result(60)
        assert len(first.recommendation.items) == 4
        assert not found.decisions()  # the first of two shadows is being computed
        second = queue.recommend(
            Request(request_id="r2", user_id="ann", ts=START_MS, preview=True), timeout_s=60
        )
        policy.go.set()
        assert second.result(60).recommendation.preview
    finally:
        policy.go.set()
        queue.close()
    assert [variants(each) for each in found.decisions()] == [["one"]]
    assert outcomes(found, "one") == {"computed": 1}
    assert outcomes(found, "two") == {"shed": 1}


# --- what they are worth --------------------------------------------------------------------------


def shadows_in(config: Config, folder: Path) -> tuple[ExperimentReport, list[ShadowReport]]:
    """What ``streamer experiments x`` says of a recorded folder, and of each shadow in it."""
    found = reported(config, "x", folder, "1d", alpha=0.05, n_planned=10_000)
    return found, found.shadows


def write_ended(folder: Path, decisions: Sequence[Decision], events: Sequence[Event]) -> None:
    """Write a log in which time goes on until all that was shown has been answered or not."""
    ends_ms = max(each.ts for each in decisions) + 60_000
    write_decisions(folder, [*decisions, decision("end", "a", user_id="last", ts=ends_ms)], events)


def test_the_served_policy_is_valued_at_what_it_earned_and_a_better_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two items at random one is clicked on, and a shadow would show it nearly always."""
    monkeypatch.setattr("streamer.ope.shadow_report.EFFECTIVE_MIN", 50)  # 4 times as many are slow
    served = load_config(env={}, flags={**TWO_CHANNELS, "topics.partitions": "1"})
    served = replace(served, bandit=replace(served.bandit, uniform_share=1.0))
    config = shadowing(served, same={}, keen={"bandit.uniform_share": 0.02})
    live = LiveSystem(config, start_ms=START_MS)
    live.publish(Item(item_id="liked"), Item(item_id="passed"))
    events: list[Event] = []
    for n in range(150):
        (shown,) = live.request(f"user {n}", k=1).item_ids
        kind = "click" if shown == "liked" else "impression"
        now_ms = live.clock.now_ms()
        events.append(event(f"r{n}", shown, kind, user_id=f"user {n}", ts=now_ms))
        live.publish(events[-1])
        live.advance(now_ms + 100)
    found = logged(live)
    write_ended(tmp_path, found, events)
    _, (keen, same) = shadows_in(config, tmp_path)
    n_liked = sum(each.items == ["liked"] for each in found)
    assert same.can_tell
    assert same.common == 1.0
    assert same.shown == pytest.approx(n_liked / len(found))
    assert same.value == pytest.approx(same.shown)
    assert same.difference == MeanDifference(estimate=0.0, low=0.0, high=0.0)
    # Its own draws, of which the estimate knows nothing, say what it would have earned.
    drawn = np.mean([shadow.items == ["liked"] for _, shadow in of("keen", live)])
    assert drawn > 0.9
    assert keen.can_tell
    assert keen.difference is not None
    assert 0.25 < keen.difference.low < drawn - 0.5 < keen.difference.high
    assert keen.value == pytest.approx(drawn, abs=0.1)
    assert keen.effective_slots == pytest.approx(len(found) / 2, rel=0.2)


def slates(
    n: int, clicked: Sequence[float], weights: Sequence[float]
) -> tuple[list[Decision], list[Event]]:
    """Slates of a, b or c alike, what a shadow of such weights would have shown, and clicks."""
    rng = np.random.default_rng(3)
    decisions, events = [], []
    for number in range(n):
        item = int(rng.integers(3))
        own = int(rng.choice(3, p=np.array(weights) / sum(weights)))
        shadow = Shadow(
            experiment="x", variant="keen", items=["abc"[own]], propensities=[weights[item]]
        )
        name, user = f"r{number}", f"user {number // 2}"
        given = {"user_id": user, "variants": {"x": "control"}, "shadows": [shadow]}
        decisions.append(decision(name, "abc"[item], **given))
        kind = "click" if rng.random() < clicked[item] else "impression"
        events.append(event(name, "abc"[item], kind, user_id=user))
    return decisions, events


@pytest.mark.parametrize(
    ("weights", "n", "said"),
    [
        ((0.8, 0.1, 0.1), 1_200, "a slot would earn more than those of control did, +0.1"),
        ((0.2, 0.6, 0.2), 1_200, "as far as can be told, a slot would earn what those of cont"),
        ((0.1, 0.1, 0.8), 1_200, "a slot would earn less than those of control did, -0.1"),
        ((0.8, 0.1, 0.1), 200, "200 slots of control are too few to tell, 300 at least can"),
        ((0.98, 0.01, 0.01), 700, "700 slots of control are worth 2"),
        ((0.4, 0.2, 0.0), 1_200, "control shows too little of what it would show to tell (mean we"),
    ],
)
def test_it_is_said_in_words_whether_the_log_can_tell(
    weights: tuple[float, ...], n: int, said: str, tmp_path: Path
) -> None:
    """Rates of clicks are .5, .3 and .1; of weights below 1 the rest is never shown."""
    rates = (0.5, 0.3, 0.1)
    write_ended(tmp_path, *slates(n, rates, weights))
    whole, (keen,) = shadows_in(shadowing(CONFIG, keen={}), tmp_path)
    assert (keen.name, keen.served, keen.slates, keen.slots) == ("keen", "control", n, n)
    assert keen.can_tell == ("a slot would" in said)
    assert whole.verdicts()[-1].startswith(f"keen, not shown: {said}")
    assert len(whole.variants) == 1
    assert keen.common == pytest.approx(1 / 3, abs=0.1)
    if keen.can_tell:
        assert keen.difference is not None
        truth = np.dot(weights, rates) - np.mean(rates)
        assert keen.difference.low < truth < keen.difference.high


def test_each_objective_is_valued_over_the_same_slots_by_the_same_weights(tmp_path: Path) -> None:
    """Who clicks on b buys it."""
    decisions, clicks = slates(900, (0.5, 0.3, 0.1), (0.6, 0.3, 0.1))
    bought = [
        replace(each, event_id=f"{each.event_id} bought", type="purchase")
        for each in clicks
        if each.type == "click" and each.item_id == "b"
    ]
    write_ended(tmp_path, decisions, [*clicks, *bought])
    flags = {"objectives.taken.events": ["click"], "objectives.bought.events": ["purchase"]}
    config = load_config(env={}, flags=flags)
    _, (keen,) = shadows_in(shadowing(config, keen={}), tmp_path)
    shown = np.array([each.items[0] for each in decisions])
    clicked = {each.request_id for each in clicks if each.type == "click"}
    taken = np.array([each.request_id in clicked for each in decisions], dtype=np.float64)
    weights = np.array([(each.shadows or [])[0].propensities[0] for each in decisions])  # times 3
    for name, gained in {"taken": taken, "bought": taken * (shown == "b")}.items():
        found = keen.objectives[name]
        value = weights @ gained / weights.sum()
        assert found.shown == pytest.approx(gained.mean())
        assert found.value == pytest.approx(value)
        assert found.difference is not None
        assert found.difference.estimate == pytest.approx(value - gained.mean())
        assert found.difference.low < found.difference.estimate < found.difference.high
    rows = list(keen.objective_cells())
    assert [cells[:3] for cells in rows] == [
        ("keen", "control", "taken"),
        ("keen", "control", "bought"),
    ]
    assert rows[0][5].startswith("+")
    _, (without,) = shadows_in(shadowing(CONFIG, keen={}), tmp_path)
    assert not without.objectives


def test_the_command_has_rows_of_its_own_for_them(tmp_path: Path) -> None:
    path = tmp_path / "streamer.toml"
    tables = ("control]\nweight = 1\n", "keen]\nshadow = 1\nslate.diversity = 0.3\n")
    objective = '[objectives.taken]\nevents = ["click"]\n'
    path.write_text(objective + "".join(f"[experiments.x.variants.{each}" for each in tables))
    write_ended(tmp_path, *slates(900, (0.5, 0.3, 0.1), (0.6, 0.3, 0.1)))
    config = ["--config", str(path)]

    def said(*arguments: str) -> str:
        asked = ["experiments", "x", *arguments, *config]
        result = CliRunner().invoke(app, asked, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    text = said(str(tmp_path))
    assert "not shown: reward a slot, off-policy" in text
    assert "intervals of what is not shown hold for one look, with 95 %" in text
    assert "users are not split: control serves all who take part" in text
    (row,) = [line for line in text.splitlines() if "keen" in line and " 900 " in line]
    (keen,) = json.loads(said(str(tmp_path), "--json"))["shadows"]
    assert f"{keen['value']:.4f}" in row
    change = MeanDifference(**keen["difference"])
    assert f"{change.estimate:+.4f} *" in row
    assert f"keen, not shown: a slot would earn more than those of control did, {change}" in text
    assert "not shown: objectives a slot, off-policy" in text
    taken = MeanDifference(**keen["objectives"]["taken"]["difference"])
    (row,) = [line for line in text.splitlines() if "keen" in line and "taken" in line]
    assert f"{taken.estimate:+.4f} ± {(taken.high - taken.low) / 2:.4f} *" in row
    assert said("--promote", "keen") == "[slate]\ndiversity = 0.3\n"


def test_a_configured_shadow_that_no_slate_has_is_told(tmp_path: Path) -> None:
    decisions, events = slates(20, (1.0, 0.0, 0.0), (1.0, 0.0, 0.0))
    write_decisions(tmp_path, [replace(each, shadows=None) for each in decisions], events)
    found, shadows = shadows_in(shadowing(CONFIG, keen={}), tmp_path)
    assert shadows == []
    assert "no slate whose time is over has a shadow of keen" in found.remarks[0]


def test_decisions_without_shadows_are_read_and_bad_ones_refused() -> None:
    plain = decision("r", "ab")
    assert b"shadows" not in encode(plain)
    assert decode_decision(encode(plain)).shadows is None
    wrong = replace(
        plain, shadows=[Shadow(experiment="x", variant="v", items=["a"], propensities=[0.5])]
    )
    with pytest.raises(BadMessage, match=r"shadows\[0\].propensities.*1 values for 2 items"):
        decode_decision(encode(wrong))
