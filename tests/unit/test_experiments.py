"""Experiments: who is in which variant, what a variant may change, and that it is what served."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from streamer.config import Config, load_config
from streamer.config.experiments import ExperimentConfig, VariantConfig
from streamer.errors import ConfigError
from streamer.events import Decision, decode_decision
from streamer.events.messages import ANYBODY
from streamer.ranking.variants import all_served, all_shadows
from streamer.replay.funnel_model import funnel_config
from streamer.scorer.variants import Variants
from streamer.simulation.live import LiveSystem
from tests.unit.test_live_system import CONFIG, START_MS, play
from tests.verified_slates import verified_again

N_USERS = 40_000
SPREAD = 4.5
"""Standard deviations that no count is off by: 3 in a million are."""


def plan(salt: str, share: float = 1.0, **weights: float) -> ExperimentConfig:
    variants = {name: VariantConfig(weight=weight) for name, weight in weights.items()}
    return ExperimentConfig(salt=salt, share=share, variants=variants)


def split(experiment: ExperimentConfig) -> list[str | None]:
    return [experiment.variant_of("name", f"user {n}") for n in range(N_USERS)]


def is_share(count: int, n: int, share: float) -> bool:
    return bool(abs(count - n * share) <= SPREAD * np.sqrt(n * share * (1 - share)))


# --- the split --------------------------------------------------------------------------------


@pytest.mark.parametrize("salt", ["ranker", "2026-11", "ünï"])
def test_users_are_split_by_the_weights(salt: str) -> None:
    found = Counter(split(plan(salt, 0.3, bold=1, control=2, mild=1)))
    assert is_share(N_USERS - found[None], N_USERS, 0.3)
    for name, share in (("bold", 0.075), ("control", 0.15), ("mild", 0.075)):
        assert is_share(found[name], N_USERS, share)


def test_splits_with_other_salts_know_nothing_of_each_other() -> None:
    first, second = split(plan("a", a=1, b=1)), split(plan("b", c=1, d=3))
    found = Counter(zip(first, second, strict=True))
    for one in "ab":
        for other, share in (("c", 0.25), ("d", 0.75)):
            assert is_share(found[one, other], N_USERS, share / 2)
    assert split(plan("a", a=1, b=1)) == first


def test_who_takes_part_says_nothing_of_the_variant_and_stays_in_it() -> None:
    few, many = split(plan("s", 0.1, a=1, b=1)), split(plan("s", 0.6, a=1, b=1))
    assert all(after == before for before, after in zip(few, many, strict=True) if before)
    n_few = sum(each is not None for each in few)
    assert is_share(Counter(few)["a"], n_few, 0.5)


def test_a_variant_of_weight_0_gets_nobody_and_the_order_of_the_file_is_nothing() -> None:
    found = split(plan("s", a=1, b=0, c=1))
    assert Counter(found)["b"] == 0
    assert split(plan("s", c=1, b=0, a=1)) == found


def test_other_programs_can_tell_who_is_where() -> None:
    """By what docs/experiments.md says; a change of it would move all users."""
    experiment = plan("", 0.8, bold=1, control=1)
    users = ("ann", "bob", "cem", "dee", "eve", "ülkü")
    found = [experiment.variant_of("ranker", user) for user in users]
    assert found == [_said_by_the_page("ranker", user, 0.8) for user in users]
    assert found == [None, None, "control", None, "bold", "bold"]


def _said_by_the_page(name: str, user_id: str, share: float) -> str | None:
    salt = blake2b(name.encode(), digest_size=32).digest()
    digest = blake2b(user_id.encode(), digest_size=16, key=salt, person=b"streamer split").digest()
    number = int.from_bytes(digest, "little")
    takes_part = (number % 2**64 >> 11) / 2**53 < share
    place = (number >> 75) / 2**53
    return ("bold" if place < 0.5 else "control") if takes_part else None


# --- what is refused --------------------------------------------------------------------------

TWO = "[experiments.x.variants.control]\nweight = 1\n[experiments.x.variants.bold]\nweight = 1\n"


def served_of(toml: str, path: Path) -> list[dict[str, str]]:
    path.write_text(toml, encoding="utf-8")
    config = load_config(path, env={})
    return [each.variants for each in (*all_served(config), *all_shadows(config))]


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (
            TWO + "mf.factors = 8",
            "variants.bold.mf.factors: a variant can't change mf.factors: the",
        ),
        (TWO + "http.port = 8", "a variant can't change http.port: it belongs to a process, not"),
        (TWO + "bandit.drift_delta = 0.1", "change bandit.drift_delta: the learner reads it, who"),
        (
            TWO + 'bandit.form = "disjoint"',
            "bandit.form: the learner would learn otherwise for the",
        ),
        (TWO + "bandit.arms_max = 8", "the learner would learn otherwise within other bounds"),
        (TWO + "recall.again.candidates = 50", "would learn otherwise for recall.blend, so its"),
        (TWO + "bandit.time_features = true", "bandit.time_features: the ranking columns would be"),
        (TWO + 'funnel.ranker = "blend"', "can't change funnel.ranker: the ranking columns would"),
        (TWO + "slate.divers = 0.1", "nearest known one is 'experiments.x.variants.bold.slate.di"),
        (
            TWO + "slate.diversity = 1",
            "variants.bold.slate.diversity = 1 is refused: give a number",
        ),
        (TWO + "rules.kids.boost = 1", "rules.kids.when: a boost needs boost and when; give both"),
        ("[experiments.x.variants.control]", "one is 'experiments.x.variants.control.weight'"),
        ("[experiments.x.variants.control]\nweight = 1", "1 variants; give it 2 to 16"),
        (TWO.replace("control", "mild"), '"control" is no variant (there are: mild, bold); add'),
        (TWO.replace("= 1", "= 0"), "all weights are 0"),
        (
            f"{TWO}slate.diversity = 0.1\n{TWO.replace('.x.', '.y.')}slate.diversity = 0.2",
            "experiments.y.variants.bold.slate.diversity: experiment x changes slate.diversity too",
        ),
        (
            TWO.replace("control]\n", "control]\nshadow = 0.1\n"),
            "variants.control.shadow: the control serves users: set 0, or name another as the con",
        ),
        (TWO + "shadow = 1.5", "variants.bold.shadow = 1.5 is refused: give a number from 0 to 1"),
        (TWO + "shadow = 1\nmf.factors = 8", "a variant can't change mf.factors: the learner re"),
        (TWO + "shadow = 1\nbandit.form = 'disjoint'", "change bandit.form: the learner would l"),
        (
            f"{TWO}shadow = 1\n" + TWO.replace("= 1", "= 0").replace(".x.", ".y."),
            "experiments.y.variants: all weights are 0",
        ),
        (
            "".join(TWO.replace(".x.", f".x{n}.") for n in range(6)) + "shadow = 0.1\n"
            "[experiments.x0.variants.dim]\nshadow = 0.1",
            "in 32 combinations of variants, and shadows computed in 48; a scorer keeps at most 64",
        ),
        (
            "".join(TWO.replace(".x.", f".x{n}.") for n in range(7)),
            "in 128 combinations of variants; a scorer keeps at most 64",
        ),
    ],
)
def test_what_no_variant_can_change_is_refused_with_the_reason(
    toml: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as refused:
        served_of(toml, tmp_path / "streamer.toml")
    assert said in str(refused.value)


def test_settings_that_need_each_other_may_be_of_one_variant(tmp_path: Path) -> None:
    rule = "rules.kids.boost = 1\nrules.kids.when = \"'kids' in item.categories\"\n"
    found = served_of(TWO + rule, tmp_path / "streamer.toml")
    assert found == [{}, {"x": "control"}, {"x": "bold"}]


def test_a_shadow_is_beside_each_combination_of_the_other_experiments(tmp_path: Path) -> None:
    toml = TWO + "shadow = 0.1\n" + TWO.replace(".x.", ".y.")
    assert served_of(toml, tmp_path / "streamer.toml") == [
        {},
        {"x": "control", "y": "control"},
        {"x": "control", "y": "bold"},
        {"x": "bold", "y": "control"},
        {"x": "bold", "y": "bold"},
    ]


def test_variables_of_the_environment_reach_a_variant(tmp_path: Path) -> None:
    path = tmp_path / "streamer.toml"
    path.write_text(TWO, encoding="utf-8")
    env = {
        "STREAMER_EXPERIMENTS__X__SHARE": "0.25",
        "STREAMER_EXPERIMENTS__X__VARIANTS__BOLD__SLATE__CAPS": '["brand<=1"]',
    }
    found = load_config(path, env=env).experiments["x"]
    assert (found.share, found.variants["bold"].settings) == (
        0.25,
        {"slate.caps": ("brand<=1",)},
    )


# --- what served ------------------------------------------------------------------------------

BOLD = {"bandit.policy": "linucb", "recall.mf.candidates": 7, "slate.caps": ("categories<=2 in 5",)}


def with_experiment(config: Config, share: float = 0.6) -> Config:
    experiment = ExperimentConfig(
        share=share, variants={"control": VariantConfig(), "bold": VariantConfig(settings=BOLD)}
    )
    return replace(config, experiments={"x": experiment})


@pytest.fixture(scope="module")
def live() -> LiveSystem:
    played = LiveSystem(with_experiment(CONFIG), start_ms=START_MS)
    play(played, n_steps=40)
    return played


def decisions(live: LiveSystem) -> list[Decision]:
    return [decode_decision(record.value) for record in live.broker.records("decisions")]


def test_a_variant_is_what_serves_its_users(live: LiveSystem) -> None:
    experiment = live.config.experiments["x"]
    found = decisions(live)
    met = set()
    for decision in found:
        variant = experiment.variant_of("x", decision.user_id)
        met.add(variant)
        assert decision.variants == (None if variant is None else {"x": variant})
        bold = variant == "bold"
        assert decision.policy == ("linucb" if bold else "linear-thompson")
        assert decision.settings == {
            "bandit.policy": decision.policy,
            "recall.mf.candidates": 7 if bold else 20,
            "slate.caps": '["categories<=2 in 5"]' if bold else "[]",
        }
        assert (decision.composition is not None) == (bold and len(decision.candidates) > 0)
    assert met == {None, "control", "bold"}


def test_who_gives_no_name_is_in_no_experiment() -> None:
    config = with_experiment(CONFIG, share=1.0)
    assert config.experiments["x"].variant_of("x", ANYBODY) is None
    assert config.experiments["x"].variant_of("x", "ann") is not None
    assert Variants(config).of(ANYBODY).config == replace(config, experiments={})


def test_subscribers_read_the_variant(live: LiveSystem) -> None:
    bold = next(
        user
        for user in (f"new {n}" for n in range(100))
        if live.config.experiments["x"].variant_of("x", user) == "bold"
    )
    assert live.request(bold).recommendation.variants == {"x": "bold"}
    assert live.scorer.metrics.experiment_slates.labels("x", "bold")._value.get() > 1


def test_slates_of_variants_are_made_again_to_the_bit(live: LiveSystem) -> None:
    found = decisions(live)
    assert verified_again(live, found).n_same == len(found)


def test_they_are_when_the_experiment_is_over_or_its_winner_is_the_configuration(
    live: LiveSystem,
) -> None:
    found, config = decisions(live), live.config
    taking_part = [decision for decision in found if decision.variants]
    try:
        live.config = replace(config, experiments={})
        assert verified_again(live, found).n_same == len(found)
        bandit = replace(config.bandit, policy="greedy")
        live.config = replace(config, experiments={}, bandit=bandit)
        assert verified_again(live, taking_part).n_same == len(taking_part)
    finally:
        live.config = config


def test_a_slate_is_not_made_by_settings_that_it_does_not_name(live: LiveSystem) -> None:
    bold = [each for each in decisions(live) if (each.variants or {}).get("x") == "bold"]
    of_others = [replace(each, settings=None) for each in bold]
    assert verified_again(live, of_others).n_different > len(bold) / 2
    unknown = [replace(each, settings={"bandit.form": "disjoint"}) for each in bold]
    assert verified_again(live, unknown).n_other_settings == len(bold)


def test_a_learner_counts_by_variant(live: LiveSystem) -> None:
    counts = live.counts.join
    of_variants = counts.of_variants
    learned = [each for each in decisions(live) if not each.user_id.startswith("new")]
    n_of = Counter((each.variants or {}).get("x") for each in learned)
    for variant in ("control", "bold"):
        assert of_variants["x", variant].n_decisions == n_of[variant]
        assert 0 < of_variants["x", variant].n_positive < of_variants["x", variant].n_outcomes
    assert sum(each.n_positive for each in of_variants.values()) < counts.n_positive


def test_a_replay_is_of_one_configuration() -> None:
    found = funnel_config(with_experiment(CONFIG), {}, seed=1, n_partitions=1)
    assert not found.experiments
